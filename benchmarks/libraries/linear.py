"""scikit-learn: TF-IDF of words and characters, and one logistic regression per label."""

from pathlib import Path
from typing import Any

import joblib
import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import FeatureUnion, Pipeline

from benchmarks.libraries.peer import Floats, Groups, Labels, Peer


def one_vs_rest(C: float, seed: int) -> OneVsRestClassifier:
    """Return one logistic regression per label, fitted by liblinear, which is several times as fast as lbfgs on matrices of this size.

    Parameters
    ----------
    C : float
        Inverse of the regularisation strength.
    seed : int
        Random seed.
    """
    return OneVsRestClassifier(LogisticRegression(C=C, solver="liblinear", random_state=seed))


class TfidfLogistic(Peer):
    """Word 1–2-grams and ``char_wb`` 2–5-grams with sublinear TF-IDF; C is chosen on folds."""

    title = "scikit-learn, TF-IDF + LR"
    packages = ("sklearn",)
    settings = tuple({"C": C} for C in (3, 10, 30))

    def fit(self, encoded: Any, Y: Labels, groups: Groups) -> None:  # noqa: ARG002 - the signature of `Peer`
        """See `Peer`."""
        # A single letter is a word as well: "I" distinguishes accounts from news.
        word = r"(?u)\b\w+\b"
        words = TfidfVectorizer(token_pattern=word, ngram_range=(1, 2), min_df=2, sublinear_tf=True, dtype=np.float32)
        characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), min_df=3, sublinear_tf=True, dtype=np.float32)
        features = FeatureUnion([("words", words), ("characters", characters)])
        self.model = Pipeline([("features", features), ("labels", one_vs_rest(self.setting["C"], self.seed))]).fit(encoded, Y)

    def probabilities(self, encoded: Any) -> Floats:
        """See `Peer`."""
        probabilities: Floats = self.model.predict_proba(encoded)
        return probabilities

    def save(self, folder: Path) -> None:
        """See `Peer`."""
        joblib.dump(self.model, folder / "model.joblib")
