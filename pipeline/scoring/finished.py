"""Read finished parts of an output, and give their posts other queues."""

import csv
import hashlib
import io
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.errors import IncompleteError
from pipeline.predictions import named, prediction_writer
from pipeline.scoring.completion import Completion

if TYPE_CHECKING:
    from pipeline.routing.rules import Routing


def part_content(part: Path, done: Completion) -> bytes:
    """Return the content of a part.

    Parameters
    ----------
    part : Path
        The part.
    done : Completion
        Its record.

    Raises
    ------
    IncompleteError
        When it cannot be read, or is not as it was written.
    """
    try:
        content = part.read_bytes()
    except OSError as error:
        raise IncompleteError(f"{part}: cannot be read ({error.strerror or error}); score the posts again") from None
    if hashlib.sha256(content).hexdigest() not in (done.sha256, done.replacing.get("sha256")):
        raise IncompleteError(f"{part}: was changed after it was written; score the posts again")
    return content


def part_table(content: bytes, kind: str, names: Sequence[str] | None = None, types: Mapping[str, pa.DataType] | None = None) -> pa.Table:
    """Return columns of a part as a table.

    Parameters
    ----------
    content : bytes
        The part.
    kind : str
        The extension of its name.
    names : sequence of str, optional
        The columns, which may only be left out for Parquet: then all are read.
    types : mapping of str to DataType, optional
        Types of columns that are neither strings nor probabilities, for text formats.
    """
    source, types = pa.BufferReader(content), types or {}
    if kind == ".parquet":
        with pq.ParquetFile(source) as file:  # `pq.read_table` would import much more
            return file.read(names, use_threads=False)
    usual = {name: pa.float32() if name.startswith("prob_") else pa.string() for name in names or ()}
    fields = [pa.field(name, types.get(name, usually)) for name, usually in usual.items()]
    whole = {"use_threads": False, "block_size": max(len(content), 1)}  # so that no row is cut
    if kind == ".csv":
        from pyarrow import csv as arrow_csv

        converted = arrow_csv.ConvertOptions(include_columns=list(usual), column_types=pa.schema(fields))
        read = arrow_csv.ReadOptions(**whole)
        return arrow_csv.read_csv(source, read, arrow_csv.ParseOptions(newlines_in_values=True), converted)
    if not content:  # all rows were rejected, and Arrow takes an empty file for an error
        return pa.schema(fields).empty_table()
    from pyarrow import json as arrow_json

    parsed = arrow_json.ParseOptions(explicit_schema=pa.schema(fields), unexpected_field_behavior="ignore")
    return arrow_json.read_json(source, arrow_json.ReadOptions(**whole), parsed)


def floats(column: pa.ChunkedArray) -> NDArray[np.float32]:
    """Return float32 values without null as an array; `to_numpy` would import pandas.

    Parameters
    ----------
    column : pyarrow.ChunkedArray
        The values.
    """
    whole = column.combine_chunks()
    values: NDArray[np.float32] = np.frombuffer(whole.buffers()[1] or b"", np.float32)
    return values[whole.offset : whole.offset + len(whole)]


def part_columns(content: bytes, kind: str, names: Sequence[str], types: Mapping[str, pa.DataType] | None = None) -> dict[str, Any]:
    """Return columns of a part: probabilities and other float32 as arrays, the rest as lists.

    Parameters
    ----------
    content : bytes
        The part.
    kind : str
        The extension of its name.
    names : sequence of str
        The columns.
    types : mapping of str to DataType, optional
        Types of columns that are neither strings nor probabilities.
    """
    table = part_table(content, kind, names, types)
    return {name: floats(table[name]) if table[name].type == pa.float32() else table[name].to_pylist() for name in names}


def _parquet_content(table: pa.Table) -> bytes:
    with prediction_writer(written := io.BytesIO(), "parquet", table.schema) as write:
        write(table)
    return written.getvalue()


def _csv_rows(content: str) -> list[list[str]]:
    csv.field_size_limit(sys.maxsize)
    return list(csv.reader(io.StringIO(content, newline="")))


def _csv_content(rows: Sequence[Sequence[str]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue()


def without_rows(content: bytes, kind: str, gone: NDArray[np.bool_]) -> bytes:
    """Return a part without some of its rows; nothing else is changed.

    Parameters
    ----------
    content : bytes
        The part.
    kind : str
        The extension of its name.
    gone : ndarray of bool
        Which rows to leave out.
    """
    if kind == ".parquet":
        return _parquet_content(part_table(content, kind).filter(pa.array(~gone)).combine_chunks())
    kept = np.flatnonzero(~gone).tolist()
    if kind == ".jsonl":
        lines = content.decode().split("\n")
        return "".join(f"{lines[row]}\n" for row in kept).encode()
    heading, *cells = _csv_rows(content.decode())
    return _csv_content([heading, *(cells[row] for row in kept)]).encode()


def with_queues(
    content: bytes, kind: str, table: pa.Table, names: Sequence[str], numbers: NDArray[np.int64], moved: NDArray[np.bool_]
) -> bytes:
    """Return a part in which posts have other queues; nothing else is changed.

    Parameters
    ----------
    content : bytes
        The part.
    kind : str
        The extension of its name.
    table : Table
        The part as `part_table` reads it, with all columns; only used for Parquet.
    names : sequence of str
        Names of the queues.
    numbers : ndarray of int64
        The number of each post's queue; ``n_queues`` stands for none.
    moved : ndarray of bool
        Whether the part has another queue for this post.
    """
    if kind == ".parquet":
        column = table.schema.get_field_index("queue")
        return _parquet_content(table.combine_chunks().set_column(column, table.schema.field(column), named(names, numbers)))
    rows, queues = np.flatnonzero(moved).tolist(), [[*names, None][number] for number in numbers[moved].tolist()]
    return (_lines_with_queues if kind == ".jsonl" else _cells_with_queues)(content.decode(), rows, queues).encode()


def _lines_with_queues(content: str, rows: Sequence[int], queues: Sequence[str | None]) -> str:
    """Put queues into lines of JSON, whose last keys are ``queue`` and ``model``; a quotation mark inside a string has a backslash."""
    lines, key, written = content.split("\n"), '"queue": ', {queue: json.dumps(queue, ensure_ascii=False) for queue in set(queues)}
    for row, queue in zip(rows, queues, strict=True):
        line = lines[row]
        lines[row] = line[: line.rindex(key)] + key + written[queue] + line[line.rindex(', "model": ') :]
    return "\n".join(lines)


def _cells_with_queues(content: str, rows: Sequence[int], queues: Sequence[str | None]) -> str:
    """Put queues into the rows of CSV, whose last columns are ``queue`` and ``model``."""
    if not any(mark in each for each in (content, *filter(None, queues)) for mark in '"' + ",\r\n" * (each is not content)):
        lines = content.split("\r\n")  # a cell that holds a line break would be in quotation marks
        for row, queue in zip(rows, queues, strict=True):
            before, _, model = lines[row + 1].rsplit(",", 2)
            lines[row + 1] = f"{before},{queue or ''},{model}"
        return "\r\n".join(lines)
    heading, *cells = _csv_rows(content)
    for row, queue in zip(rows, queues, strict=True):
        cells[row][heading.index("queue")] = queue or ""
    return _csv_content([heading, *cells])


def count_queues(done: Completion, routing: "Routing", first: NDArray[np.int64], queued: NDArray[np.int64] | None = None) -> None:
    """Add posts to the counts of queues in a record.

    Parameters
    ----------
    done : Completion
        The record.
    routing : Routing
        The queues.
    first : ndarray of int64
        The number of the queue that each post would be in if all queues had room.
    queued : ndarray of int64, optional
        The number of each post's queue; by default the same.
    """
    done.route = routing.digest
    for counts, numbers in ((done.met, first), (done.queues, first if queued is None else queued)):
        for name, count in zip(routing.names, np.bincount(numbers, minlength=len(routing.names) + 1).tolist(), strict=False):
            counts[name] = counts.get(name, 0) + count
