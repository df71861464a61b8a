"""``python -m pipeline.commands.teach``: make the lessons that a network learns from. It needs the extra ``encoder``."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline import terminal
from pipeline.config_files import load_config


def main(
    encoder: Annotated[str, typer.Option(help="Folder of the encoder, or its name on the Hugging Face hub.")],
    data: Annotated[list[str], typer.Option(help="As in train.py, with unlabelled=FILE. Repeatable.")],
    out: Annotated[Path, typer.Option(help="File for the lessons (safetensors).")],
    config: Annotated[list[Path] | None, typer.Option(help="As in train.py. Repeatable.")] = None,
    composed: Annotated[int, typer.Option(min=1, help="Number of posts to compose per fold.")] = 100_000,
    teachers: Annotated[int, typer.Option(min=1, help="Number of teachers to fine-tune per fold, and on all posts.")] = 2,
    work: Annotated[Path, typer.Option(help="Folder for intermediate results.")] = Path("runs/teacher"),
    threads: Annotated[int, typer.Option(min=1, help="Number of threads for torch.")] = 1,
) -> None:
    """Make the lessons that a network learns from.

    For each fold, teachers are fine-tuned on the posts of the other folds. As many more are fine-tuned on all posts. Their answers for
    posts without labels are the lessons. More threads are faster, but change the last digits of the answers. An interrupted run
    continues from what --work holds.
    """
    from pipeline.teaching.teacher import teach

    settings = load_config(config or [], [], data)
    with terminal.steps() as progress:
        lessons = teach(settings, encoder, composed, teachers, work, threads, progress)
    lessons.save(out)


if __name__ == "__main__":
    terminal.run(main)
