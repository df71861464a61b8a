"""Load a model from a directory or from MLflow."""

from pathlib import Path

from models import Classifier
from pipeline.config import Tracking


def load_model(location: str, tracking: Tracking) -> Classifier:
    """Load a model from a directory, or from MLflow by ``models:/NAME@ALIAS``, ``models:/NAME/VERSION`` or ``runs:/ID/model``.

    Parameters
    ----------
    location : str
        The directory or the MLflow URI.
    tracking : Tracking
        The MLflow store to use.

    Raises
    ------
    InputError
        When there is no such model, or it is damaged.
    """
    if location.startswith(("models:/", "runs:/")):
        from pipeline.tracking import fetch_model

        return Classifier.load(fetch_model(location, tracking))
    return Classifier.load(Path(location))
