"""Rows of JSONL, CSV and Parquet files, one at a time, good and bad alike."""

import codecs
import csv
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import InputError

SUFFIXES = (".jsonl", ".csv", ".parquet")

# What `errors="surrogateescape"` makes of bytes that are not UTF-8.
_UNDECODABLE = re.compile("[\udc80-\udcff]")


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class BrokenRow:
    """A row that could not be read, and why (never its content)."""

    number: int
    reason: str


def _jsonl(path: Path) -> Iterator[Row | BrokenRow]:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                if not text.strip():
                    continue
                fields = json.loads(text)
                if "\\ud" in text.lower():  # half of an escaped emoji, as cut-off posts have it, is no text
                    encoded = json.dumps(fields, ensure_ascii=False).encode("utf-16", "surrogatepass")
                    fields = json.loads(encoded.decode("utf-16", "replace"))
            except UnicodeDecodeError:
                yield BrokenRow(number, "not UTF-8")
            except (ValueError, RecursionError):
                yield BrokenRow(number, "not valid JSON")
            else:
                yield Row(number, fields) if isinstance(fields, dict) else BrokenRow(number, "not a JSON object")


def _csv(path: Path) -> Iterator[Row | BrokenRow]:
    csv.field_size_limit(2**31 - 1)
    # Undecodable bytes become lone surrogates, so that one bad row does not end the file.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as lines:
        reader = csv.reader(lines, strict=True)
        try:
            header = next((values for values in reader if values), [])
        except csv.Error as error:
            raise InputError(f"{path}, header: not valid CSV ({error}); correct it") from None
        if any(map(_UNDECODABLE.search, header)):
            raise InputError(f"{path}, header: not UTF-8; save the file as UTF-8")
        if repeated := [name for name, times in Counter(header).items() if name and times > 1]:
            raise InputError(f"{path}, header: column {_shown(repeated)} stands twice; rename one")
        number = 0
        while True:
            try:
                values = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                number += 1
                unclosed = "unexpected end" in str(error)
                yield BrokenRow(number, "a quote is never closed, to the end of the file" if unclosed else f"not valid CSV ({error})")
                continue
            if not values:
                continue
            number += 1
            if len(values) != len(header):
                yield BrokenRow(number, f"{len(values)} cells where the header has {len(header)}")
            elif any(map(_UNDECODABLE.search, values)):
                yield BrokenRow(number, "not UTF-8")
            else:
                yield Row(number, dict(zip(header, values, strict=True)))


def _shown(columns: Iterable[str]) -> str:
    """Column names for a message, shortened: in a file without header they are somebody's words."""
    return ", ".join(repr(name if len(name) <= 24 else name[:8] + "…") for name in columns)


def _parquet(path: Path) -> Iterator[Row | BrokenRow]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=4096):
                for fields in batch.to_pylist():
                    number += 1
                    yield Row(number, fields)
    except (pa.ArrowException, OSError, UnicodeDecodeError):
        raise InputError(f"{path}, row {number + 1}: not readable as Parquet (truncated or damaged); write the file again") from None


_READERS = {".jsonl": _jsonl, ".csv": _csv, ".parquet": _parquet}


def read_rows(path: Path, columns: Iterable[str]) -> Iterator[Row | BrokenRow]:
    """Read a file row by row, in order and in bounded memory.

    Parameters
    ----------
    path : Path
        A ``.jsonl``, ``.csv`` or ``.parquet`` file; UTF-8.
    columns : iterable of str
        Columns that the first readable row must have.

    Yields
    ------
    Row or BrokenRow
        Blank lines are no rows.

    Raises
    ------
    InputError
        When the file is missing, empty, of another kind, not readable at all, or lacks a column.
    """
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give the files in it")
    if not path.exists():
        raise InputError(f"{path}: no such file; check the path")
    if path.suffix not in _READERS:
        raise InputError(f"{path}: got a {path.suffix or 'nameless'} file, allowed are {', '.join(SUFFIXES)}; convert it")
    seen = checked = False
    try:
        with path.open("rb") as file:
            if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
                raise InputError(f"{path}: is UTF-16; save the file as UTF-8")
        for row in _READERS[path.suffix](path):
            seen = True
            if isinstance(row, Row) and not checked:
                checked = True
                if missing := [column for column in columns if column not in row.fields]:
                    found = f"no column {missing[0]!r}, found {_shown(sorted(row.fields))}"
                    raise InputError(f"{path}, row {row.number}: {found}; name the right column")
            yield row
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check its permissions") from None
    if not seen:
        raise InputError(f"{path}: empty, no rows; give a file with posts")
