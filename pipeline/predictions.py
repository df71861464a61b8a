"""The table of predictions in every output: ids, probabilities, labels and model; no texts, and words of a text only on request."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from models.arrays import Float32s

if TYPE_CHECKING:
    from models.explanation import Reason


Format = Literal["parquet", "jsonl", "csv"]

ROW_GROUP = 2**16  # minimum number of rows of a row group, except for the last one: small groups are slow to read and compress badly
_GROUP_BYTES = 32 * 2**20  # a group that takes more memory is written even if it has fewer rows
# How much of a post the model knows; see `pipeline.watching.familiarity`.
FAMILIARITY = {
    "tokens": pa.int32(),
    "masks": pa.int32(),
    "unknown_words": pa.float32(),
    "unknown_characters": pa.float32(),
    "unfamiliar": pa.bool_(),
}

_REASON = pa.struct([("label", pa.string()), ("word", pa.string()), ("contribution", pa.float32())])


def _array(values: NDArray[np.generic], kind: pa.DataType) -> pa.Array:
    """Return numbers as an Arrow array; `pyarrow.array` would import pandas, which takes half a second."""
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(np.ascontiguousarray(values))])


def _numbers(values: Float32s, kind: pa.DataType) -> pa.Array:
    """Return numbers as an Arrow array of integers, of float32 or of booleans."""
    if not pa.types.is_boolean(kind):
        return _array(values.astype(kind.to_pandas_dtype()), kind)
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(np.packbits(values > 0, bitorder="little"))])


def _strings(values: Sequence[str | None]) -> pa.StringArray:
    """Return strings as an Arrow array; see `_array`."""
    encoded = [b"" if value is None else value.encode("utf-8", "replace") for value in values]
    offsets = np.zeros(len(values) + 1, np.int32)
    np.cumsum([len(value) for value in encoded], out=offsets[1:])
    present = np.packbits(np.array([value is not None for value in values], bool), bitorder="little")
    return pa.StringArray.from_buffers(len(values), pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded)), pa.py_buffer(present))


def _label_lists(decided: NDArray[np.generic], labels: Sequence[str]) -> pa.ListArray:
    """Turn rows of 0 and 1 into lists of names, without making a Python object per post."""
    _, columns = np.nonzero(decided)
    offsets = np.concatenate([[0], np.cumsum((decided != 0).sum(axis=1))]).astype(np.int32)
    return pa.ListArray.from_arrays(_array(offsets, pa.int32()), _strings(labels).take(_array(columns, pa.int64())))


def _explanations(explanations: "Sequence[Sequence[Reason]]") -> pa.ListArray:
    """Turn each post's reasons into a list of structs."""
    offsets = np.cumsum([0, *map(len, explanations)], dtype=np.int32)
    labels, words, contributions = zip(*chain.from_iterable(explanations), strict=True) if offsets[-1] else ((), (), ())
    columns = [_strings(labels), _strings(words), _array(np.array(contributions, np.float32), pa.float32())]
    return pa.ListArray.from_arrays(_array(offsets, pa.int32()), pa.StructArray.from_arrays(columns, fields=list(_REASON)))


def named(names: Sequence[str], numbers: NDArray[np.int64]) -> pa.StringArray:
    """Return the names that numbers stand for, as an Arrow array; ``len(names)`` stands for null.

    Parameters
    ----------
    names : sequence of str
        The names.
    numbers : ndarray of int64
        The number of a name for each post.
    """
    return _strings([*names, None]).take(_array(numbers, pa.int64()))


def numbered(names: Sequence[str], column: pa.ChunkedArray) -> NDArray[np.int64]:
    """Return the numbers that stand for names, as `named` takes them; an empty name counts as null, and -1 stands for another name.

    Parameters
    ----------
    names : sequence of str
        The names.
    column : pyarrow.ChunkedArray
        The name for each post.
    """
    import pyarrow.compute as pc

    unknown = _array(np.array([-1], np.int32), pa.int32())[0]  # a Python number would import pandas
    found = pc.fill_null(pc.index_in(column.combine_chunks(), _strings([*names, None, ""])), unknown)
    return np.minimum(np.frombuffer(found.buffers()[1] or b"", np.int32, len(found)), len(names)).astype(np.int64)


def prediction_schema(
    labels: Sequence[str],
    kept: Sequence[str] = (),
    *,
    review: bool = False,
    explanation: bool = False,
    familiarity: bool = False,
    queue: bool = False,
) -> pa.Schema:
    """Return the columns of a scored file.

    They are ``id`` (string), the columns kept from the input (string), ``prob_<label>`` (float32), ``labels`` (list of string),
    ``review`` (list of string), ``explanation`` (list of ``label``, ``word`` and ``contribution``), the columns of
    `FAMILIARITY`, ``queue`` (string) and ``model`` (string).

    Parameters
    ----------
    labels : sequence of str
        The model's labels.
    kept : sequence of str
        Columns kept from the input.
    review, explanation, queue : bool
        Whether there are the columns ``review``, ``explanation`` and ``queue``.
    familiarity : bool
        Whether there are the columns that say how much of a post the model knows.

    Examples
    --------
    >>> prediction_schema(["assault"], ["lang"]).names
    ['id', 'lang', 'prob_assault', 'labels', 'model']
    """
    names = pa.list_(pa.string())
    asked = [("review", names)] * review + [("explanation", pa.list_(_REASON))] * explanation
    asked += list(FAMILIARITY.items()) * familiarity + [("queue", pa.string())] * queue
    return pa.schema(
        [pa.field(name, pa.string()) for name in ("id", *kept)]
        + [pa.field(f"prob_{label}", pa.float32()) for label in labels]
        + [pa.field(name, kind) for name, kind in (("labels", names), *asked, ("model", pa.string()))]
    )


def prediction_table(
    ids: Sequence[str],
    probabilities: NDArray[np.float32],
    decided: NDArray[np.bool_],
    labels: Sequence[str],
    digest: str,
    *,
    kept: Mapping[str, Sequence[str | None]] | None = None,
    review: NDArray[np.bool_] | None = None,
    explanations: "Sequence[Sequence[Reason]] | None" = None,
    familiarity: Float32s | None = None,
    queue: pa.StringArray | None = None,
    truth: NDArray[np.int8] | None = None,
) -> pa.Table:
    """Arrange predictions in a table with the columns of `prediction_schema`.

    Parameters
    ----------
    ids : sequence of str, length n_posts
        Ids of the posts.
    probabilities : ndarray of float32, shape (n_posts, n_labels)
        The model's probabilities.
    decided : ndarray of bool, shape (n_posts, n_labels)
        Whether each label is given, for the column ``labels``.
    labels : sequence of str, length n_labels
        Names of the labels.
    digest : str
        Digest of the model.
    kept : dict of str to sequence of str or None, each of length n_posts, optional
        Columns kept from the input.
    review : ndarray of bool, shape (n_posts, n_labels), optional
        Labels that a person should decide, for the column ``review``.
    explanations : sequence of sequence of (str, str, float), length n_posts, optional
        Labels, words of the post and contributions of the words, for the column ``explanation``.
    familiarity : ndarray of float32, shape (n_posts, 5), optional
        How much of each post the model knows, from `pipeline.watching.familiarity.Familiarity`.
    queue : pyarrow.StringArray, length n_posts, optional
        The queue of each post, for the column ``queue``.
    truth : ndarray of 0 and 1, shape (n_posts, n_labels), optional
        The true labels, for a further column ``true_labels``.
    """
    kept = kept or {}
    columns = [_strings(ids), *map(_strings, kept.values())]
    columns += [_array(column, pa.float32()) for column in probabilities.T]
    columns += [_label_lists(marked, labels) for marked in (decided, review) if marked is not None]
    columns += [] if explanations is None else [_explanations(explanations)]
    columns += [] if familiarity is None else map(_numbers, familiarity.T, FAMILIARITY.values())
    columns += [] if queue is None else [queue]
    columns.append(_strings([digest]).take(_array(np.zeros(len(ids), np.int64), pa.int64())))
    asked = {"review": review is not None, "explanation": explanations is not None, "familiarity": familiarity is not None}
    schema = prediction_schema(labels, list(kept), **asked, queue=queue is not None)
    table = pa.Table.from_arrays(columns, schema=schema)
    return table if truth is None else table.append_column("true_labels", _label_lists(truth, labels))


def write_parquet(table: pa.Table, path: Path) -> None:
    """Write a table as Parquet, with the compression used for all outputs.

    Parameters
    ----------
    table : pyarrow.Table
        The table.
    path : Path
        The file to write.
    """
    pq.write_table(table, path, compression="zstd")


def _shortest(values: Sequence[float]) -> list[float]:
    """Return the shortest floats that identify float32 values."""
    return [float(text) for text in np.array(values, np.float32).astype(str)]


def _plain(table: pa.Table) -> Iterator[list[object]]:
    """Yield the rows of a table; a float32 becomes the shortest float that identifies it."""
    columns = []
    for column in table.columns:
        values = column.to_pylist()
        if column.type == pa.float32():
            values = _shortest(values)
        elif column.type == pa.list_(_REASON):
            every = list(chain.from_iterable(values))
            for reason, contribution in zip(every, _shortest([reason["contribution"] for reason in every]), strict=True):
                reason["contribution"] = contribution
        columns.append(values)
    return map(list, zip(*columns, strict=True))


def _told(reasons: Sequence[dict[str, Any]]) -> str:
    """Format reasons for a CSV cell, such as ``alpha: that +1.20, this +0.31; beta: this +2.00``."""
    by_label = groupby(reasons, itemgetter("label"))
    return "; ".join(f"{label}: " + ", ".join(f"{each['word']} {each['contribution']:+.2f}" for each in group) for label, group in by_label)


def _cell(value: object) -> object:
    if not isinstance(value, list):
        return value
    return _told(value) if value and isinstance(value[0], dict) else ";".join(value)


class _Groups:
    """Joins tables into row groups of a certain size, and writes them."""

    def __init__(self, writer: pq.ParquetWriter) -> None:
        self._writer = writer
        self._tables: list[pa.Table] = []
        self._rows = self._bytes = 0

    def add(self, table: pa.Table) -> None:
        self._tables.append(table)
        self._rows += table.num_rows
        self._bytes += table.nbytes
        if self._rows >= ROW_GROUP or self._bytes >= _GROUP_BYTES:
            self.flush()

    def flush(self) -> None:
        if self._tables:
            self._writer.write_table(pa.concat_tables(self._tables))
        self._tables, self._rows, self._bytes = [], 0, 0


@contextmanager
def prediction_writer(file: BinaryIO, kind: Format, schema: pa.Schema) -> Iterator[Callable[[pa.Table], None]]:
    """Write tables with the same schema to a file, one after another.

    Parameters
    ----------
    file : binary file
        The file to write to.
    kind : {"parquet", "jsonl", "csv"}
        The format. In CSV, names in a list are joined by ``;``, an explanation becomes readable text, and null becomes an empty cell. Cells
        that a spreadsheet would run as formulas are not changed (compare `pipeline.spreadsheets`).
    schema : pyarrow.Schema
        The schema of the tables.

    Yields
    ------
    callable
        Takes a table and writes it.
    """
    if kind == "parquet":
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            groups = _Groups(writer)
            yield groups.add
            groups.flush()
        return
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    rows = csv.writer(text)  # the csv module quotes a lone carriage return only because its lines end with one
    if kind == "csv":
        rows.writerow(schema.names)

    def write(table: pa.Table) -> None:
        for row in _plain(table):
            if kind == "jsonl":
                text.write(json.dumps(dict(zip(schema.names, row, strict=True)), ensure_ascii=False) + "\n")
            else:
                rows.writerow(map(_cell, row))

    yield write
    text.flush()
    text.detach()
