#!/usr/bin/env python3
"""Evaluate a model on labelled posts."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline import terminal
from pipeline.config import Config, Tracking, load_config
from pipeline.errors import InputError

if TYPE_CHECKING:
    from models import Classifier
    from pipeline.corpora import Corpus
    from pipeline.evaluation import Evaluation
    from pipeline.evaluation.behaviour import Case
    from pipeline.metrics import Probabilities

    Scores = tuple[Probabilities, list[str | None] | None]  # of unlabelled posts, and their months

DEFAULT_OUT = Path("runs/evaluation")
NOT_PROMOTED = 3  # exit code


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


def _check_labels(model: "Classifier", config: Config) -> None:
    if set(config.labels.names) != set(model.labels):
        has, wanted = ", ".join(model.labels), ", ".join(config.labels.names)
        raise InputError(f"the model has the labels {has}; the config has {wanted}: use one that fits")


def _check_against(model: "Classifier", against: "Classifier") -> None:
    if against.labels != model.labels:
        has, other = ", ".join(model.labels), ", ".join(against.labels)
        raise InputError(f"the model has the labels {has}; the one to compare with has {other}: compare models of one label set")


def _behaviour(model: "Classifier", cases: "list[Case]") -> dict[str, Any]:
    from models.explanation import explain
    from pipeline.evaluation.behaviour import run_cases

    behaviour = run_cases(model, cases)
    failures = [failure for found in behaviour["functionalities"].values() for failure in found["failures"]]
    for failure, words in zip(failures, explain(model, [failure["text"] for failure in failures]), strict=True):
        failure["words"] = {label: words[label] for label in failure["failed"]}
    return behaviour


def _data(model: "Classifier", corpus: "Corpus", config: Config, split: str, evaluation: "Evaluation") -> dict[str, Any]:
    """Leaks between the splits as they came, and likely label errors of the one that was evaluated."""
    from pipeline.checks import check_labels, check_splits
    from pipeline.corpora import load_corpus

    as_it_came = corpus
    if config.data.drop_overlap and len(corpus.splits) > 1:
        as_it_came = load_corpus(config.data.model_copy(update={"drop_overlap": False}), config.labels, seed=model.config.seed)
    probabilities = evaluation.probabilities[:, [model.labels.index(label) for label in corpus.labels]]  # a config may order them otherwise
    found = check_splits(as_it_came) | check_labels(corpus, {split: probabilities})
    return {name: value for name, value in found.items() if name != "pairs"}


def _prevalence(
    corpus: "Corpus", config: Config, split: str, evaluation: "Evaluation", model: "Classifier", scores: "Scores"
) -> dict[str, Any]:
    from pipeline.evaluation.prevalence import estimate_prevalence
    from pipeline.evaluation.slices import drawn_at_random, month_of

    wanted = config.evaluation
    unlabelled, months_unlabelled = scores
    sample = drawn_at_random(corpus, split, wanted.natural)
    months = [month_of(date) for date, drawn in zip(corpus.splits[split]["created_at"], sample, strict=True) if drawn]
    return estimate_prevalence(
        *(evaluation.Y[sample], evaluation.probabilities[sample], unlabelled, model.labels, model.thresholds_.tolist()),
        *(wanted.confidence, wanted.min_positives, months, months_unlabelled),
    )


@dataclass(frozen=True)
class _Contest:
    """Versions of a registered model: the one that is evaluated, and the champion that it has to beat, if there is one."""

    challenger: str
    holder: str | None
    champion: "Classifier | None"


def _contest(name: str, model: "Classifier", tracked: Tracking) -> _Contest:
    from pipeline import tracking

    version, holder = tracking.find_version(name, model.digest_), tracking.find_champion(name)
    if holder is None:
        return _Contest(version, None, None)
    champion = load_model(f"models:/{name}/{holder}", tracked)
    if champion.digest_ == model.digest_:
        raise InputError(f"--promote {name}: version {holder}, this model, is the champion already")
    _check_against(model, champion)
    return _Contest(version, holder, champion)


def _track(evaluation: "Evaluation", model: "Classifier", corpus: "Corpus", config: Config, out: Path) -> str:
    """Log an evaluation that stands in `out`, and give the run's id."""
    from pipeline import tracking
    from pipeline.evaluation import headline
    from pipeline.report import figures

    curves = figures(evaluation.Y, evaluation.probabilities, model.labels)
    with tracking.run(f"evaluate {evaluation.title}", model.digest_, out) as run_id:
        tracking.log_config(config.model_copy(update=dict(model.config)))  # as the model was made
        tracking.log_corpus(corpus, config.data.sources, "evaluation")
        tracking.log_metrics(headline(evaluation.metrics), curves, evaluation.title, tracking.find_model(model.digest_))
        tracking.log_folder(out, "evaluation")
    return run_id


def _measure(
    model: "Classifier",
    corpus: "Corpus",
    split: str,
    config: Config,
    cases: "list[Case]",
    against: "Classifier | None",
    scores: "Scores | None",
    progress: Callable[[str], None],
) -> "Evaluation":
    from models.explanation import strongest_features
    from pipeline.evaluation import evaluate_split
    from pipeline.evaluation.analysis import analyse

    progress(f"scoring {corpus.splits[split].num_rows:,} posts")
    evaluation = evaluate_split(model, corpus, split)
    progress("drawing bootstrap samples")
    results = evaluation.metrics | analyse(evaluation, corpus, split, model, config.evaluation, config.seed, against)
    progress("trying behavioural cases")
    results["behaviour"] = _behaviour(model, cases) if cases else None
    progress("looking for leaks and label errors")
    results["data"] = _data(model, corpus, config, split, evaluation)
    results["features"] = {label: strongest_features(model, label) for label in model.labels}
    if scores:
        progress("estimating shares")
        results["prevalence"] = _prevalence(corpus, config, split, evaluation, model, scores)
    return replace(evaluation, metrics=results)


def _about(model: "Classifier", config: Config, corpus: "Corpus", evaluation: "Evaluation") -> dict[str, str]:
    """What a report says of where it came from."""
    from pipeline import __version__

    return {
        "evaluated": evaluation.title,
        "data": ", ".join(config.data.sources),
        "data SHA-256": corpus.sha256,
        "model SHA-256": model.digest_,
        "model type": model.config.model.type,
        "seed": str(config.seed),
        "pipeline": __version__,
    }


def evaluate(
    model: "Classifier",
    config: Config,
    out: Path = DEFAULT_OUT,
    *,
    split: str | None = None,
    against: "Classifier | None" = None,
    scores: Path | None = None,
    promote: str | None = None,
    progress: Callable[[str], None] = lambda step: None,
) -> "Evaluation":
    """Evaluate a model, write the results and a report, and track them as a run tied to the model.

    Parameters
    ----------
    model : Classifier
    config : Config
        Its data section says what to evaluate on, its evaluation and promotion sections what to look at and to ask for,
        its tracking section where to log.
    out : Path
        Gets ``report.html``, ``metrics.json`` and ``predictions.parquet``; an earlier evaluation there is replaced.
    split : str, optional
        By default test, and data without splits is evaluated whole; with a split named, such data is cut as
        training with the model's seed and the config's ``data.split`` cuts it.
    against : Classifier, optional
        Model of the same labels to compare with.
    scores : Path, optional
        What score.py wrote of unlabelled posts with this model: estimates each label's share among them.
    promote : str, optional
        Registered model whose champion this model becomes if it is good enough; it is compared with the present one.
    progress : callable, optional
        Told each step.

    Returns
    -------
    Evaluation
        With ``metrics["promotion"]`` where asked for: ``promoted`` and ``gates``.

    Raises
    ------
    InputError
        For data, columns, cases, scores or an MLflow store that cannot be used, or labels that are not the model's. Where
        the store fails only after evaluating, the results are in `out` all the same.
    """
    from pipeline.corpora import load_corpus
    from pipeline.evaluation import METRICS, check_positives, write_evaluation
    from pipeline.evaluation.behaviour import load_cases
    from pipeline.evaluation.prevalence import read_scores
    from pipeline.evaluation.promotion import check_floors, decide_promotion
    from pipeline.folders import check_output
    from pipeline.report.page import render_page

    check_output(out, METRICS)
    _check_labels(model, config)
    if against is not None:
        _check_against(model, against)
    progress("reading the data")
    cases = load_cases(config.evaluation.behaviour, config.labels) if config.evaluation.behaviour else []
    if promote is not None:
        check_floors(config.promotion, (case.functionality for case in cases))
    # A named split of data without splits is the one that training with the model's seed cut off.
    corpus = load_corpus(config.data, config.labels, seed=model.config.seed, cut=split is not None, further=config.evaluation.columns)
    chosen = _choose(corpus, split)
    if promote is not None and chosen == "train":
        raise InputError("--promote: the split train is what models learn from; evaluate on test, or on posts that neither model has seen")
    check_positives(corpus, chosen)
    date = config.data.columns.created_at or "created_at"
    unlabelled = read_scores(scores, model.digest_, model.labels, date) if scores else None
    progress("starting MLflow")
    from pipeline import tracking  # takes seconds: what is wrong with the data is said before

    tracking.connect(config.tracking)
    contest = None
    if promote is not None:
        contest = _contest(promote, model, config.tracking)
        against = contest.champion
    evaluation = _measure(model, corpus, chosen, config, cases, against, unlabelled, progress)
    if contest:
        evaluation.metrics["promotion"] = decide_promotion(evaluation.metrics, config.promotion)
    progress("writing the report")
    write_evaluation(evaluation, model, render_page(_about(model, config, corpus, evaluation), evaluation.metrics), out)
    progress("tracking")
    run_id = _track(evaluation, model, corpus, config, out)
    if contest and promote is not None and evaluation.metrics["promotion"]["promoted"]:
        tracking.set_champion(promote, contest.challenger, run_id, contest.holder)
    return evaluation


def main(
    model: Annotated[str, typer.Option(metavar="DIR|models:/NAME@ALIAS|runs:/ID/model", help="The model.")] = "runs/model",
    data: Annotated[list[str], typer.Option(help="As in train.py. Replaces data.sources.")] = [],  # noqa: B006
    split: Annotated[
        str | None, typer.Option(help="By default test, or all of a file without splits; name one to cut such a file as training did.")
    ] = None,
    against: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Compare with this model on the same posts; named as the model is.")
    ] = None,
    scores: Annotated[
        Path | None, typer.Option(help="What score.py wrote of unlabelled posts with this model: estimate each label's share among them.")
    ] = None,
    promote: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Make the model champion of this registered model if it passes; exit code 3 if it does not."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for report.html, metrics.json and predictions.parquet.")] = DEFAULT_OUT,
    config: Annotated[list[Path], typer.Option(help="As in train.py: needed where columns have other names.")] = [],  # noqa: B006
    set_: Annotated[list[str], typer.Option("--set", metavar="SECTION.KEY=VALUE", help="As in train.py.")] = [],  # noqa: B006
    experiment: Annotated[str | None, typer.Option(help="MLflow experiment. Replaces tracking.experiment.")] = None,
) -> None:
    """Evaluate a model on labelled posts: tables, a report, metrics.json, predictions.parquet and an MLflow run."""
    if against is not None and promote is not None:
        raise InputError("--against and --promote: a model to promote is compared with the champion; give one of the two")
    resolved = load_config(config, set_, data, **({"tracking": {"experiment": experiment}} if experiment else {}))
    with terminal.steps() as progress:
        progress("loading the model")
        loaded = load_model(model, resolved.tracking)
        other = load_model(against, resolved.tracking) if against is not None else None
        if resolved.labels == load_config().labels:  # none were asked for
            resolved = resolved.model_copy(update={"labels": loaded.config.labels})
        evaluation = evaluate(loaded, resolved, out, split=split, against=other, scores=scores, promote=promote, progress=progress)
    from rich.markup import escape

    from pipeline.evaluation import REPORT
    from pipeline.report import evaluation_tables

    console = terminal.output()
    title = escape(f"{model} on {', '.join(resolved.data.sources)}; {evaluation.title}")
    console.print(*evaluation_tables(evaluation.metrics, title), sep="\n")
    console.print(f"results  {out}\nreport   {out / REPORT}", highlight=False, markup=False)
    if promote is not None and not evaluation.metrics["promotion"]["promoted"]:
        raise typer.Exit(NOT_PROMOTED)


if __name__ == "__main__":
    terminal.run(main)
