#!/usr/bin/env python3
"""Evaluate a model on labelled posts."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline import terminal
from pipeline.config import Config, Tracking, load_config
from pipeline.errors import InputError

if TYPE_CHECKING:
    from models import Classifier
    from pipeline.corpora import Corpus
    from pipeline.evaluation import Evaluation

DEFAULT_OUT = Path("runs/evaluation")


def load_model(location: str, tracking: Tracking) -> "Classifier":
    """Load a model from a directory, or from MLflow by ``models:/NAME@ALIAS``, ``models:/NAME/VERSION`` or ``runs:/ID/model``.

    Raises
    ------
    InputError
        When there is none, or it is damaged.
    """
    from models import Classifier

    if location.startswith(("models:/", "runs:/")):
        from pipeline.tracking import fetch_model

        return Classifier.load(fetch_model(location, tracking))
    return Classifier.load(Path(location))


def _choose(corpus: "Corpus", split: str | None) -> str:
    names = list(corpus.splits)
    if split is None:
        split = "test" if "test" in names else names[0]
        if split != "test" and len(names) > 1:
            raise InputError(f"the data has the splits {', '.join(names)} and no test; choose one with --split")
    if split not in names:
        raise InputError(f"--split {split}: the data has {', '.join(names)}; choose one of these")
    return split


def evaluate(
    model: "Classifier",
    config: Config,
    out: Path = DEFAULT_OUT,
    *,
    split: str | None = None,
    progress: Callable[[str], None] = lambda step: None,
) -> "Evaluation":
    """Evaluate a model, write the results and track them as a run tied to the model.

    Parameters
    ----------
    model : Classifier
    config : Config
        Its data section says what to evaluate on, its tracking section where to log.
    out : Path
        Gets ``metrics.json`` and ``predictions.parquet``; an earlier evaluation there is replaced.
    split : str, optional
        By default test, and data without splits is evaluated whole; with a split named, such data is cut as
        training with the model's seed and the config's ``data.split`` cuts it.
    progress : callable, optional
        Told each step.

    Raises
    ------
    InputError
        For data or an MLflow store that cannot be used, or labels that are not the model's. Where the store fails only
        after evaluating, the results are in `out` all the same.
    """
    from pipeline.corpora import load_corpus
    from pipeline.evaluation import METRICS, evaluate_split, write_evaluation
    from pipeline.folders import check_output
    from pipeline.report import figures

    if set(config.labels.names) != set(model.labels):
        has, wanted = ", ".join(model.labels), ", ".join(config.labels.names)
        raise InputError(f"the model has the labels {has}; the config has {wanted}: use one that fits")
    check_output(out, METRICS)
    progress("reading the data")
    # A named split of data without splits is the one that training with the model's seed cut off.
    corpus = load_corpus(config.data, config.labels, seed=model.config.seed, cut=split is not None)
    chosen = _choose(corpus, split)
    progress("starting MLflow")
    from pipeline import tracking  # takes seconds: what is wrong with the data is said before

    tracking.connect(config.tracking)
    progress(f"scoring {corpus.splits[chosen].num_rows:,} posts")
    evaluation = evaluate_split(model, corpus, chosen)
    write_evaluation(evaluation, model, out)
    progress("tracking")
    curves = figures(evaluation.Y, evaluation.probabilities, model.labels)
    with tracking.run(f"evaluate {evaluation.title}", model.digest_, out):
        tracking.log_config(config.model_copy(update=dict(model.config)))  # as the model was made
        tracking.log_corpus(corpus, config.data.sources, "evaluation")
        tracking.log_metrics(evaluation.metrics, curves, evaluation.title, tracking.find_model(model.digest_))
        tracking.log_folder(out, "evaluation")
    return evaluation


def main(
    model: Annotated[str, typer.Option(metavar="DIR|models:/NAME@ALIAS|runs:/ID/model", help="The model.")] = "runs/model",
    data: Annotated[list[str], typer.Option(help="As in train.py. Replaces data.sources.")] = [],  # noqa: B006
    split: Annotated[
        str | None, typer.Option(help="By default test, or all of a file without splits; name one to cut such a file as training did.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for metrics.json and predictions.parquet.")] = DEFAULT_OUT,
    config: Annotated[list[Path], typer.Option(help="As in train.py: needed where columns have other names.")] = [],  # noqa: B006
    set_: Annotated[list[str], typer.Option("--set", metavar="SECTION.KEY=VALUE", help="As in train.py.")] = [],  # noqa: B006
    experiment: Annotated[str | None, typer.Option(help="MLflow experiment. Replaces tracking.experiment.")] = None,
) -> None:
    """Evaluate a model on labelled posts: a table, metrics.json, predictions.parquet and an MLflow run."""
    resolved = load_config(config, set_, data, **({"tracking": {"experiment": experiment}} if experiment else {}))
    with terminal.steps() as progress:
        progress("loading the model")
        loaded = load_model(model, resolved.tracking)
        if resolved.labels == load_config().labels:  # none were asked for
            resolved = resolved.model_copy(update={"labels": loaded.config.labels})
        evaluation = evaluate(loaded, resolved, out, split=split, progress=progress)
    from pipeline.report import metrics_tables

    console = terminal.output()
    console.print(*metrics_tables(evaluation.metrics, f"{model} on {', '.join(resolved.data.sources)}; {evaluation.title}"), sep="\n")
    console.print(f"results  {out}", highlight=False, markup=False)


if __name__ == "__main__":
    terminal.run(main)
