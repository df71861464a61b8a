"""Find out which rules a post meets.

This module imports nothing else from this project, because the server uses it together with the copy of `models` that a served model brings
along.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

GIVEN = "given"

Need = float | Sequence[float] | str  # at least this probability, from one to another, or `GIVEN`
Conditions = Mapping[str, Need]  # what a rule needs of each label that it names


def _fulfilled(need: Need, probabilities: NDArray[np.float32], given: NDArray[np.bool_]) -> NDArray[np.bool_]:
    if isinstance(need, str):
        return given
    low, high = (need, 1.0) if isinstance(need, float | int) else need
    marked: NDArray[np.bool_] = (probabilities >= np.float32(low)) & (probabilities <= np.float32(high))
    return marked


def rules_met(
    rules: Sequence[Conditions], labels: Sequence[str], probabilities: NDArray[np.float32], decided: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Return which rules posts meet: those whose conditions are all fulfilled.

    Bounds are compared as float32, the type in which probabilities are stored, so that every engine finds the same.

    Parameters
    ----------
    rules : sequence of dict of str to float, (float, float) or "given"
        For each rule, what it needs of each label that it names.
    labels : sequence of str, length n_labels
        The model's labels.
    probabilities : ndarray of float32, shape (n_posts, n_labels)
        Their probabilities; NaN for a post without any, so that it meets no rule about probabilities.
    decided : ndarray of bool, shape (n_posts, n_labels)
        Whether each label is given.

    Returns
    -------
    ndarray of bool, shape (n_posts, n_rules)

    Examples
    --------
    >>> rules = [{"assault": 0.6}, {"assault": (0.3, 0.6), "support": "given"}]
    >>> probabilities = np.array([[0.6, 0.1], [0.4, 0.9], [0.4, 0.1]], np.float32)
    >>> rules_met(rules, ["assault", "support"], probabilities, probabilities >= 0.5).tolist()
    [[True, False], [False, True], [False, False]]
    """
    met = np.ones((len(probabilities), len(rules)), bool)
    for number, conditions in enumerate(rules):
        for label, need in conditions.items():
            column = labels.index(label)
            met[:, number] &= _fulfilled(need, probabilities[:, column], decided[:, column])
    return met


def first_met(met: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the number of the first rule that each post meets; ``n_rules`` for a post that meets none.

    Parameters
    ----------
    met : ndarray of bool, shape (n_posts, n_rules)
        Which rules posts meet.

    Examples
    --------
    >>> first_met(np.array([[False, True], [True, True], [False, False]])).tolist()
    [1, 0, 2]
    """
    none = np.ones((len(met), 1), bool)
    first: NDArray[np.int64] = np.argmax(np.concatenate([met, none], axis=1), axis=1)
    return first
