"""Logs, registers and finds model directories as MLflow models."""

from collections.abc import Sequence
from contextlib import redirect_stderr
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
from mlflow.types.schema import AnyType, Array

from models import serving
from models.calibration import BALANCED
from models.config import ROOT
from models.errors import InputError
from models.storage import FINGERPRINTS, copy_model
from pipeline.config import Tracking
from pipeline.package_copy import copy_code
from pipeline.tracking.artifacts import ARTIFACT_DIGEST, record_digest
from pipeline.tracking.errors import reason_of
from pipeline.tracking.store import open_store

SERVED_WITH = (
    *("mlflow", "numpy", "pandas", "scipy", "scikit-learn", "safetensors", "pydantic"),
    *("spacy", "ftfy", "emoji", "confusable-homoglyphs"),
)
_EXAMPLE = "It happened to me too, years ago. I believe you."  # an invented post


def find_model(digest: str, *, verifiable: bool = False) -> str | None:
    """Return the id of the newest logged model with this digest, in any experiment, or None; `verifiable` is as in `find_version`."""
    experiments = [str(experiment.experiment_id) for experiment in mlflow.search_experiments()]
    found = mlflow.search_logged_models(experiments, f"tags.model_digest = '{digest}'", output_format="list")
    return next((str(model.model_id) for model in found if not verifiable or ARTIFACT_DIGEST in model.tags), None)


def find_fingerprints(digest: str, into: Path) -> Path | None:
    """Find the fingerprints logged by a run that trained the model with this digest, in any experiment.

    Parameters
    ----------
    digest : str
        Digest of the model.
    into : Path
        Folder to copy them to; it should be deleted afterwards.

    Returns
    -------
    Path or None
        The copy; None if no run has them.
    """
    experiments = [str(experiment.experiment_id) for experiment in mlflow.search_experiments()]
    logged = mlflow.search_logged_models(experiments, f"tags.model_digest = '{digest}'", output_format="list")
    for run_id in dict.fromkeys(model.source_run_id for model in logged if model.source_run_id):
        try:
            return Path(mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path=FINGERPRINTS, dst_path=str(into)))
        except Exception:  # noqa: S112  # stores raise whatever their drivers raise if a run has no such file
            continue
    return None


def _signature(labels: Sequence[str]) -> ModelSignature:
    outputs = [*(ColSpec("float", f"prob_{label}") for label in labels), ColSpec(Array(DataType.string), "labels")]
    # Not "string": MLflow's server would turn a null into the text "None" and score it.
    inputs = Schema([ColSpec(AnyType(), "text")])  # type: ignore[no-untyped-call]
    params = ParamSchema([ParamSpec("operating_point", DataType.string, BALANCED)])
    return ModelSignature(inputs, Schema([*outputs, ColSpec("string", "error", required=False)]), params)


def log_model(folder: Path, labels: Sequence[str], digest: str) -> str:
    """Log a model directory as a pyfunc that is loaded by code, without pickle, record its digest, and return its id.

    Parameters
    ----------
    folder : Path
        Model directory, whose model is logged unchanged.
    labels : sequence of str
        The model's labels, for the signature.
    digest : str
        Digest of the model.
    """
    import pandas as pd

    with TemporaryDirectory() as code, redirect_stderr(StringIO()):
        logged = mlflow.pyfunc.log_model(
            name="model",
            loader_module=serving.__name__,
            data_path=str(copy_model(folder, Path(code) / "model" / folder.resolve().name)),
            code_paths=[str(copy_code(ROOT / "models", Path(code)))],
            signature=_signature(labels),
            input_example=pd.DataFrame({"text": [_EXAMPLE]}),
            pip_requirements=[f"{name}=={version(name)}" for name in SERVED_WITH],
            tags={"model_digest": digest},
        )
    record_digest(logged.model_id)
    return str(logged.model_id)


def fetch_model(uri: str, tracking: Tracking) -> Path:
    """Find the model directory behind ``models:/…`` or ``runs:/…``, without loading its code.

    Parameters
    ----------
    uri : str
        Address of the model in the store.
    tracking : Tracking
        Names the store.

    Returns
    -------
    Path
        Local folder, downloaded if necessary.

    Raises
    ------
    InputError
        If there is no such model, or it was not logged by this pipeline.
    """
    store = open_store(tracking)
    try:
        location = Path(mlflow.artifacts.download_artifacts(uri))
    except Exception as error:  # stores raise whatever their drivers raise
        raise InputError(f"{uri}: was not found in MLflow store {store} ({reason_of(error)}); check the name and the alias") from None
    found = sorted(location.glob("data/*/model.json"))
    if not found:
        raise InputError(f"{uri}: is not a model from this pipeline; log one with train.py")
    return found[0].parent
