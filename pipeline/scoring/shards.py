"""Files cut into shards: consecutive rows that are scored, written and recorded together."""

import hashlib
import io
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import DamagedError
from pipeline.records import (
    UNCLOSED,
    BrokenRow,
    Row,
    batch_rows,
    csv_header,
    csv_rows,
    csv_spans,
    csv_text,
    jsonl_rows,
    kind_of,
    open_text,
    parquet_batches,
    parquet_length,
    read_lines,
)

SHARD_BYTES = 2 * 2**20  # of rows, decompressed
SHARD_LINES = 2**17  # at most: a reject weighs much more than the two bytes that it may stand for


@dataclass(frozen=True, slots=True)
class Shard:
    """Consecutive rows of one file.

    Attributes
    ----------
    file : str
        As it was named.
    number : int
        Place among the shards of the file, from 0.
    first_row : int
        Number of its first row, from 1; of a JSONL file, of its first line.
    digest : str
        SHA-256 of the content.
    size : int
        How many bytes of the file it stands for.
    content : bytes
        The rows: as they stand in a JSONL file, in a CSV file after the header; of a Parquet file, as an Arrow stream.
    """

    file: str
    number: int
    first_row: int
    digest: str
    size: int
    content: bytes

    @property
    def name(self) -> str:
        """Unique and the same in every run over a file of this name."""
        return f"{hashlib.sha256(self.file.encode('utf-8', 'surrogateescape')).hexdigest()[:12]}-{self.number:05d}"


Piece = tuple[bytes, int]  # what belongs together, and how many rows it counts as


def _csv_pieces(path: Path, content: BinaryIO) -> Generator[Piece]:
    with csv_text(content) as text:
        spans = csv_spans(read_lines(text, "\n"))
        header, _ = csv_header(spans, path)
        yield header.encode("utf-8", "surrogateescape"), 0
        number = 0
        for row, values in spans:
            number += bool(values)
            yield row.encode("utf-8", "surrogateescape"), bool(values)
            if values == UNCLOSED:
                raise DamagedError(f"{path}, at row {number} or later: {UNCLOSED}; mend the file")


def _parquet_pieces(path: Path, columns: Sequence[str] | None) -> Iterator[Piece]:
    for number, batch in enumerate(parquet_batches(path, columns)):
        if not number:
            yield batch.schema.serialize().to_pybytes(), 0
        step = max(batch.num_rows * SHARD_BYTES // max(batch.nbytes, 1), 1)
        for start in range(0, batch.num_rows, step):
            few = batch.slice(start, step)
            yield few.serialize().to_pybytes(), few.num_rows


def _stamp(path: Path) -> tuple[int, int]:
    state = path.stat()
    return state.st_size, state.st_mtime_ns


@contextmanager
def _pieces(path: Path, columns: Sequence[str] | None) -> Iterator[tuple[Iterator[Piece], Callable[[int], int]]]:
    """First what stands before the rows of every shard, then row after row; and how many bytes of the file so many rows are."""
    if kind_of(path) == ".parquet":
        stamp = length, _ = _stamp(path)
        total = parquet_length(path)
        yield _parquet_pieces(path, columns), lambda rows: length * rows // max(total, 1)
        if _stamp(path) != stamp:  # Arrow may take that for its end
            raise DamagedError(f"{path}: was changed while it was scored; run again")
        return
    with open_text(path) as (content, position):
        if kind_of(path) == ".csv":
            with closing(_csv_pieces(path, content)) as pieces:  # before the file is closed
                yield pieces, lambda rows: position()
        else:
            lines = ((line, 1) for line in read_lines(content, b"\n"))
            yield chain([(b"", 0)], lines), lambda rows: position()


def _cut_pieces(path: Path, pieces: Iterator[Piece], position: Callable[[int], int]) -> Iterator[Shard]:
    header, _ = next(pieces, (b"", 0))
    number, first_row, rows, taken, size, before = 0, 1, 0, [header], 0, 0

    def shard() -> Shard:
        whole = b"".join(taken)
        return Shard(str(path), number, first_row, hashlib.sha256(whole).hexdigest(), position(first_row + rows - 1) - before, whole)

    try:
        for piece, counts in pieces:
            taken.append(piece)
            rows += counts
            size += len(piece)
            if size >= SHARD_BYTES or rows >= SHARD_LINES:
                yield shard()
                number, first_row, rows, taken, size = number + 1, first_row + rows, 0, [header], 0
                before = position(first_row - 1)
    except (OSError, DamagedError) as error:
        if size:
            yield shard()
        if isinstance(error, DamagedError):
            raise
        raise DamagedError(f"{path}, after row {first_row + rows - 1}: damaged or truncated ({error}); copy or write it again") from None
    if size:
        yield shard()


def cut(path: Path, columns: Sequence[str] | None = None) -> Iterator[Shard]:
    """Cut a file into shards, reading no further than is asked for.

    Parameters
    ----------
    path : Path
    columns : sequence of str, optional
        Those wanted of a Parquet file; by default all.

    Raises
    ------
    DamagedError
        Where the file breaks off; all rows before are in shards.
    InputError
        When it cannot be opened any more.
    """
    try:
        with _pieces(path, columns) as (pieces, position):
            yield from _cut_pieces(path, pieces, position)
    except OSError as error:
        raise DamagedError(f"{path}: cannot be read ({error.strerror or error}); check it") from None


def read_shard(shard: Shard) -> Iterator[Row | BrokenRow]:
    """Rows of a shard, in order."""
    path, content = Path(shard.file), io.BytesIO(shard.content)
    kind = kind_of(path)
    if kind == ".jsonl":
        return jsonl_rows(content, shard.first_row)
    if kind == ".csv":
        return csv_rows(content, path, shard.first_row)
    import pyarrow as pa

    return batch_rows(pa.ipc.open_stream(content), shard.first_row)
