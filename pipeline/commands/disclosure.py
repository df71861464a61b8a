"""``disclosure``: all command lines of this project under one name."""

from collections.abc import Callable

from pipeline import terminal
from pipeline.commands import card, evaluate, score, serve, teach, train

COMMANDS: dict[str, Callable[..., None]] = {
    "score": score.main,
    "train": train.main,
    "evaluate": evaluate.main,
    "serve": serve.main,
    "teach": teach.main,
    "card": card.main,
}


def main() -> None:
    """Run the command that is named first, such as ``disclosure score``."""
    terminal.run(COMMANDS, stopped="stopped; the same command goes on where it can")


if __name__ == "__main__":
    main()
