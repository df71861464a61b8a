"""The command line of ``evaluate.py``: measure a model on labelled posts, compare it with another, promote it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from models.calibration import BALANCED, PointName
from models.errors import InputError
from pipeline import terminal
from pipeline.config_files import load_config

if TYPE_CHECKING:
    from pipeline.evaluation import Results

OUT = Path("runs/evaluation")


def _show(results: "Results", title: str, out: Path, other_name: str) -> None:
    from rich.markup import escape

    from pipeline.evaluation import REPORT_FILE
    from pipeline.report import evaluation_tables, no_intervals_note, seen_note

    console = terminal.output()
    console.print(*evaluation_tables(results, escape(title), other_name), sep="\n")
    notes = [f"data     {note}" for note in results.notes] + [f"seen     {seen_note(results)}"]
    for note in [*notes, *([f"note     {few}"] if (few := no_intervals_note(results)) else [])]:
        console.print(note, highlight=False, markup=False, soft_wrap=True)
    console.print(f"results  {out}\nreport   {out / REPORT_FILE}", highlight=False, markup=False)


def main(
    model: Annotated[str, typer.Option(metavar="MODEL", help="The model to evaluate.")] = "runs/model",
    data: Annotated[list[str], typer.Option(help="As in train.py. Replaces data.sources.")] = [],  # noqa: B006
    split: Annotated[str | None, typer.Option(help="Split to evaluate; by default test, or all of the data if it has no splits.")] = None,
    against: Annotated[str | None, typer.Option(metavar="MODEL", help="Also compare with this model on the same posts.")] = None,
    scores: Annotated[Path | None, typer.Option(help="Scores of unlabelled posts, to estimate label shares.")] = None,
    promote: Annotated[str | None, typer.Option(metavar="NAME", help="Make the model NAME's champion if it passes all gates.")] = None,
    operating_point: Annotated[PointName, typer.Option(help="Which of the model's thresholds to measure.")] = BALANCED,
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = OUT,
    config: Annotated[list[Path], typer.Option(help="As in train.py, for example to map columns.")] = [],  # noqa: B006
    set_: Annotated[list[str], typer.Option("--set", metavar="SECTION.KEY=VALUE", help="As in train.py.")] = [],  # noqa: B006
    experiment: Annotated[str | None, typer.Option(help="MLflow experiment.")] = None,
) -> None:
    """Evaluate a model on labelled posts and log the run in MLflow.

    A MODEL is a directory, models:/NAME@ALIAS, models:/NAME/VERSION or runs:/ID/model, or released for the model that comes with this
    version. The output folder holds report.html, metrics.json and predictions.parquet. Data without splits is measured whole. With --split,
    it is divided as training divides it. --scores needs unlabelled posts, scored with this same model. Exit codes: 0 done; 2 usage or input
    error; 3 evaluated, but not promoted; 130 stopped by Ctrl-C.
    """
    if against is not None and promote is not None:
        raise InputError("--against and --promote cannot be combined: --promote already compares with the champion; give only one of them")
    replaced: dict[str, Any] = {"tracking": {"experiment": experiment}} if experiment else {}
    # Settings of labels change the model's label set, which is not known yet; they are checked once it is loaded.
    of_others = [setting for setting in set_ if not setting.startswith(("labels.", "labels="))]
    tracking = load_config(config, of_others, data, **replaced).tracking
    with terminal.steps() as progress:
        progress("loading the model")
        from pipeline.evaluating import evaluate
        from pipeline.model_location import THE_RELEASED, is_released, load_model

        loaded = load_model(model, tracking)
        other = load_model(against, tracking) if against is not None else None
        resolved = load_config(config, set_, data, labels=loaded.config.labels, **replaced)
        folder = Path(model) if Path(model).is_dir() else None
        title = THE_RELEASED if is_released(model) else model
        name = title if ":/" in title else "/".join(Path(title).parts[-2:])
        results = evaluate(
            *(loaded, resolved, out),
            split=split,
            against=other,
            trained_on=folder,
            scores=scores,
            promote=promote,
            operating_point=operating_point,
            name=name,
            progress=progress,
        )
    at = "" if operating_point == BALANCED else f" at {operating_point}"
    _show(
        results,
        f"{title}{at} on {', '.join(resolved.data.sources)}; {results.evaluated}",
        out,
        "" if against is None or is_released(against) else against,
    )
    from pipeline.evaluation.measuring import ALL_POSTS

    if results.evaluated == ALL_POSTS:
        print("note     the data has no splits, so all of it was measured; if the model was trained on some of it, use --split test")
    if results.promotion and not results.promotion.promoted:
        raise typer.Exit(terminal.NOT_PROMOTED)
