"""Open files of rows as UTF-8 text, whatever their format, compression and encoding."""

import io
import os
import re
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from models.errors import InputError
from pipeline.records.compression import COMPRESSIONS, DAMAGE, ENDINGS, decompressed, long_window, needs_dictionary
from pipeline.records.csv_rows import PLAIN, Dialect, find_dialect
from pipeline.records.encoding import CHUNK, as_utf8
from pipeline.records.foreign import foreign, remedied
from pipeline.records.jsonl import array_lines, is_array, is_json_line
from pipeline.records.kinds import STDIN, InputFormat, is_stream, kind_of
from pipeline.records.workbook import workbook_lines
from pipeline.stores import StoreFile, StorePath

Tell = Callable[[Path, str], Any]


def ignore(path: Path, what: str) -> None:
    """Do nothing; for callers who need not be told how a file was read."""


@dataclass(frozen=True)
class TextFile:
    """An open file of JSONL or CSV.

    Attributes
    ----------
    content : binary file
        In UTF-8, without a mark at its beginning.
    position : callable
        Returns how many bytes of the file, before decompression, were read.
    kind : {".jsonl", ".csv"}
        What it holds, which need not be what its name says: JSON arrays and workbooks are turned into JSONL.
    dialect : Dialect
        How CSV is written.
    changed : callable
        Returns whether the file was written since it was opened, so that some of what it held may not have been read.
    """

    content: BinaryIO
    position: Callable[[], int]
    kind: str
    dialect: Dialect = PLAIN
    changed: Callable[[], bool] = lambda: False


def stamp_of(file: Any) -> tuple[int, int] | None:
    """Return a file's size and when it was last changed, or None for what has neither, such as a pipe.

    Parameters
    ----------
    file : Path or binary file
        A path, or an open file, which keeps its size and time when its path is given to another file.
    """
    raw = getattr(file, "raw", None)
    try:
        if isinstance(raw, StoreFile):
            file = raw.path
        if isinstance(file, StorePath):
            file = file.fresh()
        state = file.stat() if isinstance(file, Path) else os.fstat(file.fileno())
    except io.UnsupportedOperation:  # standard input that a test or a notebook has replaced
        return None
    return (state.st_size, state.st_mtime_ns) if stat.S_ISREG(state.st_mode) else None


class _Stream(io.RawIOBase):
    """A file whose content is computed chunk by chunk."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._left = chunks, memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left:
            if (chunk := next(self._chunks, None)) is None:
                return 0
            self._left = memoryview(chunk)
        size = min(len(buffer), len(self._left))
        buffer[:size], self._left = self._left[:size], self._left[size:]
        return size


def _buffered(chunks: Iterator[bytes]) -> BinaryIO:
    return io.BufferedReader(_Stream(chunks), CHUNK)


def _compression(path: Path, kind: str, head: bytes) -> str | None:
    """Return how a file is compressed, judged by its beginning, or by its name if the beginning is damaged beyond recognition."""
    for name, magic in COMPRESSIONS.items():
        if head.startswith(magic):
            return name
    begins = rb"(?:\xef\xbb\xbf)?\s*[\[{]" if kind == ".jsonl" else rb"[\t\r\n -~\x80-\xff]*\Z"
    return None if re.match(begins, head) else ENDINGS.get(path.suffix.lower())


def _chunks(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Join pieces into chunks, which are full except for the last; what comes before a damaged place is not lost."""
    damage: Exception | None = None
    more = True
    while more and not damage:
        chunk = io.BytesIO()
        try:
            while chunk.tell() < CHUNK and (more := bool(piece := next(pieces, b""))):
                chunk.write(piece)
        except DAMAGE as error:
            damage = error
        yield chunk.getvalue()
    if damage:
        raise damage if isinstance(damage, OSError) else OSError(str(damage))


def _interpreted(
    chunks: Iterator[bytes], path: Path, kind: str, columns: Sequence[str], said: list[str]
) -> tuple[Iterator[bytes], str, Dialect]:
    """Return a file's chunks as JSONL or CSV in UTF-8, which of the two it is, and how CSV is written; add what is unusual to `said`."""
    head = found = next(chunks, b"")
    while kind == ".csv" and found and not (head := found.lstrip(b"\r\n")):  # however many blank lines precede the header
        found = next(chunks, b"")
    text = head.decode("utf-8", "surrogateescape")
    if is_array(text):
        said.append("as a JSON array or JSON over several lines")
        return array_lines(chain([head], chunks), path), ".jsonl", PLAIN
    if kind == ".csv" and not is_json_line(text):
        tabs = ".tsv" in path.name.lower()
        dialect, start = find_dialect(text, columns, "\t,;|" if tabs else ",;\t|", whole=len(found) < CHUNK)
        said += dialect.described("\t" if tabs else ",")
        return chain([head[start:]], chunks), kind, dialect
    chunks = chain([found], chunks)
    if kind == ".csv":
        said.append("as JSON lines")
    if "\r" in text and "\n" not in text:
        said.append("with lines that end in a lone CR")
        chunks = (chunk.replace(b"\r", b"\n") for chunk in chunks)
    return chunks, ".jsonl", PLAIN


@contextmanager
def open_text(path: Path, columns: Sequence[str] = (), tell: Tell = ignore, given: InputFormat | None = None) -> Iterator[TextFile]:
    """Open a file that is not Parquet, for reading.

    Parameters
    ----------
    path : Path
        The file; `STDIN` is standard input.
    columns : sequence of str
        Columns that the file must have, if they are known; the delimiter is detected by these names.
    tell : callable
        Called with the path and a description of how the file was read, if that is unusual. Examples are a format or compression that the
        file's name does not suggest, an encoding other than UTF-8, and an unexpected delimiter.
    given : InputFormat, optional
        As in `kind_of`.

    Raises
    ------
    InputError
        When it cannot be used as it is.
    """
    said: list[str] = []
    opened, kind = False, kind_of(path, given)

    def note(encoding: str) -> None:
        if opened:
            tell(path, f"from some row on, read in {encoding}")
        said.append(f"in {encoding}")

    with ExitStack() as stack:
        if kind == ".xlsx":
            before = stamp_of(path)
            yield TextFile(
                _buffered(workbook_lines(path, tell)), lambda: path.stat().st_size, ".jsonl", changed=lambda: stamp_of(path) != before
            )
            return
        raw: Any
        if path == STDIN:
            if sys.stdin is None:
                raise InputError(f"{path}: standard input is closed; give it something to read, or name files")
            raw = sys.stdin.buffer
        else:
            raw = stack.enter_context(path.open("rb", buffering=CHUNK))
        begins = raw.peek(64)[:64] if hasattr(raw, "peek") else b""
        compression = _compression(path, kind, begins)
        if compression != ENDINGS.get(path.suffix.lower()):
            said.append(f"as {compression}" if compression else "uncompressed")
        if needs_dictionary(begins):
            remedy = f"decompress it, as in zstd -dc -D DICTIONARY {path.name} | score.py -"
            raise InputError(f"{path}: was compressed with a dictionary; {remedy}")
        if window := long_window(begins):
            said.append(f"with up to {window:,} MiB more memory, because it was compressed with so long a window")
        before = stamp_of(raw)
        chunks = _chunks(decompressed(raw, compression))
        head = next(chunks, b"")
        if wrong := foreign(head):
            raise InputError(f"{path}: {remedied(wrong, given)}")
        found, kind, dialect = _interpreted(as_utf8(chain([head], chunks), path, note), path, kind, columns, said)
        if said:
            tell(path, f"read {', '.join(said)}")
        opened = True
        yield TextFile(_buffered(found), (lambda: 0) if is_stream(path) else raw.tell, kind, dialect, lambda: stamp_of(raw) != before)
