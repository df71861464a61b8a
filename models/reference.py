"""Describe the training posts in numbers, so that the posts that a model reads later can be compared with them.

Nothing here can be read back into a post: there are only shares of all posts, rounded to six digits.
"""

import numpy as np
from numpy.typing import NDArray

from models.arrays import Float64s, Int64s, Labels, Probabilities
from models.description import Reference, Reliability, Unknown
from models.features import TfidfFeatures
from models.ngrams import post_of_token
from models.tokens import TokenBatch

LENGTHS = [0, 1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256, 512]  # the shortest post of each bin, in tokens
PROBABILITIES = 20  # number of bins of equal width
_DIGITS = 6


def _shares(counts: Int64s) -> list[float]:
    return [round(count / counts.sum(), _DIGITS) for count in counts.tolist()]


def length_shares(tokens: TokenBatch) -> list[float]:
    """Return the share of posts in each bin of `LENGTHS`."""
    bins = np.searchsorted(LENGTHS, np.diff(tokens.offsets), side="right") - 1
    return _shares(np.bincount(bins, minlength=len(LENGTHS)))


def probability_bins(probabilities: Probabilities) -> Int64s:
    """Return the number of the bin of each probability, from 0 to 19."""
    return np.minimum((probabilities * PROBABILITIES).astype(np.int64), PROBABILITIES - 1)


def probability_shares(probabilities: Probabilities) -> list[float]:
    """Return the share of the posts in each of 20 bins from 0 to 1, by the probability of one label."""
    return _shares(np.bincount(probability_bins(probabilities), minlength=PROBABILITIES))


def reliability(probabilities: Probabilities, y: NDArray[np.int8]) -> Reliability:
    """Describe how far the held-out probabilities of one label can be relied on.

    Parameters
    ----------
    probabilities : ndarray of float32, shape (n_posts,)
    y : ndarray of 0 and 1, shape (n_posts,)
        Which posts have the label.
    """
    bins = probability_bins(probabilities)
    counts, sums = (np.bincount(bins, weights, PROBABILITIES) for weights in (None, probabilities))
    means = np.where(counts > 0, sums / np.maximum(counts, 1), (np.arange(PROBABILITIES) + 0.5) / PROBABILITIES)
    positives = np.bincount(bins, y, PROBABILITIES) / len(y)
    return Reliability(
        probabilities=[round(mean, _DIGITS) for mean in means.tolist()], positives=[round(share, _DIGITS) for share in positives.tolist()]
    )


def unknown_shares(features: TfidfFeatures, tokens: TokenBatch, known: NDArray[np.bool_] | None = None) -> tuple[Float64s, Float64s]:
    """Return the shares of each post's tokens, and of their character n-grams, that are not in the vocabulary.

    Parameters
    ----------
    features : TfidfFeatures
        The fitted features.
    tokens : TokenBatch
        Posts; those without a token are left out.
    known : ndarray of bool, shape (n_features,), optional
        The n-grams that count as known; by default, all.

    Returns
    -------
    words, characters : ndarray of float64, shape (n_posts_with_tokens,)
        Without character n-grams, the second array is empty.
    """
    single = np.array([" " not in word for word in features.words_], bool)
    columns = np.concatenate([np.flatnonzero(single), np.arange(len(single), len(features.idf_))])  # the columns that `of_words` uses
    found = features.of_words(tokens.types)
    found.data = np.ones(len(found.data)) if known is None else known[columns][found.indices].astype(np.float64)
    n_words, posts = int(single.sum()), post_of_token(tokens)
    sizes, lengths = np.diff(tokens.offsets), np.array([len(token) + 2 for token in tokens.types])

    def by_post(of_type: Float64s) -> Float64s:
        return np.bincount(posts, of_type[tokens.codes], minlength=len(tokens))[sizes > 0].astype(np.float64)

    words = 1 - by_post(np.asarray(found[:, :n_words].sum(axis=1)).ravel()) / sizes[sizes > 0]
    if not features.char_ngrams:
        return words, np.empty(0)
    low, high = features.char_ngrams
    grams = (lengths < low) + sum(np.maximum(lengths - size + 1, 0) for size in range(low, high + 1))  # a shorter token is one by itself
    return words, 1 - by_post(np.asarray(found[:, n_words:].sum(axis=1)).ravel()) / by_post(grams.astype(np.float64))


def _summary(shares: Float64s) -> Unknown:
    deciles = np.quantile(shares, np.arange(1, 10) / 10)
    return Unknown(mean=round(float(shares.mean()), _DIGITS), deciles=[round(share, _DIGITS) for share in deciles.tolist()])


def make_reference(features: TfidfFeatures, tokens: TokenBatch, held_out: Probabilities, Y: Labels, labels: list[str]) -> Reference:
    """Describe the labelled training posts.

    Parameters
    ----------
    features : TfidfFeatures
        Features fitted on these posts. A post makes its own n-grams known. An n-gram therefore counts as known only if it would stay in the
        vocabulary if any one of its authors were left out.
    tokens : TokenBatch
        The posts.
    held_out : ndarray of float32, shape (n_posts, n_labels)
        Their probabilities from models that were fitted on posts by other authors.
    Y : ndarray of 0 and 1, shape (n_posts, n_labels)
        Their labels.
    labels : list of str
        Names of the labels.
    """
    words, characters = unknown_shares(features, tokens, features.least_authors > min(features.min_authors, 254))
    return Reference(
        posts=len(tokens),
        length_edges=LENGTHS,
        lengths=length_shares(tokens),
        unknown_words=_summary(words),
        unknown_characters=_summary(characters) if len(characters) else None,
        probabilities={label: probability_shares(held_out[:, number]) for number, label in enumerate(labels)},
        reliability={label: reliability(held_out[:, number], Y[:, number]) for number, label in enumerate(labels)},
    )
