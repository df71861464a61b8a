"""The model behind MLflow's pyfunc interface, loaded from code and a model directory, without pickle."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from models.classifier import Classifier

if TYPE_CHECKING:
    import pandas as pd


class ServedClassifier:
    """Data frame in, data frame out."""

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier

    def predict(self, model_input: "pd.DataFrame", params: dict[str, Any] | None = None) -> "pd.DataFrame":
        """Score a batch.

        Parameters
        ----------
        model_input : DataFrame, shape (n_posts, ...)
            With the column ``text``; others are not read.
        params : dict, optional
            None are known.

        Returns
        -------
        DataFrame, shape (n_posts, n_labels + 2)
            ``prob_<label>`` each, ``labels`` (those decided) and ``error``. A text that is no non-empty string has None
            for probabilities, no labels and the reason, and does not fail the batch; JSON gets null, as it has no NaN.
        """
        import pandas as pd

        texts = pd.Series(model_input["text"], dtype=object)
        good = np.array([isinstance(text, str) and bool(text.strip()) for text in texts], bool)
        labels = self.classifier.labels
        probabilities = np.zeros((len(texts), len(labels)), np.float32)
        if good.any():
            probabilities[good] = self.classifier.score(list(texts[good]))
        decided = self.classifier.decide(probabilities) & good[:, None]
        frame = pd.DataFrame(probabilities, model_input.index, [f"prob_{label}" for label in labels])
        if not good.all():
            frame = frame.astype(object)
            frame.loc[~good] = None
        frame["labels"] = [[label for label, given in zip(labels, row, strict=True) if given] for row in decided]
        errors = [None if usable else "text is no non-empty string" for usable in good]
        frame["error"] = pd.Series(errors, model_input.index, dtype=object)
        return frame


def _load_pyfunc(path: str) -> ServedClassifier:
    """What MLflow calls."""
    return ServedClassifier(Classifier.load(Path(path)))
