"""Logs a run: its config, corpus, metrics and files."""

import json
import platform
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import yaml
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.dataset_source import DatasetSource
from mlflow.data.huggingface_dataset_source import HuggingFaceDatasetSource
from mlflow.data.meta_dataset import MetaDataset

from models.errors import InputError
from pipeline.config import Config
from pipeline.config_files import flatten
from pipeline.corpora import IN_MEMORY, SPLITS, Corpus
from pipeline.metrics import flatten_metrics
from pipeline.tracking.errors import reason_of
from pipeline.tracking.served import SERVED_WITH

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@contextmanager
def run(name: str, digest: str, kept: Path) -> Iterator[str]:
    """Open a run tagged with the model's digest, and yield its id.

    Parameters
    ----------
    name : str
        Name of the run in the UI.
    digest : str
        Digest of the model.
    kept : Path
        Output that is already written and stays if the store fails, for the message.

    Raises
    ------
    InputError
        If the store fails.
    """
    try:
        # Nested, because a notebook may have a run open.
        with mlflow.start_run(run_name=name, tags={"model_digest": digest}, nested=True) as active:
            yield str(active.info.run_id)
    except Exception as error:  # stores raise whatever their drivers raise
        reason = f"{type(error).__name__}: {reason_of(error)}"
        raise InputError(f"{kept} is written and can be used, but tracking it in MLflow failed ({reason}); repair the store") from error


def log_config(config: Config) -> None:
    """Log the complete config, as parameters and as a file, and the environment."""
    tree = config.shown()
    mlflow.log_params(dict(flatten(tree)))
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
    location = re.sub(rf"^({'|'.join(SPLITS)})=", "", source)
    if location.startswith("hub:"):
        return HuggingFaceDatasetSource(location.removeprefix("hub:"))
    if source == IN_MEMORY:
        return CodeDatasetSource(tags={})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow warns that two resolvers accept local paths
        return mlflow.data.dataset_source_registry.resolve_dataset_source(str(Path(location).absolute()))


def log_corpus(corpus: Corpus, sources: Sequence[str], context: str) -> None:
    """Log a corpus: its sources, counts and SHA-256 (in full as a tag, shortened as the data set's digest).

    Parameters
    ----------
    corpus : Corpus
    sources : sequence of str
        The config's ``data.sources``.
    context : str
        What the corpus is used for, such as ``training``.
    """
    mlflow.log_input(_Dataset(corpus, sources), context=context)
    mlflow.set_tag("data_sha256", corpus.sha256)


def log_metrics(metrics: Mapping[str, Any], figures: Mapping[str, "Figure"], evaluated: str, model_id: str | None) -> None:
    """Log metrics and figures, and on which posts they were measured.

    Parameters
    ----------
    metrics : mapping of str to Any
        A tree of metrics, which are logged under dotted names.
    figures : mapping of str to Figure
        Figures by file name.
    evaluated : str
        Which posts were evaluated.
    model_id : str or None
        Logged model that the metrics are also logged for, if any.
    """
    mlflow.set_tag("evaluated", evaluated)
    mlflow.log_metrics(flatten_metrics(metrics), model_id=model_id)
    for name, figure in figures.items():
        mlflow.log_figure(figure, name)


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
