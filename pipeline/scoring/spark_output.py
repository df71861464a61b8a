"""The output folder of a Spark job: written beside its place, and put there once it is complete."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from models.errors import InputError
from models.folders import check_output

_LOCK = "lock"


def _check_name(out: Path) -> None:
    try:
        str(out.resolve()).encode()
    except UnicodeEncodeError:
        shown = os.fsencode(out).decode("utf-8", "backslashreplace")
        raise InputError(f"{shown}: is not UTF-8, and Spark cannot write to it; choose another --out") from None


@contextmanager
def unfinished_output(out: Path) -> Iterator[Path]:
    """Yield a path for Spark to write to, which becomes `out` if the block succeeds, and is removed if it fails.

    It is in the folder ``.<name>.spark-unfinished`` beside `out`, which is locked while a job is at work. What a killed job left there
    is removed.

    Parameters
    ----------
    out : Path
        The folder to write; it must not exist.

    Raises
    ------
    InputError
        When `out` cannot be written, or another job is writing it.
    """
    from filelock import FileLock, Timeout

    _check_name(out)
    check_output(out, [])
    place = out.resolve()
    beside = place.parent / f".{place.name}.spark-unfinished"
    try:
        beside.mkdir(parents=True, exist_ok=True)
        if beside.is_symlink() or not _is_ours(beside):
            raise InputError(f"{beside}: holds something else than an unfinished output; move it away, or choose another --out")
        with FileLock(beside / _LOCK, timeout=0):
            for left in beside.glob("job-*"):
                shutil.rmtree(left)
            fresh = Path(tempfile.mkdtemp(prefix="job-", dir=beside)) / "new"
            try:
                yield fresh
                fresh.rename(place)
            finally:
                shutil.rmtree(beside)
    except Timeout:
        raise InputError(f"{out}: is being written by another job; wait for it, or choose another --out") from None
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror or error}); choose another --out") from None


def _is_ours(folder: Path) -> bool:
    """Return whether a folder holds nothing but a lock and folders of jobs."""
    found = list(folder.iterdir())
    jobs = [path for path in found if path.name.startswith("job-") and path.is_dir() and not path.is_symlink()]
    return {path for path in found if path not in jobs} <= {folder / _LOCK} and not (folder / _LOCK).is_symlink()
