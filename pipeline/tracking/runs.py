"""Logs a run: its config, corpus, metrics and files."""

import json
import os
import platform
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import yaml
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.dataset import Dataset
from mlflow.data.dataset_source import DatasetSource
from mlflow.data.huggingface_dataset_source import HuggingFaceDatasetSource
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import LoggedModelInput

from models.errors import InputError
from pipeline.config import Config
from pipeline.config_files import flatten, merge
from pipeline.corpora import IN_MEMORY, Corpus, location_of
from pipeline.metrics import flatten_metrics
from pipeline.tracking.errors import reason_of
from pipeline.tracking.served import SERVED_WITH

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@contextmanager
def storing(kept: Path) -> Iterator[None]:
    """Turn any exception from the store's driver into an `InputError` that names what is kept.

    Parameters
    ----------
    kept : Path
        Output that is already written and stays if the store fails.
    """
    try:
        yield
    except Exception as error:  # stores raise whatever their drivers raise
        reason = f"{type(error).__name__}: {reason_of(error)}"
        raise InputError(f"{kept} is written and can be used, but tracking it in MLflow failed ({reason}); repair the store") from error


@contextmanager
def run(name: str, kept: Path) -> Iterator[str]:
    """Open a run for as long as the work takes, and yield its id.

    If the work fails, the run is marked as failed; if it cannot begin because of the user's input, no run remains.

    Parameters
    ----------
    name : str
        What the run is about. The time is added to it for the UI.
    kept : Path
        What the work writes, for the message if the store fails at the end.

    Raises
    ------
    InputError
        If the store fails.
    """
    continued = "MLFLOW_RUN_ID" in os.environ  # MLflow removes the variable when it opens the run
    try:
        # Nested, because a notebook may have a run open.
        active = mlflow.start_run(run_name=f"{name} · {datetime.now():%Y-%m-%d %H:%M}", nested=True)
    except Exception as error:  # stores raise whatever their drivers raise
        raise InputError(f"MLflow: no run can be started ({reason_of(error)}); repair the store") from None
    try:
        yield str(active.info.run_id)
    except BaseException as error:
        with suppress(Exception):  # so that the first error is the one that is reported
            mlflow.end_run("FAILED" if isinstance(error, Exception) else "KILLED")
            if isinstance(error, InputError) and error.__cause__ is None and not continued:  # an error with a cause comes from `storing`
                mlflow.delete_run(active.info.run_id)
        raise
    with storing(kept):
        mlflow.end_run()


def describe(note: str, digest: str) -> None:
    """Give the current run a description in Markdown, and the digest of the model that it is about.

    Parameters
    ----------
    note : str
        The description; MLflow keeps 8,000 characters of it.
    digest : str
        Digest of the model.
    """
    mlflow.set_tags({"mlflow.note.content": note, "model_digest": digest})


def log_config(config: Config) -> None:
    """Log the complete config, as parameters and as a file, and the environment."""
    tree = config.shown()
    # Names of sources are anybody's text, and MLflow allows only some characters in the name of a parameter.
    weights, mix = tree["data"]["weights"], tree["thresholds"]["mix"]
    by_source = {"data": {"weights": weights and json.dumps(weights)}, "thresholds": {"mix": mix and json.dumps(mix)}}
    mlflow.log_params(dict(flatten(merge(tree, by_source))))
    mlflow.log_text(yaml.safe_dump(tree, sort_keys=False), "config.yaml")
    packages = {name: version(name) for name in sorted({*SERVED_WITH, "datasets", "matplotlib", "pyarrow"}, key=str.lower)}
    mlflow.log_dict({"python": platform.python_version(), "platform": platform.platform(), "packages": packages}, "environment.json")


class _Dataset(MetaDataset):
    """A corpus in MLflow's form: source, digest and counts."""

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
    location = str(location_of(source))
    if location.startswith("hub:"):
        return HuggingFaceDatasetSource(location.removeprefix("hub:"))
    if source == IN_MEMORY:
        return CodeDatasetSource(tags={})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow warns that two resolvers accept local paths
        return mlflow.data.dataset_source_registry.resolve_dataset_source(str(Path(location).absolute()))


def log_corpus(corpus: Corpus, sources: Sequence[str], context: str) -> Dataset:
    """Log the sources, counts and SHA-256 of a corpus (in full as a tag, and shortened as the digest), and return it for `log_metrics`.

    Parameters
    ----------
    corpus : Corpus
    sources : sequence of str
        The config's ``data.sources``.
    context : str
        What the corpus is used for, such as ``training``.
    """
    dataset = _Dataset(corpus, sources)
    mlflow.log_input(dataset, context=context)
    mlflow.set_tag("data_sha256", corpus.sha256)
    return dataset


def metric_names(metrics: Mapping[str, float], evaluated: str) -> dict[str, float]:
    """Return metrics by the names under which MLflow's UI groups them.

    Parameters
    ----------
    metrics : mapping of str to float
        From `pipeline.metrics.flatten_metrics`.
    evaluated : str
        Which posts they were measured on: the group of metrics over all labels.

    Examples
    --------
    >>> metric_names({"macro_f1": 0.5, "labels.assault.f1": 0.4}, "test")
    {'test/macro_f1': 0.5, 'labels/assault/f1': 0.4}
    """
    group = "held_out" if evaluated.startswith("held-out") else re.sub(r"\W+", "_", evaluated)
    return {(name if "." in name else f"{group}.{name}").replace(".", "/"): value for name, value in metrics.items()}


def log_metrics(
    metrics: Mapping[str, Any], figures: Mapping[str, "Figure"], evaluated: str, dataset: Dataset, model_id: str | None
) -> None:
    """Log metrics and figures, and on which posts they were measured; metrics of baselines are logged as a file.

    Parameters
    ----------
    metrics : mapping of str to Any
        A tree of metrics, such as `SplitMetrics.model_dump` returns.
    figures : mapping of str to Figure
        Figures by file name.
    evaluated : str
        Which posts were evaluated.
    dataset : Dataset
        From `log_corpus`.
    model_id : str or None
        Logged model that the metrics are also logged for, if any.
    """
    mlflow.set_tag("evaluated", evaluated)
    apart = ("baselines", "new_texts_only", "labels", "posts")
    tree = {key: value for key, value in metrics.items() if key not in apart}  # first, because MLflow's charts begin with these
    tree |= {"labels": metrics["labels"], "posts": metrics["posts"]}
    if new := metrics.get("new_texts_only"):
        tree["new_texts_only"] = {key: value for key, value in new.items() if key not in {"baselines", "labels"}}
    mlflow.log_metrics(metric_names(flatten_metrics(tree), evaluated), dataset=dataset, model_id=model_id)
    if "baselines" in metrics:
        mlflow.log_dict(metrics["baselines"], "baselines.json")
    for name, figure in figures.items():
        mlflow.log_figure(figure, name)


def log_file(path: Path) -> None:
    """Log a file."""
    mlflow.log_artifact(str(path))


def link_model(model_id: str | None) -> None:
    """Record that the run used a logged model, so that MLflow's UI lists the run on the model's page; without a model, do nothing."""
    if model_id is not None:
        mlflow.log_input(model=LoggedModelInput(model_id))


def log_folder(folder: Path, name: str) -> None:
    """Log the files of a folder.

    Parameters
    ----------
    folder : Path
        Folder on disk.
    name : str
        Folder among the run's artifacts.
    """
    mlflow.log_artifacts(str(folder), name)
