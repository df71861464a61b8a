"""``python -m pipeline.commands.card``: write a model card from measured results."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline import terminal


def main(
    model: Annotated[Path, typer.Option(metavar="DIR", help="Model directory.")],
    evaluation: Annotated[
        list[str],
        typer.Option(metavar="NAME=DIR", help="A name for the posts, and evaluate.py's output. Repeatable; the first is reported in full."),
    ],
    ordinary: Annotated[
        list[str],
        typer.Option(metavar="NAME=DIR", help="This model's scores of posts that deserve no label. Repeatable."),
    ] = [],  # noqa: B006
    plain: Annotated[str | None, typer.Option(metavar="FILE", help="Labelled sentences; by default data/plain/sentences.csv.")] = None,
    template: Annotated[Path | None, typer.Option(metavar="FILE", help="Template; by default the released model's.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="The card to write; by default README.md in --model.")] = None,
) -> None:
    """Write a model card.

    It reports what the model says about plain sentences, its evaluations, and how often it gives labels to ordinary posts, which deserve
    none. A template of your own may extend card.md.j2 and replace what is true only of the released model.
    """
    from pipeline.evaluation.plain import SENTENCES
    from pipeline.report.card import CARD, TEMPLATE, write_card

    card = out or model / CARD
    write_card(model, evaluation, ordinary, card, plain or SENTENCES, template or TEMPLATE)
    print(f"card     {card}")


if __name__ == "__main__":
    terminal.run(main)
