"""Output folders that appear whole or not at all."""

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from models.errors import InputError

# The files that outputs are made of: a folder with any other in it is somebody's own, whatever else it holds.
_OURS = re.compile(
    r"(?:part-\d{5}|predictions)\.parquet|rejects\.jsonl|(?:checks|manifest|metrics|model|vocabulary)\.json|weights\.safetensors"
    r"|(?:duplicates|label_errors)\.csv|report\.html"
)


def _is_output(folder: Path, marker: str) -> bool:
    """Whether a folder is empty or an earlier output."""
    found = list(folder.iterdir())
    return not found or ((folder / marker).is_file() and all(path.is_file() and _OURS.fullmatch(path.name) for path in found))


def check_output(folder: Path, marker: str) -> None:
    """Fail before any work is done if `folder` could not be written.

    Parameters
    ----------
    folder : Path
        May be absent, empty, or an earlier output, which its `marker` file tells.
    marker : str
        Name of a file that every output of this kind has.

    Raises
    ------
    InputError
    """
    place = folder.resolve()
    if os.path.ismount(place):
        raise InputError(f"{folder}: is a mount point, which cannot be replaced; choose a folder inside it as --out")
    if place.exists() and not (place.is_dir() and _is_output(place, marker)):
        raise InputError(f"{folder}: exists and holds something else (no {marker}, or other files too); choose another --out")
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
def new_folder(folder: Path, marker: str) -> Iterator[Path]:
    """Give a scratch folder that takes the place of `folder` when the block ends well, and vanishes when not.

    Raises
    ------
    InputError
        When `folder` holds something else, or the disk says no.
    """
    check_output(folder, marker)
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
