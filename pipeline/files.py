"""Writes files that are never half-written."""

import io
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from models.folders import is_litter
from pipeline.stores import StorePath

WholeFile = io.BufferedRandom | io.BytesIO
UNFINISHED = ".unfinished"  # the end of the name of a file that is being written


_OF_THE_DISK = {"lost+found", "System Volume Information", "$Extend"}  # what the root of a volume may hold


def is_left_behind(name: str) -> bool:
    """Return whether a file or folder of this name is hidden, or belongs to a file manager, an archive or the disk itself.

    Examples
    --------
    >>> [is_left_behind(name) for name in (".DS_Store", "lost+found", "posts.csv")]
    [True, True, False]
    """
    return is_litter(name) or name in _OF_THE_DISK


class OutputError(Exception):
    """The output cannot be written."""


@contextmanager
def whole_file(path: Path, outdated: Path | None = None) -> Iterator[WholeFile]:
    """Open a file that replaces `path` only once it is completely on the disk, or in the object store.

    Parameters
    ----------
    path : Path
        The file to write; an existing one is kept until the new one is complete.
    outdated : Path, optional
        Another file, which is removed just before `path` is replaced.

    Raises
    ------
    OutputError
        When the file cannot be written.
    """
    if isinstance(path, StorePath):
        yield (content := io.BytesIO())
        try:
            if outdated:
                outdated.unlink(missing_ok=True)
            path.write_bytes(content.getbuffer())
        except OSError as error:
            raise OutputError(f"{path.parent}: cannot be written ({error.strerror})") from None
        return
    beside = path.with_name(f"{path.name}.{secrets.token_hex(4)}{UNFINISHED}")
    made = False
    try:
        with beside.open("x+b") as file:  # "x" replaces neither an existing file nor what a link points to
            made = True
            yield file
            file.flush()
            os.fsync(file.fileno())
        if outdated:
            outdated.unlink(missing_ok=True)
        beside.replace(path)
        if hasattr(os, "O_DIRECTORY"):  # Windows cannot open folders
            folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    except OSError as error:
        raise OutputError(f"{path.parent}: cannot be written ({error.strerror or error})") from None
    finally:
        if made:
            beside.unlink(missing_ok=True)
