"""Model directories as MLflow models: logged, registered, found again."""

from collections.abc import Sequence
from contextlib import redirect_stderr
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema
from mlflow.types.schema import AnyType, Array

from models import serving
from models.config import ROOT
from models.errors import InputError
from pipeline.config import Tracking
from pipeline.package_copy import copy_code
from pipeline.tracking.registry import CHAMPION
from pipeline.tracking.store import connect, reason_of

SERVED_WITH = (
    *("mlflow", "numpy", "pandas", "scipy", "scikit-learn", "safetensors", "pydantic"),
    *("spacy", "ftfy", "emoji", "confusable-homoglyphs"),
)
_EXAMPLE = "It happened to me too, years ago. I believe you."  # ours: no one's post


def find_model(digest: str) -> str | None:
    """Id of the newest logged model with this digest, in any experiment."""
    experiments = [str(experiment.experiment_id) for experiment in mlflow.search_experiments()]
    found = mlflow.search_logged_models(experiments, f"tags.model_digest = '{digest}'", max_results=1, output_format="list")
    return str(found[0].model_id) if found else None


def _signature(labels: Sequence[str]) -> ModelSignature:
    outputs = [*(ColSpec("float", f"prob_{label}") for label in labels), ColSpec(Array(DataType.string), "labels")]
    # Not "string": MLflow's server makes the text "None" of a null then, and scores it.
    inputs = Schema([ColSpec(AnyType(), "text")])  # type: ignore[no-untyped-call]
    return ModelSignature(inputs, Schema([*outputs, ColSpec("string", "error", required=False)]))


def log_model(folder: Path, labels: Sequence[str], digest: str, register: str | None) -> tuple[str, str | None]:
    """Log a model directory as a pyfunc from code, without pickle.

    Parameters
    ----------
    folder : Path
        The model directory, which becomes the artifact as it is.
    labels : sequence of str
        For the signature.
    digest : str
        Of the model.
    register : str or None
        Name to register it under; the first version, and no later one, gets the alias ``champion``.

    Returns
    -------
    model_id : str
        Of the logged model.
    version : str or None
        Of the registered model.
    """
    import pandas as pd

    # MLflow prints what it registers.
    with TemporaryDirectory() as code, redirect_stderr(StringIO()):
        logged = mlflow.pyfunc.log_model(
            name="model",
            loader_module=serving.__name__,
            data_path=str(folder),
            code_paths=[str(copy_code(ROOT / "models", Path(code)))],
            signature=_signature(labels),
            input_example=pd.DataFrame({"text": [_EXAMPLE]}),
            pip_requirements=[f"{name}=={version(name)}" for name in SERVED_WITH],
            registered_model_name=register,
            tags={"model_digest": digest},
        )
    if register is None:
        return str(logged.model_id), None
    registered = str(logged.registered_model_version)
    if registered == "1":
        mlflow.MlflowClient().set_registered_model_alias(register, CHAMPION, registered)
    return str(logged.model_id), registered


def fetch_model(uri: str, tracking: Tracking) -> Path:
    """Find the model directory behind ``models:/…`` or ``runs:/…``; its code is not loaded.

    Raises
    ------
    InputError
        When there is no such model, or it is not one of ours.
    """
    store = connect(tracking)
    try:
        location = Path(mlflow.artifacts.download_artifacts(uri))
    except Exception as error:  # stores raise what their drivers raise
        raise InputError(f"{uri}: not found in MLflow store {store} ({reason_of(error)}); check name and alias") from None
    found = sorted(location.glob("data/*/model.json"))
    if not found:
        raise InputError(f"{uri}: holds no model directory of this pipeline; log one with train.py")
    return found[0].parent
