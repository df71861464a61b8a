"""The ``disclosure`` command, which holds all command lines of this project."""

from pipeline import interrupts, terminal  # noqa: F401
from pipeline.commands import (
    again,
    agreement,
    annotations,
    card,
    compact,
    evaluate,
    forget,
    label_next,
    register,
    score,
    serve,
    teach,
    train,
    ui,
    watch,
)

COMMANDS: dict[str, terminal.Command] = {
    "score": score.main,
    "rescore": again.rescore,
    "redecide": again.redecide,
    "forget": forget.main,
    "compact": compact.main,
    "train": train.main,
    "evaluate": evaluate.main,
    "label-next": label_next.main,
    "agreement": agreement.main,
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
    terminal.run(COMMANDS, stopped="stopped; run the same command again to continue where possible")


if __name__ == "__main__":
    main()
