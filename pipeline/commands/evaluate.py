"""``evaluate.py``: measure a model on labelled posts, compare it, promote it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from models.errors import InputError
from pipeline import terminal
from pipeline.config_files import load_config

if TYPE_CHECKING:
    from pipeline.evaluation import Results

OUT = Path("runs/evaluation")
NOT_PROMOTED = 3  # exit code


def _show(results: "Results", title: str, out: Path) -> None:
    from rich.markup import escape

    from pipeline.evaluation import REPORT_FILE
    from pipeline.report import evaluation_tables

    console = terminal.output()
    console.print(*evaluation_tables(results, escape(title)), sep="\n")
    console.print(f"results  {out}\nreport   {out / REPORT_FILE}", highlight=False, markup=False)


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
    out: Annotated[Path, typer.Option(help="Folder for report.html, metrics.json and predictions.parquet.")] = OUT,
    config: Annotated[list[Path], typer.Option(help="As in train.py: needed where columns have other names.")] = [],  # noqa: B006
    set_: Annotated[list[str], typer.Option("--set", metavar="SECTION.KEY=VALUE", help="As in train.py.")] = [],  # noqa: B006
    experiment: Annotated[str | None, typer.Option(help="MLflow experiment. Replaces tracking.experiment.")] = None,
) -> None:
    """Evaluate a model on labelled posts: tables, a report, metrics.json, predictions.parquet and an MLflow run."""
    if against is not None and promote is not None:
        raise InputError("--against and --promote: a model to promote is compared with the champion; give one of the two")
    replaced: dict[str, Any] = {"tracking": {"experiment": experiment}} if experiment else {}
    tracking = load_config(config, set_, data, **replaced).tracking
    with terminal.steps() as progress:
        progress("loading the model")
        from pipeline.evaluating import evaluate
        from pipeline.model_location import load_model

        loaded = load_model(model, tracking)
        other = load_model(against, tracking) if against is not None else None
        resolved = load_config(config, set_, data, labels=loaded.config.labels, **replaced)
        results = evaluate(loaded, resolved, out, split=split, against=other, scores=scores, promote=promote, progress=progress)
    _show(results, f"{model} on {', '.join(resolved.data.sources)}; {results.evaluated}", out)
    if results.promotion and not results.promotion.promoted:
        raise typer.Exit(NOT_PROMOTED)
