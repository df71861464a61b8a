"""Reads what is compared: the numbers that score.py wrote about each post."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from models.arrays import Decisions, Float32s, Int64s, Probabilities
from models.errors import InputError
from pipeline.dates import Dates
from pipeline.errors import NoPostsError
from pipeline.evaluation.prevalence import check_columns, parts_of
from pipeline.predictions import FAMILIARITY, prediction_schema

FOLDER = "scores"  # name of the column that holds the folder
PRIVATE = ("id", "text", "author")
MOST_GROUPS = 100
LONGEST_VALUE = 60  # maximum number of characters of a value; a longer one may be a text

_BATCH = 100_000  # rows to read at a time
_DATES = 0.9  # a column holds dates if this share of its values can be read as dates


@dataclass(frozen=True)
class Stream:
    """Scored posts.

    Attributes
    ----------
    probabilities : ndarray of float32, shape (n_posts, n_labels)
    decided : ndarray of bool, shape (n_posts, n_labels)
        Which labels were given.
    measures : ndarray of float32, shape (n_posts, 5), or None
        In the order of `FAMILIARITY`; None if some posts were scored without ``--unfamiliar``.
    columns : dict of str to ndarray of object, shape (n_posts,)
        The values by which posts are grouped; None for a post without one.
    notes : list of str
        How columns were read.
    """

    probabilities: Probabilities
    decided: Decisions
    measures: Float32s | None
    columns: dict[str, NDArray[Any]]
    notes: list[str]

    def __len__(self) -> int:
        return len(self.probabilities)

    @cached_property
    def distinct(self) -> tuple[Int64s, Int64s]:
        """The first of each group of posts with the same numbers, which count as copies of each other, and the size of each group."""
        rows = self.probabilities if self.measures is None else np.hstack([self.probabilities, np.delete(self.measures, 1, axis=1)])
        whole = np.ascontiguousarray(rows).view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))).ravel()
        _, first, counts = np.unique(whole, return_index=True, return_counts=True)
        order = np.argsort(first)
        return first[order], counts[order]

    def take(self, posts: NDArray[Any]) -> "Stream":
        """Return some of the posts, without columns."""
        measures = None if self.measures is None else self.measures[posts]
        return Stream(self.probabilities[posts], self.decided[posts], measures, {}, [])


def _memberships(column: pa.ChunkedArray, labels: Sequence[str]) -> Decisions:
    """Return which of the labels each list holds, shape (n_lists, n_labels)."""
    lists = column.combine_chunks()
    found = np.zeros((len(lists), len(labels)), bool)
    rows = pc.list_parent_indices(lists).to_numpy(zero_copy_only=False)
    which = pc.index_in(lists.flatten(), pa.array(labels, pa.string())).to_numpy(zero_copy_only=False)
    found[rows, which] = True
    return found


def _numbers(table: pa.Table, names: Sequence[str]) -> Float32s:
    """Return columns side by side, shape (n_posts, n_names); an empty cell is not a number."""
    return np.stack([table[name].to_numpy().astype(np.float32) for name in names], axis=1)


def _checked(part: Path, rows: pa.RecordBatch, schema: pa.Schema, digest: str) -> pa.Table:
    """Return the scored rows of a batch, with columns of the types that score.py writes; raise an error if they hold anything else."""
    scored = next(name for name in schema.names if name.startswith("prob_"))
    odd = InputError(f"{part}: holds values that score.py does not write; give the folder that score.py wrote")
    try:
        table = pa.Table.from_batches([rows]).select(schema.names).cast(schema)  # Arrow cannot filter the views of strings of Delta tables
        table = table.filter(table[scored].is_valid())  # Spark keeps posts that it could not score
    except (pa.ArrowException, KeyError):
        raise odd from None
    if others := set(table["model"].unique().to_pylist()) - {digest}:
        other = str(others.pop())[:12]
        raise InputError(f"{part}: was scored by the model {other}, not by {digest[:12]}; name that model with --model")
    numeric = [field.name for field in schema if pa.types.is_floating(field.type) or field.name in FAMILIARITY]
    found = _numbers(table, numeric)
    shares = found[:, [name not in ("tokens", "masks") for name in numeric]]
    if not np.isfinite(found).all() or not ((shares >= 0) & (shares <= 1)).all():
        raise odd
    return table


def _tables(folder: Path, digest: str, labels: Sequence[str], columns: Sequence[str]) -> Iterator[pa.Table]:
    """Yield the rows of the files of a folder, with those of the needed columns that they have."""
    scored = prediction_schema(labels, columns, familiarity=True)
    for part in parts_of(folder):
        try:
            with pq.ParquetFile(part) as file:
                names = file.schema_arrow.names
                check_columns(part, names, labels)
                if missing := [name for name in columns if name not in names]:
                    raise InputError(f"{part}: has no column {missing[0]!r}; score again with --keep {missing[0]}")
                absent = [name for name in FAMILIARITY if name not in names]
                schema = pa.schema([field for field in scored if field.name not in ("id", *absent)])
                for rows in file.iter_batches(_BATCH, columns=schema.names):
                    yield _checked(part, rows, schema, digest)
        except FileNotFoundError:
            raise InputError(f"{part}: is missing; run score.py again") from None
        except (OSError, pa.ArrowException):
            raise InputError(f"{part}: is not Parquet, or is damaged; run score.py again") from None


def check_given(scores: Sequence[Path], reference: Sequence[Path], labels: Sequence[str], by: Sequence[str]) -> None:
    """Check what a user named, before anything is read.

    Parameters
    ----------
    scores, reference : sequence of Path
        Folders of scores.
    labels : sequence of str
        The model's labels.
    by : sequence of str
        Columns to group posts by.

    Raises
    ------
    InputError
        If a folder is named twice, or a column must not be shown.
    """
    folders = [*scores, *reference]
    if private := [name for name in by if name in PRIVATE]:
        raise InputError(f"--by {private[0]}: the results would show who wrote what; choose a column such as created_at or source")
    if own := [name for name in by if name in prediction_schema(labels, review=True, explanation=True, familiarity=True, queue=True).names]:
        raise InputError(f"--by {own[0]}: score.py computes this column; choose one that score.py --keep copied")
    places = [folder.resolve() for folder in folders]
    if twice := [folder for folder, place in zip(folders, places, strict=True) if places.count(place) > 1]:
        raise InputError(f"{twice[0]}: is given twice; give each folder of scores once, either as SCORES or as --reference")


def names_of(folders: Sequence[Path]) -> list[str]:
    """Return what to call folders: their names, or where they are if several have the same name.

    Parameters
    ----------
    folders : sequence of Path
    """
    names = [folder.resolve().name for folder in folders]
    return [name if names.count(name) == 1 else str(folder) for folder, name in zip(folders, names, strict=True)]


def _by_day(name: str, values: NDArray[Any]) -> tuple[NDArray[Any], list[str]]:
    """Replace dates by days, if the values of a column are dates; return them with notes."""
    distinct = sorted({value for value in values.tolist() if value is not None})
    column = Dates(name)
    found = [column.read(value) for value in distinct]
    if not distinct or sum(date is not None for date in found) < _DATES * len(distinct):
        return values, []
    days = {value: date and date[:10] for value, date in zip(distinct, column.settled(found), strict=True)}
    return np.array([days.get(value) for value in values.tolist()], object), column.notes()


def read_stream(folders: Sequence[Path], digest: str, labels: Sequence[str], by: Sequence[str] = ()) -> Stream:
    """Read scores.

    Parameters
    ----------
    folders : sequence of Path
        Output folders of score.py, or single Parquet files.
    digest : str
        Digest of the model that must have scored the posts.
    labels : sequence of str
        Its labels.
    by : sequence of str
        Columns to group posts by, which score.py must have kept. Dates become days.

    Returns
    -------
    Stream
        With several folders, there is also a column of their names.

    Raises
    ------
    InputError
        If there are no scores, some are missing, they are by another model, or a column is missing or must not be shown.
    """
    tables, names = list[pa.Table](), list[str]()
    for folder, name in zip(folders, names_of(folders), strict=True):
        for table in _tables(folder, digest, labels, by):
            tables.append(table)
            names += [name] * len(table)
    if not names:
        raise NoPostsError(f"{folders[0]}: has no scored posts; give the scores of a night with posts")
    measured = all(name in table.column_names for table in tables for name in FAMILIARITY)
    probabilities = np.concatenate([_numbers(table, [f"prob_{label}" for label in labels]) for table in tables])
    measures = np.concatenate([_numbers(table, list(FAMILIARITY)) for table in tables]) if measured else None
    columns, notes = {FOLDER: np.array(names, object)} if len(folders) > 1 else {}, list[str]()
    for name in by:
        values = np.array([value for table in tables for value in table[name].to_pylist()], object)
        columns[name], found = _by_day(name, values)
        notes += found
    decided = np.concatenate([_memberships(table["labels"], labels) for table in tables])
    return Stream(probabilities, decided, measures, columns, notes)


def groups_of(stream: Stream, min_posts: int) -> tuple[list[tuple[str, str, Stream]], int]:
    """Group posts by the values of each column.

    Parameters
    ----------
    stream : Stream
    min_posts : int
        Minimum number of different posts in a group.

    Returns
    -------
    groups : list of (str, str, Stream)
        Column, value and posts, sorted by value.
    too_small : int
        Number of groups that are too small.

    Raises
    ------
    InputError
        If a column has too many values, or values so long that they may be texts.
    """
    groups, too_small = list[tuple[str, str, Stream]](), 0
    for name, values in stream.columns.items():
        found = 0
        for value in sorted(set(values.tolist()) - {None}):
            posts = np.flatnonzero(values == value)
            group = stream.take(posts) if len(posts) >= min_posts else None
            if group is None or len(group.distinct[0]) < min_posts:
                too_small += 1
                continue
            found += 1
            if found > MOST_GROUPS or len(value) > LONGEST_VALUE:
                what = f"more than {MOST_GROUPS} values" if found > MOST_GROUPS else f"values longer than {LONGEST_VALUE} characters"
                raise InputError(f"--by {name}: has {what}, so they may be texts or names; choose a column with a few short values")
            groups.append((name, value, group))
    return groups, too_small
