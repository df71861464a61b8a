"""Find a model in a directory or in MLflow, or the released one."""

import difflib
import json
from pathlib import Path

from models import Classifier, storage
from models.errors import InputError
from models.folders import check_local
from pipeline.config import Tracking

THE_RELEASED = "the released model"


def is_released(location: str) -> bool:
    """Whether this is the name ``released``, and no model directory in the current folder has that name."""
    return location == "released" and not (Path(location) / storage.DESCRIPTION).is_file()


def released_folder() -> Path:
    """Return the directory of the released model, as seen from the current folder.

    Raises
    ------
    InputError
        When it is missing.
    """
    folder, here = storage.RELEASED, Path.cwd()
    folder = folder.relative_to(here) if folder.is_relative_to(here) else folder
    if not (folder / storage.DESCRIPTION).is_file():
        raise InputError(f"{folder}: the released model is missing; restore it from the repository, or choose another with --model DIR")
    return folder


def shown_model(digest: str) -> str:
    """Return a name for a model when only its digest is known, such as ``the model 0123456789ab``.

    Parameters
    ----------
    digest : str
        The model's digest.
    """
    path = storage.RELEASED / storage.DESCRIPTION
    released = path.is_file() and json.loads(path.read_bytes())["digest"] == digest
    return f"{THE_RELEASED} ({digest[:12]})" if released else f"the model {digest[:12]}"


def model_folder(location: str, tracking: Tracking) -> Path:
    """Return the directory of a model.

    Parameters
    ----------
    location : str
        A directory, ``released``, ``models:/NAME@ALIAS``, ``models:/NAME/VERSION`` or ``runs:/ID/model``. A model directory called
        ``released`` in the current folder takes precedence over the released model.
    tracking : Tracking
        The MLflow store to use.

    Raises
    ------
    InputError
        When MLflow has no such model, or the name ``released`` is misspelt.
    """
    if location.startswith(("models:/", "runs:/")):
        from pipeline.tracking import fetch_model

        return fetch_model(location, tracking)
    check_local(location)
    if difflib.get_close_matches(location, ["released"], cutoff=0.8) and not is_released(location) and not Path(location).exists():
        raise InputError(f"{location}: no such model directory; did you mean 'released'?")
    return released_folder() if is_released(location) else Path(location)


def load_model(location: str, tracking: Tracking) -> Classifier:
    """Load a model from a directory or from MLflow, or the released one.

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
