"""``disclosure watch``: whether the posts of a stream are still like those that the model knows; it needs no labels."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from models.errors import InputError
from pipeline import terminal

if TYPE_CHECKING:
    from pipeline.watching.results import Watched

OUT = Path("runs/watch")


def _show(found: "Watched", out: Path) -> None:
    from pipeline.report.watch import PAGE, watch_tables

    console = terminal.output()
    console.print(*watch_tables(found), sep="\n")
    for note in [*(f"note     {note}" for note in found.notes), *(f"alarm    {alarm}" for alarm in found.alarms)]:
        console.print(note, highlight=False, markup=False, soft_wrap=True)
    console.print(f"results  {out}\npage     {out / PAGE}", highlight=False, markup=False)


def main(
    scores: Annotated[list[Path], typer.Argument(metavar="SCORES...", help="Output folders of score.py.")],
    reference: Annotated[
        list[Path], typer.Option(metavar="DIR", help="Scores of posts that you trust; by default the model's training posts. Repeatable.")
    ] = [],  # noqa: B006
    model: Annotated[str, typer.Option(metavar="MODEL", help="The model that computed the scores.")] = "released",
    by: Annotated[list[str], typer.Option(metavar="COLUMN", help="Also compare by this kept column. Dates count by day. Repeatable.")] = [],  # noqa: B006
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = OUT,
    config: Annotated[list[Path], typer.Option(help="As in train.py, for example to change limits.")] = [],  # noqa: B006
    set_: Annotated[list[str], typer.Option("--set", metavar="SECTION.KEY=VALUE", help="As in train.py.")] = [],  # noqa: B006
    experiment: Annotated[str | None, typer.Option(help="Also log a run in this MLflow experiment.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print watch.json.")] = False,
) -> None:
    """Compare scores with a reference, and estimate precision, recall and F1 without labels.

    Scores must be Parquet. If score.py marked unfamiliar posts, the scores are also compared by length and by how much the model knows. The
    output is watch.json and watch.html, with numbers and the values of the columns of --by, but no text. Exit codes: 0 nothing is past a
    limit; 2 usage or input error, nothing done; 3 something is past a limit of the config's section watch; 5 no posts.
    """
    from pipeline.config_files import load_config
    from pipeline.model_location import model_folder
    from pipeline.report.watch import write_watched
    from pipeline.watching.watch import watch

    for folder in (*scores, *reference):
        if out.resolve().is_relative_to(folder.resolve()):
            raise InputError(f"--out {out}: is in the scores {folder}, which hold nothing else; choose another --out")
    settings = load_config(config, [*set_, *([f"tracking.experiment={experiment}"] if experiment else [])])
    with terminal.steps() as say:
        say("comparing")
        found = watch(scores, model_folder(model, settings.tracking), settings.watch, reference, by)
        write_watched(found, out)
        if experiment:
            say("tracking")
            from pipeline.tracking.watches import log_watched

            log_watched(found, settings.tracking, out)
    if as_json:
        print(found.model_dump_json(indent=1))
    else:
        _show(found, out)
    if found.alarms:
        raise typer.Exit(terminal.DRIFTED)


if __name__ == "__main__":
    terminal.run(main)
