"""Collects everything that is wrong with a file, so that one message can report it all."""

from dataclasses import dataclass

from models.errors import InputError

_SHOWN = 6  # kinds of problems that a message shows; once these are mended, the next ones are shown


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural unless the number is 1."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


@dataclass
class _Problem:
    message: str
    first: int
    rows: int = 0


class Problems:
    """What is wrong with the rows of a file or data set, by kind.

    Parameters
    ----------
    origin : str
        The file or data set, with which the message begins.
    """

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self._found: dict[str, _Problem] = {}

    def add(self, row: int, kind: str, message: str, rows: int = 1) -> None:
        """Note a problem with a row.

        Parameters
        ----------
        row : int
            Number of the row.
        kind : str
            Problems of one kind are counted together.
        message : str
            What is wrong and how to fix it; the first one of each kind is shown.
        rows : int
            How many rows have it.
        """
        self._found.setdefault(kind, _Problem(message, row)).rows += rows

    def check(self) -> None:
        """If there are problems, raise an `InputError` that lists them: for each kind, the first row and the number of further rows."""
        if not self._found:
            return
        problems = sorted(self._found.values(), key=lambda problem: problem.first)
        told = [
            f"row {problem.first}{f' and {problem.rows - 1:,} more' if problem.rows > 1 else ''}: {problem.message}"
            for problem in problems[:_SHOWN]
        ]
        rest = [counted(len(problems) - _SHOWN, "further kind") + " of problem"] if len(problems) > _SHOWN else []
        raise InputError(f"{self.origin}, {' | '.join([*told, *rest])}")
