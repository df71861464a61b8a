"""What every peer is to the benchmark."""

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
    seed : int
        Of everything random.
    **setting
        One of `settings`.

    Attributes
    ----------
    title : str
        In the table.
    packages : tuple of str
        Modules that it needs: of the extra ``bench``, or here anyway.
    settings : sequence of mapping
        What to choose from on folds of train.
    tuned : bool
        Whether its scores are calibrated and its thresholds tuned on these folds; else it decides from 0.5 up.
    per_turn : int
        Posts that its speed is measured on in each turn, so that it takes seconds; 0: it reads none.
    all_cores : bool
        Whether its speed on all cores is measured too.
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
        """Do what of the work depends on no other post, so that folds share it: something to index by an array of numbers."""
        return np.array(texts, object)

    @abstractmethod
    def fit(self, encoded: Any, Y: Labels, groups: Groups) -> None:
        """Learn from encoded posts, labels of shape (n_posts, n_labels), and each post's author, shape (n_posts,)."""

    @abstractmethod
    def probabilities(self, encoded: Any) -> Floats:
        """Probabilities, as the library gives them, of encoded posts, shape (n_posts, n_labels)."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write into an empty folder all that scoring needs beside the library, in the library's own format."""

    def predict_proba(self, texts: Sequence[str]) -> Floats:
        """Probabilities, as the library gives them, of raw posts, shape (n_posts, n_labels)."""
        return self.probabilities(self.encode(texts))

    def names(self, Y: Labels) -> list[list[str]]:
        """Each post's labels by name."""
        return [[name for name, given in zip(self.labels, row, strict=True) if given] for row in Y.tolist()]


def held_out(groups: Groups, seed: int, share: float = 0.1) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cut off posts of some authors, to stop training early by: indices of the others', and of these."""
    from sklearn.model_selection import GroupShuffleSplit

    train, stop = next(GroupShuffleSplit(1, test_size=share, random_state=seed).split(groups, groups=groups))
    return train, stop
