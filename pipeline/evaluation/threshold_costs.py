"""Measures what a threshold finds, misses and costs to review, and finds one whose recall is guaranteed."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.arrays import Int64s, Labels, Probabilities
from models.calibration import decide
from models.errors import InputError
from models.operating_points import each_confidence, one_by_each, sensitive_threshold
from pipeline.config import Evaluation as Wanted
from pipeline.evaluation.results import Cost, Guarantee, LabelThresholds, ThresholdRow
from pipeline.metrics import wilson_interval

MISSES = (0.01, 0.05, 0.1, 0.2)
_CURVE = np.linspace(0, 1, 101)

Scores = NDArray[np.float32]


def recall_targets(recall: float | Mapping[str, float], labels: Sequence[str]) -> dict[str, float]:
    """Return the recall to guarantee for each label.

    Parameters
    ----------
    recall : float or mapping of str to float
        One target for all labels, or one for each.
    labels : sequence of str
        The model's labels.

    Raises
    ------
    InputError
        If targets are given by label, and one is missing, or is for a label that the model does not have.

    Examples
    --------
    >>> recall_targets(0.9, ["assault", "solidarity_support"])
    {'assault': 0.9, 'solidarity_support': 0.9}
    """
    if not isinstance(recall, Mapping):
        return dict.fromkeys(labels, recall)
    if unknown := [label for label in recall if label not in labels]:
        raise InputError(f"evaluation.recall: {unknown[0]!r} is not a label of the model; its labels are {', '.join(labels)}")
    if missing := [label for label in labels if label not in recall]:
        raise InputError(f"evaluation.recall has no value for {', '.join(missing)}; give one for each label, or one number for all")
    return {label: recall[label] for label in labels}


def _ratio(above: int, below: int) -> float | None:
    return above / below if below else None


def _threshold_rows(y: NDArray[np.int8], p: Scores, at_random: NDArray[np.bool_], thresholds: Sequence[float]) -> list[ThresholdRow]:
    decided = decide(p[:, None], thresholds)
    counts = zip(*(decided[of].sum(axis=0).tolist() for of in (y == 1, slice(None), at_random)), strict=True)
    positives, drawn = int(y.sum()), int(at_random.sum())
    return [
        ThresholdRow(
            threshold=float(threshold),
            precision=_ratio(right, reviewed),
            recall=_ratio(right, positives),
            f1=_ratio(2 * right, reviewed + positives) if positives else None,
            share=_ratio(reviewed, len(y)),
            share_at_random=_ratio(reviewed_at_random, drawn),
        )
        for threshold, (right, reviewed, reviewed_at_random) in zip(thresholds, counts, strict=True)
    ]


def _cost(miss: float, row: ThresholdRow, drawn: int, confidence: float) -> Cost:
    share = row.share_at_random
    interval = None if share is None else wilson_interval(round(share * drawn), drawn, confidence)
    return Cost(**dict(row), miss=miss, share_interval=interval)


def _missing_at_most(found: Scores, miss: float) -> float:
    """Return the highest threshold that misses at most this share of the positives with these probabilities."""
    return float(np.sort(found)[math.floor(miss * len(found) + 1e-9)])


def _guarantee(
    y: NDArray[np.int8], p: Scores, at_random: NDArray[np.bool_], authors: Int64s, recall: float, confidence: float, together: int
) -> Guarantee:
    """Find the threshold that guarantees the recall of a label; `together` is the number of labels for which it is promised at once."""
    drawn = one_by_each(authors, y == 1)  # the test counts each author once, because an author's posts are alike
    each = each_confidence(confidence, together, together=True)
    # With fewer authors, even finding all of their posts could be chance.
    needed = math.ceil(math.log(1 - each) / math.log(recall) - 1e-9)
    found = int(drawn.sum())
    about: dict[str, Any] = {
        "target": recall,
        "confidence": confidence,
        "labels": together,
        "positives": int(y.sum()),
        "authors": found,
        "needed": needed,
    }
    threshold = sensitive_threshold(p[drawn], np.inf, recall, each) if found >= needed else None
    if threshold is None:
        all_of_them = f" for {together} labels together" if together > 1 else ""
        few = f"positives by {found:,} author{'' if found == 1 else 's'} are too few: a recall of {recall:g} at {confidence:.0%} confidence"
        return Guarantee(**about, reason=f"{few}{all_of_them} needs at least {needed:,} authors")
    return Guarantee(**about, reason=None, **dict(_threshold_rows(y, p, at_random, [threshold])[0]))


def compute_thresholds(
    Y: Labels,
    probabilities: Probabilities,
    labels: Sequence[str],
    thresholds: Sequence[float],
    wanted: Wanted,
    posts_at_random: NDArray[np.bool_],
    authors: Int64s | None = None,
) -> dict[str, LabelThresholds]:
    """Measure what each threshold finds, misses and costs.

    The rows of ``cost`` are the best that these very posts allow, so on other posts about half of them miss more than stated. ``guarantee``
    allows for that. Its threshold reaches the target recall on later posts with at least the confidence asked for. For this, the authors
    here must be a random sample of the later authors, and new to the model. Posts by one author resemble each other, so one positive by
    each author counts, drawn at random. The guarantee is about a post by an author drawn at random.

    Parameters
    ----------
    Y, probabilities : ndarray, shape (n_posts, n_labels)
        True labels as 0 and 1, and their probabilities.
    labels : sequence of str, length n_labels
        Names of the labels, in the order of the columns.
    thresholds : sequence of float, length n_labels
        The model's own thresholds.
    wanted : pipeline.config.Evaluation
        Its ``recall`` is to be guaranteed with the confidence ``guarantee``, for each label alone or, with ``together``, for all labels
        at once (Bonferroni's correction); ``confidence`` is that of intervals.
    posts_at_random : ndarray of bool, shape (n_posts,)
        Which posts were drawn at random. The share of posts to review is estimated from them.
    authors : ndarray of int, shape (n_posts,), optional
        Author of each post; by default, each post has its own.

    Returns
    -------
    dict of str to LabelThresholds
        ``cost`` has a row for misses of at most 1, 5, 10 and 20 %, and is empty without positives. ``curve`` has a row for
        each threshold from 0 to 1 in steps of 0.01.

    Raises
    ------
    InputError
        If ``wanted.recall`` does not fit the labels.
    """
    targets = recall_targets(wanted.recall, labels)
    drawn, at_once = int(posts_at_random.sum()), len(labels) if wanted.together else 1
    writers = np.arange(len(Y)) if authors is None else authors
    results = {}
    for k, label in enumerate(labels):
        y, p = Y[:, k], np.asarray(probabilities[:, k], np.float32)
        found = p[y == 1]
        cheapest = _threshold_rows(y, p, posts_at_random, [_missing_at_most(found, miss) for miss in MISSES] if len(found) else [])
        results[label] = LabelThresholds(
            positives=len(found),
            curve=_threshold_rows(y, p, posts_at_random, _CURVE.round(2).tolist()),
            chosen=_threshold_rows(y, p, posts_at_random, [thresholds[k]])[0],
            cost=[_cost(miss, row, drawn, wanted.confidence) for miss, row in zip(MISSES, cheapest, strict=False)],
            guarantee=_guarantee(y, p, posts_at_random, writers, targets[label], wanted.guarantee, at_once),
        )
    return results
