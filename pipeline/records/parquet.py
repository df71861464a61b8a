"""Reads rows of Parquet files, and of Arrow batches."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate, groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.errors import InputError
from pipeline.errors import DamagedError
from pipeline.records.delta import live_of
from pipeline.records.foreign import refuse_other
from pipeline.records.rows import BrokenRow, Row, shown_columns
from pipeline.stores import StorePath

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_PARQUET_BATCH = 128  # number of rows to read at a time; fewer are slower, and more take more memory
_BATCH_BYTES = 8 * 2**20  # maximum decoded size; if the longest text of a row group repeats, fewer rows are read at a time
_SMALL_CHUNK = 2**19  # size of a small column chunk; no text is longer than its chunk, so a batch fits into memory anyway
_NESTED_BATCH = 8  # number of rows to read at a time if we cannot tell how long the longest text is
# A column chunk that unpacks to more than this, and so many times its size, may be a single page, which Arrow unpacks whole.
_BOMB_BYTES, _BOMB_RATIO = 128 * 2**20, 200

_UNREADABLE = object()
_ENCRYPTED = "is encrypted, and we have no key; write it without encryption"
_SIGNATURE = 28  # bytes after a footer that is in plain text although columns are encrypted


def _text(value: bytes) -> Any:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return _UNREADABLE


def _cells(column: Any) -> list[Any]:
    """Return the values of an Arrow array as other files would hold them; those that Python cannot represent become `_UNREADABLE`."""
    import pyarrow as pa

    try:
        values = column.to_pylist()
    except (ValueError, OverflowError):
        values = [_cell(scalar) for scalar in column]
    kind = column.type
    plain: Callable[[Any], Any] | None = None
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind) or pa.types.is_fixed_size_binary(kind):
        plain = _text
    elif pa.types.is_decimal(kind) and kind.scale == 0:
        plain = int
    elif kind == pa.uuid():
        plain = str
    if plain is None:
        return values  # type: ignore[no-any-return]
    return [value if value is None or value is _UNREADABLE else plain(value) for value in values]


def _cell(scalar: Any) -> Any:
    try:
        return scalar.as_py()
    except (ValueError, OverflowError):
        return _UNREADABLE


def _without_dictionaries(kind: "pa.DataType") -> "pa.DataType":
    """Return a type in which dictionaries, at any depth, are replaced by the type of their values, so that batches agree."""
    import pyarrow as pa

    def plain(field: "pa.Field") -> "pa.Field":
        return field.with_type(_without_dictionaries(field.type))

    if pa.types.is_dictionary(kind):
        return _without_dictionaries(kind.value_type)
    if pa.types.is_struct(kind):
        return pa.struct([plain(field) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(plain(kind.key_field), plain(kind.item_field))
    if pa.types.is_large_list(kind):
        return pa.large_list(plain(kind.value_field))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(plain(kind.value_field), kind.list_size)
    return pa.list_(plain(kind.value_field)) if pa.types.is_list(kind) else kind


@contextmanager
def _parquet(path: Path, rows_read: Callable[[], int] = lambda: 0, **options: Any) -> Iterator["pq.ParquetFile"]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        source = path.native() if isinstance(path, StorePath) else path
        with pq.ParquetFile(source, pre_buffer=False, buffer_size=2**20, **options) as file:  # by default, the whole file ends up in memory
            with path.open("rb") as end:
                end.seek(-8, os.SEEK_END)
                signature = int.from_bytes(end.read(4), "little") - file.metadata.serialized_size
            if signature == _SIGNATURE:  # Arrow would end the process if it were asked about encrypted columns
                raise InputError(f"{path}: {_ENCRYPTED}")
            yield file
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, PermissionError):
            raise
        if isinstance(path, StorePath) and "AWS Error" in str(error):
            with path.told():
                raise
        place = f"{path}, row {rows_read() + 1}"
        if "crypt" in str(error).lower():
            raise InputError(f"{path}: {_ENCRYPTED}") from None
        refuse_other(path, (b"PAR1", b"PARE"), "Parquet file")
        raise DamagedError(f"{place}: cannot be read as Parquet (truncated or damaged); write the file again") from None


def parquet_length(path: Path) -> int:
    """Return the number of rows in a Parquet file; raise `DamagedError` if it cannot be read."""
    live = live_of(path)
    with _parquet(path) as file:
        return int(file.metadata.num_rows) - (len(live.deleted) if live else 0)


def _starts(path: Path) -> list[int]:
    """Return how many rows precede each row group of a file, whether or not they were deleted from its table."""
    with _parquet(path) as file:
        lengths = [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]
    return list(accumulate(lengths, initial=0))[:-1]


def parquet_groups(path: Path) -> list[int]:
    """Return the number of the first row of each row group of a Parquet file; raise `DamagedError` if it cannot be read."""
    live = live_of(path)
    return [start + 1 - (live.deleted_before(start) if live else 0) for start in _starts(path)]


def parquet_columns(path: Path, columns: Sequence[str] | None = None) -> list[str]:
    """Return the names of a Parquet file's columns, without reading any of them.

    Parameters
    ----------
    path : Path
        The file.
    columns : sequence of str, optional
        The columns that will be read, if the file has them; by default, all.

    Raises
    ------
    InputError
        When two of these columns have the same name, one unpacks to far more than its size, or the file is encrypted.
    DamagedError
        When the file cannot be read as Parquet.
    """
    if not (live := live_of(path)):
        return _columns(path, columns)
    _columns(path, live.in_file(columns))
    return list(live.names)


def _columns(path: Path, columns: Sequence[str] | None) -> list[str]:
    """Return the names of the columns that the file itself has; see `parquet_columns`."""
    with _parquet(path) as file:
        found = list(file.schema_arrow.names)
        names = [name for name in found if columns is None or name in columns]
        if repeated := [name for name, times in Counter(names).items() if times > 1]:
            raise InputError(f"{path}: column {shown_columns(repeated)} occurs twice; rename one")
        for group in range(file.metadata.num_row_groups):
            for chunk in _chunks(file, group, names):
                packed, unpacked = chunk.total_compressed_size, chunk.total_uncompressed_size
                if unpacked > max(_BOMB_BYTES, _BOMB_RATIO * packed):
                    what = f"{packed:,} bytes of column {shown_columns([chunk.path_in_schema])} unpack to {unpacked:,}"
                    raise InputError(f"{path}, row group {group + 1}: {what}; write it with smaller row groups")
    return found


def _chunks(file: "pq.ParquetFile", group: int, names: Sequence[str]) -> "list[pq.ColumnChunkMetaData]":
    """Return what the footer says of the columns with these names, and of what is nested in them, in a row group."""
    found = [file.metadata.row_group(group).column(number) for number in range(file.metadata.num_columns)]
    return [chunk for chunk in found if chunk.path_in_schema in names or chunk.path_in_schema.partition(".")[0] in names]


def _flat(file: "pq.ParquetFile", names: Sequence[str]) -> list[str]:
    """Return those of the columns with these names that hold no others."""
    return [path for number in range(file.metadata.num_columns) if (path := file.schema.column(number).path) in names]


def _longest(dictionaries: "pq.ParquetFile", name: str, group: int) -> int:
    """Return the length of the longest text in the dictionary of a column chunk: the footer does not say how often it is repeated."""
    import pyarrow.compute as pc

    batch = next(dictionaries.iter_batches(batch_size=1, row_groups=[group], columns=[name], use_threads=False), None)
    values = getattr(batch.column(0), "dictionary", None) if batch else None
    return pc.max(pc.binary_length(values)).as_py() or 0 if values is not None and len(values) else 0


def _batch_size(file: "pq.ParquetFile", dictionaries: "pq.ParquetFile", group: int, names: Sequence[str]) -> int:
    """Return how many rows of a row group to read at a time, so that they fit into memory even if texts in it are huge or repeat.

    `dictionaries` is the same file, opened so that dictionaries are read as such.
    """
    length, rows = file.metadata.row_group(group).num_rows, _PARQUET_BATCH
    for chunk in _chunks(file, group, names):
        row_bytes = chunk.total_uncompressed_size // max(length, 1)
        if chunk.has_dictionary_page and chunk.physical_type == "BYTE_ARRAY":
            if chunk.path_in_schema not in names:
                rows = min(rows, _NESTED_BATCH)
            elif chunk.total_uncompressed_size > _SMALL_CHUNK:
                row_bytes = max(row_bytes, _longest(dictionaries, chunk.path_in_schema, group))
        rows = min(rows, max(_BATCH_BYTES // max(row_bytes, 1), 1))
    return rows


def parquet_batches(path: Path, columns: Sequence[str] | None = None, groups: Sequence[int] | None = None) -> Iterator["pa.RecordBatch"]:
    """Yield the rows of a Parquet file as small Arrow batches.

    Parameters
    ----------
    path : Path
        The file.
    columns : sequence of str, optional
        The columns to read, if the file has them; by default, all.
    groups : sequence of int, optional
        The row groups to read, which must follow each other; by default, all.

    Raises
    ------
    InputError
        When two of the columns have the same name.
    DamagedError
        When the file cannot be read as Parquet, as a whole or from some row on.
    """
    if not (live := live_of(path)):
        yield from _batches(path, columns, groups)
        return
    wanted, found = live.in_file(columns), _columns(path, [])
    first = _starts(path)[groups[0]] if groups else 0
    for batch in _batches(path, [name for name in wanted if name in found] or found[:1], groups):  # without any column, rows would vanish
        yield live.batch(batch, first, live.wanted(columns))
        first += batch.num_rows


def _batches(path: Path, columns: Sequence[str] | None, groups: Sequence[int] | None) -> Iterator["pa.RecordBatch"]:
    """Yield the rows that the file itself has; see `parquet_batches`."""
    import pyarrow as pa

    read = 0
    names = [name for name in _columns(path, columns) if columns is None or name in columns]
    with (
        _parquet(path, lambda: read) as file,
        _parquet(path, lambda: read, read_dictionary=_flat(file, names), metadata=file.metadata) as dictionaries,
    ):
        kinds: list[pa.DataType] = []
        wanted = range(file.metadata.num_row_groups) if groups is None else groups
        for size, alike in groupby(wanted, lambda group: _batch_size(file, dictionaries, group, names)):
            for batch in file.iter_batches(batch_size=size, row_groups=list(alike), columns=names, use_threads=False):
                kinds = kinds or [_without_dictionaries(field.type) for field in batch.schema]
                plain = [column if column.type == kind else column.cast(kind) for column, kind in zip(batch.columns, kinds, strict=True)]
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
