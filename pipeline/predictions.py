"""The table of predictions that every output is: ids, probabilities, labels, model; never a text."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray


def _label_lists(decided: NDArray[np.generic], labels: Sequence[str]) -> pa.ListArray:
    """Rows of 0 and 1 to lists of names, without a Python object per post."""
    _, columns = np.nonzero(decided)
    offsets = np.concatenate([[0], np.cumsum((decided != 0).sum(axis=1))]).astype(np.int32)
    return pa.ListArray.from_arrays(offsets, pa.array(labels, pa.string()).take(pa.array(columns)))


def prediction_schema(labels: Sequence[str]) -> pa.Schema:
    """Columns of a scored file: ``id``, ``prob_<label>`` (float32), ``labels`` (list of string), ``model``."""
    probabilities = [pa.field(f"prob_{label}", pa.float32()) for label in labels]
    return pa.schema(
        [pa.field("id", pa.string()), *probabilities, pa.field("labels", pa.list_(pa.string())), pa.field("model", pa.string())]
    )


def prediction_table(
    ids: Sequence[str],
    probabilities: NDArray[np.float32],
    decided: NDArray[np.bool_],
    labels: Sequence[str],
    digest: str,
    truth: NDArray[np.int8] | None = None,
) -> pa.Table:
    """Arrange predictions by `prediction_schema`.

    Parameters
    ----------
    ids : sequence of str, length n_posts
    probabilities : ndarray of float32, shape (n_posts, n_labels)
    decided : ndarray of bool, shape (n_posts, n_labels)
    labels : sequence of str, length n_labels
    digest : str
        Of the model.
    truth : ndarray of 0 and 1, shape (n_posts, n_labels), optional
        Adds the column ``true_labels``.
    """
    model = pa.repeat(pa.scalar(digest, pa.string()), len(ids))
    columns = [pa.array(ids, pa.string()), *map(pa.array, np.ascontiguousarray(probabilities.T)), _label_lists(decided, labels), model]
    table = pa.Table.from_arrays(columns, schema=prediction_schema(labels))
    return table if truth is None else table.append_column("true_labels", _label_lists(truth, labels))


def write_parquet(table: pa.Table, path: Path) -> None:
    """Write a table with the compression of every output."""
    pq.write_table(table, path, compression="zstd")
