"""Quality of multi-label probabilities and decisions."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    f1_score,
    hamming_loss,
    jaccard_score,
    precision_recall_fscore_support,
    roc_auc_score,
)

from models.arrays import Decisions, Labels, Probabilities
from pipeline.results import Interval, Result

BINS = 10


class LabelMetrics(Result):
    """Metrics of one label; None where a metric is undefined.

    Average precision needs a positive, the area under the ROC curve both values. Recall and F1 are 0 without positives.
    """

    precision: float
    recall: float
    f1: float
    average_precision: float | None
    roc_auc: float | None
    brier: float
    ece: float
    threshold: float
    support: int


class Metrics(Result):
    """Metrics of a set of posts, by label and over all labels.

    In `example_jaccard` a post counts 1 where no label is given and none is true.
    """

    posts: int
    labels: dict[str, LabelMetrics]
    macro_f1: float
    micro_f1: float
    mean_average_precision: float | None
    exact_match: float
    one_minus_hamming_loss: float
    example_jaccard: float


class Baselines(Result):
    """Metrics of two classifiers that read no post.

    `all_zero` gives probability 0 and no label, `prior` each label's share in the training posts, decided from 0.5 up.
    """

    all_zero: Metrics
    prior: Metrics


class ReliabilityBin(Result):
    """Posts of like probability: its mean, the share that has the label, and the Wilson interval of that share."""

    probability: float
    share: float
    posts: int
    interval: Interval


def wilson_interval(successes: float, trials: float, confidence: float) -> Interval:
    """Confidence interval of a share (Wilson 1927).

    Parameters
    ----------
    successes, trials : float
        Of `trials`, at least one; both may be effective sizes, which are no whole numbers.
    confidence : float
        Such as 0.95.

    Returns
    -------
    (float, float)
        Lower and upper end, within 0 and 1.

    Examples
    --------
    >>> low, high = wilson_interval(8, 10, 0.95)
    >>> round(low, 3), round(high, 3)
    (0.49, 0.943)
    """
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(successes, trials, 1 - confidence, "wilson")
    return max(0.0, float(low)), min(1.0, float(high))


def reliability(y: NDArray[np.int8], probability: NDArray[np.float32]) -> tuple[NDArray[np.float64], ...]:
    """Mean probability, share of positives and number of posts in each filled one of ten equal-width bins.

    Parameters
    ----------
    y : ndarray of 0 and 1, shape (n_posts,)
    probability : ndarray of float, shape (n_posts,)

    Returns
    -------
    mean_probability, share, posts : ndarray, shape (n_filled_bins,)
    """
    bins = np.minimum((probability * BINS).astype(int), BINS - 1)
    posts = np.bincount(bins, minlength=BINS)
    filled = posts > 0
    total = np.bincount(bins, weights=probability.astype(np.float64), minlength=BINS)
    positives = np.bincount(bins, weights=y.astype(np.float64), minlength=BINS)
    return total[filled] / posts[filled], positives[filled] / posts[filled], posts[filled].astype(np.float64)


def reliability_intervals(y: NDArray[np.int8], probability: NDArray[np.float32], confidence: float) -> list[ReliabilityBin]:
    """The filled bins of `reliability`, with intervals.

    Parameters
    ----------
    y : ndarray of 0 and 1, shape (n_posts,)
    probability : ndarray of float, shape (n_posts,)
    confidence : float
        Of the intervals, such as 0.95.
    """
    bins = []
    for mean, share, posts in zip(*(values.tolist() for values in reliability(y, probability)), strict=True):
        interval = wilson_interval(round(share * posts), int(posts), confidence)
        bins.append(ReliabilityBin(probability=mean, share=share, posts=int(posts), interval=interval))
    return bins


def expected_calibration_error(y: NDArray[np.int8], probability: NDArray[np.float32]) -> float:
    """Mean distance of probability and share of positives over ten equal-width bins (Naeini et al. 2015).

    Parameters
    ----------
    y : ndarray of 0 and 1, shape (n_posts,)
    probability : ndarray of float, shape (n_posts,)
    """
    mean_probability, share, posts = reliability(y, probability)
    return float(np.average(np.abs(mean_probability - share), weights=posts))


def _label_metrics(y: NDArray[np.int8], p: NDArray[np.float32], decided: NDArray[np.bool_], threshold: float) -> LabelMetrics:
    precision, recall, f1, _ = precision_recall_fscore_support(y, decided, average="binary", zero_division=0)
    return LabelMetrics(
        precision=float(precision),
        recall=float(recall),
        f1=float(f1),
        average_precision=float(average_precision_score(y, p)) if y.any() else None,
        roc_auc=float(roc_auc_score(y, p)) if 0 < y.sum() < len(y) else None,
        brier=float(brier_score_loss(y, p)),
        ece=expected_calibration_error(y, p),
        threshold=threshold,
        support=int(y.sum()),
    )


def compute_metrics(
    Y: Labels, probabilities: Probabilities, decided: Decisions, labels: Sequence[str], thresholds: Sequence[float]
) -> Metrics:
    """Compute every metric of a set of posts.

    Parameters
    ----------
    Y : ndarray of 0 and 1, shape (n_posts, n_labels)
    probabilities : ndarray of float, shape (n_posts, n_labels)
    decided : ndarray of bool, shape (n_posts, n_labels)
    labels : sequence of str, length n_labels
    thresholds : sequence of float, length n_labels

    Returns
    -------
    Metrics
    """
    per_label = {label: _label_metrics(Y[:, k], probabilities[:, k], decided[:, k], float(thresholds[k])) for k, label in enumerate(labels)}
    precisions = [values.average_precision for values in per_label.values() if values.average_precision is not None]
    guesses = decided.astype(np.int8)
    # One label alone is to scikit-learn no multi-label problem: a constant second column makes it one.
    padded = (np.pad(Y, ((0, 0), (0, 1))), np.pad(guesses, ((0, 0), (0, 1))))
    return Metrics(
        posts=len(Y),
        labels=per_label,
        macro_f1=float(np.mean([values.f1 for values in per_label.values()])),
        micro_f1=float(f1_score(Y.ravel(), guesses.ravel(), zero_division=0)),
        mean_average_precision=float(np.mean(precisions)) if precisions else None,
        exact_match=float((guesses == Y).all(axis=1).mean()),
        one_minus_hamming_loss=float(1 - hamming_loss(Y.ravel(), guesses.ravel())),
        example_jaccard=float(jaccard_score(*padded, average="samples", zero_division=1.0)),
    )


def compute_baselines(Y: Labels, prior: NDArray[np.float64], labels: Sequence[str]) -> Baselines:
    """Compute metrics of two classifiers that read no post.

    Parameters
    ----------
    Y : ndarray of 0 and 1, shape (n_posts, n_labels)
    prior : ndarray of float, shape (n_labels,)
        Share of each label in the training posts.
    labels : sequence of str, length n_labels

    Returns
    -------
    Baselines
    """

    def guessing(shares: NDArray[np.float64]) -> Metrics:
        probabilities = np.broadcast_to(shares, Y.shape).astype(np.float32)
        return compute_metrics(Y, probabilities, probabilities >= 0.5, labels, [0.5] * len(labels))

    return Baselines(all_zero=guessing(np.zeros(len(labels))), prior=guessing(prior))


def flatten_metrics(tree: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Numbers of a tree by dotted name, without what is undefined.

    Parameters
    ----------
    tree : mapping
        As `Result.model_dump` gives it.
    prefix : str
        Put before each name.

    Examples
    --------
    >>> flatten_metrics({"macro_f1": 0.5, "labels": {"assault": {"f1": 0.5, "roc_auc": None}}})
    {'macro_f1': 0.5, 'labels.assault.f1': 0.5}
    """
    flat: dict[str, float] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= flatten_metrics(value, f"{prefix}{key}.")
        elif isinstance(value, int | float):
            flat[f"{prefix}{key}"] = float(value)
    return flat
