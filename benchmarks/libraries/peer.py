"""The interface that every peer implements for the benchmark."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int8]
Floats = NDArray[np.float64]
Groups = NDArray[np.int64]


class Peer(ABC):
    """A multi-label classifier of raw posts.

    Parameters
    ----------
    labels : sequence of str
        Names of the labels.
    seed : int
        Random seed.
    **setting
        One of `settings`.

    Attributes
    ----------
    title : str
        Name of the peer in the table.
    packages : tuple of str
        Modules that it needs; those that the pipeline itself does not need are in the extra ``bench``.
    settings : sequence of mapping
        Settings to choose from on folds of train.
    tuned : bool
        Whether to calibrate its scores and tune its thresholds on these folds; otherwise, it gives labels from 0.5 up.
    per_turn : int
        Number of posts per turn to measure its speed on, which should take seconds; 0 if it reads no posts.
    all_cores : bool
        Whether to measure its speed on all cores as well.
    """

    title: ClassVar[str]
    packages: ClassVar[tuple[str, ...]] = ()
    settings: ClassVar[Sequence[Mapping[str, Any]]] = ({},)
    tuned: ClassVar[bool] = True
    per_turn: ClassVar[int] = 7000
    all_cores: ClassVar[bool] = False

    def __init__(self, labels: Sequence[str], seed: int, **setting: Any) -> None:
        self.labels = list(labels)
        self.seed = seed
        self.setting = setting

    def encode(self, texts: Sequence[str]) -> Any:
        """Do the work that depends on each post alone, so that folds can share it; the result can be indexed by an array of integers."""
        return np.array(texts, object)

    @abstractmethod
    def fit(self, encoded: Any, Y: Labels, groups: Groups) -> None:
        """Learn from posts.

        Parameters
        ----------
        encoded : Any
            From `encode`.
        Y : ndarray of 0 and 1, shape (n_posts, n_labels)
            Labels of the posts.
        groups : ndarray of int, shape (n_posts,)
            Author of each post.
        """

    @abstractmethod
    def probabilities(self, encoded: Any) -> Floats:
        """Return the library's own probabilities for encoded posts, shape (n_posts, n_labels)."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write everything that scoring needs, apart from the library, to an empty folder in the library's own format."""

    def predict_proba(self, texts: Sequence[str]) -> Floats:
        """Return the library's own probabilities for raw posts, shape (n_posts, n_labels)."""
        return self.probabilities(self.encode(texts))

    def names(self, Y: Labels) -> list[list[str]]:
        """Return each post's labels by name."""
        return [[name for name, given in zip(self.labels, row, strict=True) if given] for row in Y.tolist()]


def held_out(groups: Groups, seed: int, share: float = 0.1) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Set posts by some authors aside, for early stopping.

    Parameters
    ----------
    groups : ndarray of int, shape (n_posts,)
        Author of each post.
    seed : int
        Random seed of the choice of authors.
    share : float
        Share of authors to set aside.

    Returns
    -------
    train, stop : ndarray of int
        Indices of posts to train on, and of those set aside.
    """
    from sklearn.model_selection import GroupShuffleSplit

    train, stop = next(GroupShuffleSplit(1, test_size=share, random_state=seed).split(groups, groups=groups))
    return train, stop
