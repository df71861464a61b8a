"""scikit-learn: TF-IDF of words and characters, one logistic regression a label."""

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
    """One logistic regression a label, by liblinear: on matrices of this size several times as fast as lbfgs."""
    return OneVsRestClassifier(LogisticRegression(C=C, solver="liblinear", random_state=seed))


class TfidfLogistic(Peer):
    """Words 1–2 and ``char_wb`` 2–5, sublinear TF-IDF; C from folds."""

    title = "scikit-learn, TF-IDF + LR"
    packages = ("sklearn",)
    settings = tuple({"C": C} for C in (3, 10, 30))

    def fit(self, encoded: Any, Y: Labels, groups: Groups) -> None:  # noqa: ARG002 - as every peer's
        """See `Peer`."""
        # One letter is a word, too: "I" tells an account from news.
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
