"""Turn held-out scores into probabilities, and probabilities into decisions.

Only fitting imports scikit-learn. A post's probabilities, and their explanation, are bit-for-bit the same in any batch.
"""

from collections.abc import Collection, Sequence
from functools import cache
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from models.arrays import Decisions, Float64s, Int64s, Probabilities
from models.errors import InputError
from models.products import in_blocks

if TYPE_CHECKING:
    from models.config import Thresholds

Method = Literal["stacked", "sigmoid"]
PointName = Literal["balanced", "cautious", "sensitive"]
BALANCED: PointName = "balanced"  # the operating point of the model's own thresholds
Arrays = dict[str, NDArray[np.float64]]


class Calibrator(Protocol):
    """Map the scores of all targets to one probability per label (the labels are the first targets)."""

    def fit(self, scores: Float64s, Y: NDArray[np.int8], weights: NDArray[np.float32] | None = None) -> "Calibrator":
        """Fit on held-out scores.

        Parameters
        ----------
        scores : ndarray of float64, shape (n_posts, n_targets)
            Scores of posts that the scorer was not fitted on.
        Y : ndarray of 0 and 1, shape (n_posts, n_labels)
            The true labels.
        weights : ndarray of float32, shape (n_posts,), optional
            How much each post counts; by default, all count the same.
        """

    def predict_proba(self, scores: Float64s) -> Float64s:
        """Return probabilities, shape (n_posts, n_labels), for scores, shape (n_posts, n_targets)."""

    def explained(self, scores: Float64s) -> Float64s:
        """Return the log odds, shape (n_posts, n_labels), that `weights` explains."""

    def weights(self, scores: Float64s, origin: Float64s) -> Float64s:
        """Return how much each target's score counts for each label.

        For each label, ``explained(scores) - explained(origin)`` is the sum over targets of ``weights * (scores - origin)``.

        Parameters
        ----------
        scores : ndarray of float64, shape (n_posts, n_targets)
            Scores of the posts to explain.
        origin : ndarray of float64, shape (n_targets,)
            Scores of one post to compare with.

        Returns
        -------
        ndarray of float64, shape (n_posts, n_targets, n_labels)
        """

    def arrays(self) -> Arrays:
        """Return the fitted state, in the form that `restore` takes."""

    def restore(self, arrays: Arrays) -> "Calibrator":
        """Set the fitted state from what `arrays` returned."""


def _sigmoid(values: Float64s) -> Float64s:
    return 1 / (1 + np.exp(-np.clip(values, -60, 60)))


@cache
def _pairs(targets: int) -> tuple[Int64s, Int64s]:
    """Return each pair of targets once, and each target with itself."""
    return np.triu_indices(targets)


class Stacked:
    """One logistic regression per label on the scores of all targets, their squares and their products.

    This is stacked generalisation (Wolpert 1992) used for calibration: a label's probability also depends on how strongly the post
    resembles the other labels, or any label at all. Scores are clipped to the range seen during fitting, so that the squares are
    never extrapolated.
    """

    C = 0.1

    def _expand(self, scores: Float64s) -> Float64s:
        z = (np.clip(scores, self.low, self.high) - self.mean) / self.scale
        first, second = _pairs(z.shape[1])
        return np.hstack([z, z[:, first] * z[:, second]])

    def fit(self, scores: Float64s, Y: NDArray[np.int8], weights: NDArray[np.float32] | None = None) -> "Stacked":
        """See `Calibrator.fit`."""
        from sklearn.linear_model import LogisticRegression

        self.low, self.high, self.mean = scores.min(axis=0), scores.max(axis=0), scores.mean(axis=0)
        self.scale = np.maximum(scores.std(axis=0), 1e-12)
        expanded = self._expand(scores)
        fitted = [LogisticRegression(C=self.C, max_iter=5000).fit(expanded, y, weights) for y in Y.T]
        self.coef = np.stack([model.coef_[0] for model in fitted], axis=1)
        self.intercept = np.array([model.intercept_[0] for model in fitted])
        return self

    def predict_proba(self, scores: Float64s) -> Float64s:
        """See `Calibrator.predict_proba`."""
        return _sigmoid(self.explained(scores))

    def explained(self, scores: Float64s) -> Float64s:
        """See `Calibrator.explained`."""
        logits: Float64s = in_blocks(self._expand(scores), self.coef) + self.intercept
        return logits

    def weights(self, scores: Float64s, origin: Float64s) -> Float64s:
        """See `Calibrator.weights`.

        These are integrated gradients (Sundararajan et al. 2017) along the straight line between the clipped scores. For a quadratic
        function, that is the gradient at the midpoint.
        """
        clipped, start = (np.clip(each, self.low, self.high) for each in (scores, origin))
        middle = ((clipped + start) / 2 - self.mean) / self.scale
        n_targets = len(origin)
        gradient: Float64s = np.tile(self.coef[:n_targets], (len(scores), 1, 1))
        for one, other, weights in zip(*_pairs(n_targets), self.coef[n_targets:], strict=True):
            gradient[:, one] += middle[:, other, None] * weights
            gradient[:, other] += middle[:, one, None] * weights  # a square adds to the same entry twice
        moved = scores - origin
        within = np.divide(clipped - start, moved, out=np.zeros_like(moved), where=moved != 0)  # share of the way inside the range
        gradient *= (within / self.scale)[:, :, None]
        return gradient

    def arrays(self) -> Arrays:
        """See `Calibrator.arrays`."""
        return {name: getattr(self, name) for name in ("low", "high", "mean", "scale", "coef", "intercept")}

    def restore(self, arrays: Arrays) -> "Stacked":
        """See `Calibrator.restore`."""
        for name, array in arrays.items():
            setattr(self, name, array)
        return self


class Sigmoid:
    """Platt scaling: one logistic regression per label on that label's own score."""

    def fit(self, scores: Float64s, Y: NDArray[np.int8], weights: NDArray[np.float32] | None = None) -> "Sigmoid":
        """See `Calibrator.fit`."""
        from sklearn.linear_model import LogisticRegression

        fitted = [LogisticRegression(C=1e4, max_iter=5000).fit(scores[:, [k]], y, weights) for k, y in enumerate(Y.T)]
        self.slope = np.array([model.coef_[0, 0] for model in fitted])
        self.intercept = np.array([model.intercept_[0] for model in fitted])
        return self

    def predict_proba(self, scores: Float64s) -> Float64s:
        """See `Calibrator.predict_proba`."""
        return _sigmoid(self.explained(scores))

    def explained(self, scores: Float64s) -> Float64s:
        """See `Calibrator.explained`."""
        log_odds: Float64s = scores[:, : len(self.slope)] * self.slope + self.intercept
        return log_odds

    def weights(self, scores: Float64s, origin: Float64s) -> Float64s:
        """See `Calibrator.weights`."""
        return np.tile(np.eye(len(origin), len(self.slope)) * self.slope, (len(scores), 1, 1))

    def arrays(self) -> Arrays:
        """See `Calibrator.arrays`."""
        return {"slope": self.slope, "intercept": self.intercept}

    def restore(self, arrays: Arrays) -> "Sigmoid":
        """See `Calibrator.restore`."""
        self.slope, self.intercept = arrays["slope"], arrays["intercept"]
        return self


CALIBRATORS: dict[Method, type[Stacked] | type[Sigmoid]] = {"stacked": Stacked, "sigmoid": Sigmoid}


def decide(probabilities: Probabilities, thresholds: Sequence[float] | Float64s) -> Decisions:
    """Return whether each probability reaches its threshold; both are compared as float32, the type in which probabilities are stored.

    Parameters
    ----------
    probabilities : ndarray of float32, shape (n_posts, n_labels)
        Probabilities of posts.
    thresholds : sequence of float, length n_labels
        The threshold of each label.

    Returns
    -------
    ndarray of bool, shape (n_posts, n_labels)

    Examples
    --------
    >>> import numpy as np
    >>> decide(np.array([[0.3, 0.2]], np.float32), [0.3, 0.3]).tolist()
    [[True, False]]
    """
    decided: Decisions = probabilities >= np.asarray(thresholds, np.float32)
    return decided


def check_point(wanted: str, points: Collection[str], place: str = "") -> None:
    """Raise an error if a model lacks an operating point.

    Parameters
    ----------
    wanted : str
        Name of the operating point.
    points : collection of str
        Names of the operating points that the model has.
    place : str, optional
        What the message begins with.

    Raises
    ------
    InputError
        When the model lacks it; the message names those that it has.
    """
    if wanted not in points:
        raise InputError(
            f"{place}operating point {wanted!r}: the model has only {', '.join(points)}; choose one of these, or train it again"
        )


def tune_threshold(
    y: NDArray[np.int8], probability: NDArray[np.floating], wanted: "Thresholds", label: str, weights: Float64s | None = None
) -> float:
    """Choose one label's threshold from the observed probabilities; posts at or above it get the label.

    Parameters
    ----------
    y : ndarray of 0 and 1, shape (n_posts,)
        The true values of the label, at least one of them 1.
    probability : ndarray of float, shape (n_posts,)
        Held-out probabilities.
    wanted : Thresholds
        The objective. For ``f1`` and ``accuracy``, the highest threshold within ``tolerance`` of the best value is chosen. For
        ``precision``, it is the lowest with at least ``target`` precision, which has the greatest recall. For ``recall``, it is the highest
        with at least ``target`` recall.
    label : str
        The label's name, for the error message.
    weights : ndarray of float, shape (n_posts,), optional
        How much each post counts, by default 1; the weights of the posts with the label must not all be 0.

    Returns
    -------
    float
        The threshold, one of the probabilities.

    Raises
    ------
    InputError
        When no threshold reaches the target precision.

    Examples
    --------
    >>> import numpy as np
    >>> from models.config import Thresholds
    >>> y, probability = np.array([0, 0, 1, 1], np.int8), np.array([0.1, 0.4, 0.35, 0.8])
    >>> tune_threshold(y, probability, Thresholds(objective="precision", target=0.9), "assault")
    0.8
    """
    from sklearn.metrics import confusion_matrix_at_thresholds

    # Posts of weight 0 are left out. The lowest threshold gives all posts the label.
    true_negatives, false_positives, _, correct, thresholds = confusion_matrix_at_thresholds(y, probability, sample_weight=weights)
    decided, positives, posts = correct + false_positives, correct[-1], correct[-1] + false_positives[-1]
    precision, recall = correct / decided, correct / positives
    if wanted.objective == "recall":
        return float(thresholds[recall >= wanted.target].max())
    if wanted.objective == "precision":
        reached = precision >= wanted.target
        if not reached.any():
            message = (
                f"label {label!r}: no threshold reaches precision {wanted.target} (the highest is {precision.max():.3f}); "
                "lower target (thresholds.target in a config)"
            )
            raise InputError(message)
        return float(thresholds[reached].min())
    value = (correct + true_negatives) / posts if wanted.objective == "accuracy" else 2 * correct / (decided + positives)
    return float(thresholds[value >= value.max() - wanted.tolerance].max())
