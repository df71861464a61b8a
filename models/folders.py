"""Output folders that appear whole or not at all."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from models.errors import InputError


def _is_output(folder: Path, files: Sequence[str]) -> bool:
    """Whether a folder is empty or an earlier output of these files."""
    found = list(folder.iterdir())
    if not files:
        return not found
    return not found or ((folder / files[0]).is_file() and all(path.is_file() and path.name in files for path in found))


def check_output(folder: Path, files: Sequence[str]) -> None:
    """Fail before any work is done if `folder` could not be written.

    Parameters
    ----------
    folder : Path
        May be absent, empty, or an earlier output, which holds no other files than these.
    files : sequence of str
        Names of the files that such an output is made of; the first is in every one of them. None: nothing is replaced.

    Raises
    ------
    InputError
    """
    place = folder.resolve()
    if os.path.ismount(place):
        raise InputError(f"{folder}: is a mount point, which cannot be replaced; choose a folder inside it as --out")
    if place.exists() and not (place.is_dir() and _is_output(place, files)):
        held = f"holds something else (no {files[0]}, or other files too)" if files else "is not empty"
        raise InputError(f"{folder}: exists and {held}; choose another --out")
    # What is written to is the parent: a scratch folder there takes the place of `folder`.
    standing = next(parent for parent in place.parents if parent.exists())
    if not standing.is_dir() or not os.access(standing, os.W_OK):
        raise InputError(f"{folder}: cannot be written under {standing}; choose another --out")


def _replace(folder: Path, fresh: Path, aside: Path) -> None:
    """Put `fresh` in the place of `folder`; if that fails, what stood there stands again."""
    if folder.exists():
        folder.rename(aside)
    try:
        fresh.rename(folder)
    except OSError:
        if aside.exists():
            aside.rename(folder)
        raise


@contextmanager
def new_folder(folder: Path, files: Sequence[str]) -> Iterator[Path]:
    """Give a scratch folder that takes the place of `folder` when the block ends well, and vanishes when not.

    Parameters
    ----------
    folder : Path
    files : sequence of str
        As of `check_output`.

    Raises
    ------
    InputError
        When `folder` holds something else, or the disk says no.
    """
    check_output(folder, files)
    place = folder.resolve()
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{place.name}-", dir=place.parent) as scratch:
            fresh = Path(scratch) / "new"
            fresh.mkdir()
            yield fresh
            _replace(place, fresh, Path(scratch) / "old")
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror or error}); choose another --out") from None
