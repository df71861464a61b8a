"""``python -m pipeline.commands.annotations join|make``: labels that are stored without the posts' text."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from models.config import ROOT
from models.errors import InputError
from pipeline import terminal
from pipeline.annotations.form import FOLDER, write_annotations
from pipeline.config_files import load_config


def _show(counts: dict[str, Any], out: Path) -> None:
    from rich.table import Table

    shown = Table("split", "annotations", "matched", "unmatched")
    for name, row in counts["splits"].items():
        shown.add_row(name, *(f"{number:,}" for number in row.values()))
    console = terminal.output()
    console.print(shown)
    said = "{texts:,} texts read, {without_text:,} without text; {matched:,} matched ({repeated:,} duplicates, {shortened:,} shortened)"
    console.print(said.format(**counts) + f"; {counts['conflicting']:,} conflicting annotations left out")
    console.print(f"next     python train.py --config configs/experiments/metoo2017.yaml --data {out}")


def join_command(
    texts: Annotated[list[Path], typer.Option(metavar="FILE…", help="Files with your copies of the posts, of kinds that score.py reads.")],
    out: Annotated[Path, typer.Option(help="Folder for one JSONL file per split, with the posts' text.")],
    more: Annotated[list[Path], typer.Argument(hidden=True)] = [],  # noqa: B006  # the files after the first one of --texts
    annotations: Annotated[Path, typer.Option(help="File or folder of annotations.")] = FOLDER,
    text_column: Annotated[str, typer.Option(help="Column with the post's text.")] = "text",
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
) -> None:
    """Rebuild labelled posts from your copy of the texts.

    The labels come from our annotations, which hold no text.
    """
    from pipeline.annotations.join import join

    with terminal.steps() as say:
        say("matching posts")
        counts = join([*texts, *more], annotations, out, text_column)
    if as_json:
        print(json.dumps(counts, indent=1))
    else:
        _show(counts, out)


def make(
    data: Annotated[list[str], typer.Option(help="Labelled posts with splits, as in train.py. Repeatable.")],
    out: Annotated[Path, typer.Option(help="CSV file to write.")],
) -> None:
    """Write the annotations of labelled posts without their text: hashes, labels and splits."""
    from pipeline.annotations.making import annotate
    from pipeline.corpora import SPLITS, load_corpus

    config = load_config([ROOT / "configs/experiments/extended.yaml"], ["data.drop_overlap=false"], data)
    corpus = load_corpus(config.data, config.labels, seed=config.seed, cut=False, further=("experiencer", "stratum", "unsure"))
    if unknown := set(corpus.splits) - set(SPLITS):
        raise InputError(f"--data: some posts have no split ({', '.join(sorted(unknown))}); give each file a role, as in train=FILE")
    annotations, counts = annotate(corpus)
    write_annotations(annotations, out)
    print(f"{len(annotations):,} annotations in {out}: " + ", ".join(f"{number:,} {name}" for name, number in counts.items()))


COMMANDS: dict[str, Callable[..., None]] = {"join": join_command, "make": make}

if __name__ == "__main__":
    terminal.run(COMMANDS)
