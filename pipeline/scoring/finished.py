"""Read finished parts of an output, and give their posts other queues."""

import csv
import hashlib
import io
import json
import sys
from collections.abc import Sequence
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
    if hashlib.sha256(content).hexdigest() != done.sha256:
        raise IncompleteError(f"{part}: was changed after it was written; score the posts again")
    return content


def part_columns(content: bytes, kind: str, names: Sequence[str]) -> dict[str, Any]:
    """Return columns of a part: numbers of a Parquet file as arrays, anything else as lists.

    Parameters
    ----------
    content : bytes
        The part.
    kind : str
        The extension of its name.
    names : sequence of str
        The columns.
    """
    if kind == ".parquet":
        table = pq.read_table(pa.BufferReader(content), columns=list(names))
        return {name: table[name].to_numpy() if table[name].type == pa.float32() else table[name].to_pylist() for name in names}
    rows = map(json.loads, content.splitlines()) if kind == ".jsonl" else csv.DictReader(_csv_lines(content))
    cells = [[row[name] for name in names] for row in rows]
    return {name: [row[number] for row in cells] for number, name in enumerate(names)}


def _csv_lines(content: bytes) -> io.StringIO:
    csv.field_size_limit(sys.maxsize)
    return io.StringIO(content.decode(), newline="")


def with_queues(content: bytes, kind: str, names: Sequence[str], numbers: NDArray[np.int64]) -> bytes:
    """Return a part with another column ``queue``; nothing else is changed.

    Parameters
    ----------
    content : bytes
        The part.
    kind : str
        The extension of its name.
    names : sequence of str
        Names of the queues.
    numbers : ndarray of int64
        The number of each post's queue; the number of queues stands for none.
    """
    if kind == ".parquet":
        table = pq.read_table(pa.BufferReader(content)).combine_chunks()
        column, written = table.schema.get_field_index("queue"), io.BytesIO()
        with prediction_writer(written, "parquet", table.schema) as write:
            write(table.set_column(column, table.schema.field(column), named(names, numbers)))
        return written.getvalue()
    queues = [[*names, None][number] for number in numbers.tolist()]
    if kind == ".jsonl":
        rows = [json.loads(line) | {"queue": queue} for line, queue in zip(content.splitlines(), queues, strict=True)]
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    heading, *cells = csv.reader(_csv_lines(content))
    for row, queue in zip(cells, queues, strict=True):
        row[heading.index("queue")] = queue or ""
    text = io.StringIO(newline="")
    csv.writer(text).writerows([heading, *cells])
    return text.getvalue().encode()


def count_queues(done: Completion, routing: "Routing", first: NDArray[np.int64], queued: NDArray[np.int64] | None = None) -> None:
    """Add posts to the counts of queues in a record.

    Parameters
    ----------
    done : Completion
        The record.
    routing : Routing
        The queues.
    first : ndarray of int64
        The number of each post's queue as if all queues had room.
    queued : ndarray of int64, optional
        The number of each post's queue; by default the same.
    """
    done.route = routing.digest
    for counts, numbers in ((done.met, first), (done.queues, first if queued is None else queued)):
        for name, count in zip(routing.names, np.bincount(numbers, minlength=len(routing.names) + 1).tolist(), strict=False):
            counts[name] = counts.get(name, 0) + count
