"""Read compressed files, whatever follows their first member."""

import bz2
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from models.errors import InputError

PIECE = 2**13  # bytes to decompress at a time; if some of them are damaged, those before are lost, too
COMPRESSIONS = {"gzip": b"\x1f\x8b", "zstd": b"\x28\xb5\x2f\xfd", "bzip2": b"BZh", "xz": b"\xfd7zXZ\0"}  # how such files begin
ENDINGS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bzip2", ".xz": "xz"}
DAMAGE = (OSError, EOFError, lzma.LZMAError, zlib.error)
_DECOMPRESSORS: dict[str, Callable[[], Any]] = {
    "gzip": lambda: zlib.decompressobj(wbits=31),
    "bzip2": bz2.BZ2Decompressor,
    "xz": lzma.LZMADecompressor,
}


def _members(raw: BinaryIO, compression: str) -> Iterator[bytes]:
    """Decompress members that follow each other, perhaps padded with zeros; anything else counts as damage, not as the end."""
    magic = COMPRESSIONS[compression]
    data = raw.read(PIECE)
    while data:
        member = _DECOMPRESSORS[compression]()
        while not member.eof:
            if not data and getattr(member, "needs_input", True) and not (data := raw.read(PIECE)):
                raise EOFError("Truncated compressed stream")
            piece = member.decompress(data) if compression == "gzip" else member.decompress(data, PIECE)
            data = b""
            yield from (piece[start : start + PIECE] for start in range(0, len(piece), PIECE))
        data = member.unused_data.lstrip(b"\0")
        while len(data) < len(magic) and (more := raw.read(PIECE)):
            data = (data + more).lstrip(b"\0")
        if data and not data.startswith(magic):
            raise OSError(f"something that is not {compression} follows")


class _Unclosed(io.RawIOBase):
    """A file that stays open when Arrow closes it, so that it can be asked how far it was read."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._raw.readinto(buffer)  # type: ignore[attr-defined, no-any-return]


def _zstd(raw: BinaryIO, path: Path) -> Iterator[bytes]:
    import pyarrow as pa

    with_window, window = _zstd_header(raw.peek(6)[:6])  # type: ignore[attr-defined]
    if with_window and 27 < window < 32:  # Arrow refuses these, and a larger one is a sign of damage
        what = f"was compressed with a window of {2 ** (window - 20):,} MiB"
        raise InputError(f"{path}: {what}; decompress it, as in zstd -dc --long=31 {path.name} | score.py -")
    with pa.input_stream(_Unclosed(raw), compression="zstd") as stream, io.BufferedReader(stream) as content:
        while piece := content.read1(PIECE):
            yield piece


def _zstd_header(head: bytes) -> tuple[bool, int]:
    """Return whether a zstd file says how long its window is, and the logarithm of that (RFC 8878, 3.1.1.1)."""
    descriptor, window = (*head[4:], 0, 0)[:2]
    return descriptor & 0b101000 == 0, 10 + (window >> 3)


def decompressed(raw: BinaryIO, compression: str | None, path: Path) -> Iterator[bytes]:
    """Yield the content of an open file in pieces of at most `PIECE` bytes.

    Parameters
    ----------
    raw : binary file
        The open file.
    compression : str or None
        One of `COMPRESSIONS`, or None if it is not compressed.
    path : Path
        The file, for error messages.

    Raises
    ------
    OSError, EOFError, lzma.LZMAError, zlib.error
        When the file is damaged or truncated (`DAMAGE`); the pieces before the damage are yielded first.
    InputError
        When decompressing it would take too much memory.
    """
    if compression == "zstd":
        return _zstd(raw, path)
    return _members(raw, compression) if compression else iter(lambda: raw.read1(PIECE), b"")  # type: ignore[attr-defined]
