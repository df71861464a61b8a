"""``python -m pipeline.commands.card``: write a model card from measured results."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline import terminal


def main(
    model: Annotated[Path, typer.Option(metavar="DIR", help="Model directory.")],
    evaluation: Annotated[Path, typer.Option(metavar="DIR", help="Output folder of evaluate.py for this model.")],
    ordinary: Annotated[
        list[str],
        typer.Option(metavar="NAME=DIR", help="This model's scores of posts that deserve no label. Repeatable."),
    ],
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="The card to write; by default README.md in --model.")] = None,
) -> None:
    """Write a model card.

    It reports the model's evaluation and how often the model gives labels to ordinary posts, which deserve none.
    """
    from pipeline.report.card import CARD, write_card

    card = out or model / CARD
    write_card(model, evaluation, ordinary, card)
    print(f"card     {card}")


if __name__ == "__main__":
    terminal.run(main)
