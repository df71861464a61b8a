"""Explain why a label has its probability, by the words of a post and by the n-grams of a label.

The contributions of a post's words sum exactly to the difference between its log odds and those of a post without any known n-gram.
This works because both scorers are linear. The linear scorer is linear in the values of the n-grams. The network is linear in the
words' vectors, as long as the same places respond most and the same hidden units are above zero. These depend on all the words of the post
together. A word's contribution to a network's score is therefore its share of the joint result, not the change from leaving it out.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.errors import InputError
from models.targets import check_texts
from models.text import EMAIL, PHONE, URL, USER
from models.tokens import TokenBatch

if TYPE_CHECKING:
    from models.classifier import Classifier

Reason = tuple[str, str, float]  # label, word of the post, and the word's contribution to the label's log odds

MIN_POSTS, MIN_AUTHORS = 10, 5  # an n-gram of fewer posts or authors may identify a person

_NO_WORDING = re.compile(r"@|(?<!<)\d|//|www|\w\.\w|<(?!3)|>")  # handles, numbers, links and their masks
_MASKS = [f" {mask} " for mask in (USER, URL, EMAIL, PHONE)]  # padded with spaces, as for character n-grams


@dataclass(frozen=True)
class Contributions:
    """The contributions of posts' words to their labels.

    Attributes
    ----------
    words : TokenBatch
        Each post's distinct tokens, in the order of their first occurrence.
    values : ndarray of float64, shape (n_words, n_labels)
        Contributions to the log odds, one row for each of ``words.codes``.
    """

    words: TokenBatch
    values: NDArray[np.float64]

    def of_posts(self) -> Iterator[tuple[list[str], NDArray[np.float64]]]:
        """Yield the words of each post, and their values, shape (n_words, n_labels)."""
        for words, start, stop in zip(self.words.to_lists(), self.words.offsets[:-1], self.words.offsets[1:], strict=True):
            yield words, self.values[start:stop]


def _posts_and_types(posts: TokenBatch) -> NDArray[np.int64]:
    """Return, for each token, a number that identifies its post and its type."""
    cells: NDArray[np.int64] = np.repeat(np.arange(len(posts)), np.diff(posts.offsets)) * len(posts.types) + posts.codes
    return cells


def _summed(words: TokenBatch, tokens: TokenBatch, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum the values of tokens, shape (n_tokens, n_targets), over each post's distinct words, shape (n_words, n_targets)."""
    cells = _posts_and_types(words)
    order = np.argsort(cells)
    row = order[np.searchsorted(cells, _posts_and_types(tokens), sorter=order)]
    summed = np.zeros((len(cells), values.shape[1]))
    np.add.at(summed, row, values)
    return summed


def contributions(model: "Classifier", tokens: TokenBatch) -> Contributions:
    """Divide the log odds of posts among their words.

    To get a feature's contribution, multiply its weight for each target by the target's weight for the label (see
    `models.calibration.Calibrator.weights`), sum over the targets, and multiply by the feature's value.
    `models.features.TfidfFeatures.by_word` divides this among the words. If there is a network, a word's part in its scores is added (see
    `models.network.ConvolutionalScorer.by_word`). The contributions of a post's words sum to the difference between its log odds and those
    of an empty post.

    Parameters
    ----------
    model : Classifier
        A fitted classifier.
    tokens : TokenBatch
        Posts tokenised by ``model.tokenizer``.

    Returns
    -------
    Contributions
        The distinct words of each post, and what each adds to the log odds of each label.
    """
    words, parts = model.scorers_.features.by_word(tokens)
    moved = parts @ model.scorers_.linear.coef_.astype(np.float64)
    origin = model.scorers_.linear.intercept_.astype(np.float64)
    if model.scorers_.network:
        of_tokens = model.scorers_.network.by_word(tokens, model.scorers_.features.of_words)
        moved = np.hstack([moved, _summed(words, tokens, of_tokens)])
        origin = np.concatenate([origin, model.scorers_.network.intercept_.astype(np.float64)])
    of_post = sparse.csr_matrix((np.ones(len(moved)), np.arange(len(moved)), words.offsets), shape=(len(words), len(moved)))
    weights = model.calibrator_.weights(origin + of_post @ moved, origin)
    post = np.repeat(np.arange(len(words)), np.diff(words.offsets))
    values = np.zeros((len(moved), len(model.labels)))
    for target, scores in enumerate(moved.T):  # not a matrix product, so that a post's values are bit-for-bit the same in any batch
        values += scores[:, None] * weights[post, target]
    return Contributions(words, values)


def explain(model: "Classifier", texts: Sequence[str], top: int = 5) -> list[dict[str, list[tuple[str, float]]]]:
    """Return the words that matter most for each label of each post, for or against it.

    Parameters
    ----------
    model : Classifier
        A fitted classifier.
    texts : sequence of str, length n_posts
        Raw posts.
    top : int
        Maximum number of words per label.

    Returns
    -------
    list of dict, length n_posts
        For each label, words and their `contributions`, sorted by absolute value, the largest first, and without zeros. Words are
        tokens of ``model.tokenizer``: in lower case, with handles and links masked.

    Examples
    --------
    >>> from models import Classifier
    >>> (why,) = explain(Classifier.released(), ["A man groped me on the bus last night."], top=1)
    >>> why["assault"]
    [('groped', ...)]
    """
    model.check_is_fitted()
    found = contributions(model, model.tokenizer.read(check_texts(texts)))
    explanations = []
    for words, values in found.of_posts():
        strongest = np.argsort(-np.abs(values), axis=0, kind="stable")[:top]
        explanations.append(
            {
                label: [(words[k], float(values[k, number])) for k in strongest[:, number] if values[k, number]]
                for number, label in enumerate(model.labels)
            }
        )
    return explanations


def reasons(model: "Classifier", tokens: TokenBatch, wanted: NDArray[np.bool_], top: int) -> list[list[Reason]]:
    """Return the words that count most in favour of labels.

    Parameters
    ----------
    model : Classifier
        A fitted classifier.
    tokens : TokenBatch
        Posts tokenised by ``model.tokenizer``.
    wanted : ndarray of bool, shape (n_posts, n_labels)
        The labels to explain.
    top : int
        Maximum number of words per label.

    Returns
    -------
    list of list of Reason, length n_posts
        Label, word and contribution. Contributions are above zero; each label's largest comes first.
    """
    found = contributions(model, tokens)
    explanations = []
    for (words, values), marked in zip(found.of_posts(), wanted, strict=True):
        chosen: list[Reason] = []
        for number in np.flatnonzero(marked):
            of_label = values[:, number]
            best = np.argsort(-of_label, kind="stable")[:top]
            chosen += [(model.labels[number], words[k], float(of_label[k])) for k in best if of_label[k] > 0]
        explanations.append(chosen)
    return explanations


@dataclass(frozen=True)
class Feature:
    """An n-gram, its weight (its contribution at value 1) and the number of training posts that contain it."""

    ngram: str
    weight: float
    posts: int


@dataclass(frozen=True)
class Sides:
    """The n-grams that support and oppose a label, the strongest first."""

    supporting: list[Feature]
    opposing: list[Feature]


@dataclass(frozen=True)
class StrongestFeatures:
    """The n-grams with the largest weights for a label.

    Attributes
    ----------
    label : str
        The label.
    min_posts : int
        Minimum number of training posts that contain each n-gram.
    min_authors : int
        Minimum number of authors who used each n-gram; each post whose author is unknown counts as one more author.
    words, characters : Sides
        Word n-grams and character n-grams; a character n-gram has a space where a word begins or ends.
    """

    label: str
    min_posts: int
    min_authors: int
    words: Sides
    characters: Sides


def _training_posts_with(model: "Classifier") -> NDArray[np.int64]:
    """Return how many training posts, labelled or not, contain each n-gram, from `models.features.TfidfFeatures.idf_`."""
    try:
        noted = model.description_["training_data"]
        posts = noted["posts"] + noted.get("unlabelled", 0)  # features are learned from both
    except (AttributeError, KeyError, TypeError):
        raise InputError("the model does not record how many posts it was trained on; train it with train.py and load it") from None
    found: NDArray[np.int64] = np.rint((1 + posts) / np.exp(model.scorers_.features.idf_.astype(np.float64) - 1) - 1).astype(np.int64)
    return found


def strongest_features(model: "Classifier", label: str, top: int = 20, min_posts: int = MIN_POSTS) -> StrongestFeatures:
    """Return the n-grams with the largest weights for a label's own score in the linear model.

    For a model with a network, this shows only the linear half; what the network learned is not in single n-grams.

    Parameters
    ----------
    model : Classifier
        A model trained with ``train.py``, which records the number of posts.
    label : str
        One of the model's labels.
    top : int
        Maximum number of n-grams of each kind.
    min_posts : int
        Minimum number of training posts that contain an n-gram. In any case, only n-grams used by at least five authors are returned,
        because what few people wrote may reveal who they are. A model from an earlier release records only the minimum number of authors
        that it was trained with; if that is below five, no n-gram is returned.

    Returns
    -------
    StrongestFeatures
        N-grams that look like a handle, a link or a number, or like part of one, are left out.

    Raises
    ------
    InputError
        When the model has no such label, or does not record how many posts it was trained on.
    """
    if label not in model.labels:
        raise InputError(f"label {label!r} is not a label of the model; choose one of {', '.join(model.labels)}")
    weights, posts = model.scorers_.linear.coef_[:, model.labels.index(label)].astype(np.float32), _training_posts_with(model)
    features = model.scorers_.features
    common = np.flatnonzero((posts >= min_posts) & (features.least_authors >= MIN_AUTHORS) & (weights != 0))
    n_words, names = len(features.words_), [*features.words_, *features.characters_]

    def strongest(columns: NDArray[np.int64], sign: int) -> list[Feature]:
        found: list[Feature] = []
        for column in columns[np.argsort(-sign * weights[columns], kind="stable")].tolist():
            if len(found) == top or sign * weights[column] < 0:
                break
            of_mask = column >= n_words and any(names[column] in mask for mask in _MASKS)
            if not of_mask and not _NO_WORDING.search(names[column]):
                found.append(Feature(names[column], float(weights[column]), int(posts[column])))
        return found

    words, characters = (Sides(strongest(kind, 1), strongest(kind, -1)) for kind in (common[common < n_words], common[common >= n_words]))
    return StrongestFeatures(label, min_posts, MIN_AUTHORS, words, characters)
