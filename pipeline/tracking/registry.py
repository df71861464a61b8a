"""Looks up the versions of a registered model and its champion."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from io import StringIO

import mlflow
from mlflow.entities import LoggedModelStatus

from models.errors import InputError
from pipeline.config import mask_password
from pipeline.tracking.artifacts import ARTIFACT_DIGEST, recorded_digest
from pipeline.tracking.errors import reason_of

CHAMPION = "champion"
_ABOUT = (
    "A classifier of posts about sexual harassment and assault. The version with the alias `champion` is the one that is served, "
    "and that newer versions must beat (`evaluate.py --promote`). Each version's description says what it is and how good it is."
)
_LONGEST = 5000  # characters of a description that every store takes


def _cut(text: str) -> str:
    """Cut a description after a whole line if it is too long."""
    if len(text) <= _LONGEST:
        return text
    end = "\n\n(The rest is in the model's `README.md`, among its artifacts.)"
    return text[: _LONGEST - len(end)].rpartition("\n")[0] + end


@contextmanager
def _registry() -> Iterator[None]:
    """Turn any exception from the registry's driver into an `InputError`."""
    try:
        yield
    except Exception as error:  # stores raise whatever their drivers raise
        raise InputError(f"MLflow's model registry cannot be used ({reason_of(error)}); set tracking.uri or MLFLOW_REGISTRY_URI") from None


def find_version(name: str, digest: str, *, verifiable: bool = False) -> str:
    """Return the newest version of a registered model that has this digest.

    Parameters
    ----------
    name : str
        Name of the registered model.
    digest : str
        Digest of the model.
    verifiable : bool
        Whether to pass over versions without a recorded digest of their code, which are not served (`pipeline.tracking.artifacts`).

    Raises
    ------
    InputError
        If no version has this digest, or the registry cannot be used.
    """
    quote = '"' if "'" in name else "'"
    with _registry():
        versions = mlflow.MlflowClient().search_model_versions(f"name = {quote}{name}{quote}")
    same = [version for version in versions if version.tags.get("model_digest") == digest]
    found = [int(version.version) for version in same if ARTIFACT_DIGEST in version.tags or not verifiable]
    if not found:
        numbers = ", ".join(str(number) for number in sorted(int(version.version) for version in versions))
        held = f"its versions are {numbers}" if numbers else "no model has that name"
        raise InputError(
            f"{name}: the model {digest[:12]} is not one of its versions ({held}); register it: disclosure register DIR --name {name}"
        )
    return str(max(found))


def register_version(name: str, model_id: str, digest: str, about: str, metrics: Mapping[str, float]) -> str:
    """Add a logged model to a registered model, and return the new version; only the first version gets the alias ``champion``.

    Parameters
    ----------
    name : str
        Name of the registered model, which is created if necessary.
    model_id : str
        Id of the logged model.
    digest : str
        Digest of the model.
    about : str
        The version's description, in Markdown.
    metrics : mapping of str to float
        A few metrics to show as tags.

    Raises
    ------
    InputError
        If the registry cannot be used.
    """
    client = mlflow.MlflowClient()
    recorded = recorded_digest(f"models:/{model_id}")
    code = {} if recorded is None else {ARTIFACT_DIGEST: recorded}
    tags = {"model_digest": digest, **code, **{key: f"{value:.4f}" for key, value in metrics.items()}}
    with _registry():
        with redirect_stderr(StringIO()):  # MLflow prints what it does
            registered = str(mlflow.register_model(f"models:/{model_id}", name, tags=tags).version)
        client.update_model_version(name, registered, _cut(about))
        if registered == "1":
            client.set_registered_model_alias(name, CHAMPION, registered)
            client.update_registered_model(name, _ABOUT)
    return registered


def find_champion(name: str) -> str | None:
    """Return the version of a registered model with the alias ``champion``, or None."""
    with _registry():
        aliases = mlflow.MlflowClient().get_registered_model(name).aliases
    return str(aliases[CHAMPION]) if CHAMPION in aliases else None


def check_champion(name: str, before: str | None) -> None:
    """Raise an error if the champion is no longer the version that a model was compared with.

    Parameters
    ----------
    name : str
        Name of the registered model.
    before : str or None
        Version that was the champion; None if there was none.

    Raises
    ------
    InputError
        If another version is champion now, or the store fails.
    """
    if (now := find_champion(name)) != before:
        current, compared = (f"version {version}" if version else "none" for version in (now, before))
        raise InputError(f"--promote {name}: the champion is now {current}, but this model was compared with {compared}; evaluate again")


def set_champion(name: str, version: str, run_id: str, before: str | None) -> None:
    """Give a version of a registered model the alias ``champion``, and tag the run that decided it.

    Parameters
    ----------
    name : str
        Name of the registered model.
    version : str
        Version to make champion.
    run_id : str
        Run to tag.
    before : str or None
        Champion that the version was compared with; None if there was none.

    Raises
    ------
    InputError
        If another version has become champion in the meantime, or the store fails.
    """
    check_champion(name, before)
    client = mlflow.MlflowClient()
    with _registry():
        client.set_tag(run_id, "promoted", f"{name} {version}")
        try:
            client.set_registered_model_alias(name, CHAMPION, version)
        except Exception:
            client.delete_tag(run_id, "promoted")
            raise


def model_to_serve(name: str | None = None) -> str:
    """Return the URI of the champion or, if there is none, of the newest logged model.

    Parameters
    ----------
    name : str, optional
        Name of the registered model whose champion is to be served; it must have one. By default, the one that was updated last among those
        whose champion comes from this pipeline.

    Raises
    ------
    InputError
        If there is no such model.
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
    raise InputError(f"MLflow store {store} has no model from this pipeline; train one first: make train")
