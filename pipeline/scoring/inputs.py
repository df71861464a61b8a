"""Which files a job reads: those that files, folders and globs name."""

import glob
import os
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

from models.errors import InputError
from pipeline.errors import DamagedError
from pipeline.records import FILES, STDIN, Row, kind_of, name_of, read_rows
from pipeline.scoring.options import Options

_LOOKED_AT = 100  # rows of a file at most, for the columns that there are


def _in_folder(folder: Path) -> list[Path]:
    """Files of a folder, at any depth, that are not hidden and not marked as no data by an underscore."""

    def fail(error: OSError) -> None:
        raise error

    found: list[Path] = []
    for place, folders, names in os.walk(folder, onerror=fail):
        folders[:] = [name for name in folders if not name.startswith((".", "_"))]
        found += [Path(place) / name for name in names if not name.startswith((".", "_"))]
    if not found:
        raise InputError(f"{folder}: no files in it; give a folder with {FILES} files")
    if others := sorted(path for path in found if not name_of(path)):
        raise InputError(f"{others[0]}: not one of {FILES}; move it away, or choose files by a glob such as '{folder}/*.jsonl'")
    return sorted(found)


def _named(name: str) -> list[Path]:
    """Files that a file's or folder's name, or a glob, stands for."""
    if Path(name).is_dir():
        return _in_folder(Path(name))
    if not glob.has_magic(name) or Path(name).exists():
        return [Path(name)]
    matches = sorted(glob.glob(name, recursive=True))  # noqa: PTH207  # Path.glob takes no absolute pattern
    found = [Path(path) for path in matches if not Path(path).is_dir()]
    if not found:
        raise InputError(f"{name}: no file fits this glob; check it")
    return found


def find_inputs(given: Sequence[str | Path]) -> list[Path]:
    """Files that files, folders and globs name, in the order given, each folder's and glob's sorted.

    Parameters
    ----------
    given : sequence of str or Path
        ``-`` is standard input.

    Raises
    ------
    InputError
        When nothing is found, a file is of another kind, or named twice.
    """
    files: list[Path] = []
    for name in map(str, given):
        try:
            files += _named(name)
        except OSError as error:
            raise InputError(f"{name}: cannot be read ({error.strerror}); check its permissions") from None
    if not files:
        raise InputError("no inputs; give files, folders or globs")
    seen: set[Path] = set()
    for path in files:
        kind_of(path)
        if (place := path.resolve()) in seen:
            raise InputError(f"{path}: given twice; name each file once")
        seen.add(place)
    return files


def check_inputs(files: Sequence[Path], options: Options, out: Path) -> None:
    """See to it that files can be opened and have their columns, before any work is done.

    A damaged file is let pass: what can be read of it is scored. Columns to keep may be missing in some files.

    Raises
    ------
    InputError
    """
    place = out.resolve()
    found: set[str] = set()
    for path in files:
        if path == STDIN:
            found.update(options.keep)  # who looks at it takes it away
            continue
        if path.resolve().is_relative_to(place):
            raise InputError(f"{path}: lies in the output folder {out}; choose another --out")
        rows = read_rows(path, [options.id_column, options.text_column], may_be_empty=True)
        with suppress(DamagedError):
            found.update(*(row.fields for row in islice(rows, _LOOKED_AT) if isinstance(row, Row)))
    if found and (missing := [name for name in options.keep if name not in found]):
        raise InputError(f"no column {missing[0]!r} to keep in the first rows of any input; name the right column")
