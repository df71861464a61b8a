"""Reads the logs of Delta tables: which files a table has at a version, which of their rows were deleted, and how its columns are named."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from models.errors import InputError
from pipeline.records.text import Tell, ignore
from pipeline.stores import StorePath

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable

DELTA_LOG = "_delta_log"
_OTHER_LOGS = (".hoodie", "metadata", "snapshot")  # of Hudi, Iceberg and Paimon
_PHYSICAL = "delta.columnMapping.physicalName"
_FEATURE = re.compile(r"[Ff]eatures? (?:'(\w+)' is not supported|required: \[(\w+))")


@dataclass(frozen=True)
class Live:
    """What the log of a table says of one of its files.

    Attributes
    ----------
    table : str
        The table's folder, as it was given.
    version : int
        The version at which the log was read.
    names : dict of str to str
        The table's columns, each with its name in the file.
    values : dict of str to Scalar
        The columns that have the same value in all rows, by which the table is partitioned.
    nested : frozenset of str
        Columns that hold others whose names in the file differ; they cannot be read.
    deleted : ndarray of int64
        Numbers of the rows, from 0, that were deleted, although the file still holds them; sorted.
    """

    table: str
    version: int
    names: dict[str, str]
    values: "dict[str, pa.Scalar]" = field(default_factory=dict)
    nested: frozenset[str] = frozenset()
    deleted: NDArray[np.int64] = field(default_factory=lambda: np.array([], np.int64))

    def deleted_before(self, row: int) -> int:
        """Return how many of the rows before this one were deleted; rows are numbered from 0."""
        return int(np.searchsorted(self.deleted, row))

    def wanted(self, columns: Sequence[str] | None) -> list[str]:
        """Return those of the table's columns that are to be read.

        Parameters
        ----------
        columns : sequence of str or None
            The columns asked for; None for all that can be read.

        Raises
        ------
        InputError
            When one of them cannot be read.
        """
        if odd := sorted(self.nested & set(columns or ())):
            reason = "has nested fields whose names in the files are not those in the table"
            raise InputError(f"{self.table}: column {odd[0]!r} {reason}; leave it out, or write the table to plain Parquet files")
        return [name for name in self.names if (name in columns if columns is not None else name not in self.nested)]

    def in_file(self, columns: Sequence[str] | None) -> list[str]:
        """Return the names of `wanted` columns in the file, which may lack some of them.

        Parameters
        ----------
        columns : sequence of str or None
            As for `wanted`.
        """
        return [self.names[name] for name in self.wanted(columns) if name not in self.values]

    def batch(self, found: "pa.RecordBatch", first: int, columns: Sequence[str]) -> "pa.RecordBatch":
        """Return the rows of a batch that were not deleted, with the table's columns.

        Parameters
        ----------
        found : RecordBatch
            Rows of the file, with its columns.
        first : int
            Number of the first of these rows in the file, from 0.
        columns : sequence of str
            The columns to return. If the file lacks one, because it was added to the table later, it is null.
        """
        import pyarrow as pa

        values = [self._column(found, name) for name in columns]
        batch = pa.RecordBatch.from_arrays(values, names=list(columns))
        start, end = map(self.deleted_before, (first, first + found.num_rows))
        if start == end:
            return batch
        kept = np.ones(found.num_rows, bool)
        kept[self.deleted[start:end] - first] = False
        return batch.filter(pa.array(kept))

    def _column(self, found: "pa.RecordBatch", name: str) -> "pa.Array":
        import pyarrow as pa

        if name in self.values:
            return pa.repeat(self.values[name], found.num_rows)
        place = found.schema.get_field_index(self.names[name])
        return pa.nulls(found.num_rows) if place < 0 else found.column(place)


class _LocalFile(type(Path())):  # type: ignore[misc]
    """The path of a file on this machine that is part of a table."""

    live: Live | None = None


class _StoredFile(StorePath):
    """The path of an object that is part of a table."""

    live: Live | None = None


def live_of(path: Path) -> Live | None:
    """Return what the log of a table says of a file; None for a file that `live_files` has not found.

    Parameters
    ----------
    path : Path
        The file.
    """
    return getattr(path, "live", None)


def with_live(path: Path, live: Live) -> Path:
    """Return a path that also tells readers what the log of a table says of its file.

    Parameters
    ----------
    path : Path
        The file.
    live : Live
        What the log says of it.
    """
    found = _StoredFile(str(path)) if isinstance(path, StorePath) else _LocalFile(path)
    found.live = live
    return found


def _refused(table: Path, error: Exception, version: int | None) -> InputError:
    """Return the error for a table that cannot be read; what the library says of it may quote posts, because a log holds some words."""
    if feature := _FEATURE.search(str(error)):
        name = feature[1] or feature[2]
        return InputError(f"{table}: is a Delta table that uses {name}, which we cannot read; write it to plain Parquet files")
    if version is not None:
        remedy = "it may be gone, because old entries of the log are removed; name another --table-version"
        return InputError(f"{table}: version {version} of this Delta table cannot be read ({type(error).__name__}); {remedy}")
    return InputError(f"{table}: the log of this Delta table cannot be read ({type(error).__name__}); repair the table")


def _opened(table: Path, version: int | None) -> "DeltaTable":
    try:
        from deltalake import DeltaTable
    except ImportError:
        remedy = "install it with pip install -e '.[delta]', or write the rows that the table still has to plain Parquet files"
        raise InputError(f"{table}: is a Delta table, and deltalake, which is needed to read it, is not installed; {remedy}") from None
    if isinstance(table, StorePath):
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
        options = {"aws_endpoint": endpoint} if endpoint else {}
        return DeltaTable(str(table), version, options | ({"aws_allow_http": "true"} if endpoint.startswith("http:") else {}))
    if "%" in str(table.resolve()):  # deltalake would take it for an escape, and read another folder
        raise InputError(f"{table}: has a % in its path, where Delta tables cannot be read; rename that folder")
    return DeltaTable(table.resolve().as_uri(), version)


def _has_other_names(kind: Any) -> bool:
    """Return whether a type, as a Delta log describes it, has fields that have other names in files."""
    if isinstance(kind, list):
        return any(map(_has_other_names, kind))
    if not isinstance(kind, dict):
        return False
    return kind.get("metadata", {}).get(_PHYSICAL, kind.get("name")) != kind.get("name") or any(map(_has_other_names, kind.values()))


def _columns(found: "DeltaTable") -> tuple[dict[str, str], frozenset[str]]:
    """Return the columns of a table with their names in files, and those that hold others with different names."""
    import json

    fields = json.loads(found.schema().to_json())["fields"]
    names = {column["name"]: column["metadata"].get(_PHYSICAL, column["name"]) for column in fields}
    return names, frozenset(column["name"] for column in fields if _has_other_names(column["type"]))


def _deleted(found: "DeltaTable") -> dict[str, NDArray[np.int64]]:
    """Return the deleted rows of each file that still holds some, by its path in the table."""
    import pyarrow as pa

    if "deletionVectors" not in (found.protocol().reader_features or ()):
        return {}
    root, deleted = unquote(found.table_uri).rstrip("/") + "/", {}
    for batch in pa.RecordBatchReader.from_stream(found.deletion_vectors()):
        for place, kept in zip(batch["filepath"].to_pylist(), batch["selection_vector"], strict=True):
            deleted[unquote(place).removeprefix(root)] = np.flatnonzero(~np.asarray(kept.values, bool))
    return deleted


def _listed(found: "DeltaTable", table: Path) -> Iterator[tuple[Path, Live]]:
    import pyarrow as pa

    configured: Mapping[str, str | None] = found.metadata().configuration
    if configured.get("delta.columnMapping.mode") == "id":
        raise InputError(
            f"{table}: is a Delta table whose columns are found by number (column mapping by id); write it to plain Parquet files"
        )
    if not configured.get("delta.universalFormat.enabledFormats") and (other := [name for name in _OTHER_LOGS if (table / name).is_dir()]):
        reason = f"is a Delta table with another log beside its own ({other[0]}), and one of the two may be out of date"
        raise InputError(f"{table}: {reason}; write it to plain Parquet files")
    (names, nested), deleted, actions = _columns(found), _deleted(found), pa.table(found.get_add_actions())
    partitions = actions["partition"] if "partition" in actions.column_names else [{}] * actions.num_rows
    for quoted, values in zip(actions["path"].to_pylist(), partitions, strict=True):
        name = unquote(quoted)
        if ":" in quoted or name.startswith("/") or ".." in PurePosixPath(name).parts:
            raise InputError(f"{table}: has files in other folders, as shallow clones do; give the table that it was cloned from")
        same = {column: values[column] for column in values}
        rows = deleted.pop(name, np.array([], np.int64))
        yield table / name, Live(str(table), found.version(), names, same, nested, rows)
    if deleted:  # these rows would be scored
        raise InputError(f"{table}: its log names deleted rows in files that the table does not have; repair the table")


def live_files(table: Path, version: int | None = None, tell: Tell = ignore) -> list[Path]:
    """List the files that a Delta table has at a version; their readers leave out rows that were deleted.

    Parameters
    ----------
    table : Path
        The folder, with a folder ``_delta_log`` in it.
    version : int, optional
        By default, the newest.
    tell : callable
        Called with the folder and the version that was read.

    Returns
    -------
    list of Path
        Sorted; `live_of` says what the log says of them.

    Raises
    ------
    InputError
        When deltalake is not installed, or the table or this version of it cannot be read correctly.
    """
    try:
        found = _opened(table, version)
        tell(table, f"a Delta table, read at version {found.version()}")
        return sorted(with_live(path, live) for path, live in _listed(found, table))
    except InputError:
        raise
    except Exception as error:  # deltalake raises its own kinds, and Python's
        raise _refused(table, error, version) from None
