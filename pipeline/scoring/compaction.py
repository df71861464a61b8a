"""Write the scores of a complete job as a table: a few large Parquet files, in folders such as ``day=2017-10-16``."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from models.errors import InputError
from models.folders import new_folder, owner_only
from pipeline.errors import IncompleteError
from pipeline.predictions import ROW_GROUP
from pipeline.scoring.earlier import Earlier
from pipeline.scoring.finished import part_content
from pipeline.scoring.output import Output
from pipeline.scoring.store_lock import locked_in_store
from pipeline.stores import StorePath, path_of

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

COMPLETE = "_SUCCESS"  # Hadoop's mark of a complete table, with what ours holds in it
MOST_PARTITIONS = 1_000
ROWS = 5_000_000  # of a file
_UNFINISHED = "_unfinished"
_PRIVATE = ("id", "text", "author")
_LONGEST_NAME = 200  # bytes of the name of a folder
_OPEN = 200  # files at a time
_BUFFERED = 2**20  # rows of all partitions together that wait to fill a row group


@dataclass
class Table:
    """What a table holds.

    Attributes
    ----------
    scores : str
        The folder of the scores.
    model : str
        Digest of the model.
    options : dict
        The options of the job.
    partition_by : list of str
        The columns that folders stand for.
    rows : int
        Number of rows.
    files : dict of str to int
        Number of rows of each file.
    """

    scores: str
    model: str
    options: dict[str, Any]
    partition_by: list[str]
    rows: int = 0
    files: dict[str, int] = field(default_factory=dict)


class _Parts:
    """The parts of a complete job, checked against their records."""

    def __init__(self, folder: Path, earlier: Earlier) -> None:
        self._folder, self.manifest = folder, earlier.content
        self.output = Output(folder)
        self._records = earlier.records(self.output)
        self._private = {*_PRIVATE, earlier.options.id_column, earlier.options.text_column}
        self.rows = sum(done.scored for done in self._records)
        self.schema = pq.read_schema(pa.BufferReader(part_content(folder / self._records[0].part, self._records[0])))

    def _tables(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        for done in self._records:
            with pq.ParquetFile(pa.BufferReader(part_content(self._folder / done.part, done))) as file:
                yield file.read(columns)

    def check(self, names: Sequence[str]) -> int:
        """Return how many folders the values of columns make; raise an error if they cannot become folders."""
        strings = [each.name for each in self.schema if each.type == pa.string() and each.name not in self._private]
        for name in names:
            if name in self._private:
                raise InputError(f"--partition-by {name}: the names of folders would tell who wrote what; choose another column")
            if name not in strings:
                raise InputError(f"--partition-by {name}: must be one of {', '.join(strings)}; others can be kept with score.py --keep")
        found = set[tuple[str | None, ...]]()
        for table in self._tables(names) if names else ():
            rows = table.group_by(list(names)).aggregate([]).to_pylist()
            found |= {tuple(row[name] or None for name in names) for row in rows}
            if len(found) > MOST_PARTITIONS:
                what = f"more than {MOST_PARTITIONS:,} different values"
                raise InputError(f"--partition-by {names[0]}: has {what}, each of which would be a folder; choose a column with fewer")
        long = [name for values in found for name, value in zip(names, values, strict=True) if len(quote(value or "", "")) > _LONGEST_NAME]
        if long:
            raise InputError(f"--partition-by {long[0]}: has values that are too long for the name of a folder; choose another column")
        return len(found)

    def batches(self, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield all rows; empty values of columns that make folders become null, as Hive and Spark have it."""
        for table in self._tables():
            emptied = {name: pc.if_else(pc.equal(table[name], ""), None, table[name]) for name in names}
            columns = [emptied.get(name, table[name]) for name in self.schema.names]
            yield from pa.Table.from_arrays(columns, schema=self.schema).to_batches()


def _place(folder: Path) -> tuple["FileSystem", str]:
    """Return how Arrow names a folder."""
    from pyarrow import fs

    return (folder._files, folder._key) if isinstance(folder, StorePath) else (fs.LocalFileSystem(), str(folder))


def _write(parts: _Parts, folder: Path, table: Table, partitions: int, rows_per_file: int) -> None:
    """Write the files of a table, and count them."""
    import pyarrow.dataset as ds

    files, base = _place(folder)
    group = min(ROW_GROUP, max(_BUFFERED // max(partitions, 1), 1_000), rows_per_file)

    def note(written: Any) -> None:
        table.files[os.path.relpath(written.path, base)] = written.metadata.num_rows

    ds.write_dataset(
        parts.batches(table.partition_by),
        base,
        schema=parts.schema,
        format="parquet",
        file_options=ds.ParquetFileFormat().make_write_options(compression="zstd"),
        partitioning=ds.partitioning(pa.schema([(name, pa.string()) for name in table.partition_by]), flavor="hive"),
        basename_template="part-{i}.parquet",
        filesystem=files,
        use_threads=False,  # rows keep their order
        max_open_files=_OPEN,
        max_partitions=MOST_PARTITIONS + 1,
        max_rows_per_file=rows_per_file,
        min_rows_per_group=group,
        max_rows_per_group=max(group, min(2 * ROW_GROUP, rows_per_file)),
        existing_data_behavior="overwrite_or_ignore",
        file_visitor=note,
    )
    table.files = dict(sorted(table.files.items()))
    table.rows = sum(table.files.values())
    if table.rows != parts.rows:
        raise IncompleteError(f"{folder}: {table.rows:,} of {parts.rows:,} rows were written; run the same command again")


def _on_disk(folder: Path) -> None:
    """Have all files of a folder written to the disk."""
    for path in [*folder.rglob("*"), folder]:
        opened = os.open(path, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


@contextmanager
def _here(out: Path) -> Iterator[tuple[Path, Callable[[], bool]]]:
    """Yield a folder that appears as a whole, and whether it is lost to another job, as in a store."""
    with new_folder(out, ()) as fresh:
        yield fresh, lambda: False
        _on_disk(fresh)


@contextmanager
def _in_store(out: StorePath) -> Iterator[tuple[StorePath, Callable[[], bool]]]:
    """Lock a folder of a store, and remove what an earlier call left there; raise an error if it holds anything else."""
    with locked_in_store(out, out) as is_lost:
        held = {path.name for path in out.iterdir() if not path.name.startswith("lock-")}
        if held and _UNFINISHED not in held:
            raise InputError(f"{out}: exists and is not empty; choose another --out")
        (out / _UNFINISHED).touch()
        for left in [out / COMPLETE, *out.rglob("part-*.parquet")]:  # an earlier call may have ended between its last two steps
            left.unlink(missing_ok=True)
        yield out, is_lost
        (out / _UNFINISHED).unlink(missing_ok=True)


@owner_only()
def compact(scores: str | Path, out: str | Path, partition_by: Sequence[str] = (), rows_per_file: int = ROWS) -> Table:
    """Write the scores of a complete job as a few large files, for programs that read tables; the job's folder is not changed.

    On disk, the folder appears as a whole or not at all. In an object store, it is complete once it has the file ``_SUCCESS``; after an
    interruption, the same call removes what was written, and begins again.

    Parameters
    ----------
    scores : str or Path
        Output folder of a complete job, in Parquet.
    out : str or Path
        A folder that is missing or empty, on disk or in an object store.
    partition_by : sequence of str
        String columns whose values become folders such as ``day=2017-10-16``, as Hive, Spark and Arrow name them; characters that names of
        files may not have are written as ``%2F`` and the like, and null or empty is ``__HIVE_DEFAULT_PARTITION__``.
    rows_per_file : int
        Maximum number of rows of a file.

    Returns
    -------
    Table
        What ``_SUCCESS`` holds.

    Raises
    ------
    InputError
        When the scores are not complete or not in Parquet, a column cannot be used, or `out` holds anything.
    IncompleteError
        When the scores were changed in the meantime, or the store does not answer, or another job may have begun to write to `out`.
    """
    folder, place, names = path_of(scores), path_of(out), list(dict.fromkeys(partition_by))
    earlier = Earlier.read(folder)
    if earlier.options.format != "parquet":
        raise InputError(f"{folder}: the scores are {earlier.options.format}, but must be Parquet; score again with --format parquet")
    if folder.resolve() == place.resolve() or folder.resolve() in place.resolve().parents:
        raise InputError(f"{place}: must not be the folder of the scores, or in it; choose another --out")
    parts = _Parts(folder, earlier)
    partitions = parts.check(names)
    table = Table(str(scores), earlier.model, earlier.options.to_dict(), names)
    try:
        with _in_store(place) if isinstance(place, StorePath) else _here(place) as (fresh, is_lost):
            _write(parts, fresh, table, partitions, rows_per_file)
            parts.output.check_unchanged(parts.manifest)
            if is_lost():
                raise IncompleteError(f"{place}: the lock was lost, because it was not renewed for too long; run the same command again")
            (fresh / COMPLETE).write_bytes(json.dumps(asdict(table), indent=1).encode() + b"\n")
    except OSError as error:
        raise IncompleteError(f"{place}: cannot be written ({error.strerror or error}); run the same command again") from None
    return table
