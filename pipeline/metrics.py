"""Metrics of multi-label probabilities and decisions."""

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
from pipeline.result_base import Interval, Result

BINS = 10


class LabelMetrics(Result):
    """Metrics of one label; None if a metric is undefined.

    Average precision needs a positive post, and the area under the ROC curve needs both values. Recall and F1 are 0 without positives.
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

    In `example_jaccard`, a post that has no label and is given none counts as 1.
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
    """Metrics of three classifiers that ignore the text.

    `all_zero` always returns probability 0 and no label. `all_one` returns probability 1 and gives every label to every post. `prior`
    returns each label's share in the training posts, and gives the label if that is 0.5 or more.
    """

    all_zero: Metrics
    all_one: Metrics
    prior: Metrics


class ReliabilityBin(Result):
    """Posts of similar probability: the mean probability, the share with the label, and the Wilson interval of that share."""

    probability: float
    share: float
    posts: int
    interval: Interval


def wilson_interval(successes: float, trials: float, confidence: float) -> Interval:
    """Return the confidence interval of a share (Wilson 1927).

    Parameters
    ----------
    successes, trials : float
        The share is ``successes / trials``, with at least one trial. Both may be effective sizes, which need not be whole numbers.
    confidence : float
        Confidence level, such as 0.95.

    Returns
    -------
    (float, float)
        Lower and upper end, from 0 to 1.

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
    """Sort posts into ten bins of equal width by probability, and describe the bins that are not empty.

    Parameters
    ----------
    y : ndarray of 0 and 1, shape (n_posts,)
        The true values of a label.
    probability : ndarray of float, shape (n_posts,)
        Its probabilities.

    Returns
    -------
    mean_probability, share, posts : ndarray of float64, shape (n_filled_bins,)
        Mean probability, share of positives and number of posts of each bin.
    """
    bins = np.minimum((probability * BINS).astype(int), BINS - 1)
    posts = np.bincount(bins, minlength=BINS)
    filled = posts > 0
    total = np.bincount(bins, weights=probability.astype(np.float64), minlength=BINS)
    positives = np.bincount(bins, weights=y.astype(np.float64), minlength=BINS)
    return total[filled] / posts[filled], positives[filled] / posts[filled], posts[filled].astype(np.float64)


def reliability_intervals(y: NDArray[np.int8], probability: NDArray[np.float32], confidence: float) -> list[ReliabilityBin]:
    """Return the bins of `reliability`, with confidence intervals.

    Parameters
    ----------
    y : ndarray of 0 and 1, shape (n_posts,)
        The true values of a label.
    probability : ndarray of float, shape (n_posts,)
        Its probabilities.
    confidence : float
        Confidence level, such as 0.95.
    """
    bins = []
    for mean, share, posts in zip(*(values.tolist() for values in reliability(y, probability)), strict=True):
        interval = wilson_interval(round(share * posts), int(posts), confidence)
        bins.append(ReliabilityBin(probability=mean, share=share, posts=int(posts), interval=interval))
    return bins


def expected_calibration_error(y: NDArray[np.int8], probability: NDArray[np.float32]) -> float:
    """Return the mean distance between probability and share of positives over ten bins of equal width (Naeini et al. 2015).

    Parameters
    ----------
    y : ndarray of 0 and 1, shape (n_posts,)
        The true values of a label.
    probability : ndarray of float, shape (n_posts,)
        Its probabilities.
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
    """Compute all metrics of a set of posts.

    Parameters
    ----------
    Y : ndarray of 0 and 1, shape (n_posts, n_labels)
        The true labels.
    probabilities : ndarray of float, shape (n_posts, n_labels)
        The model's probabilities.
    decided : ndarray of bool, shape (n_posts, n_labels)
        Whether the model gives each label.
    labels : sequence of str, length n_labels
        Names of the labels.
    thresholds : sequence of float, length n_labels
        The thresholds used, which are only reported.

    Returns
    -------
    Metrics
    """
    per_label = {label: _label_metrics(Y[:, k], probabilities[:, k], decided[:, k], float(thresholds[k])) for k, label in enumerate(labels)}
    precisions = [values.average_precision for values in per_label.values() if values.average_precision is not None]
    guesses = decided.astype(np.int8)
    # For scikit-learn, a single label is not a multi-label problem; a constant second column makes it one.
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
    """Compute the metrics of three classifiers that ignore the text.

    Parameters
    ----------
    Y : ndarray of 0 and 1, shape (n_posts, n_labels)
        The true labels.
    prior : ndarray of float, shape (n_labels,)
        Share of each label in the training posts.
    labels : sequence of str, length n_labels
        Names of the labels.

    Returns
    -------
    Baselines
    """

    def guessing(shares: NDArray[np.float64]) -> Metrics:
        probabilities = np.broadcast_to(shares, Y.shape).astype(np.float32)
        return compute_metrics(Y, probabilities, probabilities >= 0.5, labels, [0.5] * len(labels))

    return Baselines(all_zero=guessing(np.zeros(len(labels))), all_one=guessing(np.ones(len(labels))), prior=guessing(prior))


def flatten_metrics(tree: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Return a tree's numbers by dotted name, leaving out any that are None.

    Parameters
    ----------
    tree : mapping
        The result of `Result.model_dump`.
    prefix : str
        What to put before each name.

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
