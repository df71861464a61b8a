"""The ``disclosure`` command, which holds all command lines of this project."""

from pipeline import terminal
from pipeline.commands import annotations, card, evaluate, register, score, serve, teach, train, ui, watch

COMMANDS: dict[str, terminal.Command] = {
    "score": score.main,
    "train": train.main,
    "evaluate": evaluate.main,
    "watch": watch.main,
    "register": register.main,
    "serve": serve.main,
    "ui": ui.main,
    "teach": teach.main,
    "card": card.main,
    "annotations": annotations.COMMANDS,
}


def main() -> None:
    """Run the subcommand named in the first argument, as in ``disclosure score``."""
    terminal.run(COMMANDS, stopped="stopped; run the same command again to continue where it can")


if __name__ == "__main__":
    main()
