"""``python -m pipeline.commands.teach``: make the lessons that a network learns from. Needs the extra ``encoder``."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline import terminal
from pipeline.config_files import load_config


def main(
    encoder: Annotated[str, typer.Option(help="Folder or hub name of the encoder, as sentence-transformers/all-MiniLM-L6-v2.")],
    data: Annotated[list[str], typer.Option(help="As of train.py, with unlabelled=FILE. Repeatable.")],
    out: Annotated[Path, typer.Option(help="The lessons, a safetensors file.")],
    config: Annotated[list[Path] | None, typer.Option(help="As of train.py. Repeatable.")] = None,
    composed: Annotated[int, typer.Option(min=1, help="Posts to compose for each fold.")] = 150_000,
    teachers: Annotated[int, typer.Option(min=1, help="To fine-tune for each fold; each answers for its part of the composed posts.")] = 2,
    work: Annotated[Path, typer.Option(help="Folder that keeps what is done.")] = Path("runs/teacher"),
    threads: Annotated[int, typer.Option(min=1, help="Of torch: more are faster, and give other last digits.")] = 1,
) -> None:
    """Fine-tune teachers without each fold of the train posts, and write their answers for posts without labels."""
    from pipeline.teaching.teacher import teach

    settings = load_config(config or [], [], data)
    with terminal.steps() as progress:
        lessons = teach(settings, encoder, composed, teachers, work, threads, progress)
    lessons.save(out)


if __name__ == "__main__":
    terminal.run(main)
