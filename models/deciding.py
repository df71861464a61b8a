"""What a fitted classifier decides, at any of its operating points."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from models.arrays import Decisions, Float64s, Labels, Probabilities
from models.calibration import BALANCED, check_point, decide
from models.description import OperatingPoint
from models.targets import label_matrix
from models.thresholds import FittedThresholds

if TYPE_CHECKING:
    import pandas as pd


class Deciding:
    """A classifier's decisions, which need probabilities and the thresholds of an operating point."""

    thresholds_ = FittedThresholds()
    prior_: Float64s
    measured_points_: Mapping[str, OperatingPoint] = MappingProxyType({})  # empty until the points are measured

    @property
    def labels(self) -> list[str]:
        """Names of the labels, in the order used in every output."""
        raise NotImplementedError

    def predict_proba(self, texts: Sequence[str]) -> Probabilities:
        """Return the probabilities of raw posts, shape (n_posts, n_labels)."""
        raise NotImplementedError

    @property
    def operating_points_(self) -> dict[str, Float64s]:
        """Thresholds of each operating point, shape (n_labels,), by name; those of ``balanced`` are `thresholds_`."""
        others = {name: point.thresholds for name, point in self.measured_points_.items() if name != BALANCED}
        return {BALANCED: self.thresholds_} | {name: np.array([of[label] for label in self.labels]) for name, of in others.items()}

    def thresholds_at(self, operating_point: str) -> Float64s:
        """Return the thresholds of an operating point, shape (n_labels,).

        Raises
        ------
        InputError
            When the model has no such operating point.
        """
        points = self.operating_points_
        check_point(operating_point, points)
        return points[operating_point]

    def decide(self, probabilities: Probabilities, operating_point: str = BALANCED) -> Decisions:
        """Return which labels an operating point gives each post, shape (n_posts, n_labels).

        Raises
        ------
        InputError
            When the model has no such operating point.
        """
        return decide(probabilities, self.thresholds_at(operating_point))

    def predict(self, texts: Sequence[str], operating_point: str = BALANCED) -> Labels:
        """Return the labels of raw posts as an array of 0 and 1, shape (n_posts, n_labels), at an operating point of the model."""
        return self.decide(self.predict_proba(texts), operating_point).astype(np.int8)

    def label(self, texts: Sequence[str], operating_point: str = BALANCED) -> "pd.DataFrame":
        """Return probabilities and labels as a table to look at, without the text.

        Parameters
        ----------
        texts : sequence of str, length n_posts
            Raw posts.
        operating_point : {"balanced", "cautious", "sensitive"}
            Which of the model's sets of thresholds to use; a model from an earlier release has ``balanced`` only.

        Returns
        -------
        DataFrame, shape (n_posts, n_labels + 1)
            One column of probabilities per label, and a column ``labels`` with the names of the labels given. A Series keeps its index.

        Examples
        --------
        >>> from models import Classifier
        >>> table = Classifier.released().label(["I believe you. Thank you for speaking up."])
        >>> table["labels"].tolist()
        ['solidarity_support']
        """
        import pandas as pd

        probabilities = self.predict_proba(texts)
        frame = pd.DataFrame(probabilities, texts.index if isinstance(texts, pd.Series) else None, self.labels)
        frame["labels"] = [", ".join(np.array(self.labels)[row]) for row in self.decide(probabilities, operating_point)]
        return frame

    def score(self, texts: Sequence[str], Y: Any = None) -> float:
        """Return the share of posts whose labels are all correct, scikit-learn's default score for several labels.

        Parameters
        ----------
        texts : sequence of str, length n_posts
            Raw posts.
        Y : DataFrame, array or sequence
            The true labels, as in `fit`.

        Raises
        ------
        TypeError
            When `Y` is missing: an earlier release returned probabilities here; use `predict_proba` for these.
        """
        if Y is None:
            raise TypeError(
                "score needs Y, and returns the share of posts with all labels correct; for probabilities use predict_proba(texts)"
            )
        predicted = self.predict(texts)
        _, truth = label_matrix(Y, self.labels, len(predicted))
        return float((predicted == truth).all(axis=1).mean())
