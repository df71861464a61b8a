"""Why a label has its probability: the words of a post, and the n-grams of a label.

What a post's words contribute sums exactly to the difference between its log odds and those of a post without any known
n-gram: the scorers are linear in the n-grams' values, and a network's in what words add to its filters' responses, as long as the
same places respond most and the same hidden units are above zero. Which these are, the post's words settle together. So what a
word contributes to a network's scores is its part in what they did together, not what leaving it out would change.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.errors import InputError
from models.text import EMAIL, PHONE, URL, USER, normalise
from models.tokens import TokenBatch

if TYPE_CHECKING:
    from models.classifier import Classifier

Reason = tuple[str, str, float]  # label, word of the post, what it contributes to the label's log odds

MIN_POSTS = 10  # a rarer n-gram may be a person's

_NO_WORDING = re.compile(r"@|(?<!<)\d|//|www|\w\.\w|<(?!3)|>")  # handles, numbers, links and their masks
_MASKS = [f" {mask} " for mask in (USER, URL, EMAIL, PHONE)]  # as character n-grams see them


@dataclass(frozen=True)
class Contributions:
    """What the words of posts contribute to their labels.

    Attributes
    ----------
    words : TokenBatch
        Each post's distinct tokens, in the order in which they first stand there.
    values : ndarray of float64, shape (n_words, n_labels)
        A row for each of ``words.codes``.
    """

    words: TokenBatch
    values: NDArray[np.float64]

    def of_posts(self) -> Iterator[tuple[list[str], NDArray[np.float64]]]:
        """Words and values, shape (n_words, n_labels), of each post."""
        for words, start, stop in zip(self.words.to_lists(), self.words.offsets[:-1], self.words.offsets[1:], strict=True):
            yield words, self.values[start:stop]


def _cells(posts: TokenBatch) -> NDArray[np.int64]:
    """A number for the post and the type of each token."""
    cells: NDArray[np.int64] = np.repeat(np.arange(len(posts)), np.diff(posts.offsets)) * len(posts.types) + posts.codes
    return cells


def _summed(words: TokenBatch, tokens: TokenBatch, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values of tokens, shape (n_tokens, n_targets), to those of posts' distinct words, shape (n_words, n_targets)."""
    cells = _cells(words)
    order = np.argsort(cells)
    row = order[np.searchsorted(cells, _cells(tokens), sorter=order)]
    summed = np.zeros((len(cells), values.shape[1]))
    np.add.at(summed, row, values)
    return summed


def contributions(model: "Classifier", tokens: TokenBatch) -> Contributions:
    """Divide the log odds of posts among their words.

    A feature's contribution is its value times the sum over targets of its weight there times what the target is worth to the
    label (see `models.calibration.Calibrator.weights`); it falls to the words by `models.features.TfidfFeatures.by_word`.
    To it comes the word's part in the scores of a network, if there is one (see `models.network.ConvolutionalScorer.by_word`).
    A post's words sum to the difference between its log odds and those of an empty post.

    Parameters
    ----------
    model : Classifier
    tokens : TokenBatch
        Posts from ``model.tokenizer``.
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
    for target, scores in enumerate(moved.T):  # no matrix product: a post's are the same bits in any batch
        values += scores[:, None] * weights[post, target]
    return Contributions(words, values)


def explain(model: "Classifier", texts: Sequence[str], top: int = 5) -> list[dict[str, list[tuple[str, float]]]]:
    """Words that mattered most to each label of each post, for or against it.

    Parameters
    ----------
    model : Classifier
    texts : sequence of str, length n_posts
        Posts as they came.
    top : int
        Words a label, at most.

    Returns
    -------
    list of dict, length n_posts
        By label, words and their `contributions`, the greatest first, whatever its sign; none that are zero. Words are tokens
        as ``model.tokenizer`` has them: in lower case, handles and links masked.

    Examples
    --------
    >>> from models import Classifier
    >>> (why,) = explain(Classifier.released(), ["A man groped me on the bus last night."], top=1)
    >>> why["assault"]
    [('groped', ...)]
    """
    found = contributions(model, model.tokenizer([normalise(text) for text in texts]))
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


def reasons(model: "Classifier", normalised: Sequence[str], wanted: NDArray[np.bool_], top: int) -> list[list[Reason]]:
    """Words that spoke most for labels.

    Parameters
    ----------
    model : Classifier
    normalised : sequence of str, length n_posts
        Posts that went through `normalise`.
    wanted : ndarray of bool, shape (n_posts, n_labels)
        Labels to explain.
    top : int
        Words a label, at most.

    Returns
    -------
    list of list of Reason, length n_posts
        Label, word and its contribution, always above zero, the greatest of a label first.
    """
    found = contributions(model, model.tokenizer(normalised))
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
    """An n-gram, its weight (of a feature of value 1) and how many training posts hold it."""

    ngram: str
    weight: float
    posts: int


@dataclass(frozen=True)
class Sides:
    """N-grams for and against a label, the strongest first."""

    supporting: list[Feature]
    opposing: list[Feature]


@dataclass(frozen=True)
class StrongestFeatures:
    """N-grams with the greatest weights on a label.

    Attributes
    ----------
    label : str
    min_posts : int
        Fewest training posts that hold each of them.
    words, characters : Sides
        Of each kind; a character n-gram has a space where a word begins or ends.
    """

    label: str
    min_posts: int
    words: Sides
    characters: Sides


def _posts_with(model: "Classifier") -> NDArray[np.int64]:
    """How many training posts, labelled or not, hold each n-gram, from its weight (see `models.features.TfidfFeatures.idf_`)."""
    try:
        noted = model.description_["training_data"]
        posts = noted["posts"] + noted.get("unlabelled", 0)  # features are learned from both
    except (AttributeError, KeyError):
        raise InputError("the model does not say how many posts it was trained on; train it with train.py and load it") from None
    found: NDArray[np.int64] = np.rint((1 + posts) / np.exp(model.scorers_.features.idf_.astype(np.float64) - 1) - 1).astype(np.int64)
    return found


def strongest_features(model: "Classifier", label: str, top: int = 20, min_posts: int = MIN_POSTS) -> StrongestFeatures:
    """N-grams with the greatest weights on a label's own score by the linear model.

    Of a model with a network that is one half; what the network learned is not in single n-grams.

    Parameters
    ----------
    model : Classifier
        Trained with ``train.py``, which notes the number of posts.
    label : str
    top : int
        N-grams of each kind, at most.
    min_posts : int
        Fewest training posts that must hold an n-gram. What few people wrote may tell who they are; ten copies of one post
        count as ten.

    Returns
    -------
    StrongestFeatures
        No n-gram in it looks like a handle, a link or a number, or like a part of one.

    Raises
    ------
    InputError
        When the model has no such label, or does not say how many posts it was trained on.
    """
    if label not in model.labels:
        raise InputError(f"label {label!r}: the model's are {', '.join(model.labels)}; choose one of them")
    weights, posts = model.scorers_.linear.coef_[:, model.labels.index(label)], _posts_with(model)
    n_words = len(model.scorers_.features.words_)
    common = np.flatnonzero((posts >= min_posts) & (weights != 0))
    names = [*model.scorers_.features.words_, *model.scorers_.features.characters_]

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
    return StrongestFeatures(label, min_posts, words, characters)
