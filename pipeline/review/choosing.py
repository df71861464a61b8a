"""Chooses posts to label: varied ones of which the model is unsure, and some at random."""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.arrays import Int64s, Probabilities
from models.errors import InputError
from pipeline.corpora.near import compare_all, near_duplicates

RANDOM, UNCERTAIN, RARE = "random", "uncertain", "rare"
LABELLED = -1  # the group of posts that repeat a labelled one
_FILTER = 10  # candidates for each post to choose (β of Zhdanov 2019, who also recommends 10)
_TOPICS = 100  # dimensions in which candidates are compared


class Choice(NamedTuple):
    """A chosen post: its index, and the stratum that it was chosen for, such as ``random``, ``uncertain`` or ``rare: assault``."""

    post: int
    stratum: str


@dataclass(frozen=True)
class Shares:
    """The shares of a batch that are not chosen by uncertainty over all labels.

    Attributes
    ----------
    random : float
        Share of the batch that is drawn at random.
    rare : float
        Share of the batch that is chosen for single labels; the rarer a label is expected to be, the more posts it gets.

    Raises
    ------
    InputError
        If the shares are not from 0 to 1, or are more than 1 together.
    """

    random: float = 0.2
    rare: float = 0.4

    def __post_init__(self) -> None:
        if not (0 <= self.random <= 1 and 0 <= self.rare <= 1 and self.random + self.rare <= 1):
            raise InputError(
                f"the shares of random posts ({self.random:g}) and of posts for rare labels ({self.rare:g}) "
                "must be from 0 to 1, and at most 1 together; change --random or --rare"
            )


def group_repeats(wordings: Sequence[Sequence[str]], labelled: Sequence[Sequence[str]] = ()) -> Int64s:
    """Number the posts so that those that repeat each other, exactly or nearly, have the same number.

    Parameters
    ----------
    wordings : sequence of sequences of str
        What `pipeline.corpora.wording.wording` returns for each post.
    labelled : sequence of sequences of str
        The same for posts that are labelled.

    Returns
    -------
    ndarray of int, shape (n_posts,)
        `LABELLED` for a post that repeats a labelled one.

    Examples
    --------
    >>> one = "my boss would not stop asking me out".split()
    >>> group_repeats([one, ["me", "too"], [*one, "again"], ["thank", "you"]], [["me", "too"]]).tolist()
    [0, -1, 0, 1]
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    places: dict[tuple[str, ...], int] = {}
    of_posts = [[places.setdefault(tuple(words), len(places)) for words in part] for part in (wordings, labelled)]
    distinct, is_labelled = list(places), np.zeros(len(places), bool)
    is_labelled[of_posts[1]] = True
    where = [["labelled" if known else "free"] for known in is_labelled.tolist()]
    pairs = np.array([pair[:2] for pair in near_duplicates(distinct, where, shortest=0)], np.int64).reshape(-1, 2)
    graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), (len(distinct), len(distinct)))
    component = connected_components(graph, directed=False)[1] if distinct else np.zeros(0, np.int64)
    groups = component[of_posts[0]].astype(np.int64)
    taken = np.isin(groups, component[is_labelled])
    numbers = np.unique(groups[~taken], return_inverse=True)[1]
    groups[taken], groups[~taken] = LABELLED, numbers
    return groups


class _Free:
    """The posts that may still be chosen: one of each group of repeats, and one of each author."""

    def __init__(self, groups: Int64s, authors: Int64s) -> None:
        self._groups, self._authors = groups, authors
        self._of_group = np.append(np.zeros(groups.max(initial=-1) + 1, bool), True)  # the last one is that of LABELLED
        self._of_author = np.zeros(authors.max(initial=-1) + 1, bool)

    def take(self, posts: Iterable[int]) -> None:
        """Mark posts as chosen."""
        chosen = np.fromiter(posts, np.int64)
        self._of_group[self._groups[chosen]] = self._of_author[self._authors[chosen]] = True

    def first(self, order: Int64s, most: int) -> Int64s:
        """Return the first posts, in a given order, that may all be chosen together."""
        of_group, of_author = self._of_group.copy(), self._of_author.copy()
        found = list[int]()
        for post in order[~(of_group[self._groups[order]] | of_author[self._authors[order]])].tolist():
            if len(found) >= most:
                break
            group, author = self._groups[post], self._authors[post]
            if not (of_group[group] or of_author[author]):
                found.append(post)
                of_group[group] = of_author[author] = True
        return np.array(found, np.int64)


def _as_they_are(words: Sequence[str]) -> Sequence[str]:
    return words


def _topics(wordings: Sequence[Sequence[str]], seed: int) -> NDArray[np.float64]:
    """Return points for posts, such that posts on the same subject are close to each other (latent semantic analysis)."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize

    words = TfidfVectorizer(analyzer=_as_they_are, sublinear_tf=True).fit_transform([list(words) or ["nothing"] for words in wordings])
    few = min(words.shape) - 1
    points: Any = TruncatedSVD(_TOPICS, random_state=seed).fit_transform(words) if few > _TOPICS else words.toarray()
    return np.asarray(normalize(points))


def _spread(candidates: Int64s, values: NDArray[np.float64], wordings: Sequence[Sequence[str]], count: int, seed: int) -> Int64s:
    """Choose posts of high value and of many kinds: the best of each cluster of candidates (Zhdanov 2019)."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    if len(candidates) <= count:
        return candidates
    with threadpool_limits(1), warnings.catch_warnings():  # one thread sums in the same order on any number of cores
        warnings.simplefilter("ignore", ConvergenceWarning)  # it warns of fewer kinds of posts than clusters
        points, weights = _topics([wordings[post] for post in candidates.tolist()], seed), np.maximum(values[candidates], 1e-9)
        clusters = KMeans(count, n_init=1, random_state=seed).fit_predict(points, sample_weight=weights)
    best = np.unique(clusters, return_index=True)[1]  # candidates are sorted, so the first of a cluster is the best of it
    rest = np.setdiff1d(np.arange(len(candidates)), best)[: count - len(best)]
    return candidates[np.sort(np.append(best, rest))]


def entropy(probabilities: Probabilities) -> NDArray[np.float64]:
    """Return how unsure a model is of each label of each post, in bits, from 0 to 1.

    Examples
    --------
    >>> entropy(np.array([[0.5, 1.0, 0.11]])).round(2).tolist()
    [[1.0, 0.0, 0.5]]
    """
    p = np.clip(probabilities.astype(np.float64), 1e-9, 1 - 1e-9)
    bits: NDArray[np.float64] = -(p * np.log2(p) + (1 - p) * np.log2(1 - p))
    return bits


def quotas(probabilities: Probabilities, count: int) -> list[int]:
    """Divide posts among the labels; the fewer posts are expected to have a label, the more it gets.

    Parameters
    ----------
    probabilities : ndarray, shape (n_posts, n_labels)
        Probabilities of the posts to choose from.
    count : int
        Number of posts to divide.

    Examples
    --------
    >>> quotas(np.array([[0.3, 0.1], [0.3, 0.1]]), 8)
    [2, 6]
    """
    rarity = 1 / np.maximum(probabilities.mean(axis=0), 1e-3)  # so that a label that never occurs does not take all
    wanted = count * rarity / rarity.sum()
    whole = np.floor(wanted + 1e-9).astype(np.int64)
    whole[np.argsort(-(wanted - whole), kind="stable")[: count - whole.sum()]] += 1
    return list(map(int, whole))


def _choose(
    probabilities: Probabilities,
    labels: Sequence[str],
    wordings: Sequence[Sequence[str]],
    groups: Int64s,
    authors: Int64s,
    order: Int64s,
    size: int,
    shares: Shares,
    seed: int,
) -> list[Choice]:
    free, chosen = _Free(groups, authors), list[Choice]()
    unsure = entropy(probabilities)

    def keep(posts: Int64s, stratum: str) -> None:
        free.take(posts.tolist())
        chosen.extend(Choice(post, stratum) for post in posts.tolist())

    def keep_best(values: NDArray[np.float64], count: int, stratum: str) -> None:
        if count > 0:
            candidates = free.first(np.argsort(-values, kind="stable"), _FILTER * count)
            keep(_spread(candidates, values, wordings, count, seed), stratum)

    keep(free.first(order, round(shares.random * size)), RANDOM)
    for k, count in enumerate(quotas(probabilities, min(round(shares.rare * size), size - len(chosen))) if len(groups) else ()):
        keep_best(unsure[:, k], count, f"{RARE}: {labels[k]}")
    if shares.random < 1:
        keep_best(unsure.sum(axis=1), size - len(chosen), UNCERTAIN)
    return chosen


def choose(
    probabilities: Probabilities,
    labels: Sequence[str],
    wordings: Sequence[Sequence[str]],
    groups: Int64s,
    authors: Int64s,
    order: Int64s,
    size: int,
    shares: Shares,
    seed: int,
    labelled: Sequence[Sequence[str]] = (),
) -> list[Choice]:
    """Choose posts to label.

    Random posts are drawn first, so that nothing else decides which they are. Then each label gets its share of the posts for rare labels,
    for which the model is least sure of this label. The rest are posts of which it is least sure over all labels. For the last two kinds,
    if n posts are wanted, the 10 n of which the model is least sure are divided into n clusters. From each cluster, the post of which it is
    least sure is taken.

    In the end, every post of the batch is compared with every other one and with the labelled posts. The groups may have missed a repeat,
    because they come from an index; if so, they are mended, and the choice is made again.

    Parameters
    ----------
    probabilities : ndarray of float32, shape (n_posts, n_labels)
        Probabilities of the posts to choose from.
    labels : sequence of str, length n_labels
        Names of the labels.
    wordings : sequence of sequences of str, length n_posts
        Words of the posts.
    groups : ndarray of int, shape (n_posts,)
        The result of `group_repeats`: at most one post of a group is chosen, and none of the group `LABELLED`.
    authors : ndarray of int, shape (n_posts,)
        Author of each post: at most one post by an author is chosen.
    order : ndarray of int
        Posts that were drawn at random, in random order; the first of them that may be chosen become the batch's random posts.
    size : int
        Number of posts to choose; fewer are returned if there are not enough.
    shares : Shares
        Shares of the strata.
    seed : int
        Random seed.
    labelled : sequence of sequences of str
        Words of the labelled posts.

    Returns
    -------
    list of Choice
        The random posts first; no post occurs twice.
    """
    groups = groups.copy()
    while True:
        chosen = _choose(probabilities, labels, wordings, groups, authors, order, size, shares, seed)
        of_group = [int(groups[post]) for post, _ in chosen] + [LABELLED] * len(labelled)
        repeats = compare_all([wordings[post] for post, _ in chosen], labelled).tolist()
        if not repeats:
            return chosen
        for one, other in repeats:
            groups[groups == of_group[one]] = of_group[other]
