"""Turns the numbers in columns with `datasets` class labels into the names that they stand for."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import datasets

from pipeline.records import BrokenRow, Row, kind_of


def _names(feature: Any) -> list[str] | None:
    """Return the names of the classes of a column, or of the items of its lists."""
    inner = getattr(feature, "feature", feature)
    return inner.names if isinstance(inner, datasets.ClassLabel) else None


def _named(value: Any, names: list[str]) -> Any:
    if isinstance(value, list):
        return [_named(each, names) for each in value]
    return names[value] if isinstance(value, int) and 0 <= value < len(names) else None if value == -1 else value  # -1: no label


def with_class_names(features: datasets.Features, rows: Iterable[Row | BrokenRow]) -> Iterator[Row | BrokenRow]:
    """Yield rows with names in place of the numbers of classes.

    Parameters
    ----------
    features : datasets.Features
        The columns' types.
    rows : iterable of Row or BrokenRow

    Examples
    --------
    >>> features = datasets.Features({"label": datasets.ClassLabel(names=["none", "assault"])})
    >>> list(with_class_names(features, [Row(1, {"label": 1})]))
    [Row(number=1, fields={'label': 'assault'})]
    """
    classes = {column: names for column, feature in features.items() if (names := _names(feature))}
    for row in rows:
        if classes and isinstance(row, Row):
            row.fields |= {column: _named(row.fields.get(column), names) for column, names in classes.items() if column in row.fields}
        yield row


def features_of(path: Path) -> datasets.Features:
    """Return the types of a Parquet file's columns if `datasets` wrote them into it; for any other file, return no types."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(path) if path.is_file() and kind_of(path) == ".parquet" else pa.schema([])
    except (pa.ArrowException, OSError):  # reading the rows will raise the error
        schema = pa.schema([])
    return datasets.Features.from_arrow_schema(schema) if b"huggingface" in (schema.metadata or {}) else datasets.Features()
