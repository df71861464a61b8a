"""Find a model in a directory or in MLflow."""

from pathlib import Path

from models import Classifier
from pipeline.config import Tracking


def model_folder(location: str, tracking: Tracking) -> Path:
    """Return the directory of a model that is a directory, or ``models:/NAME@ALIAS``, ``models:/NAME/VERSION`` or ``runs:/ID/model``.

    Parameters
    ----------
    location : str
        The directory or the MLflow URI.
    tracking : Tracking
        The MLflow store to use.

    Raises
    ------
    InputError
        When MLflow has no such model.
    """
    if location.startswith(("models:/", "runs:/")):
        from pipeline.tracking import fetch_model

        return fetch_model(location, tracking)
    return Path(location)


def load_model(location: str, tracking: Tracking) -> Classifier:
    """Load a model from a directory or from MLflow.

    Parameters
    ----------
    location : str
        As for `model_folder`.
    tracking : Tracking
        The MLflow store to use.

    Raises
    ------
    InputError
        When there is no such model, or it is damaged.
    """
    return Classifier.load(model_folder(location, tracking))
