"""Held-out scores to probabilities, probabilities to decisions.

Only fitting imports scikit-learn. A post's probabilities are the same bits whatever else is in the batch, and so is what explains them.
"""

from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from models.arrays import Float64s
from models.config import Thresholds
from models.errors import InputError

Method = Literal["stacked", "sigmoid"]
Arrays = dict[str, NDArray[np.float64]]


class Calibrator(Protocol):
    """Maps scores of all targets to one probability per label (labels are the first targets)."""

    def fit(self, scores: Float64s, Y: NDArray[np.int8]) -> "Calibrator":
        """Fit on held-out scores, shape (n_posts, n_targets), and labels, shape (n_posts, n_labels)."""

    def predict_proba(self, scores: Float64s) -> Float64s:
        """Probabilities, shape (n_posts, n_labels)."""

    def explained(self, scores: Float64s) -> Float64s:
        """Log odds, shape (n_posts, n_labels), which `weights` explains."""

    def weights(self, scores: Float64s, origin: Float64s) -> Float64s:
        """What each target's score is worth to each label, shape (n_posts, n_targets, n_labels).

        For `scores`, shape (n_posts, n_targets), against those of one post to compare with, shape (n_targets,): a label's
        ``explained(scores) - explained(origin)`` is the sum over targets of ``weights * (scores - origin)``.
        """

    def arrays(self) -> Arrays:
        """What `restore` needs."""

    def restore(self, arrays: Arrays) -> "Calibrator":
        """Set the fitted state."""


def _sigmoid(values: Float64s) -> Float64s:
    return 1 / (1 + np.exp(-np.clip(values, -60, 60)))


class Stacked:
    """Logistic regression per label on all targets' scores, their squares and products.

    Stacked generalisation (Wolpert 1992) doing a calibrator's work: a label's probability also depends on how
    much the post looks like the other labels, or like anything at all. Scores are clipped to the range seen
    while fitting, so that squares never extrapolate.
    """

    C = 0.1

    def _expand(self, scores: Float64s) -> Float64s:
        z = (np.clip(scores, self.low, self.high) - self.mean) / self.scale
        first, second = np.triu_indices(z.shape[1])
        return np.hstack([z, z[:, first] * z[:, second]])

    def fit(self, scores: Float64s, Y: NDArray[np.int8]) -> "Stacked":
        """See `Calibrator`."""
        from sklearn.linear_model import LogisticRegression

        self.low, self.high, self.mean = scores.min(axis=0), scores.max(axis=0), scores.mean(axis=0)
        self.scale = np.maximum(scores.std(axis=0), 1e-12)
        expanded = self._expand(scores)
        fitted = [LogisticRegression(C=self.C, max_iter=5000).fit(expanded, y) for y in Y.T]
        self.coef = np.stack([model.coef_[0] for model in fitted], axis=1)
        self.intercept = np.array([model.intercept_[0] for model in fitted])
        return self

    def predict_proba(self, scores: Float64s) -> Float64s:
        """See `Calibrator`."""
        return _sigmoid(self.explained(scores))

    def explained(self, scores: Float64s) -> Float64s:
        """See `Calibrator`."""
        logits: Float64s = np.tile(self.intercept, (len(scores), 1))
        # No matrix product: the order in which BLAS adds, and so the last bits, depends on the shape of the batch.
        for column, weights in zip(self._expand(scores).T, self.coef, strict=True):
            logits += column[:, None] * weights
        return logits

    def weights(self, scores: Float64s, origin: Float64s) -> Float64s:
        """See `Calibrator`.

        Integrated gradients (Sundararajan et al. 2017) along the straight line between the clipped scores: of a quadratic
        function, the gradient half way.
        """
        clipped, start = (np.clip(each, self.low, self.high) for each in (scores, origin))
        middle = ((clipped + start) / 2 - self.mean) / self.scale
        n_targets = len(origin)
        gradient: Float64s = np.tile(self.coef[:n_targets], (len(scores), 1, 1))
        for one, other, weights in zip(*np.triu_indices(n_targets), self.coef[n_targets:], strict=True):
            gradient[:, one] += middle[:, other, None] * weights
            gradient[:, other] += middle[:, one, None] * weights  # of a square, twice the same
        moved = scores - origin
        within = np.divide(clipped - start, moved, out=np.zeros_like(moved), where=moved != 0)  # of the way, the part in the range
        gradient *= (within / self.scale)[:, :, None]
        return gradient

    def arrays(self) -> Arrays:
        """See `Calibrator`."""
        return {name: getattr(self, name) for name in ("low", "high", "mean", "scale", "coef", "intercept")}

    def restore(self, arrays: Arrays) -> "Stacked":
        """See `Calibrator`."""
        for name, array in arrays.items():
            setattr(self, name, array)
        return self


class Sigmoid:
    """Platt scaling: a logistic regression per label on the label's own score."""

    def fit(self, scores: Float64s, Y: NDArray[np.int8]) -> "Sigmoid":
        """See `Calibrator`."""
        from sklearn.linear_model import LogisticRegression

        fitted = [LogisticRegression(C=1e4, max_iter=5000).fit(scores[:, [k]], y) for k, y in enumerate(Y.T)]
        self.slope = np.array([model.coef_[0, 0] for model in fitted])
        self.intercept = np.array([model.intercept_[0] for model in fitted])
        return self

    def predict_proba(self, scores: Float64s) -> Float64s:
        """See `Calibrator`."""
        return _sigmoid(self.explained(scores))

    def explained(self, scores: Float64s) -> Float64s:
        """See `Calibrator`."""
        log_odds: Float64s = scores[:, : len(self.slope)] * self.slope + self.intercept
        return log_odds

    def weights(self, scores: Float64s, origin: Float64s) -> Float64s:
        """See `Calibrator`."""
        return np.tile(np.eye(len(origin), len(self.slope)) * self.slope, (len(scores), 1, 1))

    def arrays(self) -> Arrays:
        """See `Calibrator`."""
        return {"slope": self.slope, "intercept": self.intercept}

    def restore(self, arrays: Arrays) -> "Sigmoid":
        """See `Calibrator`."""
        self.slope, self.intercept = arrays["slope"], arrays["intercept"]
        return self


CALIBRATORS: dict[Method, type[Stacked] | type[Sigmoid]] = {"stacked": Stacked, "sigmoid": Sigmoid}


def tune_threshold(y: NDArray[np.int8], probability: NDArray[np.floating], wanted: Thresholds, label: str) -> float:
    """Choose, among the probabilities, the threshold at and above which a label is decided.

    Parameters
    ----------
    y : ndarray of 0 and 1, shape (n_posts,)
        With at least one 1.
    probability : ndarray of float, shape (n_posts,)
        Held-out probabilities.
    wanted : Thresholds
        ``f1``, ``accuracy``: the highest threshold within ``tolerance`` of the best value; ``precision``: the lowest
        with at least ``target`` precision (so the greatest recall); ``recall``: the highest with at least ``target`` recall.
    label : str
        Named in the error.

    Raises
    ------
    InputError
        When no threshold reaches the target precision.
    """
    from sklearn.metrics import confusion_matrix_at_thresholds

    true_negatives, false_positives, _, correct, thresholds = confusion_matrix_at_thresholds(y, probability)
    decided, positives = correct + false_positives, y.sum()
    precision, recall = correct / decided, correct / positives
    if wanted.objective == "recall":
        return float(thresholds[recall >= wanted.target].max())
    if wanted.objective == "precision":
        reached = precision >= wanted.target
        if not reached.any():
            message = f"label {label!r}: no threshold has precision {wanted.target}, at best {precision.max():.3f}; lower thresholds.target"
            raise InputError(message)
        return float(thresholds[reached].min())
    value = (correct + true_negatives) / len(y) if wanted.objective == "accuracy" else 2 * correct / (decided + positives)
    return float(thresholds[value >= value.max() - wanted.tolerance].max())
