"""Read the rows of JSONL, CSV and Parquet files, plain or compressed, one at a time, including broken rows."""

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
MAX_RECORD = 16 * 2**20  # maximum bytes of a JSONL line, and characters of a CSV row
_SKIPPED = 2**16  # how much of a longer one to skip at a time

_COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
_NAME = re.compile(r"(?P<stem>.*)(?P<kind>\.parquet$|\.(?:jsonl|csv)(?=(?:\.gz|\.zst)?$))")
_decode = json.JSONDecoder().raw_decode  # skips the steps around it in `json.loads`, a fifth of the time
_PARQUET_BATCH = 128  # rows; fewer are slower, but with more, a small file can expand to gigabytes if a huge text in it repeats

_UNDECODABLE = re.compile("[\udc80-\udcff]")  # from `errors="surrogateescape"`, for bytes that are not UTF-8
UNCLOSED = "a quote is never closed, so the rest of the file was not read"
_TOO_LONG = f"record is longer than {MAX_RECORD >> 20} MiB"


@dataclass(slots=True)  # frozen instances take three times as long to make
class Row:
    """A row that could be read.

    Attributes
    ----------
    number : int
        Number of the line in a JSONL file, or of the data row in a CSV or Parquet file, from 1.
    fields : dict
        Values by column.
    """

    number: int
    fields: dict[str, Any]


@dataclass(slots=True)
class BrokenRow:
    """A row that could not be read, with the reason, which never quotes its content."""

    number: int
    reason: str


def name_of(path: Path) -> tuple[str, str] | None:
    """Return a file's name without extensions, and which of ``.jsonl``, ``.csv``, ``.parquet`` it is; None for other files."""
    found = _NAME.match(path.name)
    return (found["stem"], found["kind"]) if found else None


def kind_of(path: Path) -> str:
    """Return which of ``.jsonl``, ``.csv``, ``.parquet`` a file is (standard input is JSONL); raise `InputError` for other files."""
    if path == STDIN:
        return ".jsonl"
    if not (found := name_of(path)):
        raise InputError(f"{path}: must be one of {FILES}, but got {path.suffix or 'no extension'}; convert the file")
    return found[1]


@contextmanager
def open_text(path: Path) -> Iterator[tuple[io.BufferedReader, Callable[[], int]]]:
    """Open a JSONL or CSV file for reading, decompressed; raise `InputError` if it is UTF-16.

    Yields
    ------
    content : binary file
    position : callable
        Returns how many bytes of the file, before decompression, were read.
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
    """Yield the lines of a file; a line longer than `MAX_RECORD` is cut to just above that length.

    Parameters
    ----------
    file : file
        An open text or binary file.
    newline : str or bytes
        The newline, of the file's type.
    """
    while line := file.readline(MAX_RECORD + 1):
        if len(line) <= MAX_RECORD or line.endswith(newline):
            yield line
            continue
        line += newline
        yield line
        while len(rest := file.readline(_SKIPPED)) == _SKIPPED and not rest.endswith(newline):
            pass


def jsonl_rows(file: BinaryIO, first: int = 1) -> Iterator[Row | BrokenRow]:
    """Yield the rows of a JSONL file.

    Parameters
    ----------
    file : binary file
        The open file.
    first : int
        Number of the first line.
    """
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
            if "\\u" in text and "\\ud" in text.lower():  # posts may be cut in the middle of an escaped emoji
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
    """Decode a CSV file; undecodable bytes become lone surrogates, so that we can read on after a bad row."""
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
    try:
        yield text
    finally:
        if not file.closed:
            text.detach()  # otherwise it would close the file


def csv_spans(lines: Iterator[str]) -> Iterator[tuple[str, list[str] | str]]:
    """Yield each row of a CSV file as text, with its values or the reason why it cannot be read.

    A quote that is never closed ends the file (`UNCLOSED`), because what follows may be rows or the rest of a quoted post.
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
    """Return the first row of a CSV file as text and as column names, both empty for an empty file; raise `InputError` if it is invalid.

    Parameters
    ----------
    spans : iterator
        The result of `csv_spans`.
    path : Path
        The file, for error messages.
    """
    text, header = next((span for span in spans if span[1]), ("", []))
    if isinstance(header, str):
        raise InputError(f"{path}, header: {header}; correct the header")
    if any(map(_UNDECODABLE.search, header)):
        raise InputError(f"{path}, header: is not UTF-8; save the file as UTF-8")
    if repeated := [name for name, times in Counter(header).items() if name and times > 1]:
        raise InputError(f"{path}, header: column {_shown_columns(repeated)} occurs twice; rename one")
    return text, header


def csv_rows(file: BinaryIO, path: Path, first: int = 1) -> Iterator[Row | BrokenRow]:
    """Yield the rows of a CSV file after its header.

    Parameters
    ----------
    file : binary file
        The open file.
    path : Path
        The file, for error messages.
    first : int
        Number of the first row.
    """
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
    """List column names for a message; whatever looks otherwise is only counted, because without a header it may be somebody's words."""
    names = list(columns)
    shown = [repr(name) for name in names if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}", name)]
    others = len(names) - len(shown)
    return ", ".join([*shown, *([f"{others} of another kind (a file without a header?)"] if others else [])])


_UNREADABLE = object()


def _cells(column: Any) -> list[Any]:
    """Return the values of an Arrow array; those that Python cannot represent become `_UNREADABLE`."""
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
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=2**20) as file:  # by default, the whole file ends up in memory
            yield file
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, PermissionError):
            raise
        place = f"{path}, row {rows_read() + 1}"
        raise DamagedError(f"{place}: cannot be read as Parquet (truncated or damaged); write the file again") from None


def parquet_length(path: Path) -> int:
    """Return the number of rows in a Parquet file; raise `DamagedError` if it cannot be read."""
    with _parquet(path) as file:
        return int(file.metadata.num_rows)


def parquet_batches(path: Path, columns: Sequence[str] | None = None) -> Iterator["pa.RecordBatch"]:
    """Yield the rows of a Parquet file as small Arrow batches.

    Parameters
    ----------
    path : Path
        The file.
    columns : sequence of str, optional
        The columns to read, if the file has them; by default, all.

    Raises
    ------
    InputError
        When two of the columns have the same name.
    DamagedError
        When the file cannot be read as Parquet, as a whole or from some row on.
    """
    import pyarrow as pa

    read = 0
    with _parquet(path, lambda: read) as file:
        names = [name for name in file.schema_arrow.names if columns is None or name in columns]
        if repeated := [name for name, times in Counter(names).items() if times > 1]:
            raise InputError(f"{path}: column {_shown_columns(repeated)} occurs twice; rename one")
        for batch in file.iter_batches(batch_size=_PARQUET_BATCH, columns=names, use_threads=False):
            plain = [column.dictionary_decode() if hasattr(column, "dictionary") else column for column in batch.columns]
            yield pa.RecordBatch.from_arrays(plain, batch.schema.names)
            read += batch.num_rows


def batch_rows(batches: Iterable["pa.RecordBatch"], first: int = 1) -> Iterator[Row | BrokenRow]:
    """Yield the rows of Arrow batches.

    Parameters
    ----------
    batches : iterable of RecordBatch
        The batches.
    first : int
        Number of the first row.
    """
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
        raise DamagedError(f"{path}, row {number + 1}: is damaged or truncated ({error}); copy or write the file again") from None


def read_rows(path: Path, columns: Iterable[str], *, may_be_empty: bool = False) -> Iterator[Row | BrokenRow]:
    """Yield the rows of a file in order and in bounded memory; blank lines are skipped.

    Parameters
    ----------
    path : Path
        A ``.jsonl``, ``.csv`` or ``.parquet`` file in UTF-8; the first two may be compressed (``.gz`` or ``.zst``).
    columns : iterable of str
        Columns that the first readable row must have.
    may_be_empty : bool
        Whether a file without rows is allowed.


    Raises
    ------
    InputError
        When the file is missing, empty, of another kind or unreadable, or lacks a column; `DamagedError` when it is truncated.
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
                    raise InputError(f"{path}, row {row.number}: {found}; correct the column's name")
            yield row
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check its permissions") from None
    if not seen and not may_be_empty:
        raise InputError(f"{path}: is empty (no rows); give a file with posts")
