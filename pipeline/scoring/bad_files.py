"""Files that cannot be used, whatever is wrong with them: such a file stops the job, or is skipped and reported at the end."""

from pathlib import Path
from typing import Literal

from models.errors import InputError
from pipeline.errors import DamagedError

OnBadFile = Literal["fail", "skip"]


class BadFiles:
    """The files of a job that cannot be used, or can be used only in part.

    Parameters
    ----------
    on_bad_file : {"fail", "skip"}
        Whether a file that cannot be used stops the job or is skipped. A file that is damaged further on never keeps the others from being
        scored.

    Attributes
    ----------
    paths : set of Path
        Files that are not to be opened again.
    reasons : list of str
        One line for each of them, and for each file that is damaged.
    """

    def __init__(self, on_bad_file: OnBadFile = "fail") -> None:
        if on_bad_file not in ("fail", "skip"):
            raise InputError(f"on_bad_file must be fail or skip, but got {on_bad_file!r}")
        self._skip = on_bad_file == "skip"
        self.paths: set[Path] = set()
        self.reasons: list[str] = []

    def add(self, path: Path, error: InputError) -> None:
        """Skip a file or, if it is not to be skipped, raise the error.

        Parameters
        ----------
        path : Path
            The file.
        error : InputError
            What is wrong with it.
        """
        if not (self._skip or isinstance(error, DamagedError)):
            raise error
        self.paths.add(path)
        self.reasons.append(str(error))
