"""Linear scorers with one weight vector per target; all of them have the same form once fitted.

Only fitting imports scikit-learn, because importing it takes longer than scoring a post.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Kind = Literal["blend", "svm", "nbsvm", "logistic", "most_frequent"]
Fitted = tuple[NDArray[np.float64], float]


def _svm(X: sparse.csr_matrix, y: NDArray[np.int8], weights: NDArray[np.float64], C: float, seed: int) -> Fitted:
    from sklearn.svm import LinearSVC

    fitted = LinearSVC(C=C, random_state=seed).fit(X, y, sample_weight=weights)
    return fitted.coef_[0], float(fitted.intercept_[0])


def _logistic(X: sparse.csr_matrix, y: NDArray[np.int8], weights: NDArray[np.float64], C: float, seed: int) -> Fitted:
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(C=C, solver="liblinear", random_state=seed).fit(X, y, sample_weight=weights)
    return fitted.coef_[0], float(fitted.intercept_[0])


def _nbsvm(X: sparse.csr_matrix, y: NDArray[np.int8], weights: NDArray[np.float64], C: float, seed: int) -> Fitted:
    """Fit an SVM to features weighted by their naive-Bayes log-count ratio (Wang & Manning 2012)."""
    positive, negative = X.T @ (weights * (y == 1)) + 1, X.T @ (weights * (y == 0)) + 1
    ratio = np.log((positive / positive.sum()) / (negative / negative.sum()))
    coefficients, intercept = _svm((X @ sparse.diags(ratio)).tocsr(), y, weights, C, seed)
    return ratio * coefficients, intercept


def _blend(X: sparse.csr_matrix, y: NDArray[np.int8], weights: NDArray[np.float64], C: float, seed: int) -> Fitted:
    """Take the mean of `_svm` and `_nbsvm`; it is linear, as both of them are."""
    (plain, plain_intercept), (weighted, weighted_intercept) = _svm(X, y, weights, C, seed), _nbsvm(X, y, weights, C, seed)
    return (plain + weighted) / 2, (plain_intercept + weighted_intercept) / 2


def _most_frequent(X: sparse.csr_matrix, y: NDArray[np.int8], weights: NDArray[np.float64], C: float, seed: int) -> Fitted:
    """Fit the baseline that ignores the post: calibration turns its constant score into the label's share."""
    return np.zeros(X.shape[1]), 0.0


_FIT: dict[Kind, Callable[[sparse.csr_matrix, NDArray[np.int8], NDArray[np.float64], float, int], Fitted]] = {
    "blend": _blend,
    "svm": _svm,
    "nbsvm": _nbsvm,
    "logistic": _logistic,
    "most_frequent": _most_frequent,
}


class LinearScorer:
    """One linear score per target.

    Parameters
    ----------
    kind : {"blend", "svm", "nbsvm", "logistic", "most_frequent"}
        How the weights are fitted.
    C : float
        Inverse strength of regularisation.
    seed : int
        Random seed of the solver.

    Attributes
    ----------
    coef_ : ndarray of float16, shape (n_features, n_targets)
        Weights. In float16, they take up half the space.
    intercept_ : ndarray of float32, shape (n_targets,)
        Scores of a post without any known feature.
    """

    def __init__(self, kind: Kind, C: float, seed: int) -> None:
        self.kind = kind
        self.C = C
        self.seed = seed

    def fit(self, X: sparse.csr_matrix, Y: NDArray[np.int8], weights: NDArray[np.float32] | None = None) -> "LinearScorer":
        """Fit each target independently.

        Parameters
        ----------
        X : csr_matrix, shape (n_posts, n_features)
            Features of the posts.
        Y : ndarray of 0 and 1, shape (n_posts, n_targets)
            Targets; each column must contain both values.
        weights : ndarray of float32, shape (n_posts,), optional
            How much each post counts; by default, all count the same.
        """
        counted = np.ones(len(Y)) if weights is None else weights.astype(np.float64)
        X = X.astype(np.float64)  # liblinear works in float64: we convert once, not once per target
        # One target after another, because a process has one stream of liblinear's random numbers, which threads would share unpredictably.
        fitted = [_FIT[self.kind](X, y, counted, self.C, self.seed) for y in Y.T]
        self.coef_ = np.stack([coefficients for coefficients, _ in fitted], axis=1).astype(np.float16)
        self.intercept_ = np.array([intercept for _, intercept in fitted], np.float32)
        return self

    def decision_function(self, X: sparse.csr_matrix) -> NDArray[np.float32]:
        """Return scores, shape (n_posts, n_targets); a higher score means that the target is likelier."""
        scores: NDArray[np.float32] = X @ self.coef_.astype(np.float32) + self.intercept_
        return scores
