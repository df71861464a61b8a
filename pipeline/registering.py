"""Registers a model directory in MLflow's model registry."""

from dataclasses import dataclass
from pathlib import Path

from models.errors import InputError
from models.folders import owner_only
from models.storage import read_description, read_model
from pipeline.config import Tracking
from pipeline.report.card import CARD
from pipeline.report.note import version_note

_TAGS = ("macro_f1", "mean_average_precision")


@dataclass(frozen=True)
class Registered:
    """A version of a registered model, whether it is new, and whether it is the champion."""

    version: str
    new: bool
    champion: bool


def register_logged(folder: Path, model_id: str, name: str) -> str:
    """Register a model that is logged already, with a description, its metrics and its card, and return the version.

    Parameters
    ----------
    folder : Path
        The model's directory.
    model_id : str
        Id of the logged model.
    name : str
        Name of the registered model.

    Raises
    ------
    InputError
        If the directory or the registry cannot be used.
    """
    from pipeline import tracking

    digest, description = read_description(folder)
    card = (folder / CARD).read_text(encoding="utf-8") if (folder / CARD).is_file() else None
    measured = description.get("metrics", {})
    shown = {key: measured[key] for key in _TAGS if measured.get(key) is not None}
    return tracking.register_version(name, model_id, digest, version_note(digest, description, card), shown)


@owner_only()
def register(folder: Path, name: str, tracked: Tracking) -> Registered:
    """Register a model directory. It is logged first if the store does not hold it, or holds only what an earlier release logged.

    Parameters
    ----------
    folder : Path
        A model directory, such as train.py writes.
    name : str
        Name of the registered model, which is created if necessary.
    tracked : Tracking
        Names the MLflow store.

    Raises
    ------
    InputError
        If the directory, the name or the store cannot be used.
    """
    digest, description, _, _ = read_model(folder)  # verifies all files
    from pipeline import tracking

    tracking.check_name(name, "--name")
    tracking.connect(tracked)
    try:
        already = tracking.find_version(name, digest, verifiable=True)
    except InputError:
        already = None
    if already is not None:
        return Registered(already, new=False, champion=tracking.find_champion(name) == already)
    model_id = tracking.find_model(digest, verifiable=True)
    if model_id is None:
        labels = [label["name"] for label in description["config"]["labels"]["labels"]]
        with tracking.run(f"register {folder.name}", folder) as _, tracking.storing(folder):
            tracking.describe(version_note(digest, description, None), digest)
            model_id = tracking.log_model(folder, labels, digest)
    version = register_logged(folder, model_id, name)
    return Registered(version, new=True, champion=tracking.find_champion(name) == version)
