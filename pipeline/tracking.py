"""MLflow: runs, metrics, data sets, models. Nothing else imports it, and no post's text goes there."""

import json
import logging
import os
import platform
import re
import socket
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml

# MLflow reads these when it is imported or used; whoever sets them otherwise is heeded. Quiet, and a store that is not
# there is given up within seconds, not minutes.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")

import mlflow
from mlflow.data.dataset_source import DatasetSource
from mlflow.data.huggingface_dataset_source import HuggingFaceDatasetSource
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import LoggedModelStatus
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema
from mlflow.types.schema import AnyType, Array

from pipeline import terminal
from pipeline.config import ROOT, Config, Tracking, flatten, load_config, mask_password
from pipeline.corpora import SPLITS, Corpus
from pipeline.errors import InputError
from pipeline.metrics import flatten_metrics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DEFAULT_URI = "sqlite:///mlflow.db"
CHAMPION = "champion"
_SERVED_WITH = (
    *("mlflow", "numpy", "pandas", "scipy", "scikit-learn", "safetensors", "pydantic", "PyYAML"),
    *("spacy", "ftfy", "emoji", "confusable-homoglyphs"),
)
_EXAMPLE = "It happened to me too, years ago. I believe you."  # ours: no one's post


def _reason(error: Exception) -> str:
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
        raise InputError(f"MLflow store {shown}: cannot be used ({_reason(error)}); set tracking.uri or MLFLOW_TRACKING_URI") from None
    return shown


@contextmanager
def run(name: str, digest: str, kept: Path) -> Iterator[str]:
    """Open a run tagged with the model's digest, and give its id.

    Parameters
    ----------
    name : str
        Shown in the UI.
    digest : str
        Of the model.
    kept : Path
        What was written already, and stays when the store fails.

    Raises
    ------
    InputError
        When the store fails.
    """
    try:
        # Nested: a notebook may have a run open.
        with mlflow.start_run(run_name=name, tags={"model_digest": digest}, nested=True) as active:
            yield str(active.info.run_id)
    except Exception as error:  # stores raise what their drivers raise
        reason = f"{type(error).__name__}: {_reason(error)}"
        raise InputError(f"{kept} is written and can be used, but tracking it in MLflow failed ({reason}); mend the store") from error


def log_config(config: Config) -> None:
    """Log a resolved config, as parameters and as a file, and the environment."""
    tree = config.shown()
    mlflow.log_params(dict(flatten(tree)))
    mlflow.log_text(yaml.safe_dump(tree, sort_keys=False), "config.yaml")
    packages = {name: version(name) for name in sorted({*_SERVED_WITH, "datasets", "matplotlib", "pyarrow"}, key=str.lower)}
    mlflow.log_dict({"python": platform.python_version(), "platform": platform.platform(), "packages": packages}, "environment.json")


class _Dataset(MetaDataset):
    """A corpus as MLflow knows it: source, digest and counts."""

    def __init__(self, corpus: Corpus, sources: Sequence[str]) -> None:
        names = [*corpus.labels, *corpus.auxiliary]
        self._counts = {
            split: {"posts": rows.num_rows, **dict(zip(names, corpus.targets(split, names).sum(axis=0).tolist(), strict=True))}
            for split, rows in corpus.splits.items()
        }
        self._sources = list(sources)
        super().__init__(_dataset_source(sources[0]), name=" + ".join(sources)[:500], digest=corpus.sha256[:36])

    @property
    def profile(self) -> dict[str, Any]:
        return {"sources": self._sources, **self._counts}

    def to_dict(self) -> dict[str, str]:
        return {**super().to_dict(), "profile": json.dumps(self.profile)}


def _dataset_source(source: str) -> DatasetSource:
    location = re.sub(rf"^({'|'.join(SPLITS)})=", "", source)
    if location.startswith("hub:"):
        return HuggingFaceDatasetSource(location.removeprefix("hub:"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow has two equal resolvers of local paths, and says so
        return mlflow.data.dataset_source_registry.resolve_dataset_source(str(Path(location).absolute()))


def log_corpus(corpus: Corpus, sources: Sequence[str], context: str) -> None:
    """Log where a corpus came from, its counts and its SHA-256 (in full as a tag, shortened as the data set's digest)."""
    mlflow.log_input(_Dataset(corpus, sources), context=context)
    mlflow.set_tag("data_sha256", corpus.sha256)


def find_model(digest: str) -> str | None:
    """Id of the newest logged model with this digest, in any experiment."""
    experiments = [str(experiment.experiment_id) for experiment in mlflow.search_experiments()]
    found = mlflow.search_logged_models(experiments, f"tags.model_digest = '{digest}'", max_results=1, output_format="list")
    return str(found[0].model_id) if found else None


def log_metrics(metrics: Mapping[str, Any], figures: Mapping[str, "Figure"], evaluated: str, model_id: str | None) -> None:
    """Log metrics, for the run and the logged model, figures, and which posts they are of."""
    mlflow.set_tag("evaluated", evaluated)
    mlflow.log_metrics(flatten_metrics(metrics), model_id=model_id)
    for name, figure in figures.items():
        mlflow.log_figure(figure, name)


def log_folder(folder: Path, name: str) -> None:
    """Log the files of a folder."""
    mlflow.log_artifacts(str(folder), name)


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

    with redirect_stderr(StringIO()):  # MLflow prints what it registers
        logged = mlflow.pyfunc.log_model(
            name="model",
            loader_module="models.serving",
            data_path=str(folder),
            code_paths=[str(ROOT / "pipeline"), str(ROOT / "models")],
            signature=_signature(labels),
            input_example=pd.DataFrame({"text": [_EXAMPLE]}),
            pip_requirements=[f"{name}=={version(name)}" for name in _SERVED_WITH],
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
        raise InputError(f"{uri}: not found in MLflow store {store} ({_reason(error)}); check name and alias") from None
    found = sorted(location.glob("data/*/model.json"))
    if not found:
        raise InputError(f"{uri}: holds no model directory of this pipeline; log one with train.py")
    return found[0].parent


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


def _check_free(host: str, port: int) -> None:
    try:
        socket.create_server((host, port)).close()
    except OSError:
        message = f"{host}:{port}: in use, or no address of this machine; choose another, such as: make serve PORT=5002"
        raise InputError(message) from None


def serve(
    name: Annotated[str | None, typer.Option(help="Registered model whose champion to serve.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 5001,
    workers: Annotated[int, typer.Option(help="Processes, each with the model.", min=1)] = 1,
) -> None:
    """Serve the champion, or the newest model where there is none, over HTTP with MLflow's own server."""
    tracking = load_config().tracking
    _check_free(host, port)
    connect(tracking)
    uri = model_to_serve(name)
    print(f"serving {uri} at http://{host}:{port}/invocations", flush=True)
    # MLflow starts uvicorn by name, and would take an old mlruns/ for the store.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    environment = {**os.environ, "PATH": path, "MLFLOW_TRACKING_URI": store_uri(tracking)}
    options = ["--model-uri", uri, "--env-manager", "local", "--host", host, "--port", str(port), "--workers", str(workers)]
    os.execve(sys.executable, [sys.executable, "-m", "mlflow", "models", "serve", *options], environment)  # noqa: S606  # no shell


if __name__ == "__main__":
    terminal.run(serve)
