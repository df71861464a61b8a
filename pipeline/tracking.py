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
from contextlib import contextmanager, redirect_stderr, suppress
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
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
from mlflow.entities import LoggedModelStatus, Metric, Param
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema
from mlflow.types.schema import AnyType, Array

from pipeline import terminal
from pipeline.config import ROOT, Config, Tracking, flatten, load_config, mask_password
from pipeline.corpora import SPLITS, Corpus
from pipeline.errors import InputError
from pipeline.metrics import flatten_metrics
from pipeline.package_copy import copy_code
from pipeline.sweep import Trial, ranked

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DEFAULT_URI = "sqlite:///mlflow.db"
CHAMPION = "champion"
_SERVED_WITH = (
    *("mlflow", "numpy", "pandas", "scipy", "scikit-learn", "safetensors", "pydantic", "PyYAML"),
    *("spacy", "ftfy", "emoji", "confusable-homoglyphs"),
)
_WHO = ("mlflow.user", "mlflow.source.name", "mlflow.source.type")
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


class SweepRun:
    """The run of a sweep and, as runs within it, its trials; an earlier run of the same sweep is gone on with.

    Parameters
    ----------
    name : str
        Shown in the UI.
    digest : str
        Of the sweep.
    kept : Path
        Where the trials are kept when the store fails.
    """

    def __init__(self, name: str, digest: str, kept: Path) -> None:
        self._name, self._digest, self._kept = name, digest, kept
        self._client = mlflow.MlflowClient()

    @contextmanager
    def _storing(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # stores raise what their drivers raise
            reason, remedy = f"{type(error).__name__}: {_reason(error)}", "mend the store and run the same command again"
            raise InputError(f"the trials so far are in {self._kept}, but tracking them in MLflow failed ({reason}); {remedy}") from error

    def __enter__(self) -> "SweepRun":
        with self._storing():
            found = mlflow.search_runs(filter_string=f"tags.sweep_digest = '{self._digest}'", max_results=1, output_format="list")
            if found:
                self._run = mlflow.start_run(run_id=found[0].info.run_id, nested=True)
            else:
                self._run = mlflow.start_run(run_name=self._name, tags={"sweep_digest": self._digest}, nested=True)
            self.run_id = str(self._run.info.run_id)
            experiment, within = str(self._run.info.experiment_id), f"tags.`mlflow.parentRunId` = '{self.run_id}'"
            self._logged = set()
            for child in mlflow.search_runs([experiment], within, max_results=50_000, output_format="list"):
                if child.info.status == "RUNNING":  # stopped while it was logged: it is logged again
                    self._client.delete_run(child.info.run_id)
                else:
                    self._logged.add(child.data.tags["trial"])
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            with self._storing():
                mlflow.end_run()
            return
        with suppress(Exception):  # what went wrong first is said
            mlflow.end_run("FAILED" if issubclass(kind, Exception) else "KILLED")

    def log_setting(self, config: Config, corpus: Corpus) -> None:
        """Log the config that values are laid over, and the corpus, unless an earlier run did."""
        if "evaluated" in self._run.data.tags:
            return
        with self._storing():
            log_corpus(corpus, config.data.sources, "training")
            log_config(config)
            mlflow.set_tag("evaluated", "held-out folds of train")  # last: what was stopped before is logged again

    def log_trial(self, trial: Trial) -> None:
        """Log a trial, with its own times, as a run within this one, unless an earlier run did."""
        if str(trial.number) in self._logged:
            return
        inherited = {key: value for key, value in self._run.data.tags.items() if key in _WHO}
        tags = {**inherited, "mlflow.parentRunId": self.run_id, "trial": str(trial.number)} | (
            {"failed": trial.reason} if trial.reason else {}
        )
        started, ended = (int(time.timestamp() * 1000) for time in (trial.started, trial.ended))
        with self._storing():
            child = self._client.create_run(self._run.info.experiment_id, started, tags, f"trial {trial.number}").info.run_id
            metrics = [Metric(key, value, ended, 0) for key, value in trial.metrics.items()]
            self._client.log_batch(child, metrics, [Param(key, str(value)) for key, value in trial.values.items()])
            self._client.set_terminated(child, "FAILED" if trial.reason else "FINISHED", ended)

    def log_results(self, trials: Sequence[Trial], metric: str, files: Sequence[Path]) -> None:
        """Log which trial was the best, and files."""
        best = ranked(trials)[0]
        with self._storing():
            mlflow.set_tags({"best_trial": best.number, "metric": metric})
            mlflow.log_metrics({f"best.{key}": value for key, value in best.metrics.items()} | {"trials": float(len(trials))})
            for path in files:
                mlflow.log_artifact(str(path))


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

    # MLflow prints what it registers.
    with TemporaryDirectory() as code, redirect_stderr(StringIO()):
        logged = mlflow.pyfunc.log_model(
            name="model",
            loader_module="models.serving",
            data_path=str(folder),
            code_paths=[str(copy_code(ROOT / package, Path(code))) for package in ("pipeline", "models")],
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


@contextmanager
def _registry() -> Iterator[None]:
    """Make an `InputError` of what a registry's driver raises."""
    try:
        yield
    except Exception as error:  # stores raise what their drivers raise
        raise InputError(f"MLflow's model registry cannot be used ({_reason(error)}); set tracking.uri or MLFLOW_REGISTRY_URI") from None


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
