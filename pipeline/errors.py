"""What goes wrong while files are read and jobs are done; see also `models.errors`."""

from collections.abc import Sequence

from models.errors import InputError


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
