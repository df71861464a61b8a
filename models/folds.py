"""Author-disjoint folds of the training posts, and what there is to learn on them."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.arrays import Int64s, Labels
from models.errors import InputError

Folds = list[tuple[Int64s, Int64s]]


def _rarest(Y: Labels) -> Int64s:
    """Each post's rarest label, or n_labels for none: the classes that folds are stratified by."""
    counts = Y.sum(axis=0)
    rarest: Int64s = np.where(Y == 1, counts, len(Y) + 1).argmin(axis=1)
    return np.where(Y.any(axis=1), rarest, Y.shape[1])


def _check_learnable(Y: Labels, groups: Int64s, names: Sequence[str], folds: int) -> None:
    for name, y in zip(names, Y.T, strict=True):
        for value, kind in ((1, "with"), (0, "without")):
            posts, authors = int((y == value).sum()), len(np.unique(groups[y == value]))
            if authors < folds:
                raise InputError(
                    f"label {name!r}: {posts} train posts {kind} it, by {authors} authors; calibration.folds={folds} needs {folds}: "
                    "label more posts, lower calibration.folds or take the label out of the set"
                )


def _varies(y: NDArray[Any], folds: Folds) -> bool:
    """Whether the train part of every fold has both values."""
    return all(y[train].min() < y[train].max() for train, _ in folds)


def make_folds(Y: Labels, groups: Int64s, names: Sequence[str], folds: int, seed: int) -> Folds:
    """Divide posts into folds that part no author's posts.

    Parameters
    ----------
    Y : ndarray of 0 and 1, shape (n_posts, n_labels)
    groups : ndarray of int, shape (n_posts,)
        Author of each post.
    names : sequence of str, length n_labels
        Of the labels, for messages.
    folds : int
    seed : int

    Returns
    -------
    list of (ndarray of int, ndarray of int)
        Of each fold, the indices of the posts to train on and of those held out.

    Raises
    ------
    InputError
        When a label has too few positive or negative posts, or too few authors wrote them.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    _check_learnable(Y, groups, names, folds)
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():  # it minds classes smaller than the folds, which do no harm
        warnings.simplefilter("ignore", UserWarning)
        found = list(splitter.split(Y, _rarest(Y), groups))
    for name, y in zip(names, Y.T, strict=True):
        if not _varies(y, found):
            raise InputError(f"label {name!r}: too few authors wrote nearly all posts with it, or without; label posts by more authors")
    return found


def make_targets(Y: Labels, auxiliary: Labels, groups: Int64s, folds: Folds) -> Labels:
    """What scorers learn: labels, learnable auxiliary labels, any label, any label or auxiliary; repeats left out.

    Parameters
    ----------
    Y : ndarray of 0 and 1, shape (n_posts, n_labels)
    auxiliary : ndarray of 0 and 1, shape (n_posts, n_auxiliary)
    groups : ndarray of int, shape (n_posts,)
    folds : list
        From `make_folds`.
    """
    columns = [*Y.T, *(y for y in auxiliary.T if len(np.unique(groups[y == 1])) >= len(folds) and _varies(y, folds))]
    for anything in (Y.max(axis=1), np.stack(columns).max(axis=0)):
        if _varies(anything, folds) and not any(np.array_equal(anything, column) for column in columns):
            columns.append(anything)
    return np.stack(columns, axis=1)
