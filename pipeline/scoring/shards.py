"""Cut files into shards: consecutive rows that are scored, written and recorded together."""

import hashlib
import io
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from pipeline.errors import DamagedError
from pipeline.records import (
    PLAIN,
    UNCLOSED,
    BrokenRow,
    Dialect,
    InputFormat,
    Row,
    Tell,
    TextFile,
    batch_rows,
    csv_header,
    csv_spans,
    csv_text,
    ignore,
    kind_of,
    line_runs,
    live_of,
    open_text,
    parquet_batches,
    parquet_length,
    read_lines,
    stamp_of,
    text_rows,
    with_partitions,
)
from pipeline.stores import path_of

SHARD_BYTES = 2 * 2**20  # target size of a shard's rows, decompressed
SHARD_LINES = 2**20  # maximum number of rows, each of which may be as short as two bytes


@dataclass(frozen=True, slots=True)
class Shard:
    """Consecutive rows of one file.

    Attributes
    ----------
    file : str
        Path of the file, as the user gave it.
    number : int
        Position among the shards of the file, from 0.
    first_row : int
        Number of the first row, from 1; in a JSONL file, number of the first line.
    digest : str
        SHA-256 of the content, and of the dialect if it is not the usual one.
    size : int
        Number of bytes of the file that the shard covers.
    content : bytes
        The rows: lines of JSONL or the header and rows of CSV, in UTF-8, or an Arrow stream.
    kind : {".jsonl", ".csv", ".parquet"}
        Format of `content`; an Arrow stream counts as ``.parquet``.
    dialect : Dialect
        How CSV is written.
    alone : bool
        Whether each post is scored alone, because the process that scored the shard died twice.
    without : frozenset of int
        Numbers of rows to reject, because the process that scored them alone died.
    table : str
        The Delta table that the file belongs to; empty if there is none.
    version : int or None
        The version of this table.
    """

    file: str
    number: int
    first_row: int
    digest: str
    size: int
    content: bytes
    kind: str = ".jsonl"
    dialect: Dialect = PLAIN
    alone: bool = False
    without: frozenset[int] = frozenset()
    table: str = ""
    version: int | None = None

    @property
    def name(self) -> str:
        """A unique name, which is the same in every run over a file with this path."""
        return f"{hashlib.sha256(self.file.encode('utf-8', 'surrogateescape')).hexdigest()[:12]}-{self.number:05d}"


Piece = tuple[bytes, int]  # bytes that must stay together, and how many rows they count as


def _csv_pieces(path: Path, file: TextFile) -> Generator[Piece]:
    newline = file.dialect.newline
    with csv_text(file.content, newline) as text:
        spans = csv_spans(read_lines(text, newline), file.dialect)
        header, _ = csv_header(spans, path)
        yield header.encode("utf-8", "surrogateescape"), 0
        number = 0
        for row, values in spans:
            number += bool(values)
            yield row.encode("utf-8", "surrogateescape"), bool(values)
            if values == UNCLOSED:
                raise DamagedError(f"{path}, at row {number} or later: {UNCLOSED}; correct the file")


def _parquet_pieces(path: Path, columns: Sequence[str] | None) -> Iterator[Piece]:
    for number, batch in enumerate(parquet_batches(path, columns)):
        if not number:
            yield batch.schema.serialize().to_pybytes(), 0
        step = max(batch.num_rows * SHARD_BYTES // max(batch.nbytes, 1), 1)
        for start in range(0, batch.num_rows, step):
            few = batch.slice(start, step)
            yield few.serialize().to_pybytes(), few.num_rows


@dataclass(frozen=True, slots=True)
class _Source:
    """An open file: its pieces (the header of every shard, then each row), how many of its bytes some rows take, and its form."""

    pieces: Iterator[Piece]
    position: Callable[[int], int]
    kind: str
    dialect: Dialect = PLAIN


@contextmanager
def _unchanged(path: Path, changed: Callable[[], bool]) -> Iterator[None]:
    """Raise an error if a file was written to during the block: what was cut off or appended would be missing unnoticed."""
    yield
    if changed():
        raise DamagedError(f"{path}: was changed while it was being scored; run again")


@contextmanager
def _opened(path: Path, columns: Sequence[str] | None, tell: Tell, given: InputFormat | None) -> Iterator[_Source]:
    if kind_of(path, given) == ".parquet":
        before, length = stamp_of(path), path.stat().st_size
        total = parquet_length(path)
        with _unchanged(path, lambda: stamp_of(path) != before):
            yield _Source(_parquet_pieces(path, columns), lambda rows: length * rows // max(total, 1), ".parquet")
        return
    with open_text(path, columns or (), tell, given) as file, _unchanged(path, file.changed):
        if file.kind == ".csv":
            with closing(_csv_pieces(path, file)) as pieces:  # close the pieces before the file
                yield _Source(pieces, lambda rows: file.position(), file.kind, file.dialect)
        else:
            yield _Source(chain([(b"", 0)], line_runs(file.content)), lambda rows: file.position(), file.kind)


def _shards(path: Path, source: _Source, most: int) -> Iterator[Shard]:
    header, _ = next(source.pieces, (b"", 0))
    number, first_row, rows, taken, size, before = 0, 1, 0, [header], 0, 0
    table, version = (live.table, live.version) if (live := live_of(path)) else ("", None)

    def shard() -> Shard:
        whole, covered = b"".join(taken), source.position(first_row + rows - 1) - before
        dialect = b"" if source.dialect == PLAIN else repr(source.dialect).encode()
        digest = hashlib.sha256(dialect + whole).hexdigest()
        return Shard(str(path), number, first_row, digest, covered, whole, source.kind, source.dialect, table=table, version=version)

    try:
        for piece, counts in source.pieces:
            taken.append(piece)
            rows += counts
            size += len(piece)
            if size >= most or rows >= SHARD_LINES:
                yield shard()
                number, first_row, rows, taken, size = number + 1, first_row + rows, 0, [header], 0
                before = source.position(first_row - 1)
    except (OSError, DamagedError) as error:
        if size:
            yield shard()
        if isinstance(error, DamagedError):
            raise
        raise DamagedError(
            f"{path}: is damaged or truncated after row {first_row + rows - 1} ({error}); copy or write the file again, or, to "
            "finish without it, put an empty file in its place"
        ) from None
    if size:
        yield shard()


def cut(
    path: Path,
    columns: Sequence[str] | None = None,
    tell: Tell = ignore,
    size: int | None = None,
    given: InputFormat | None = None,
) -> Iterator[Shard]:
    """Cut a file into shards, reading it only as far as shards are requested.

    Parameters
    ----------
    path : Path
        The file.
    columns : sequence of str, optional
        Columns to read from a Parquet file, by default all. In a CSV file, these names are used to detect the delimiter.
    tell : callable
        Called with the path and a description of how the file was read, if that is unusual. Examples are a format or compression that the
        file's name does not suggest, an encoding other than UTF-8, and an unexpected delimiter.
    size : int, optional
        Target size of a shard in bytes, by default `SHARD_BYTES`.
    given : InputFormat, optional
        The format of the file, which takes precedence over its name.

    Raises
    ------
    DamagedError
        When the file is truncated, damaged or can no longer be read. All rows before that point are in the shards.
    InputError
        When the header of a CSV file, or the file's encoding, cannot be used.
    """
    try:
        with _opened(path, columns, tell, given) as source:
            yield from _shards(path, source, size or SHARD_BYTES)
    except OSError as error:
        raise DamagedError(f"{path}: cannot be read ({error.strerror or error}); check the file") from None


def read_shard(shard: Shard) -> Iterable[Row | BrokenRow]:
    """Return the rows of a shard, in order."""
    path, content = path_of(shard.file), io.BufferedReader(io.BytesIO(shard.content))
    if shard.kind == ".parquet":
        import pyarrow as pa

        return with_partitions(batch_rows(pa.ipc.open_stream(content), shard.first_row), path)
    text = TextFile(content, lambda: 0, shard.kind, shard.dialect)
    return with_partitions(text_rows(text, path, shard.first_row), path)
