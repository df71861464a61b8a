#!/usr/bin/env python3
"""Train a disclosure classifier: config and data to model, evaluation and MLflow run."""

import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline import terminal
from pipeline.config import Config, load_config
from pipeline.errors import InputError

if TYPE_CHECKING:
    from models import Classifier
    from pipeline.corpora import Corpus
    from pipeline.evaluation import Evaluation
    from pipeline.sweep import Sweep, Trial

DEFAULT_OUT = Path("runs/model")
DEFAULT_SWEEP_OUT = Path("runs/sweep")
DEFAULT_CHECKS_OUT = Path("runs/checks")


@dataclass(frozen=True)
class Trained:
    """What training gives.

    Attributes
    ----------
    model : Classifier
        Fitted and saved.
    evaluation : Evaluation
        On the split of ``evaluation.split``, or on the held-out folds of train where the corpus lacks it.
    notes : list of str
        What to know about the corpus: what was dropped, ignored or passed over.
    run_id : str
        Of the MLflow run.
    version : str or None
        In the model registry.
    """

    model: "Classifier"
    evaluation: "Evaluation"
    notes: list[str]
    run_id: str
    version: str | None


def _load(config: Config) -> "Corpus":
    from pipeline.corpora import load_corpus

    corpus = load_corpus(config.data, config.labels, seed=config.seed)
    if "train" not in corpus.splits or not corpus.splits["train"].num_rows:
        raise InputError("the data holds no train posts; give some, as in --data train=FILE")
    return corpus


def _fit(config: Config, corpus: "Corpus", progress: Callable[[str], None]) -> "Classifier":
    from models import Classifier

    model = Classifier(config.of_model())
    texts, groups = corpus.to_learn_from()
    progress(f"tokenising {len(texts):,} posts")
    targets, auxiliary = corpus.targets("train", corpus.labels), corpus.targets("train", corpus.auxiliary)
    return model.fit(model.tokenizer(texts), targets, groups, auxiliary, progress)


def _evaluate(config: Config, corpus: "Corpus", model: "Classifier") -> "Evaluation":
    from pipeline.evaluation import evaluate_probabilities, evaluate_split

    split = config.evaluation.split
    if split in corpus.splits:
        return evaluate_split(model, corpus, split)
    return evaluate_probabilities(model, corpus, "train", model.held_out_, "held-out folds of train")


def _notes(config: Config, corpus: "Corpus", evaluation: "Evaluation") -> dict[str, Any]:
    from models import lessons

    train, network = corpus.splits["train"].num_rows, config.model.network
    return {
        "training_data": {
            "sha256": corpus.sha256,
            "posts": train,
            "unlabelled": corpus.unlabelled.num_rows,
            **({"lessons": lessons.sha256(network.lessons)} if network else {}),
            "overlap": corpus.overlap and asdict(corpus.overlap),
            "ignored": corpus.ignored,
        },
        "metrics": {"evaluated": evaluation.title, **evaluation.metrics},
    }


def train(
    config: Config, out: Path = DEFAULT_OUT, *, register: str | None = None, progress: Callable[[str], None] = lambda step: None
) -> Trained:
    """Train, evaluate, save and track a model.

    Parameters
    ----------
    config : Config
        From `pipeline.config.load_config`.
    out : Path
        The model directory; an earlier model there is replaced.
    register : str, optional
        Name in MLflow's model registry.
    progress : callable, optional
        Told each step.

    Returns
    -------
    Trained

    Raises
    ------
    InputError
        For data, labels, folders or an MLflow store that cannot be used. Where the store fails only after training, the
        model is in `out` all the same.
    """
    progress("reading the data")
    from models.storage import DESCRIPTION
    from pipeline.folders import check_output
    from pipeline.report import corpus_notes, figures

    check_output(out, DESCRIPTION)
    corpus = _load(config)
    progress("starting MLflow")
    from pipeline import tracking  # takes seconds: what is wrong with the data is said before

    tracking.connect(config.tracking, register)
    model = _fit(config, corpus, progress)
    progress("evaluating")
    evaluation = _evaluate(config, corpus, model)
    digest = model.save(out, _notes(config, corpus, evaluation))
    progress("tracking")
    curves = figures(evaluation.Y, evaluation.probabilities, model.labels)
    with tracking.run(f"train {config.labels.name} {config.model.type}", digest, out) as run_id:
        tracking.log_config(config)
        tracking.log_corpus(corpus, config.data.sources, "training")
        model_id, version = tracking.log_model(out, model.labels, digest, register)
        tracking.log_metrics(evaluation.metrics, curves, evaluation.title, model_id)
    return Trained(model, evaluation, corpus_notes(corpus), run_id, version)


@dataclass(frozen=True)
class Swept:
    """What a sweep gives.

    Attributes
    ----------
    trials : list of Trial
        All of them, in order.
    best : Path
        The best config, to give to ``--config``.
    notes : list of str
        As of `Trained`.
    run_id : str
        Of the MLflow run that the trials' runs are in.
    """

    trials: list["Trial"]
    best: Path
    notes: list[str]
    run_id: str


def sweep(
    config: Config,
    wanted: "Sweep",
    out: Path = DEFAULT_SWEEP_OUT,
    *,
    origin: str = "a sweep",
    progress: Callable[[str], None] = lambda step: None,
    ended: Callable[["Trial"], None] = lambda trial: None,
) -> Swept:
    """Try configs on author-disjoint folds of train, keep and track each trial, and write the best config.

    No other split is used, except that train posts which overlap it are dropped as in training, and no model is kept.

    Parameters
    ----------
    config : Config
        What values are laid over.
    wanted : Sweep
        From `pipeline.sweep.load_sweep`.
    out : Path
        Gets ``study.db`` (Optuna's), ``best.yaml``, ``trials.csv`` and ``sweep.yaml``. A sweep that was stopped goes on there;
        one with other posts, config or space starts afresh, and removes the results there.
    origin : str
        Where the sweep came from, for the run's name and the comment in ``best.yaml``.
    progress, ended : callable, optional
        Told each step, and each trial that ended.

    Raises
    ------
    InputError
        For data, a folder or an MLflow store that cannot be used, and when no trial could be fitted. Trials that ended are kept.
    """
    progress("reading the data")
    from models.sweep import check_folder, only_train, open_study, write_results
    from pipeline.report import corpus_notes
    from pipeline.sweep import BEST, SPEC, TRIALS

    check_folder(out)
    corpus = only_train(_load(config))
    progress("starting MLflow")
    from pipeline import tracking  # takes seconds: what is wrong with the data is said before

    tracking.connect(config.tracking)
    with open_study(wanted, config, corpus, out, progress) as study, tracking.SweepRun(f"sweep {origin}", study.digest, out) as run:
        run.log_setting(config, corpus)
        for trial in chain(study.done, study.run()):
            run.log_trial(trial)
            ended(trial)
        if all(trial.reason for trial in study.done):
            raise InputError(f"none of {len(study.done)} trials could be fitted; the first: {study.done[0].reason}")
        write_results(study, origin, out)
        run.log_results(study.done, wanted.metric, [out / BEST, out / TRIALS, out / SPEC])
    return Swept(study.done, out / BEST, corpus_notes(corpus), run.run_id)


@dataclass(frozen=True)
class Checked:
    """What checks of data give.

    Attributes
    ----------
    result : dict
        Of `pipeline.checks.check_splits`, with that of `check_labels` where a model could be fitted.
    corpus : Corpus
        With the train posts that training drops.
    notes : list of str
        As of `Trained`, and why label errors were not looked for.
    """

    result: dict[str, Any]
    corpus: "Corpus"
    notes: list[str]


def check_data(config: Config, progress: Callable[[str], None] = lambda step: None) -> Checked:
    """Look for repeats, shared authors, conflicting labels, and values of labels that a model thinks wrong.

    The model sees no post that it judges, nor one with the same text or author: train posts are judged by held-out folds,
    and those that overlap another split are dropped from train, as `Data.drop_overlap` does.

    Parameters
    ----------
    config : Config
        Of the data, and of the model that looks for label errors.
    progress : callable, optional
        Told each step.

    Raises
    ------
    InputError
        For data that cannot be used.
    """
    progress("reading the data")
    from pipeline.checks import check_labels, check_splits
    from pipeline.report import corpus_notes

    whole, corpus = (
        _load(config.model_copy(update={"data": config.data.model_copy(update={"drop_overlap": drop})})) for drop in (False, True)
    )
    progress("looking for repeats")
    result, notes = check_splits(whole), corpus_notes(corpus)
    try:
        if config.model.type == "most_frequent":
            raise InputError("model.type=most_frequent reads no post; choose another")
        model = _fit(config, corpus, progress)
    except InputError as error:  # what cannot be learned from may still be checked
        return Checked(result, whole, [*notes, f"label errors were not looked for: {error}"])
    progress("looking for label errors")
    scored = {split: model.held_out_ if split == "train" else model.score(rows["text"]) for split, rows in corpus.splits.items()}
    return Checked(result | check_labels(corpus, scored), whole, notes)


def _say(lines: Iterable[str]) -> None:
    console = terminal.output()
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _dry_run(config: Config) -> None:
    import yaml

    from pipeline.report import corpus_notes, corpus_table

    corpus = _load(config)
    _say([yaml.safe_dump(config.shown(), sort_keys=False, width=120)])
    terminal.output().print(corpus_table(corpus))
    _say(corpus_notes(corpus))


def _train(config: Config, out: Path, register: str | None) -> None:
    with terminal.steps() as progress:
        trained = train(config, out, register=register, progress=progress)
    from rich.markup import escape

    from pipeline.report import metrics_tables
    from pipeline.tracking import where_to_look

    _say(trained.notes)
    title = escape(f"Trained on {', '.join(config.data.sources)}; {trained.evaluation.title}")
    terminal.output().print(*metrics_tables(trained.evaluation.metrics, title), sep="\n")
    registered = f", registered as {register} version {trained.version}" if register else ""
    lines = [
        f"model    {out}  ({trained.model.digest_[:12]})",
        f"run      {trained.run_id} in experiment {config.tracking.experiment!r}{registered}",
        f"next     {terminal.runnable('python')} score.py data/starter/test.jsonl --model {out} --out scores",
        f"         {where_to_look(config.tracking)}",
    ]
    _say(lines)


def _sweep(config: Config, path: Path, out: Path, *, dry_run: bool) -> None:
    from pipeline.sweep import STUDY, failures, load_sweep, trial_progress, trials_table

    wanted = load_sweep(path, config)
    if dry_run:
        _dry_run(config)
        return
    try:
        with trial_progress(wanted.trials) as (progress, ended):
            swept = sweep(config, wanted, out, origin=str(path), progress=progress, ended=ended)
    except KeyboardInterrupt:
        if (out / STUDY).exists():
            print(f"trials that ended are kept in {out}; the same command goes on from there", file=sys.stderr)
        raise
    from pipeline.tracking import where_to_look

    _say([*swept.notes, *failures(swept.trials)])
    terminal.output().print(trials_table(swept.trials, wanted.metric))
    lines = [
        f"best     {swept.best}",
        f"run      {swept.run_id} in experiment {config.tracking.experiment!r}",
        f"next     {terminal.runnable('python')} train.py --config {swept.best}    (a sweep trains no model)",
        f"         {where_to_look(config.tracking)}",
    ]
    _say(lines)


def _check_data(config: Config, out: Path, show: int | None) -> None:
    from pipeline.checks import CHECKS, check_terminal, checks_tables, show_texts, write_checks
    from pipeline.folders import check_output

    if show:
        check_terminal()
    check_output(out, CHECKS)
    with terminal.steps() as progress:
        checked = check_data(config, progress)
    write_checks(checked.result, out)
    _say(checked.notes)
    terminal.output().print(*checks_tables(checked.result), sep="\n")
    if show:
        show_texts(checked.result, checked.corpus, show)
    _say([f"checks   {out}  ({', '.join(sorted(path.name for path in out.iterdir()))}; ids and labels, no texts)"])


def _check_options(*, sweep: bool, check_data: bool, dry_run: bool, register: bool, show_texts: bool) -> None:
    """Fail if options contradict each other."""
    contradictions = {
        "--sweep and --check-data: do one after the other": sweep and check_data,
        "--dry-run and --check-data: give one; a dry run reads the data, the checks look into it": dry_run and check_data,
        "--register: only training gives a model to register; give it when you train, as with a sweep's best config": register
        and (sweep or check_data),
        "--show-texts: shows what --check-data finds; give both": show_texts and not check_data,
    }
    for message, found in contradictions.items():
        if found:
            raise InputError(message)


def main(
    config: Annotated[list[Path], typer.Option(help="YAML laid over configs/default.yaml; may be repeated.")] = [],  # noqa: B006
    set_: Annotated[list[str], typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override one key; may be repeated.")] = [],  # noqa: B006
    data: Annotated[
        list[str],
        typer.Option(help="File, folder, saved data set or hub:NAME; train=FILE gives a role; may be repeated. Replaces data.sources."),
    ] = [],  # noqa: B006
    out: Annotated[
        Path | None,
        typer.Option(help=f"Folder to write: {DEFAULT_OUT}, with --sweep {DEFAULT_SWEEP_OUT}, with --check-data {DEFAULT_CHECKS_OUT}."),
    ] = None,
    experiment: Annotated[str | None, typer.Option(help="MLflow experiment. Replaces tracking.experiment.")] = None,
    register: Annotated[str | None, typer.Option(metavar="NAME", help="Register the model in MLflow under this name.")] = None,
    seed: Annotated[int | None, typer.Option(help="Replaces seed.")] = None,
    sweep_: Annotated[
        Path | None,
        typer.Option("--sweep", metavar="FILE", help="Train no model; try the configs of a sweep by cross-validation and write the best."),
    ] = None,
    check_data_: Annotated[
        bool,
        typer.Option(
            "--check-data", help="Train no model to keep; look for repeats, authors in several splits, conflicting and wrong labels."
        ),
    ] = False,
    show_texts: Annotated[
        int | None,
        typer.Option("--show-texts", metavar="N", min=1, help="With --check-data: show the texts of the first N findings of each kind."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check config and data, print both, and stop.")] = False,
) -> None:
    """Train a disclosure classifier, evaluate it and track the run in MLflow."""
    _check_options(
        sweep=bool(sweep_), check_data=check_data_, dry_run=dry_run, register=register is not None, show_texts=show_texts is not None
    )
    replaced = ({"tracking": {"experiment": experiment}} if experiment else {}) | ({} if seed is None else {"seed": seed})
    resolved = load_config(config, set_, data, **replaced)
    if sweep_:
        _sweep(resolved, sweep_, out or DEFAULT_SWEEP_OUT, dry_run=dry_run)
    elif check_data_:
        _check_data(resolved, out or DEFAULT_CHECKS_OUT, show_texts)
    elif dry_run:
        _dry_run(resolved)
    else:
        _train(resolved, out or DEFAULT_OUT, register)


if __name__ == "__main__":
    terminal.run(main)
