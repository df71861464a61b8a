"""What goes wrong by a user's input, not by a mistake in the code."""

from collections.abc import Sequence


class InputError(Exception):
    """Input that cannot be used: the message is one line that names the place and the remedy."""


class DamagedError(InputError):
    """A file that breaks off or is damaged, so that not all of its rows can be read."""


class IncompleteError(Exception):
    """A job that could not do all of its work; what it did is kept, and running it again does the rest.

    Attributes
    ----------
    reasons : sequence of str
        Each thing that is missing, where there are several.
    """

    def __init__(self, message: str, reasons: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.reasons = reasons
