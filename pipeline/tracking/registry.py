"""Versions of a registered model, and which of them is the champion."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import mlflow
from mlflow.entities import LoggedModelStatus

from models.errors import InputError
from pipeline.config import mask_password

if TYPE_CHECKING:
    pass
from pipeline.tracking.store import reason_of

CHAMPION = "champion"


@contextmanager
def _registry() -> Iterator[None]:
    """Make an `InputError` of what a registry's driver raises."""
    try:
        yield
    except Exception as error:  # stores raise what their drivers raise
        raise InputError(f"MLflow's model registry cannot be used ({reason_of(error)}); set tracking.uri or MLFLOW_REGISTRY_URI") from None


def find_version(name: str, digest: str) -> str:
    """Newest version of a registered model that is the model with this digest.

    Raises
    ------
    InputError
        When there is none.
    """
    with _registry():
        versions = [version for version in mlflow.MlflowClient().search_model_versions() if version.name == name]
    found = [int(version.version) for version in versions if version.tags.get("model_digest") == digest]
    if not found:
        numbers = ", ".join(str(number) for number in sorted(int(version.version) for version in versions))
        held = f"its versions are {numbers}" if numbers else "there is none of that name"
        raise InputError(f"{name}: the model {digest[:12]} is no version of it ({held}); train with --register {name}")
    return str(max(found))


def find_champion(name: str) -> str | None:
    """Version of a registered model that has the alias ``champion``."""
    with _registry():
        aliases = mlflow.MlflowClient().get_registered_model(name).aliases
    return str(aliases[CHAMPION]) if CHAMPION in aliases else None


def set_champion(name: str, version: str, run_id: str, before: str | None) -> None:
    """Give a version of a registered model the alias ``champion``, and tag the run that decided it.

    Parameters
    ----------
    name, version, run_id : str
    before : str or None
        Version that is champion, and that the new one was compared with.

    Raises
    ------
    InputError
        When another has become champion since, or the store fails.
    """
    if (now := find_champion(name)) != before:
        raise InputError(f"--promote {name}: version {now} became champion while this one was compared with {before}; evaluate again")
    with _registry():
        mlflow.MlflowClient().set_registered_model_alias(name, CHAMPION, version)
        mlflow.MlflowClient().set_tag(run_id, "promoted", f"{name} {version}")


def model_to_serve(name: str | None = None) -> str:
    """URI of the champion, or of the newest logged model where there is none.

    Parameters
    ----------
    name : str, optional
        Registered model whose champion it is; by default the one updated last of those that have one of ours.

    Raises
    ------
    InputError
        When there is no such model.
    """
    store = mask_password(mlflow.get_tracking_uri())
    client = mlflow.MlflowClient()
    for registered in client.search_registered_models(order_by=["last_updated_timestamp DESC"], max_results=1000):
        if CHAMPION in registered.aliases and name in {None, registered.name}:
            version = client.get_model_version_by_alias(registered.name, CHAMPION)
            if name or "model_digest" in version.tags:
                return f"models:/{registered.name}@{CHAMPION}"
    if name:
        raise InputError(f"--name {name}: MLflow store {store} has no champion of that name; check the name, or set the alias {CHAMPION!r}")
    experiments = [str(experiment.experiment_id) for experiment in client.search_experiments()]
    newest_first = [{"field_name": "creation_timestamp", "ascending": False}]
    for logged in client.search_logged_models(experiments, "tags.model_digest != ''", order_by=newest_first):
        if logged.status == LoggedModelStatus.READY:
            return f"models:/{logged.model_id}"
    raise InputError(f"MLflow store {store} holds no model of this pipeline; train one first: make train")
