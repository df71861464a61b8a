"""Reads rows of Parquet files, and of Arrow batches."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.errors import InputError
from pipeline.errors import DamagedError
from pipeline.records.rows import BrokenRow, Row, shown_columns

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_PARQUET_BATCH = 128  # rows; fewer are slower, but with more, a small file can expand to gigabytes if a huge text in it repeats

_UNREADABLE = object()


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


def parquet_groups(path: Path) -> list[int]:
    """Return the number of the first row of each row group of a Parquet file; raise `DamagedError` if it cannot be read."""
    with _parquet(path) as file:
        lengths = [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]
    return list(accumulate(lengths, initial=1))[:-1]


def parquet_batches(path: Path, columns: Sequence[str] | None = None, groups: Sequence[int] | None = None) -> Iterator["pa.RecordBatch"]:
    """Yield the rows of a Parquet file as small Arrow batches.

    Parameters
    ----------
    path : Path
        The file.
    columns : sequence of str, optional
        The columns to read, if the file has them; by default, all.
    groups : sequence of int, optional
        The row groups to read; by default, all.

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
            raise InputError(f"{path}: column {shown_columns(repeated)} occurs twice; rename one")
        kinds: list[pa.DataType] = []
        for batch in file.iter_batches(batch_size=_PARQUET_BATCH, row_groups=groups, columns=names, use_threads=False):
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
