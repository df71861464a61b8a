"""``python -m pipeline.commands.card``: write a model's card from what was measured."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline import terminal


def main(
    model: Annotated[Path, typer.Option(metavar="DIR", help="Model directory.")],
    evaluation: Annotated[Path, typer.Option(metavar="DIR", help="What evaluate.py wrote of the model.")],
    ordinary: Annotated[
        list[str],
        typer.Option(metavar="NAME=DIR", help="What score.py wrote, with the model, of posts that deserve no label; may be repeated."),
    ],
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="The card; by default README.md in the model directory.")] = None,
) -> None:
    """Write a model's card from its evaluation and its scores of ordinary posts."""
    from pipeline.report.card import CARD, write_card

    card = out or model / CARD
    write_card(model, evaluation, ordinary, card)
    print(f"card     {card}")


if __name__ == "__main__":
    terminal.run(main)
