"""Where a model is: in a directory or in MLflow."""

from pathlib import Path

from models import Classifier
from pipeline.config import Tracking


def load_model(location: str, tracking: Tracking) -> Classifier:
    """Load a model from a directory, or from MLflow by ``models:/NAME@ALIAS``, ``models:/NAME/VERSION`` or ``runs:/ID/model``.

    Parameters
    ----------
    location : str
    tracking : Tracking
        Names MLflow's store.

    Raises
    ------
    InputError
        When there is none, or it is damaged.
    """
    if location.startswith(("models:/", "runs:/")):
        from pipeline.tracking import fetch_model

        return Classifier.load(fetch_model(location, tracking))
    return Classifier.load(Path(location))
