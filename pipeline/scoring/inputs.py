"""Find the files that a job reads, given files, folders and globs."""

import glob
import shlex
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from models.errors import InputError
from pipeline.errors import DamagedError, NoPostsError
from pipeline.files import is_left_behind
from pipeline.records import (
    DELTA_LOG,
    FILES,
    STDIN,
    InputFormat,
    Row,
    Tell,
    file_rows,
    ignore,
    is_stream,
    kind_of,
    live_files,
    live_of,
    missing_column,
    name_of,
    named_with,
    note_columns,
    parquet_columns,
    parquet_length,
    partitions_of,
    shown_columns,
    text_columns,
)
from pipeline.scoring.bad_files import BadFiles
from pipeline.scoring.options import Options
from pipeline.scoring.table_formats import refuse_tables
from pipeline.stores import StorePath, path_of

_LOOKED_AT = 100_000  # maximum number of rows of JSON, of all files together, in which we look for columns to keep
_SHOWN = 1_000  # characters by which we guess which column holds the text
_KNOWN = {"_temporary", "_metadata", "_common_metadata"}  # Spark and others write these beside their output; they never hold posts


_GIVE = "tell score.py what all files hold, as in --input-format jsonl"
_LEFT_OUT = "left out, because its name begins with '_' or '.'; name it if it should be read"


def _passed_over(path: Path, tell: Tell) -> bool:
    """Return whether something in a folder is not an input: it is hidden, left behind, or a program's own (its name begins with `_`).

    The name of a partition folder may begin with `_`, too (``_date=2017-10-15``). What looks as if it were meant to be read is reported.
    """
    hidden, own = is_left_behind(path.name), path.name.startswith("_")
    if not (hidden or own) or (own and "=" in path.name and path.is_dir()):
        return False
    if path.name not in _KNOWN and not path.name.startswith("._"):
        inside = path.rglob("[!._]*") if own and path.is_dir() else [path]
        if any(name_of(file) for file in inside):
            tell(path, _LEFT_OUT)
    return True


def _walk(folder: Path, root: Path, seen: set[Path], tell: Tell, version: int | None) -> Iterator[Path]:
    """Yield the files below a folder; a folder that links lead to is read once, or not at all if it is read anyway."""
    here, held = folder.resolve(), sorted(folder.iterdir())
    if any(path.name == DELTA_LOG for path in held):
        yield from live_files(folder, version, tell)
        return
    for path in held:
        if _passed_over(path, tell):
            continue
        if not path.is_dir():
            yield path
            continue
        place = path.resolve()
        if path.is_symlink():
            if here.is_relative_to(place):
                raise InputError(f"{path}: links to {place}, a folder that contains it; remove the link, or name the files with a glob")
            if place.is_relative_to(root) or place in seen:
                continue
        seen.add(place)
        yield from _walk(path, root, seen, tell, version)


def _in_folder(folder: Path, out: Path | None, tell: Tell, bad: BadFiles, given: InputFormat | None, version: int | None) -> list[Path]:
    """List the files in a folder, at any depth, except those that are passed over."""
    if out and out.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{out}: is in the input {folder}, so the next run would read the scores as posts; choose an --out elsewhere")
    found = list(_walk(folder, folder.resolve(), set(), tell, version))
    refuse_tables(found, [] if (folder / DELTA_LOG).is_dir() else [folder])
    if not found:
        raise NoPostsError(f"{folder}: has no files; give a folder with {FILES} files")
    for path in found:
        if not given and not name_of(path):
            reason = f"must be one of {FILES}; move it away, select files with a glob such as '{folder}/*.jsonl', or {_GIVE}"
        elif path.exists() and not path.is_file():
            reason = "is not a file but a pipe or a device; move it away, or name it if it should be read"
        else:
            continue
        bad.add(path, InputError(f"{path}: {reason}"))
    files = {path.resolve() for path in found if not path.is_symlink()}
    return sorted(path for path in found if not (path.is_symlink() and path.resolve() in files))


def _named(name: str, out: Path | None, tell: Tell, bad: BadFiles, given: InputFormat | None, version: int | None) -> list[Path]:
    """List the files that a file name, a folder name or a glob stands for; a glob means what a shell would make of it."""
    place = path_of(name)
    if place.is_dir():
        return _in_folder(place, out, tell, bad, given, version)
    if not glob.has_magic(name) or place.exists():
        return [place]
    here = sorted(glob.glob(name, recursive=True))  # noqa: PTH207  # Path.glob does not accept absolute patterns
    found: dict[Path, None] = {}
    for path in place.matches() if isinstance(place, StorePath) else map(Path, here):
        if not path.is_dir():
            found |= {} if is_left_behind(path.name) else {path: None}
        elif not _passed_over(path, tell):
            with suppress(NoPostsError):
                found |= dict.fromkeys(_in_folder(path, out, tell, bad, given, version))
    if not found:
        raise InputError(f"{name}: no file matches this glob; check the pattern")
    return sorted(found)


def find_inputs(
    names: Sequence[str | Path],
    out: Path | None = None,
    tell: Tell = ignore,
    bad: BadFiles | None = None,
    given: InputFormat | None = None,
    table_version: int | None = None,
) -> list[Path]:
    """List the files that are named directly or found in folders and by globs.

    Parameters
    ----------
    names : sequence of str or Path
        Files, folders and globs; ``-`` is standard input.
    out : Path, optional
        The output folder, which may not be in one of the folders.
    tell : callable
        Called with a path and why it is left out, if it looks as if it were meant to be read.
    bad : BadFiles, optional
        Takes the files that are not of a supported kind or cannot be found; they are in the list, too. By default, they raise an error.
    given : InputFormat, optional
        The format of all files, which takes precedence over their names.
    table_version : int, optional
        The version of the Delta table that is among the inputs; by default, its newest.

    Returns
    -------
    list of Path
        In the order given; the files of a folder or a glob are sorted.

    Raises
    ------
    InputError
        When nothing is found, a file is not of a supported kind or belongs to a table with a log (`refuse_tables`), or is named twice.
    """
    files, places = list[Path](), list[Path]()
    bad = bad or BadFiles()
    for name in map(str, names):
        try:
            files += (named := _named(name, out, tell, bad, given, table_version))
            places += [path.resolve() for path in named]
        except OSError as error:
            place = error.filename or name
            raise InputError(f"{place}: cannot be read ({error.strerror}); check its permissions") from None
        except RuntimeError:  # `Path.resolve` raises this
            raise InputError(f"{name}: holds a link that leads to itself; remove it") from None
    if not files:
        raise InputError("there are no inputs; give files, folders or globs")
    seen: set[Path] = set()
    for path, place in zip(files, places, strict=True):
        try:
            if not path.suffix and path != STDIN and not path.exists():  # perhaps a misspelt folder
                raise InputError(f"{path}: no such file or folder; check the path")
            if kind_of(path, given) in (".parquet", ".xlsx") and is_stream(path):
                raise InputError(f"{path}: is a stream, but Parquet and Excel files can only be read as files; write it to a file first")
        except InputError as error:
            if path not in bad.paths:
                bad.add(path, InputError(f"{error}, or {_GIVE}") if path.exists() and not (given or name_of(path)) else error)
        if place in seen:
            raise InputError(f"{path}: was given twice; name each file once")
        seen.add(place)
    refuse_tables([path for path in files if path != STDIN])
    tables = {live.table for path in files if (live := live_of(path))}
    if table_version is not None and len(tables) != 1:
        found = f"there are {len(tables)}" if tables else "there is none"
        raise InputError(f"--table-version {table_version}: is for one Delta table among the inputs, but {found}; leave it out")
    return files


def _columns(path: Path, options: Options, wanted: set[str], most: int) -> tuple[dict[str, int], int, bool]:
    """Return the columns of a file, each with the first row that has it, the number of rows read, and whether these are all columns.

    Rows of JSON are read until the wanted columns have been found; in other files, all rows have the same columns.
    """
    found: dict[str, int] = {}
    read = 0
    given = options.input_format
    several = kind_of(path, given) == ".jsonl"
    try:
        if path.is_file() and kind_of(path, given) == ".parquet":
            rows = parquet_length(path)
            return (dict.fromkeys([*partitions_of(path), *parquet_columns(path, options.columns)], 1) if rows else {}), rows, True
        for row in file_rows(path, options.columns, given=given):
            read += 1
            if isinstance(row, Row):
                note_columns(found, row, wanted)
                if not several or found.keys() >= wanted:
                    break
            if read >= most:
                return found, read, False
        if not found and path.is_file() and not several:
            found = dict.fromkeys(text_columns(path, options.columns, given), 1)
    except DamagedError:
        return found, read, False
    return found, read, True


def _remedy(path: Path, found: Mapping[str, int], options: Options) -> str:
    """Return the options that name the columns of ids and texts that were not found."""
    from pipeline.corpora.layout import SAMPLE, find_column, guess_id_and_text

    rows = list[dict[str, Any]]()
    with suppress(DamagedError):
        for row in islice(file_rows(path, options.columns, given=options.input_format), SAMPLE):
            if isinstance(row, Row):
                rows.append({name: value[:_SHOWN] if isinstance(value, str) else value for name, value in row.fields.items()})
    guessed = guess_id_and_text(rows)
    texts = find_column(options.text_column, list(found)) or guessed.get("text") or "TEXT_COLUMN"
    text = "" if options.text_column in found else f"--text-column {shlex.quote(texts)}"
    if options.id_column is None or options.id_column in found:
        return f"name it with {text}"
    it = "them" if text else "it"
    if ids := find_column(options.id_column, list(found)) or guessed["id"]:
        return f"name {it} with --id-column {shlex.quote(ids)} {text}".rstrip() + " (or number the rows: --id-column none)"
    return f"name {it} with {text} ".rstrip() + " --id-column none (which numbers the rows), or --id-column ID_COLUMN"


def check_inputs(
    files: Sequence[Path],
    options: Options,
    out: Path,
    tell: Tell = ignore,
    bad: BadFiles | None = None,
    known: Container[Path] = (),
) -> None:
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
    tell : callable
        Called with the output folder and a warning when a column to keep was not found, but may occur further on.
    bad : BadFiles, optional
        Takes the files that cannot be used. By default, they raise an error.
    known : container of Path
        Files that an earlier job has scored with these options, which need no check.

    Raises
    ------
    InputError
        When a file cannot be read, lacks a column or is in the output folder, or when no file has a column to keep.
    """
    place, needed = out.resolve(), set(options.needed)
    missing, left, complete, present = set(options.keep), _LOOKED_AT, True, set[str]()
    bad = bad or BadFiles()
    for path in files:
        if path in bad.paths:
            continue
        if path in known:
            missing.clear()  # what that job kept is known to be there
            continue
        if is_stream(path):
            missing.clear()  # reading it here would consume it
            continue
        if path.resolve().is_relative_to(place):
            raise InputError(f"{path}: is in the output folder {out}; choose another --out")
        try:
            found, read, all_read = _columns(path, options, needed | missing, max(left, 1))
            if found and all_read and not found.keys() >= needed:
                raise missing_column(path, found, options.needed, _remedy(path, found, options))
        except InputError as error:
            bad.add(path, error)
            complete = False
            continue
        missing -= found.keys()
        complete &= all_read
        present |= found.keys()
        left -= read
    if present and (absent := [name for name in options.keep if name in missing]):
        if complete:
            shown = shown_columns(sorted(present))
            remedy = f"name it with {named_with('--keep', absent[0], present)}"
            raise InputError(f"--keep {absent[0]}: the inputs have no such column; found {shown}; {remedy}")
        tell(out, f"--keep {absent[0]}: the first rows of the inputs have no such column; where a row lacks it, the value will be null")
