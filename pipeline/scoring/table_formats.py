"""Recognise tables with a log that says which files and rows still count, so that the files alone are not the table."""

import errno
from collections.abc import Iterable
from pathlib import Path

from models.errors import InputError
from pipeline.records import DELTA_LOG, live_of
from pipeline.stores import StorePath, path_of

# What such a folder holds, and what it is. Without its log, rows that were deleted from the table would be read with the others.
_SIGNS = {
    DELTA_LOG: "a Delta table",
    ".hoodie": "a Hudi table",
    "metadata/v[0-9]*.metadata.json": "an Iceberg table",
    "metadata/[0-9][0-9][0-9][0-9][0-9]-*.metadata.json": "an Iceberg table",
    "snapshot/snapshot-[0-9]*": "a Paimon table",
    "_spark_metadata": "the output of a Spark stream",
}


def _held_in_store(folder: StorePath) -> set[str]:
    """Return the names in a folder of an object store, so that the store is asked once, not for each sign of a table.

    Many roles may list only the folder with the posts, and not those around it, which then count as empty.
    """
    try:
        return {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    except OSError as error:
        if error.errno != errno.EACCES:
            raise
        return set()


def refuse_tables(files: Iterable[Path], folders: Iterable[Path] = ()) -> None:
    """Raise an error if files belong to a table with a log, unless `live_files` has found them in it.

    Parameters
    ----------
    files : iterable of Path
        The files to read.
    folders : iterable of Path
        Folders to read, which may have no such files.

    Raises
    ------
    InputError
        When one of the folders, or a folder around one of the files, is such a table.
    """
    places = {path_of(live.table) if (live := live_of(path)) else path for path in files}
    around = {above for place in places for above in place.resolve().parents}
    for folder in sorted({*around, *(folder.resolve() for folder in folders)}):
        held = _held_in_store(folder) if isinstance(folder, StorePath) else None
        for sign, what in _SIGNS.items():
            if held is not None and sign.partition("/")[0] not in held:
                continue
            if next(folder.glob(sign), None):
                if sign == DELTA_LOG:
                    raise InputError(f"{folder}: is {what}, and only its log says what was deleted; give the folder, not the files in it")
                reason = f"is {what}, and its log, which says what was deleted, is not read"
                raise InputError(f"{folder}: {reason}; write the rows that it still has to plain Parquet files, and give those")
