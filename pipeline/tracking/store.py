"""Where MLflow keeps runs and models, and how to reach it."""

import logging
import os
from typing import TYPE_CHECKING

import mlflow

from models.errors import InputError
from pipeline import terminal
from pipeline.config import Tracking, mask_password

if TYPE_CHECKING:
    pass


DEFAULT_URI = "sqlite:///mlflow.db"


def reason_of(error: Exception) -> str:
    """First line of what a store's driver says."""
    return mask_password(next(iter(str(error).strip().splitlines()), type(error).__name__))


def store_uri(tracking: Tracking) -> str:
    """Where runs go: the config's URI, else the environment's, else a SQLite file here."""
    return tracking.uri or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI


def where_to_look(tracking: Tracking) -> str:
    """How to open the UI on the store: a command, or the address of a server."""
    uri = mask_password(store_uri(tracking))
    return f"open {uri}" if uri.startswith("http") else f"{terminal.runnable('mlflow')} ui --backend-store-uri {uri}"


def connect(tracking: Tracking, register: str | None = None) -> str:
    """Point MLflow at the store and the experiment, and return the store's URI as it may be shown.

    Parameters
    ----------
    tracking : Tracking
    register : str, optional
        Name that a model will be registered under.

    Raises
    ------
    InputError
        When the store or the name cannot be used.
    """
    if register is not None and (not register.strip() or set("/:") & set(register)):
        raise InputError(f"--register {register}: a model's name is not empty and has no '/' or ':'; choose another")
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    uri = store_uri(tracking)
    shown = mask_password(uri)
    try:
        mlflow.set_tracking_uri(uri)
        mlflow.set_experiment(tracking.experiment)
    except Exception as error:  # stores raise what their drivers raise
        raise InputError(f"MLflow store {shown}: cannot be used ({reason_of(error)}); set tracking.uri or MLFLOW_TRACKING_URI") from None
    return shown
