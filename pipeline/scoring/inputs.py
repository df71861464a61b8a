"""Find the files that a job reads, given files, folders and globs."""

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

_LOOKED_AT = 100  # maximum number of rows per file in which we look for columns


def _in_folder(folder: Path) -> list[Path]:
    """List the files in a folder, at any depth, except hidden ones and those whose names begin with an underscore."""

    def fail(error: OSError) -> None:
        raise error

    found: list[Path] = []
    for place, folders, names in os.walk(folder, onerror=fail):
        folders[:] = [name for name in folders if not name.startswith((".", "_"))]
        found += [Path(place) / name for name in names if not name.startswith((".", "_"))]
    if not found:
        raise InputError(f"{folder}: has no files; give a folder with {FILES} files")
    if others := sorted(path for path in found if not name_of(path)):
        raise InputError(f"{others[0]}: must be one of {FILES}; move it away, or select files with a glob such as '{folder}/*.jsonl'")
    return sorted(found)


def _named(name: str) -> list[Path]:
    """List the files that a file name, a folder name or a glob stands for."""
    if Path(name).is_dir():
        return _in_folder(Path(name))
    if not glob.has_magic(name) or Path(name).exists():
        return [Path(name)]
    matches = sorted(glob.glob(name, recursive=True))  # noqa: PTH207  # Path.glob does not accept absolute patterns
    found = [Path(path) for path in matches if not Path(path).is_dir()]
    if not found:
        raise InputError(f"{name}: no file matches this glob; check the pattern")
    return found


def find_inputs(given: Sequence[str | Path]) -> list[Path]:
    """List the files that are named directly or found in folders and by globs.

    Parameters
    ----------
    given : sequence of str or Path
        Files, folders and globs; ``-`` is standard input.

    Returns
    -------
    list of Path
        In the order given; the files of a folder or a glob are sorted.

    Raises
    ------
    InputError
        When nothing is found, a file is not of a supported kind, or a file is named twice.
    """
    files: list[Path] = []
    for name in map(str, given):
        try:
            files += _named(name)
        except OSError as error:
            raise InputError(f"{name}: cannot be read ({error.strerror}); check its permissions") from None
    if not files:
        raise InputError("there are no inputs; give files, folders or globs")
    seen: set[Path] = set()
    for path in files:
        kind_of(path)
        if (place := path.resolve()) in seen:
            raise InputError(f"{path}: was given twice; name each file once")
        seen.add(place)
    return files


def check_inputs(files: Sequence[Path], options: Options, out: Path) -> None:
    """Check, before any work is done, that files can be opened and have the necessary columns.

    A damaged file passes, because its readable rows are scored. Columns to keep may be missing in some files.

    Parameters
    ----------
    files : sequence of Path
        The files to score.
    options : Options
        Names the columns.
    out : Path
        The output folder, which must not contain any of the files.

    Raises
    ------
    InputError
        When a file cannot be read, lacks a column or is in the output folder, or when no file has a column to keep.
    """
    place = out.resolve()
    found: set[str] = set()
    for path in files:
        if path == STDIN:
            found.update(options.keep)  # reading stdin here would consume it
            continue
        if path.resolve().is_relative_to(place):
            raise InputError(f"{path}: is in the output folder {out}; choose another --out")
        rows = read_rows(path, [options.id_column, options.text_column], may_be_empty=True)
        with suppress(DamagedError):
            found.update(*(row.fields for row in islice(rows, _LOOKED_AT) if isinstance(row, Row)))
    if found and (missing := [name for name in options.keep if name not in found]):
        raise InputError(f"--keep {missing[0]}: the first rows of the inputs have no such column; correct its name")
