"""Connects to the store in which MLflow keeps runs and models."""

import logging
import os

import mlflow

from models.errors import InputError
from pipeline.config import Tracking, mask_password
from pipeline.tracking.creation import database, is_postgresql, make_store, sqlite_file
from pipeline.tracking.errors import how_to_mend, reason_of
from pipeline.tracking.experiments import choose_experiment

DEFAULT_URI = "sqlite:///mlflow.db"


def store_uri(tracking: Tracking) -> str:
    """Return the URI of the store: the config's, or else the environment's, or else that of a SQLite file in the current folder."""
    return tracking.uri or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI


def _be_quiet() -> None:
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)


def check_name(name: str, option: str) -> None:
    """Check the name of a registered model.

    Parameters
    ----------
    name : str
    option : str
        The option that gave it, for the message.

    Raises
    ------
    InputError
        If MLflow does not accept it.
    """
    if not name.strip() or set("/:") & set(name):
        raise InputError(f"{option} {name}: a model's name must not be empty or contain '/' or ':'; choose another")


def connect(tracking: Tracking, register: str | None = None) -> str:
    """Connect MLflow to the store and the experiment, and return the experiment's id.

    Parameters
    ----------
    tracking : Tracking
        Names the store and the experiment.
    register : str, optional
        Name that a model will be registered under.

    Raises
    ------
    InputError
        If the store, the experiment or the name cannot be used.
    """
    if register is not None:
        check_name(register, "--register")
    _be_quiet()
    uri = store_uri(tracking)
    shown = mask_password(uri)
    try:
        make_store(uri)
        mlflow.set_tracking_uri(uri)
        return choose_experiment(tracking)
    except InputError:
        raise
    except Exception as error:  # stores raise whatever their drivers raise
        raise _unusable(shown, error) from None


def _unusable(shown: str, error: Exception) -> InputError:
    return InputError(f"MLflow store {shown}: cannot be used ({reason_of(error)}); {how_to_mend(shown, str(error))}")


def open_store(tracking: Tracking) -> str:
    """Connect MLflow to a store to read from it, without creating anything, and return its URI without its password.

    Parameters
    ----------
    tracking : Tracking
        Names the store.

    Raises
    ------
    InputError
        If the store is a file that does not exist, or a database that does not answer.
    """
    _be_quiet()
    uri = store_uri(tracking)
    shown, path = mask_password(uri), sqlite_file(uri)
    if path and not path.exists():
        raise InputError(f"MLflow store {shown}: no such file; go to the folder in which you trained, or set MLFLOW_TRACKING_URI")
    if is_postgresql(uri):
        try:
            with database(uri):
                pass
        except Exception as error:  # databases raise whatever their drivers raise
            raise _unusable(shown, error) from None
    mlflow.set_tracking_uri(uri)
    return shown
