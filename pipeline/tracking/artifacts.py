"""Checks a logged model against the digest that was recorded when it was logged, before code in it is run.

A model in MLflow holds code, which serving runs. Artifacts are often in a shared folder or a bucket, where more people may write than in
the store's database. The digest is therefore kept in the database, and only people who may write there are trusted.
"""

import hashlib
import shutil
import tempfile
from pathlib import Path

import mlflow

from models.errors import InputError
from pipeline.tracking.errors import reason_of

ARTIFACT_DIGEST = "artifact_sha256"  # tag of a logged model, and of a registered version


def _clean(folder: Path) -> None:
    """Remove what MLflow and Python write into a logged model when it is used, so that none of it is run."""
    for cache in [*folder.rglob("__pycache__")]:
        if cache.is_dir() and not cache.is_symlink():
            shutil.rmtree(cache)
    (folder / "registered_model_meta").unlink(missing_ok=True)


def artifact_digest(folder: Path) -> str:
    """Return the SHA-256 of the names and contents of all files below a folder.

    Parameters
    ----------
    folder : Path
        A copy of a logged model.

    Raises
    ------
    InputError
        When it holds a link or a special file, whose content can change.
    """
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            raise InputError(f"{path.relative_to(folder)}: is a link or a special file, which no logged model holds")
        if path.is_file():
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            whole.update(f"{content} {path.relative_to(folder).as_posix()}\0".encode(errors="surrogateescape"))
    return whole.hexdigest()


def record_digest(model_id: str) -> None:
    """Record the digest of a model that was just logged, as a tag of it."""
    with tempfile.TemporaryDirectory() as scratch:
        digest = artifact_digest(_copied(f"models:/{model_id}", Path(scratch)))
    mlflow.MlflowClient().set_logged_model_tags(model_id, {ARTIFACT_DIGEST: digest})


def _tags(uri: str) -> dict[str, str]:
    client, (name, at, alias) = mlflow.MlflowClient(), uri.removeprefix("models:/").rpartition("@")
    return dict(client.get_model_version_by_alias(name, alias).tags if at else client.get_logged_model(alias).tags)


def recorded_digest(uri: str) -> str | None:
    """Return the digest that was recorded for ``models:/ID`` or ``models:/NAME@ALIAS``; None if nobody recorded one."""
    return _tags(uri).get(ARTIFACT_DIGEST)


def digests_of(uri: str) -> dict[str, str]:
    """Return the digest of the model itself and that of the logged files with its code, "" where none is recorded.

    Parameters
    ----------
    uri : str
        Address of the model in the store, as `recorded_digest` takes it.
    """
    tags = _tags(uri)
    return {"digest": tags.get("model_digest", ""), "artifact": tags.get(ARTIFACT_DIGEST, "")}


def _copied(uri: str, into: Path) -> Path:
    inner = into / "model"  # the copy has the modes of the original, while `into` is closed to others
    inner.mkdir()
    found = Path(mlflow.artifacts.download_artifacts(uri, dst_path=str(inner)))
    _clean(found)
    return found


def verified_copy(uri: str) -> Path:
    """Copy a logged model to a new folder that only its owner can write, check the copy, and return it.

    The copy is what should be run, because the original may change after the check. The copy stays when the server ends, like those that
    MLflow itself makes of models on servers.

    Parameters
    ----------
    uri : str
        Address of the model in the store, as `recorded_digest` takes it.

    Raises
    ------
    InputError
        When there is no recorded digest, the model cannot be read, or it was changed.
    """
    remedy = "register it again from its directory: disclosure register DIR --name NAME"
    if (recorded := recorded_digest(uri)) is None:
        raise InputError(f"{uri}: no digest of its code was recorded, because an earlier release or another program logged it; {remedy}")
    scratch = Path(tempfile.mkdtemp(prefix="disclosure-serve-"))
    try:
        copy = _copied(uri, scratch)
        changed = artifact_digest(copy) != recorded
    except Exception as error:  # stores raise whatever their drivers raise
        shutil.rmtree(scratch, ignore_errors=True)
        raise InputError(f"{uri}: cannot be read ({reason_of(error)}); {remedy}") from None
    if changed:
        shutil.rmtree(scratch, ignore_errors=True)
        raise InputError(f"{uri}: was changed after it was logged (its digest differs), so its code is not run; {remedy}")
    return copy
