"""Rows of JSONL, CSV and Parquet files, plain or compressed, one at a time, good and bad alike."""

import codecs
import csv
import io
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, AnyStr, BinaryIO

from models.errors import InputError
from pipeline.errors import DamagedError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

STDIN = Path("-")
FILES = ".jsonl, .csv (both also .gz or .zst) and .parquet"
MAX_RECORD = 16 * 2**20  # bytes of a JSONL line, characters of a CSV row
_SKIPPED = 2**16  # of the rest of a longer one, at a time

_COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
_NAME = re.compile(r"(?P<stem>.*)(?P<kind>\.parquet$|\.(?:jsonl|csv)(?=(?:\.gz|\.zst)?$))")
_decode = json.JSONDecoder().raw_decode  # without the steps around it, which take a fifth of the time
_PARQUET_BATCH = 128  # rows: fewer are slower, and of more a small file can make gigabytes, as one great text stands in it once

# What `errors="surrogateescape"` makes of bytes that are not UTF-8.
_UNDECODABLE = re.compile("[\udc80-\udcff]")
UNCLOSED = "a quote is never closed: the file is not read beyond"
_TOO_LONG = f"record is longer than {MAX_RECORD >> 20} MiB"


@dataclass(slots=True)  # frozen ones take thrice as long to make
class Row:
    """A row that could be read.

    Attributes
    ----------
    number : int
        1-based: the line of a JSONL file, the data row of a CSV or Parquet file.
    fields : dict
        Values by column.
    """

    number: int
    fields: dict[str, Any]


@dataclass(slots=True)
class BrokenRow:
    """A row that could not be read, and why (never its content)."""

    number: int
    reason: str


def name_of(path: Path) -> tuple[str, str] | None:
    """Name of a file without its endings, and which of ``.jsonl``, ``.csv``, ``.parquet`` it is; None for other files."""
    found = _NAME.match(path.name)
    return (found["stem"], found["kind"]) if found else None


def kind_of(path: Path) -> str:
    """Which of ``.jsonl``, ``.csv``, ``.parquet`` a file is; standard input is JSONL.

    Raises
    ------
    InputError
        When it is none.
    """
    if path == STDIN:
        return ".jsonl"
    if not (found := name_of(path)):
        raise InputError(f"{path}: got a {path.suffix or 'nameless'} file, allowed are {FILES}; convert it")
    return found[1]


@contextmanager
def open_text(path: Path) -> Iterator[tuple[io.BufferedReader, Callable[[], int]]]:
    """Open a JSONL or CSV file for reading, decompressed.

    Yields
    ------
    content : binary file
    position : callable
        How many bytes of the file itself were read.

    Raises
    ------
    InputError
        When it is UTF-16.
    """
    if path == STDIN:
        yield sys.stdin.buffer, lambda: 0  # type: ignore[misc]
        return
    with ExitStack() as stack:
        raw = content = stack.enter_context(path.open("rb"))
        if path.suffix in _COMPRESSIONS:
            import pyarrow as pa

            stream = stack.enter_context(pa.input_stream(raw, compression=_COMPRESSIONS[path.suffix]))
            content = stack.enter_context(io.BufferedReader(stream))
        if content.peek(2)[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            raise InputError(f"{path}: is UTF-16; save the file as UTF-8")
        yield content, raw.tell


def read_lines(file: Any, newline: AnyStr) -> Iterator[AnyStr]:
    """Lines of a file; one beyond `MAX_RECORD` is cut where that shows, however long it is."""
    while line := file.readline(MAX_RECORD + 1):
        if len(line) <= MAX_RECORD or line.endswith(newline):
            yield line
            continue
        line += newline
        yield line
        while len(rest := file.readline(_SKIPPED)) == _SKIPPED and not rest.endswith(newline):
            pass


def jsonl_rows(file: BinaryIO, first: int = 1) -> Iterator[Row | BrokenRow]:
    """Rows of a JSONL file, the first of which has the number `first`."""
    for number, line in enumerate(read_lines(file, b"\n"), first):
        if len(line) > MAX_RECORD + 1:
            yield BrokenRow(number, _TOO_LONG)
            continue
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip(" \t\r\n")
            if not text or text.isspace():
                continue
            fields, end = _decode(text)
            if end < len(text):
                raise ValueError("more than one object")
            if "\\u" in text and "\\ud" in text.lower():  # half of an escaped emoji, as cut-off posts have it, is no text
                encoded = json.dumps(fields, ensure_ascii=False).encode("utf-16", "surrogatepass")
                fields = json.loads(encoded.decode("utf-16", "replace"))
        except UnicodeDecodeError:
            yield BrokenRow(number, "not UTF-8")
        except (ValueError, RecursionError):
            yield BrokenRow(number, "not valid JSON")
        else:
            yield Row(number, fields) if isinstance(fields, dict) else BrokenRow(number, "not a JSON object")


@contextmanager
def csv_text(file: BinaryIO) -> Iterator[io.TextIOWrapper]:
    """Decode a CSV file; undecodable bytes become lone surrogates, so that one bad row does not end the file."""
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
    try:
        yield text
    finally:
        if not file.closed:
            text.detach()  # or it would close the file


def csv_spans(lines: Iterator[str]) -> Iterator[tuple[str, list[str] | str]]:
    """Each row of a CSV file as the text that it is, and its values or the reason why it has none.

    A quote that is never closed ends the file (`UNCLOSED`): what follows may be the post that it opens as well as rows.
    """
    csv.field_size_limit(2 * MAX_RECORD)
    taken: list[str] = []

    def feed() -> Iterator[str]:
        size = 0
        for line in lines:
            size = size + len(line) if taken else len(line)
            taken.append(line)
            if size > MAX_RECORD + 1:
                raise csv.Error
            yield line

    reader = csv.reader(feed(), strict=True)
    while True:
        taken.clear()
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "unexpected end" in str(error) or (not str(error) and len(taken) > 1):
                yield "".join(taken), UNCLOSED
                return
            several = ", a quote that spans lines" if len(taken) > 1 else ""
            yield "".join(taken), f"not valid CSV ({error}{several})" if str(error) else _TOO_LONG
            reader = csv.reader(feed(), strict=True)
        else:
            yield "".join(taken), values


def csv_header(spans: Iterator[tuple[str, list[str] | str]], path: Path) -> tuple[str, list[str]]:
    """First row of a CSV file, as text and as names of columns; empty for an empty file.

    Raises
    ------
    InputError
        When it is none.
    """
    text, header = next((span for span in spans if span[1]), ("", []))
    if isinstance(header, str):
        raise InputError(f"{path}, header: {header}; correct it")
    if any(map(_UNDECODABLE.search, header)):
        raise InputError(f"{path}, header: not UTF-8; save the file as UTF-8")
    if repeated := [name for name, times in Counter(header).items() if name and times > 1]:
        raise InputError(f"{path}, header: column {_shown_columns(repeated)} stands twice; rename one")
    return text, header


def csv_rows(file: BinaryIO, path: Path, first: int = 1) -> Iterator[Row | BrokenRow]:
    """Rows of a CSV file after its header, the first of which has the number `first`."""
    with csv_text(file) as text:
        spans = csv_spans(read_lines(text, "\n"))
        _, header = csv_header(spans, path)
        number = first - 1
        for _, values in spans:
            if not values:
                continue
            number += 1
            if isinstance(values, str):
                yield BrokenRow(number, values)
            elif len(values) != len(header):
                yield BrokenRow(number, f"{len(values)} cells where the header has {len(header)}")
            elif any(map(_UNDECODABLE.search, values)):
                yield BrokenRow(number, "not UTF-8")
            else:
                yield Row(number, dict(zip(header, values, strict=True)))


def _shown_columns(columns: Iterable[str]) -> str:
    """Column names for a message; what does not look like one is counted only: in a file without header it is somebody's words."""
    names = list(columns)
    shown = [repr(name) for name in names if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}", name)]
    others = len(names) - len(shown)
    return ", ".join([*shown, *([f"{others} of another kind (a file without a header?)"] if others else [])])


_UNREADABLE = object()


def _cells(column: Any) -> list[Any]:
    """Values of an Arrow array; those that Python cannot have become `_UNREADABLE`."""
    try:
        return column.to_pylist()  # type: ignore[no-any-return]
    except (ValueError, OverflowError):
        return [_cell(scalar) for scalar in column]


def _cell(scalar: Any) -> Any:
    try:
        return scalar.as_py()
    except (ValueError, OverflowError):
        return _UNREADABLE


@contextmanager
def _parquet(path: Path, rows_read: Callable[[], int] = lambda: 0) -> Iterator["pq.ParquetFile"]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=2**20) as file:  # by default all of it ends up in memory
            yield file
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, PermissionError):
            raise
        place = f"{path}, row {rows_read() + 1}"
        raise DamagedError(f"{place}: not readable as Parquet (truncated or damaged); write the file again") from None


def parquet_length(path: Path) -> int:
    """How many rows a Parquet file has.

    Raises
    ------
    DamagedError
    """
    with _parquet(path) as file:
        return int(file.metadata.num_rows)


def parquet_batches(path: Path, columns: Sequence[str] | None = None) -> Iterator["pa.RecordBatch"]:
    """Arrow batches of a Parquet file, of few rows each.

    Parameters
    ----------
    path : Path
    columns : sequence of str, optional
        The columns wanted, those of them that there are; by default all.

    Raises
    ------
    InputError
        When two of the columns have one name.
    DamagedError
        When the file is not readable as Parquet, from its beginning or from some row on.
    """
    import pyarrow as pa

    read = 0
    with _parquet(path, lambda: read) as file:
        names = [name for name in file.schema_arrow.names if columns is None or name in columns]
        if repeated := [name for name, times in Counter(names).items() if times > 1]:
            raise InputError(f"{path}: column {_shown_columns(repeated)} stands twice; rename one")
        for batch in file.iter_batches(batch_size=_PARQUET_BATCH, columns=names, use_threads=False):
            plain = [column.dictionary_decode() if hasattr(column, "dictionary") else column for column in batch.columns]
            yield pa.RecordBatch.from_arrays(plain, batch.schema.names)
            read += batch.num_rows


def batch_rows(batches: Iterable["pa.RecordBatch"], first: int = 1) -> Iterator[Row | BrokenRow]:
    """Rows of Arrow batches, the first of which has the number `first`."""
    number = first - 1
    for batch in batches:
        names = batch.schema.names
        for values in zip(*map(_cells, batch.columns), strict=True):
            number += 1
            if _UNREADABLE in values:
                yield BrokenRow(number, "not UTF-8, or a date out of range")
            else:
                yield Row(number, dict(zip(names, values, strict=True)))


def _rows_of(path: Path) -> Iterator[Row | BrokenRow]:
    kind = kind_of(path)
    if kind == ".parquet":
        yield from batch_rows(parquet_batches(path))
        return
    number = 0
    try:
        with open_text(path) as (file, _):
            for row in jsonl_rows(file) if kind == ".jsonl" else csv_rows(file, path):
                number = row.number
                yield row
    except OSError as error:
        if error.errno:
            raise
        raise DamagedError(f"{path}, row {number + 1}: damaged or truncated ({error}); copy or write the file again") from None


def read_rows(path: Path, columns: Iterable[str], *, may_be_empty: bool = False) -> Iterator[Row | BrokenRow]:
    """Read a file row by row, in order and in bounded memory.

    Parameters
    ----------
    path : Path
        A ``.jsonl``, ``.csv`` or ``.parquet`` file, the first two also as ``.gz`` or ``.zst``; UTF-8.
    columns : iterable of str
        Columns that the first readable row must have.
    may_be_empty : bool
        Whether a file without rows is none to complain about.

    Yields
    ------
    Row or BrokenRow
        Blank lines are no rows.

    Raises
    ------
    InputError
        When the file is missing, empty, of another kind, not readable at all, or lacks a column; `DamagedError` when it
        breaks off.
    """
    seen = checked = False
    try:
        if path.is_dir():
            raise InputError(f"{path}: is a folder; give the files in it")
        if not path.exists():
            raise InputError(f"{path}: no such file; check the path")
        for row in _rows_of(path):
            seen = True
            if isinstance(row, Row) and not checked:
                checked = True
                if missing := [column for column in columns if column not in row.fields]:
                    found = f"no column {missing[0]!r}, found {_shown_columns(sorted(row.fields))}"
                    raise InputError(f"{path}, row {row.number}: {found}; name the right column")
            yield row
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check its permissions") from None
    if not seen and not may_be_empty:
        raise InputError(f"{path}: empty, no rows; give a file with posts")
