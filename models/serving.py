"""The model with MLflow's pyfunc interface, loaded from code and a model directory, without pickle."""

from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from models.calibration import BALANCED, check_point
from models.classifier import Classifier
from models.text import MAX_CHARS, is_blank

if TYPE_CHECKING:
    import pandas as pd


def _error(text: object) -> str | None:
    """Return why a text cannot be scored, or None if it can."""
    if isinstance(text, str) and len(text) > MAX_CHARS:  # before its time is spent on it
        return f"text is longer than {MAX_CHARS} characters"
    return "text must be a non-empty string" if not isinstance(text, str) or is_blank(text) else None


class ServedClassifier:
    """A classifier that takes and returns data frames, as MLflow requires.

    Parameters
    ----------
    classifier : Classifier
        A fitted classifier.
    """

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier
        self._alone = Lock()  # servers call from several threads, but the tokenizer changes its state as it runs

    def predict(self, model_input: "pd.DataFrame", params: dict[str, Any] | None = None) -> "pd.DataFrame":
        """Score a batch.

        Parameters
        ----------
        model_input : DataFrame, shape (n_posts, ...)
            Posts with a column ``text``; other columns are ignored.
        params : dict, optional
            ``operating_point`` names the operating point whose thresholds decide, by default ``balanced``.

        Returns
        -------
        DataFrame, shape (n_posts, n_labels + 2)
            One column ``prob_<label>`` per label, ``labels`` (the labels given) and ``error``. A text that is empty, not a string or longer
            than `MAX_CHARS` does not make the batch fail: its probabilities are missing, it has no labels, and ``error``
            holds the reason. What is missing becomes null in JSON and in Spark.

        Raises
        ------
        InputError
            When the model has no such operating point.
        """
        import pandas as pd

        point = (params or {}).get("operating_point", BALANCED)
        check_point(point, self.classifier.operating_points_)
        texts = pd.Series(model_input["text"], dtype=object)
        errors = [_error(text) for text in texts]
        good = np.array([error is None for error in errors], bool)
        labels = self.classifier.labels
        probabilities = np.zeros((len(texts), len(labels)), np.float32)
        if good.any():
            with self._alone:
                probabilities[good] = self.classifier.predict_proba(list(texts[good]))
        decided = self.classifier.decide(probabilities, point) & good[:, None]
        frame = pd.DataFrame(probabilities, texts.index, [f"prob_{label}" for label in labels])
        if not good.all():
            # The type must not be object, because MLflow's spark_udf leaves out columns that are not numbers; and JSON has no NaN.
            frame = frame.astype("Float32")
            frame.loc[~good] = pd.NA
        frame["labels"] = [[label for label, given in zip(labels, row, strict=True) if given] for row in decided]
        frame["error"] = pd.Series(errors, texts.index, dtype=object)
        return frame


def _load_pyfunc(path: str) -> ServedClassifier:
    """Load the model; MLflow calls this."""
    return ServedClassifier(Classifier.load(Path(path)))
