"""Errors in reading files and in jobs; see also `models.errors`."""

from collections.abc import Sequence

from models.errors import InputError


class DamagedError(InputError):
    """A file is truncated or damaged, so that not all of its rows can be read."""


class NoPostsError(InputError):
    """There is nothing to score, as on a day without posts; nothing else is wrong."""


class LockedError(InputError):
    """Another job is writing to the same folder; try again when it has finished."""


class IncompleteError(Exception):
    """A job could not do all of its work; what it did is kept, and running it again does the rest.

    Parameters
    ----------
    message : str
        One line that says what failed and what to do.
    reasons : sequence of str
        One line for each failure, if there are several.
    """

    def __init__(self, message: str, reasons: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.reasons = reasons
