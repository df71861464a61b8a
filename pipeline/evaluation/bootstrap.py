"""Bootstrap intervals for every metric of a model, and for the difference between two models, by resampling authors."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from models.arrays import Decisions, Float64s, Labels, Probabilities
from pipeline.evaluation.results import Difference, Differences, Intervals, LabelDifferences, LabelIntervals, Verdict
from pipeline.metrics import BINS, LabelMetrics, Metrics
from pipeline.result_base import Interval

Counts = NDArray[np.uint16]

_CELLS = 2_000_000  # rounds × posts in one block, to limit memory
_OF_LABEL = "labels."
_NOISE = "calibration_noise"  # not a metric, but what the interval of ``ece`` needs
FEWEST_AUTHORS = 20  # minimum number of authors: resampling fewer says nothing about other authors
_UNDEFINED = 0.01  # share of rounds in which a metric may be undefined (no positives drawn); beyond that it gets no interval


def resample(groups: NDArray[np.int64], rounds: int, seed: int) -> Counts:
    """Count how often each post occurs in each bootstrap sample.

    Whole authors are drawn with replacement: posts by one author resemble each other, and drawing them separately would make
    intervals too narrow (cluster bootstrap, Davison & Hinkley 1997, section 3.8).

    Parameters
    ----------
    groups : ndarray of int, shape (n_posts,)
        Author of each post.
    rounds : int
        Number of bootstrap samples.
    seed : int
        Random seed.

    Returns
    -------
    ndarray of uint16, shape (rounds, n_posts)
        There are no rounds if the posts are by fewer than 20 authors.
    """
    _, author = np.unique(groups, return_inverse=True)
    authors = author.max(initial=-1) + 1
    if authors < FEWEST_AUTHORS:
        return np.zeros((0, len(groups)), np.uint16)
    drawn = np.random.default_rng(seed).multinomial(authors, np.full(authors, 1 / authors), size=rounds)
    return drawn.astype(np.uint16)[:, author]


def _ratio(above: Float64s, below: Float64s) -> Float64s:
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def _average_precision(y: Float64s, p: NDArray[np.float32], counts: Float64s) -> Float64s:
    order = np.argsort(-p, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(p[order])), len(p) - 1)  # posts with equal probabilities rank together
    found = np.cumsum(counts[:, order] * y[order], axis=1)[:, ends]
    seen = np.cumsum(counts[:, order], axis=1)[:, ends]
    gained = np.diff(found, axis=1, prepend=0)
    with np.errstate(invalid="ignore"):
        return np.asarray((gained * _ratio(found, seen)).sum(axis=1) / found[:, -1])


def _calibration(y: Float64s, p: NDArray[np.float32], counts: Float64s) -> tuple[Float64s, Float64s]:
    """Return the calibration error of each round, and how far its bins, taken together, are from those of the sample."""
    bins = np.eye(BINS)[np.minimum((p * BINS).astype(int), BINS - 1)] * (p - y)[:, None]
    off = counts @ bins / counts.sum(axis=1, keepdims=True)
    return np.abs(off).sum(axis=1), np.abs(off - bins.mean(axis=0)).sum(axis=1)


def _block(Y: Float64s, probabilities: Probabilities, decided: Float64s, counts: Float64s) -> dict[str, Float64s]:
    right, given, true = counts @ (Y * decided), counts @ decided, counts @ Y
    posts = counts.sum(axis=1)
    either = np.maximum(Y, decided).sum(axis=1)
    errors, noise = zip(*(_calibration(y, p, counts) for y, p in zip(Y.T, probabilities.T, strict=True)), strict=True)
    jaccard = np.where(either > 0, (Y * decided).sum(axis=1) / np.maximum(either, 1), 1.0)
    per_label = {
        "precision": _ratio(right, given),
        "recall": np.where(true > 0, _ratio(right, true), np.nan),
        "f1": np.where(true > 0, _ratio(2 * right, given + true), np.nan),
        "average_precision": np.stack([_average_precision(y, p, counts) for y, p in zip(Y.T, probabilities.T, strict=True)], axis=1),
        "brier": counts @ (probabilities - Y) ** 2 / posts[:, None],
        "ece": np.stack(errors, axis=1),
        _NOISE: np.stack(noise, axis=1),
    }
    defined = ~np.isnan(per_label["average_precision"])
    overall = {
        "macro_f1": np.nan_to_num(per_label["f1"]).mean(axis=1),
        "micro_f1": _ratio(2 * right.sum(axis=1), given.sum(axis=1) + true.sum(axis=1)),
        "mean_average_precision": np.where(
            defined.any(axis=1), np.nansum(per_label["average_precision"], axis=1) / np.maximum(defined.sum(axis=1), 1), np.nan
        ),
        "exact_match": counts @ (decided == Y).all(axis=1) / posts,
        "one_minus_hamming_loss": counts @ (decided == Y).mean(axis=1) / posts,
        "example_jaccard": counts @ jaccard / posts,
    }
    return overall | {f"{_OF_LABEL}{name}": values for name, values in per_label.items()}


def metrics_by_round(Y: Labels, probabilities: Probabilities, decided: Decisions, counts: Counts) -> dict[str, Float64s]:
    """Compute every metric of every bootstrap sample.

    The result equals `pipeline.metrics.compute_metrics` on posts repeated as often as `counts` says, except that recall and F1
    of a label without positives in a sample are undefined instead of 0.

    Parameters
    ----------
    Y, probabilities, decided : ndarray, shape (n_posts, n_labels)
        Labels as 0 and 1, their probabilities, and which of them the model gives.
    counts : ndarray of int, shape (rounds, n_posts)
        From `resample`, or some of its columns for a slice; rounds without any post of the slice are left out.

    Returns
    -------
    dict of str to ndarray
        Overall metrics, shape (rounds,), and ``labels.<metric>``, shape (rounds, n_labels); NaN where undefined. Among the latter is
        ``labels.calibration_noise``, the sum over bins of the distance between a round's calibration and the sample's.
    """
    filled = counts[counts.any(axis=1)]
    size = max(1, _CELLS // max(1, len(Y)))
    blocks = [
        _block(Y.astype(float), probabilities, decided.astype(float), filled[start : start + size].astype(float))
        for start in range(0, max(1, len(filled)), size)
    ]
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def _interval(values: Float64s, confidence: float) -> Interval | None:
    if not len(values) or np.isnan(values).mean() > _UNDEFINED:
        return None
    # Rounded because the last bits of sums depend on the number of threads.
    low, high = np.nanquantile(values, [(1 - confidence) / 2, (1 + confidence) / 2]).round(12).tolist()
    return low, high


def _overall_and_by_label(by_round: Mapping[str, Float64s]) -> tuple[dict[str, Float64s], dict[str, Float64s]]:
    """Divide the metrics by round into overall metrics and metrics of labels, the latter by their short names."""
    overall = {name: values for name, values in by_round.items() if not name.startswith(_OF_LABEL)}
    return overall, {name.removeprefix(_OF_LABEL): values for name, values in by_round.items() if name.startswith(_OF_LABEL)}


def intervals(metrics: Metrics, by_round: Mapping[str, Float64s], confidence: float) -> Intervals:
    """Compute a confidence interval for each metric.

    These are percentile intervals, except for the lower end of ``ece``. Noise increases ``ece``, so it is larger in a resample than in the
    sample, and above zero even if the probabilities are right. Its error is at most the sum of the errors of its bins. The distance of the
    resamples from the sample estimates this sum. The lower end is the sample's ``ece`` less this distance. It therefore allows for an
    author whose probabilities are all too high, or all too low.

    Parameters
    ----------
    metrics : Metrics
        Metrics of the whole sample.
    by_round : dict
        From `metrics_by_round`.
    confidence : float
        Confidence of the intervals, such as 0.95.

    Returns
    -------
    Intervals
        An interval is None if the metric is undefined in the sample or in too many rounds, or if there are too few authors.
    """
    overall, by_label = _overall_and_by_label(by_round)

    def of_label(k: int, values: LabelMetrics) -> LabelIntervals:
        found = {
            name: _interval(by_label[name][:, k], confidence) if getattr(values, name) is not None else None
            for name in LabelIntervals.model_fields
        }
        if found["ece"]:
            noise = float(np.quantile(by_label[_NOISE][:, k], (1 + confidence) / 2))
            found["ece"] = max(0.0, round(values.ece - noise, 12)), found["ece"][1]
        return LabelIntervals(**found)

    found = {name: _interval(rounds, confidence) if getattr(metrics, name) is not None else None for name, rounds in overall.items()}
    return Intervals(**found, labels={label: of_label(k, values) for k, (label, values) in enumerate(metrics.labels.items())})


def _difference(name: str, ours: float | None, theirs: float | None, rounds: Float64s, confidence: float) -> Difference:
    if ours is None or theirs is None:
        return Difference(difference=None, interval=None, verdict="cannot tell")
    interval = _interval(rounds, confidence)
    verdict: Verdict = "cannot tell"
    if interval:
        above, below = interval[0] > 0, interval[1] < 0
        verdict = "better" if (below if name == "brier" else above) else "worse" if above or below else "no real difference"
    return Difference(difference=ours - theirs, interval=interval, verdict=verdict)


def compare(
    metrics: Metrics, by_round: Mapping[str, Float64s], other: Metrics, other_by_round: Mapping[str, Float64s], confidence: float
) -> Differences:
    """Compare two models on the same posts by a paired bootstrap, which measures both on the same resamples.

    Parameters
    ----------
    metrics : Metrics
        Metrics of the model on all posts.
    by_round : mapping of str to ndarray
        Metrics of the model from `metrics_by_round`.
    other : Metrics
        Metrics of the model to compare with.
    other_by_round : mapping of str to ndarray
        Metrics of the model to compare with, for the same rounds.
    confidence : float
        Confidence of the intervals, such as 0.95.

    Returns
    -------
    Differences
        The model's metrics minus the other's.
    """
    overall, by_label = _overall_and_by_label({name: values - other_by_round[name] for name, values in by_round.items()})

    def of_label(k: int, label: str) -> LabelDifferences:
        ours, theirs = metrics.labels[label], other.labels[label]
        found = {
            name: _difference(name, getattr(ours, name), getattr(theirs, name), by_label[name][:, k], confidence)
            for name in LabelDifferences.model_fields
        }
        return LabelDifferences(**found)

    found = {name: _difference(name, getattr(metrics, name), getattr(other, name), rounds, confidence) for name, rounds in overall.items()}
    return Differences(**found, labels={label: of_label(k, label) for k, label in enumerate(metrics.labels)})
