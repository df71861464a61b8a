"""The command line of ``train.py``: train, sweep, check data, or show what a run would train on."""

import re
import shlex
import sys
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from models.errors import InputError
from pipeline import terminal
from pipeline.config import Columns, Config, Tracking, mask_password
from pipeline.config_files import load_config

OUT, SWEEP_OUT, CHECKS_OUT = Path("runs/model"), Path("runs/sweep"), Path("runs/checks")


def _say(lines: Iterable[str]) -> None:
    console = terminal.output()
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _dry_run(config: Config) -> None:
    import yaml

    from models.folds import make_folds
    from pipeline.corpora import load_training_corpus
    from pipeline.report import corpus_notes, corpus_table

    corpus = load_training_corpus(config)
    _say([yaml.safe_dump(config.shown(), sort_keys=False, width=120)])
    terminal.output().print(corpus_table(corpus))
    _say(corpus_notes(corpus))
    # Raises an error if there are too few posts or authors for the folds, as training would.
    make_folds(corpus.targets("train", corpus.labels), corpus.groups("train"), corpus.labels, config.calibration.folds, config.seed)


def _name(config: Sequence[Path], settings: Sequence[str], seed: int | None) -> str:
    """Return what distinguishes this training from others on the same data: the configs laid over the default, and single settings."""
    # Settings are named without their section, the last one first, because MLflow's list of runs shows only the beginning of a name. Those
    # of tracking are left out, because a URI may hold a password.
    ours = [re.sub(r"^\w+\.", "", setting) for setting in settings if not setting.startswith(("tracking", "data"))]
    parts = [*(path.stem for path in config), *([] if seed is None else [f"seed={seed}"]), *reversed(ours)]
    return textwrap.shorten(" ".join(parts or ["default"]), 60, placeholder=" …")


def _of_data(config: Sequence[Path], settings: Sequence[str], data: Sequence[str]) -> str:
    """Return the options that said which data to read and how, for a command that reads it again."""
    options = [("--config", str(path)) for path in config] + [("--data", source) for source in data]
    options += [("--set", setting) for setting in settings if setting.startswith("data")]
    return "".join(f" {option} {shlex.quote(value)}" for option, value in options)


def _registered(name: str | None, version: str | None) -> str:
    """Say which version of a registered model a model became, if it was registered; the first version is made champion at once."""
    champion = ", which is the champion now, because it is the first" if version == "1" else ""
    return f", registered as {name} version {version}{champion}" if name else ""


def _train(config: Config, out: Path, register: str | None, name: str, given: str) -> None:
    with terminal.steps() as progress:
        progress("starting")
        from pipeline.training import train

        trained = train(config, out, register=register, name=name, progress=progress)
    from rich.markup import escape

    from pipeline.evaluation.measuring import HELD_OUT, TUNED_ON_THESE
    from pipeline.report import corpus_notes, metrics_tables, points_table
    from pipeline.tracking import experiment_of

    _say(corpus_notes(trained.corpus))
    title = escape(f"Trained on {', '.join(config.data.sources)}; {trained.evaluation.title}")
    model, cut, where = trained.model, trained.corpus.cut, shlex.quote(str(out))
    terminal.output().print(*metrics_tables(trained.evaluation.metrics, title), points_table(model.measured_points_), sep="\n")
    if trained.evaluation.title == HELD_OUT:
        _say([f"note     {TUNED_ON_THESE}"])
    _say(f"note     no operating point {name}: {why}; give more posts, or set thresholds.{name}" for name, why in model.left_out_.items())
    lines = [
        f"model    {out}  ({trained.model.digest_[:12]})",
        f"run      {trained.run_id} in experiment {experiment_of(trained.run_id)!r}{_registered(register, trained.version)}",
        f"next     {_program('evaluate')} --model {where}{given}{' --split test' if cut and cut.test else ''}",
        f"         {_next(config)} --model {where} --out scores",
        f"         {where_to_look(config.tracking)}",
    ]
    _say(lines)


def where_to_look(tracking: Tracking) -> str:
    """Return how to open the UI: a command or, if the store is a server, its address."""
    from pipeline.tracking import DEFAULT_URI, store_uri

    uri = mask_password(store_uri(tracking))
    if uri.startswith("http"):
        return f"open {uri}"
    show = f"{terminal.runnable('disclosure')} ui"
    return show if uri == DEFAULT_URI else f"MLFLOW_TRACKING_URI={uri} {show}"


def _program(name: str) -> str:
    """Return how to start evaluate.py or score.py from the current folder."""
    here = Path(f"{name}.py").is_file()
    return f"{terminal.runnable('python')} {name}.py" if here else f"{terminal.runnable('disclosure')} {name}"


def _next(config: Config) -> str:
    """Return the beginning of the command that scores posts like those of training, to be run in the current folder."""
    columns, ours = config.data.columns, Columns()
    options = f" --id-column {shlex.quote(columns.id or 'none')}" if columns.id != ours.id else ""
    options += f" --text-column {shlex.quote(columns.text)}" if columns.text != ours.text else ""
    posts = "data/starter/test.jsonl" if Path("score.py").is_file() and config.data.sources == ["data/starter"] else "POSTS.jsonl"
    return f"{_program('score')} {posts}{options}"


def _sweep(config: Config, path: Path, out: Path, *, dry_run: bool) -> None:
    from pipeline.report.sweep import trial_progress, trials_table
    from pipeline.sweep import load_sweep, sweep
    from pipeline.sweep.folder import STUDY
    from pipeline.sweep.trials import failures

    wanted = load_sweep(path, config)
    if dry_run:
        _dry_run(config)
        return
    try:
        with trial_progress(wanted.trials) as (progress, ended):
            swept = sweep(config, wanted, out, origin=str(path), progress=progress, ended=ended)
    except KeyboardInterrupt:
        if (out / STUDY).exists():
            print(f"finished trials are kept in {out}; run the same command again to continue from there", file=sys.stderr)
        raise
    from pipeline.report import corpus_notes
    from pipeline.tracking import experiment_of

    _say([*corpus_notes(swept.corpus), *failures(swept.trials)])
    terminal.output().print(trials_table(swept.trials, wanted.metric))
    lines = [
        f"best     {swept.best}",
        f"run      {swept.run_id} in experiment {experiment_of(swept.run_id)!r}",
        f"next     {terminal.runnable('python')} train.py --config {swept.best}    (a sweep trains no model)",
        f"         {where_to_look(config.tracking)}",
    ]
    _say(lines)


def _check_data(config: Config, out: Path, show: int | None) -> None:
    from models.folders import check_output
    from pipeline.checking import check_data
    from pipeline.checks import FILES, write_checks
    from pipeline.report import corpus_notes
    from pipeline.report.checks import check_terminal, checks_tables, show_texts

    if show:
        check_terminal()
    check_output(out, FILES)
    with terminal.steps() as progress:
        checked = check_data(config, progress)
    write_checks(checked.splits, checked.labels, out)
    why = checked.not_looked_for
    _say([*corpus_notes(checked.learned_from), *([f"the check for label errors was skipped: {why}"] if why else [])])
    terminal.output().print(*checks_tables(checked.splits, checked.labels), sep="\n")
    if show:
        show_texts(checked.splits, checked.labels, checked.corpus, terminal.output(), show)
    _say([f"checks   {out}  ({', '.join(sorted(path.name for path in out.iterdir()))}; ids and labels, no texts)"])


def _check_options(*, sweep: bool, check_data: bool, dry_run: bool, register: bool, show_texts: bool) -> None:
    """Raise an error if options contradict each other."""
    contradictions = {
        "--sweep and --check-data cannot be combined; run one after the other": sweep and check_data,
        "--dry-run and --check-data cannot be combined; --check-data already reads and checks the data": dry_run and check_data,
        "--register needs a trained model, which --sweep and --check-data do not make; give it when you train": register
        and (sweep or check_data),
        "--show-texts needs --check-data; give both": show_texts and not check_data,
    }
    for message, found in contradictions.items():
        if found:
            raise InputError(message)


def main(
    config: Annotated[list[Path], typer.Option(help="YAML to lay over configs/default.yaml. Repeatable.")] = [],  # noqa: B006
    set_: Annotated[list[str], typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override one key of the config. Repeatable.")] = [],  # noqa: B006
    data: Annotated[list[str], typer.Option(help="Data to use instead of data.sources. Repeatable.")] = [],  # noqa: B006
    out: Annotated[Path | None, typer.Option(help=f"Folder to write to; by default {OUT}.")] = None,
    experiment: Annotated[str | None, typer.Option(help="MLflow experiment. Replaces tracking.experiment.")] = None,
    register: Annotated[str | None, typer.Option(metavar="NAME", help="Register the model in MLflow under this name.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, max=2**32 - 1, help="Random seed. Replaces the config's seed.")] = None,
    sweep_: Annotated[
        Path | None, typer.Option("--sweep", metavar="FILE", help="Search for the best config, as this sweep describes; no model is kept.")
    ] = None,
    check_data_: Annotated[bool, typer.Option("--check-data", help="Only look for problems in the data; no model is kept.")] = False,
    show_texts: Annotated[
        int | None, typer.Option("--show-texts", metavar="N", min=1, help="With --check-data, show the texts of N findings of each kind.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the config and the data, print the resolved config and the counts, and stop.")
    ] = False,
) -> None:
    """Train, evaluate and track a disclosure classifier.

    Data is a file, a folder, a saved data set or hub:NAME, and train=FILE and the like give it a role. Exports of Label Studio, Doccano,
    Prodigy and Argilla are recognised. One line says how the data was read. --sweep compares configs by cross-validation, writes the best
    one to runs/sweep and keeps no model. --check-data looks for repeats, authors in several splits, conflicting labels and likely label
    errors, and writes them to runs/checks. --show-texts adds the posts, on a terminal only.
    """
    _check_options(
        sweep=bool(sweep_), check_data=check_data_, dry_run=dry_run, register=register is not None, show_texts=show_texts is not None
    )
    replaced: dict[str, Any] = ({"tracking": {"experiment": experiment}} if experiment else {}) | ({} if seed is None else {"seed": seed})
    resolved = load_config(config, set_, data, **replaced)
    if sweep_:
        _sweep(resolved, sweep_, out or SWEEP_OUT, dry_run=dry_run)
    elif check_data_:
        _check_data(resolved, out or CHECKS_OUT, show_texts)
    elif dry_run:
        _dry_run(resolved)
    else:
        _train(resolved, out or OUT, register, _name(config, set_, seed), _of_data(config, set_, data))
