"""Author-disjoint folds of the training posts, and the targets to learn on them."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.arrays import Int64s, Labels
from models.errors import InputError

Folds = list[tuple[Int64s, Int64s]]


def _rarest(Y: Labels) -> Int64s:
    """Return each post's rarest label, or n_labels if it has none: the classes by which folds are stratified."""
    counts = Y.sum(axis=0)
    rarest: Int64s = np.where(Y == 1, counts, len(Y) + 1).argmin(axis=1)
    return np.where(Y.any(axis=1), rarest, Y.shape[1])


_LEAVE_OUT = "leave the label out: move it to the list 'ignored' in a copy of your label set, and train with --set labels=FILE"


def check_learnable(Y: Labels, groups: Int64s, names: Sequence[str], folds: int) -> None:
    """Check that enough authors wrote posts with each label, and posts without it.

    Parameters
    ----------
    Y, groups, names, folds
        As for `make_folds`.

    Raises
    ------
    InputError
        When there are too few of either.
    """
    for name, y in zip(names, Y.T, strict=True):
        for value, kind in ((1, "with"), (0, "without")):
            posts, authors = int((y == value).sum()), len(np.unique(groups[y == value]))
            if not posts:
                found = "no train post has it" if value else "all train posts have it"
                raise InputError(f"label {name!r}: {found}; label posts {kind} it, or {_LEAVE_OUT}")
            if authors < folds:
                raise InputError(
                    f"label {name!r}: the {posts} train posts {kind} it are by {authors} authors, but folds={folds} needs {folds} authors; "
                    f"label more posts, lower folds (calibration.folds in a config), or {_LEAVE_OUT}"
                )


def _varies(y: NDArray[Any], folds: Folds) -> bool:
    """Return whether the training part of every fold has both values."""
    return all(y[train].min() < y[train].max() for train, _ in folds)


def make_folds(Y: Labels, groups: Int64s, names: Sequence[str], folds: int, seed: int) -> Folds:
    """Divide posts into folds, keeping all posts by an author in the same fold.

    Parameters
    ----------
    Y : ndarray of 0 and 1, shape (n_posts, n_labels)
        The labels.
    groups : ndarray of int, shape (n_posts,)
        Author of each post.
    names : sequence of str, length n_labels
        Names of the labels, for error messages.
    folds : int
        Number of folds.
    seed : int
        Seed of the shuffling.

    Returns
    -------
    list of (ndarray of int, ndarray of int)
        For each fold, the indices of the posts to train on and of the posts held out.

    Raises
    ------
    InputError
        When a label has too few positive or negative posts, or too few authors wrote them.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    check_learnable(Y, groups, names, folds)
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():  # it warns of classes with fewer posts than folds, which do no harm
        warnings.simplefilter("ignore", UserWarning)
        found = list(splitter.split(Y, _rarest(Y), groups))
    for name, y in zip(names, Y.T, strict=True):
        if not _varies(y, found):
            raise InputError(f"label {name!r}: nearly all posts with it, or without it, are by a few authors; label posts by more authors")
    return found


def extend_folds(known: NDArray[np.integer], groups: Int64s, n_folds: int, seed: int) -> Folds:
    """Divide posts into folds; the first posts are in folds already, and stay there.

    The other posts go into the fold of their author. Authors who wrote none of the first posts are drawn at random, equally many for each
    fold, however many posts they wrote and whatever their labels are.

    Parameters
    ----------
    known : ndarray of int, shape (n_known,)
        The fold of each of the first posts.
    groups : ndarray of int, shape (n_posts,)
        Author of each post.
    n_folds : int
        Number of folds.
    seed : int
        Seed of the draw.

    Returns
    -------
    list of (ndarray of int, ndarray of int)
        As from `make_folds`.
    """
    fold_of = dict(zip(groups.tolist(), known.tolist(), strict=False))
    others = np.random.default_rng(seed).permutation([author for author in np.unique(groups).tolist() if author not in fold_of])
    fold_of |= {author: number % n_folds for number, author in enumerate(others.tolist())}
    fold = np.array([*known[: len(groups)].tolist(), *(fold_of[author] for author in groups[len(known) :].tolist())])
    return [(np.flatnonzero(fold != number), np.flatnonzero(fold == number)) for number in range(n_folds)]


def make_targets(Y: Labels, auxiliary: Labels, groups: Int64s, folds: Folds) -> Labels:
    """Return what the scorers learn, one column per target.

    The targets are the labels, the auxiliary labels with enough posts, "any label", and "any label or auxiliary label". Columns
    that repeat an earlier one are left out.

    Parameters
    ----------
    Y : ndarray of 0 and 1, shape (n_posts, n_labels)
        The labels.
    auxiliary : ndarray of 0 and 1, shape (n_posts, n_auxiliary)
        The auxiliary labels.
    groups : ndarray of int, shape (n_posts,)
        Author of each post.
    folds : list
        The result of `make_folds`.

    Returns
    -------
    ndarray of 0 and 1, shape (n_posts, n_targets)
    """
    columns = [*Y.T, *(y for y in auxiliary.T if len(np.unique(groups[y == 1])) >= len(folds) and _varies(y, folds))]
    for anything in (Y.max(axis=1), np.stack(columns).max(axis=0)):
        if _varies(anything, folds) and not any(np.array_equal(anything, column) for column in columns):
            columns.append(anything)
    return np.stack(columns, axis=1)
