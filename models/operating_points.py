"""Chooses the operating points of a classifier, and measures what they cost, on held-out posts."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.arrays import Float64s, Int64s, Labels, Probabilities
from models.calibration import BALANCED, decide, tune_threshold
from models.description import LabelCost, OperatingPoint
from models.errors import InputError

if TYPE_CHECKING:
    from models.config import ModelConfig

CONFIDENCE = 0.95  # confidence that `cautious` and `sensitive` hold on later posts

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class HeldOut:
    """What thresholds are chosen on.

    Attributes
    ----------
    Y, probabilities : ndarray, shape (n_posts, n_labels)
        True labels as 0 and 1, and held-out probabilities.
    weights : ndarray of float64, shape (n_posts,)
        How much each post counts, so that the sources count as ``thresholds.mix`` says; 0 for posts from other sources.
    ordinary : ndarray of bool, shape (n_posts,)
        Posts from the sources in ``thresholds.ordinary`` that have no label, not even an auxiliary one.
    authors : ndarray of int, shape (n_posts,)
        Author of each post.
    """

    Y: Labels
    probabilities: Probabilities
    weights: Float64s
    ordinary: Flags
    authors: Int64s

    def one_by_each(self, among: Flags) -> Flags:
        """Return which posts to count; see the function `one_by_each`."""
        return one_by_each(self.authors, among)


def one_by_each(authors: Int64s, among: Flags) -> Flags:
    """Return which posts to count, one by each author, drawn at random: posts by one author resemble each other.

    Parameters
    ----------
    authors : ndarray of int, shape (n_posts,)
        Author of each post.
    among : ndarray of bool, shape (n_posts,)
        The posts to draw from.

    Examples
    --------
    >>> one_by_each(np.array([1, 2, 1, 2, 3]), np.array([True, True, True, False, False])).tolist()
    [False, True, True, False, False]
    """
    order = np.random.default_rng(0).permutation(np.flatnonzero(among))
    _, first = np.unique(authors[order], return_index=True)
    drawn = np.zeros(len(among), bool)
    drawn[order[first]] = True
    return drawn


def _known(sources: Sequence[str] | None, names: Collection[str], key: str) -> NDArray[np.object_]:
    """Return the sources as an array; raise an error if a source that a key of the config names is not among them."""
    if sources is None:
        raise InputError(f"thresholds.{key} names sources, but the posts have none; pass sources to fit, or set {key} to null")
    if unknown := [name for name in names if name not in set(sources)]:
        found = ", ".join(sorted(set(sources)))
        raise InputError(f"thresholds.{key}: no train post has the source {unknown[0]!r}; the sources are {found}")
    return np.array(sources, object)


def weigh_sources(config: "ModelConfig", Y: Labels, auxiliary: Labels, sources: Sequence[str] | None) -> tuple[Float64s, Flags]:
    """Weigh posts as ``thresholds.mix`` says, and find the ordinary ones.

    Parameters
    ----------
    config : ModelConfig
        Its section ``thresholds`` names the sources.
    Y, auxiliary : ndarray of 0 and 1, shape (n_posts, n_labels) and (n_posts, n_auxiliary)
        True labels.
    sources : sequence of str, length n_posts, or None
        Source of each post.

    Returns
    -------
    weights, ordinary : ndarray
        As in `HeldOut`.

    Raises
    ------
    InputError
        When the config names a source that no post has, or when some label occurs in no post of the mix.
    """
    wanted, weights = config.thresholds, np.ones(len(Y))
    ordinary: Flags = np.hstack([Y, auxiliary]).sum(axis=1) == 0
    if wanted.mix is not None:
        of, total, weights = _known(sources, wanted.mix, "mix"), sum(wanted.mix.values()), np.zeros(len(Y))
        for name, share in wanted.mix.items():
            weights[of == name] = share / total * len(Y) / (of == name).sum()
        for label, y in zip(config.labels.names, Y.T, strict=True):
            if not y[weights > 0].any():
                raise InputError(f"thresholds.mix: no train post from its sources has the label {label!r}; add such a post")
    if wanted.ordinary is not None:
        ordinary &= np.isin(_known(sources, wanted.ordinary, "ordinary"), wanted.ordinary)
    return weights, ordinary


def each_confidence(confidence: float, labels: int, *, together: bool) -> float:
    """Return the confidence with which a promise must hold for each label, if it is to hold for all of them together.

    Parameters
    ----------
    confidence : float
        The confidence that is promised.
    labels : int
        Number of labels.
    together : bool
        Whether it is promised for all labels together (Bonferroni's correction) or for each label alone.

    Examples
    --------
    >>> round(each_confidence(0.9, 4, together=True), 6), each_confidence(0.9, 4, together=False)
    (0.975, 0.9)
    """
    return 1 - (1 - confidence) / labels if together else confidence


def _most(posts: int, share: float, confidence: float) -> int:
    """Return the largest count among `posts` by which an exact test shows that the share is below `share`; -1 if no count does."""
    from scipy.stats import binom

    counts = np.arange(posts + 1)
    return int(np.count_nonzero(binom.cdf(counts, posts, share) <= 1 - confidence + 1e-12)) - 1


class _TooFewError(Exception):
    """There are too few authors to choose a threshold; the message says of which posts, and how many are needed."""


def _fewest(share: float, confidence: float) -> int:
    """Return how many posts without a single wrong one show that the share of wrong ones is below `share`."""
    return int(np.ceil(np.log(1 - confidence) / np.log(1 - share) - 1e-9))


def cautious_threshold(ordinary: Probabilities, balanced: float, false_alarms: float, confidence: float = CONFIDENCE) -> float:
    """Return the lowest threshold, from the balanced one up, at which few enough ordinary posts get a label.

    The thresholds are tested from the highest down, each at the full level, until one fails (fixed sequence testing, Angelopoulos et
    al. 2021). The share that gets the label only grows along the way, so the thresholds to test may be taken from these very posts.

    Parameters
    ----------
    ordinary : ndarray of float32, shape (n_posts,)
        Held-out probabilities of the label of ordinary posts, one by each author.
    balanced : float
        Threshold of the balanced operating point.
    false_alarms : float
        The share of such posts to stay below.
    confidence : float
        The confidence with which it stays below, on posts to come.

    Examples
    --------
    >>> float(cautious_threshold(np.linspace(0, 0.99, 100, dtype=np.float32), 0.5, 0.05))
    0.9800000786781311
    """
    allowed = _most(len(ordinary), false_alarms, confidence)
    if allowed < 0:
        needed = f"only {len(ordinary):,} authors wrote ordinary posts, but {_fewest(false_alarms, confidence):,} are needed"
        raise _TooFewError(f"{needed} to show that fewer than {false_alarms:g} of such posts are marked")
    stays_out = np.partition(ordinary, len(ordinary) - 1 - allowed)[len(ordinary) - 1 - allowed]
    return max(float(np.nextafter(stays_out, np.float32(2))), balanced)


def sensitive_threshold(positives: Probabilities, balanced: float, recall: float, confidence: float = CONFIDENCE) -> float:
    """Return the highest threshold, from the balanced one down, that finds enough of the posts that have a label.

    As in `cautious_threshold`, this is fixed sequence testing by the exact binomial test.

    Parameters
    ----------
    positives : ndarray of float32, shape (n_posts,)
        Held-out probabilities of the label of posts that have it, one by each author.
    balanced : float
        Threshold of the balanced operating point; infinite if there is none.
    recall : float
        The share of such posts to find.
    confidence : float
        The confidence with which they are found, among posts to come.

    Examples
    --------
    >>> float(sensitive_threshold(np.linspace(0.01, 1, 100, dtype=np.float32), 0.5, 0.9))
    0.05000000074505806
    """
    allowed = _most(len(positives), 1 - recall, confidence)
    if allowed < 0:
        needed = f"only {len(positives):,} authors wrote posts with this label, but {_fewest(1 - recall, confidence):,} are needed"
        raise _TooFewError(f"{needed} to show a recall of {recall:g}")
    return min(float(np.partition(positives, allowed)[allowed]), balanced)


def _share(part: ArrayLike, of: ArrayLike) -> float | None:
    """Return a ratio, rounded so that it does not depend on the order of sums; None if it is undefined."""
    total = float(np.sum(of))
    return round(float(np.sum(part)) / total, 6) if total else None


def _measured(posts: HeldOut, names: Sequence[str], thresholds: Sequence[float]) -> OperatingPoint:
    """Measure what thresholds cost."""
    decided, weights = decide(posts.probabilities, thresholds), posts.weights
    marked, each = decided[posts.ordinary], np.ones(int(posts.ordinary.sum()))
    cost = {}
    for k, name in enumerate(names):
        given, true = decided[:, k] * weights, posts.Y[:, k] * weights
        right = given * posts.Y[:, k]
        cost[name] = LabelCost(recall=_share(right, true), precision=_share(right, given), false_alarms=_share(marked[:, k], each))
    any_label = _share(marked.any(axis=1), each)
    return OperatingPoint(thresholds=dict(zip(names, thresholds, strict=True)), labels=cost, false_alarms=any_label, ordinary=len(each))


def choose_points(config: "ModelConfig", posts: HeldOut) -> tuple[dict[str, OperatingPoint], dict[str, str]]:
    """Choose the thresholds of each operating point, and measure what they cost.

    Parameters
    ----------
    config : ModelConfig
        Its section ``thresholds`` says what to reach.
    posts : HeldOut
        What to choose them on.

    Returns
    -------
    points : dict of str to OperatingPoint
        ``balanced`` and, unless the config says null or there are too few posts for them, ``cautious`` and ``sensitive``.
    left_out : dict of str to str
        The points for which there are too few posts, and why.

    Raises
    ------
    InputError
        When no threshold of a label reaches the target precision.
    """
    wanted, names, weights = config.thresholds, config.labels.names, None if config.thresholds.mix is None else posts.weights
    columns = zip(posts.Y.T, posts.probabilities.T, names, strict=True)
    balanced = [tune_threshold(y, p, wanted, name, weights) for y, p, name in columns]
    drawn, sure = posts.one_by_each(posts.ordinary), each_confidence(CONFIDENCE, len(names), together=wanted.together)

    def cautious(k: int, bar: float) -> float:
        return cautious_threshold(posts.probabilities[drawn, k], balanced[k], bar, sure)

    def sensitive(k: int, recall: float) -> float:
        found = posts.one_by_each((posts.Y[:, k] == 1) & (posts.weights > 0))
        return sensitive_threshold(posts.probabilities[found, k], balanced[k], recall, sure)

    points: dict[str, OperatingPoint] = {BALANCED: _measured(posts, names, balanced)}
    left_out: dict[str, str] = {}
    choices: list[tuple[str, float | None, Callable[[int, float], float]]] = [
        ("cautious", wanted.cautious, cautious),
        ("sensitive", wanted.sensitive, sensitive),
    ]
    for point, goal, choose in choices:
        if goal is None:
            continue
        thresholds = list[float]()
        try:
            for k in range(len(names)):
                thresholds.append(choose(k, goal))
        except _TooFewError as reason:
            left_out[point] = f"{names[len(thresholds)]}: {reason}"
            continue
        points[point] = _measured(posts, names, thresholds)
    return points, left_out
