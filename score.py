#!/usr/bin/env python3
"""Score files of posts with a model."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline import terminal

if TYPE_CHECKING:
    from pipeline.scoring import Summary

DEFAULT_OUT = Path("scores")


def score(
    inputs: Sequence[Path],
    model: Path,
    out: Path = DEFAULT_OUT,
    *,
    id_column: str = "id",
    text_column: str = "text",
    progress: Callable[[int], None] = lambda posts: None,
) -> "Summary":
    """Score files in bounded memory; see `pipeline.scoring.score_files`.

    Parameters
    ----------
    inputs : sequence of Path
        JSONL, CSV or Parquet.
    model : Path
        Model directory.
    out : Path
        Output folder.
    id_column, text_column : str
        Columns of the inputs.
    progress : callable, optional
        Told the number of posts after each batch.

    Raises
    ------
    InputError
        For a model, file or folder that cannot be used.
    """
    from models import Classifier
    from pipeline.scoring import score_files

    return score_files(Classifier.load(model), inputs, out, id_column=id_column, text_column=text_column, progress=progress)


def main(
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT...", help="JSONL, CSV or Parquet files.")],
    model: Annotated[Path, typer.Option(metavar="DIR", help="Model directory.")] = Path("runs/model"),
    out: Annotated[Path, typer.Option(help="Folder for part-*.parquet, rejects.jsonl and manifest.json.")] = DEFAULT_OUT,
    id_column: Annotated[str, typer.Option(help="Column with the post's id.")] = "id",
    text_column: Annotated[str, typer.Option(help="Column with the post's text.")] = "text",
) -> None:
    """Score posts: id, a probability per label, the labels decided and the model's digest; never a text."""
    with terminal.counter("scoring") as progress:
        summary = score(inputs, model, out, id_column=id_column, text_column=text_column, progress=progress)
    rate = summary.scored / summary.seconds if summary.seconds else 0.0
    print(f"read {summary.read:,} posts, scored {summary.scored:,}, rejected {summary.rejected:,}, {rate:,.0f} posts/s")
    for reason, count in sorted(summary.reasons.items()):
        print(f"  rejected, {reason}: {count:,}")
    for label, count in summary.labels.items():
        print(f"  {label}: {count:,} ({count / max(summary.scored, 1):.1%})")
    print(f"scores   {out}")


if __name__ == "__main__":
    terminal.run(main)
