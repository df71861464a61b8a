"""Counts what a model gets right and wrong, and lists the wrong decisions that it was surest of."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.arrays import Decisions, Labels, Probabilities
from pipeline.evaluation.results import LabelMistakes, Mistake, Mistakes

NO_LABEL = "no label"
_LISTED = 10  # number of posts of each kind that are listed for each label


def _surest(wrong: NDArray[np.bool_], probability: NDArray[np.float32], ids: Sequence[str], *, high: bool) -> list[Mistake]:
    """Return the wrong decisions with the highest probabilities, or the lowest."""
    found = np.flatnonzero(wrong)
    order = np.argsort(-probability[found] if high else probability[found], kind="stable")[:_LISTED]
    return [Mistake(id=ids[number], probability=round(float(probability[number]), 4)) for number in found[order].tolist()]


def _pairs(rows: NDArray[np.bool_], columns: NDArray[np.bool_], names: Sequence[str]) -> dict[str, dict[str, int]]:
    """Count, for each pair of names, the posts that have the first in `rows` and the second in `columns`."""
    counts = rows.T.astype(np.int64) @ columns.astype(np.int64)
    return {row: dict(zip(names, each, strict=True)) for row, each in zip(names, counts.tolist(), strict=True)}


def count_mistakes(Y: Labels, probabilities: Probabilities, decided: Decisions, labels: Sequence[str], ids: Sequence[str]) -> Mistakes:
    """Count right and wrong decisions of each label, and how often two labels occur together.

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
    ids : sequence of str, length n_posts
        Ids of the posts.
    """
    true, given = Y.astype(bool), decided.astype(bool)
    of_label = {}
    for k, label in enumerate(labels):
        has, gets, p = true[:, k], given[:, k], probabilities[:, k]
        of_label[label] = LabelMistakes(
            true_positives=int((has & gets).sum()),
            false_positives=int((~has & gets).sum()),
            false_negatives=int((has & ~gets).sum()),
            true_negatives=int((~has & ~gets).sum()),
            wrongly_given=_surest(~has & gets, p, ids, high=True),
            missed=_surest(has & ~gets, p, ids, high=False),
        )
    has_any, gets_any = (np.column_stack([each, ~each.any(axis=1)]) for each in (true, given))
    return Mistakes(
        labels=of_label,
        given_to=_pairs(has_any, gets_any, [*labels, NO_LABEL]),
        together=_pairs(true, true, labels),
        given_together=_pairs(given, given, labels),
    )
