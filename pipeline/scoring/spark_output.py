"""The output folder of a Spark job: written beside its final place, and moved there once it is complete."""

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

from models.errors import InputError
from models.folders import check_output
from pipeline.errors import LockedError

_LOCK = "lock"
_NOT_IN_NAMES = set(" ,;{}()\n\t=")  # of columns of Delta tables, where they have the same names in files


def _check_place(place: Path, out: Path) -> None:
    """Raise an error if Spark would take the path of a folder for another one."""
    try:
        str(place).encode()
    except UnicodeEncodeError:
        shown = os.fsencode(out).decode("utf-8", "backslashreplace")
        raise InputError(f"{shown}: is in a folder whose name is not UTF-8, where Spark cannot write; choose another --out") from None
    if ":" in str(place) and set("*?[]{}\\") & set(str(place)):
        raise InputError(
            f"{out}: is in a folder with both a colon and one of *?[]{{}}\\ in its path, which Spark cannot read; choose another --out"
        )


@contextmanager
def unfinished_output(out: Path) -> Iterator[Path]:
    """Yield a path for Spark to write to, which becomes `out` if the block succeeds, and is removed if it fails.

    It is in a folder ``.spark-unfinished-…`` beside `out`, which is locked while a job is at work. What a killed job left there is
    removed. The folder's name depends on that of `out`, but does not hold it, because Spark cannot write to every name.

    Parameters
    ----------
    out : Path
        The folder to write; it must not exist.

    Raises
    ------
    InputError
        When `out` cannot be written; `LockedError` when another job is writing it.
    """
    from filelock import FileLock, Timeout

    check_output(out, [])
    place = out.resolve()
    _check_place(place.parent, out)
    beside = place.parent / f".spark-unfinished-{sha256(os.fsencode(place.name)).hexdigest()[:8]}"
    try:
        beside.mkdir(parents=True, exist_ok=True)
        if beside.is_symlink() or not _is_ours(beside):
            raise InputError(f"{beside}: holds something other than an unfinished output; move it away, or choose another --out")
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
        raise LockedError(f"{out}: is being written by another job; wait for it, or choose another --out") from None
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror or error}); choose another --out") from None


def _is_ours(folder: Path) -> bool:
    """Return whether a folder holds nothing but a lock and folders of jobs."""
    found = list(folder.iterdir())
    jobs = [path for path in found if path.name.startswith("job-") and path.is_dir() and not path.is_symlink()]
    return {path for path in found if path not in jobs} <= {folder / _LOCK} and not (folder / _LOCK).is_symlink()


def check_table(out: Path, columns: Iterable[str]) -> None:
    """Raise an error, before any work is done, if the output cannot become a Delta table.

    Parameters
    ----------
    out : Path
        The folder to write.
    columns : iterable of str
        The columns of the output.

    Raises
    ------
    InputError
        When deltalake is not installed, or cannot write this folder or these columns.
    """
    if not find_spec("deltalake"):
        raise InputError("--format delta needs deltalake, which is not installed; install it with pip install -e '.[delta]'")
    if "%" in str(out.resolve()):
        raise InputError(f"{out}: has a % in its path, where Delta tables cannot be written; choose another --out")
    if odd := [name for name in columns if set(name) & _NOT_IN_NAMES]:
        raise InputError(f"column {odd[0]!r}: a Delta table cannot have a column of this name; rename it in the input, or omit it")


def make_table(folder: Path) -> None:
    """Write a log into a folder of Parquet files, which makes it a Delta table.

    The log has no statistics of columns, because these would repeat the beginnings of texts that were kept.

    Parameters
    ----------
    folder : Path
        The folder; `check_table` has accepted it.
    """
    from deltalake import convert_to_deltalake

    convert_to_deltalake(folder.as_uri(), collect_stats=False)
