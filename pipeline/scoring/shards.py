"""Cut files into shards: consecutive rows that are scored, written and recorded together."""

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

SHARD_BYTES = 2 * 2**20  # target size of a shard's rows, decompressed
SHARD_LINES = 2**17  # maximum number of rows: the record of a reject takes much more memory than its row, which may be two bytes


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
        SHA-256 of the content.
    size : int
        Number of bytes of the file that the shard covers.
    content : bytes
        The rows: the lines of a JSONL file, the header and rows of a CSV file, or an Arrow stream for a Parquet file.
    """

    file: str
    number: int
    first_row: int
    digest: str
    size: int
    content: bytes

    @property
    def name(self) -> str:
        """A unique name, which is the same in every run over a file with this path."""
        return f"{hashlib.sha256(self.file.encode('utf-8', 'surrogateescape')).hexdigest()[:12]}-{self.number:05d}"


Piece = tuple[bytes, int]  # bytes that must stay together, and how many rows they count as


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
                raise DamagedError(f"{path}, at row {number} or later: {UNCLOSED}; correct the file")


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
    """Yield the pieces of a file (first the header of every shard, then row by row), and a function from rows to bytes of the file."""
    if kind_of(path) == ".parquet":
        stamp = length, _ = _stamp(path)
        total = parquet_length(path)
        yield _parquet_pieces(path, columns), lambda rows: length * rows // max(total, 1)
        if _stamp(path) != stamp:  # Arrow may have taken the change for the end of the file
            raise DamagedError(f"{path}: was changed while it was being scored; run again")
        return
    with open_text(path) as (content, position):
        if kind_of(path) == ".csv":
            with closing(_csv_pieces(path, content)) as pieces:  # close the pieces before the file
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
        raise DamagedError(f"{path}, after row {first_row + rows - 1}: is damaged or truncated ({error}); copy or write it again") from None
    if size:
        yield shard()


def cut(path: Path, columns: Sequence[str] | None = None) -> Iterator[Shard]:
    """Cut a file into shards, reading it only as far as shards are requested.

    Parameters
    ----------
    path : Path
        A JSONL, CSV or Parquet file.
    columns : sequence of str, optional
        Columns of a Parquet file to read; by default, all.

    Raises
    ------
    DamagedError
        When the file is truncated, damaged or can no longer be read. All rows before that point are in the shards.
    InputError
        When the header of a CSV file, or the file's encoding, cannot be used.
    """
    try:
        with _pieces(path, columns) as (pieces, position):
            yield from _cut_pieces(path, pieces, position)
    except OSError as error:
        raise DamagedError(f"{path}: cannot be read ({error.strerror or error}); check the file") from None


def read_shard(shard: Shard) -> Iterator[Row | BrokenRow]:
    """Yield the rows of a shard, in order."""
    path, content = Path(shard.file), io.BytesIO(shard.content)
    kind = kind_of(path)
    if kind == ".jsonl":
        return jsonl_rows(content, shard.first_row)
    if kind == ".csv":
        return csv_rows(content, path, shard.first_row)
    import pyarrow as pa

    return batch_rows(pa.ipc.open_stream(content), shard.first_row)
