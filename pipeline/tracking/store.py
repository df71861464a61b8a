"""Connects to the store in which MLflow keeps runs and models."""

import logging
import os

import mlflow

from models.errors import InputError
from pipeline.config import Tracking, mask_password

DEFAULT_URI = "sqlite:///mlflow.db"


def reason_of(error: Exception) -> str:
    """Return the first line of an error message from a store's driver, without passwords."""
    return mask_password(next(iter(str(error).strip().splitlines()), type(error).__name__))


def store_uri(tracking: Tracking) -> str:
    """Return the store's URI: that of the config, else of the environment, else of a SQLite file in the current folder."""
    return tracking.uri or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI


def connect(tracking: Tracking, register: str | None = None) -> str:
    """Connect MLflow to the store and the experiment, and return the store's URI without its password.

    Parameters
    ----------
    tracking : Tracking
        Names the store and the experiment.
    register : str, optional
        Name that a model will be registered under.

    Raises
    ------
    InputError
        If the store or the name cannot be used.
    """
    if register is not None and (not register.strip() or set("/:") & set(register)):
        raise InputError(f"--register {register}: a model's name must not be empty or contain '/' or ':'; choose another")
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    uri = store_uri(tracking)
    shown = mask_password(uri)
    try:
        mlflow.set_tracking_uri(uri)
        mlflow.set_experiment(tracking.experiment)
    except Exception as error:  # stores raise whatever their drivers raise
        raise InputError(f"MLflow store {shown}: cannot be used ({reason_of(error)}); set tracking.uri or MLFLOW_TRACKING_URI") from None
    return shown
