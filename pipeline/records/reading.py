"""Read the rows of a file, one at a time, including broken rows."""

import os
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

from models.errors import InputError
from models.folders import check_local
from pipeline.errors import DamagedError, NoPostsError
from pipeline.records.csv_rows import csv_header, csv_rows, csv_spans, csv_text
from pipeline.records.jsonl import jsonl_rows
from pipeline.records.kinds import InputFormat, kind_of, partitions_of
from pipeline.records.parquet import batch_rows, parquet_batches
from pipeline.records.rows import BrokenRow, Row, found_columns, named_with, read_lines
from pipeline.records.text import Tell, TextFile, ignore, open_text
from pipeline.stores import StorePath

_LOOKED_AT = 1_000  # one of this many first rows of JSON must have the columns
_NAMES = 10_000  # maximum number of other columns to remember, because each row of JSON may have its own


def with_partitions(rows: Iterable[Row | BrokenRow], path: Path) -> Iterable[Row | BrokenRow]:
    """Add to rows the columns that the folders of their file stand for (`partitions_of`), unless they have them.

    Parameters
    ----------
    rows : iterable of Row or BrokenRow
        The rows.
    path : Path
        Their file.
    """
    if not (partitions := partitions_of(path)):
        return rows
    return (Row(row.number, partitions | row.fields) if isinstance(row, Row) else row for row in rows)


def text_rows(file: TextFile, path: Path, first: int = 1) -> Iterator[Row | BrokenRow]:
    """Yield the rows of an open file.

    Parameters
    ----------
    file : TextFile
        The file.
    path : Path
        Its path, for error messages.
    first : int
        Number of the first row.
    """
    if file.kind == ".csv":
        return csv_rows(file.content, path, first, file.dialect)
    return jsonl_rows(file.content, first)


def file_rows(path: Path, columns: Sequence[str] = (), tell: Tell = ignore, given: InputFormat | None = None) -> Iterator[Row | BrokenRow]:
    """Yield the rows of a file as `read_rows` does, whatever columns they have; the file may have no rows.

    Parameters
    ----------
    path : Path
        The file.
    columns : sequence of str
        Columns that the file should have, if they are known; the delimiter is detected by these names.
    tell : callable
        As in `read_rows`.
    given : InputFormat, optional
        As in `kind_of`.

    Raises
    ------
    InputError
        When the file is missing or cannot be used; `DamagedError` when it is truncated.
    """
    try:
        if path.is_dir():
            raise InputError(f"{path}: is a folder; give the files in it")
        if not path.exists():
            if not isinstance(path, StorePath):
                check_local(path)
            raise InputError(f"{path}: no such file; check the path")
        if (path.is_char_device() or path.is_block_device()) and not path.samefile(os.devnull):
            raise InputError(f"{path}: is a device, which may have no end; name a file")
        yield from with_partitions(_rows_of(path, columns, tell, given), path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check its permissions") from None


def text_columns(path: Path, columns: Sequence[str] = (), given: InputFormat | None = None) -> list[str]:
    """Return the names in the header of a CSV file, which may have no rows; none for a file that is not CSV.

    Parameters
    ----------
    path : Path
        The file.
    columns : sequence of str
        As in `file_rows`.
    given : InputFormat, optional
        As in `kind_of`.

    Raises
    ------
    InputError
        When the header cannot be used.
    """
    with open_text(path, columns, given=given) as file:
        if file.kind != ".csv":
            return []
        with csv_text(file.content, file.dialect.newline) as text:
            return csv_header(csv_spans(read_lines(text, file.dialect.newline), file.dialect), path)[1]


def _rows_of(path: Path, columns: Sequence[str], tell: Tell, given: InputFormat | None) -> Iterator[Row | BrokenRow]:
    if kind_of(path, given) == ".parquet":
        yield from batch_rows(parquet_batches(path))
        return
    number = 0
    try:
        with open_text(path, columns, tell, given) as file:
            for row in text_rows(file, path):
                number = row.number
                yield row
    except OSError as error:
        if error.errno:
            raise
        raise DamagedError(f"{path}, row {number + 1}: is damaged or truncated ({error}); copy or write the file again") from None


def missing_column(path: Path, found: Mapping[str, int], columns: Iterable[str], remedy: str = "correct the column's name") -> InputError:
    """Return the error for rows that lack a column.

    Parameters
    ----------
    path : Path
        Their file.
    found : mapping of str to int
        The columns that they have, each with the number of the first row that has it.
    columns : iterable of str
        The columns that they must have.
    remedy : str
        What to do about it.
    """
    missing = ", ".join(repr(column) for column in columns if column not in found)
    place = f"{path}, row {min(found.values())}"
    return InputError(f"{place}: no column {missing}; found {found_columns(sorted(found))}; {remedy}")


def note_columns(found: dict[str, int], row: Row, wanted: Container[str]) -> None:
    """Note the columns of a row.

    Parameters
    ----------
    found : dict of str to int
        The columns found so far, each with the number of the first row that has it. The columns of this row are added, up to a maximum
        number.
    row : Row
        The row.
    wanted : container of str
        Columns that are always added.
    """
    for name in row.fields:
        if name in wanted or len(found) < _NAMES:
            found.setdefault(name, row.number)


def _checked(rows: Iterator[Row | BrokenRow], columns: Sequence[str], path: Path, option: str | None) -> Iterator[Row | BrokenRow]:
    """Yield rows, and check that one of the first has the columns; in JSON, the very first may be a notice and not a post."""
    held: list[Row | BrokenRow] = []
    found: dict[str, int] = {}  # the first row that has each column
    for row in rows:
        held.append(row)
        if isinstance(row, Row):
            note_columns(found, row, columns)
        if found and (found.keys() >= set(columns) or (len(held) >= _LOOKED_AT or kind_of(path) != ".jsonl")):
            break
    if found and not found.keys() >= set(columns):
        if option:
            raise missing_column(path, found, columns, f"name it with {named_with(option, columns[0], found)}")
        raise missing_column(path, found, columns)
    yield from chain(held, rows)


def read_rows(
    path: Path, columns: Iterable[str], *, may_be_empty: bool = False, tell: Tell = ignore, option: str | None = None
) -> Iterator[Row | BrokenRow]:
    """Yield the rows of a file in order and in bounded memory; blank lines are skipped.

    Parameters
    ----------
    path : Path
        A file of any kind that `kind_of` knows. Delimiter and encoding of text files are recognised.
    columns : iterable of str
        Columns that the file must have; a row of JSON may lack them.
    may_be_empty : bool
        Whether a file without rows is allowed.
    tell : callable
        Called with the path and a description of how the file was read, if that is unusual. Examples are a format or compression that the
        file's name does not suggest, an encoding other than UTF-8, and an unexpected delimiter.
    option : str, optional
        The option by which a user names the only column; an error suggests it.

    Raises
    ------
    InputError
        When the file is missing, of another kind or unreadable, or lacks a column; `NoPostsError` when it is empty, `DamagedError` when
        it is truncated.
    """
    seen, columns = False, list(columns)
    for row in _checked(file_rows(path, columns, tell), columns, path, option):
        seen = True
        yield row
    if not seen and not may_be_empty:
        raise NoPostsError(f"{path}: is empty (no rows); give a file with posts")
