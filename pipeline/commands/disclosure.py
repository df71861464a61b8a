"""The ``disclosure`` command, which holds all command lines of this project."""

from pipeline import terminal
from pipeline.commands import annotations, card, evaluate, score, serve, teach, train

COMMANDS: dict[str, terminal.Command] = {
    "score": score.main,
    "train": train.main,
    "evaluate": evaluate.main,
    "serve": serve.main,
    "teach": teach.main,
    "card": card.main,
    "annotations": annotations.COMMANDS,
}


def main() -> None:
    """Run the subcommand named in the first argument, as in ``disclosure score``."""
    terminal.run(COMMANDS, stopped="stopped; run the same command again to continue where it can")


if __name__ == "__main__":
    main()
