"""Read compressed files, whatever follows their first member."""

import bz2
import lzma
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PIECE = 2**13  # bytes to decompress at a time; if some of them are damaged, those before are lost, too
COMPRESSIONS = {"gzip": b"\x1f\x8b", "zstd": b"\x28\xb5\x2f\xfd", "bzip2": b"BZh", "xz": b"\xfd7zXZ\0"}  # how such files begin
ENDINGS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bzip2", ".xz": "xz"}
DAMAGE = (OSError, EOFError, lzma.LZMAError, zlib.error, zstd.ZstdError)
_LONGEST_WINDOW = 31  # binary logarithm of the longest window: 2 GiB, as in Reddit's dumps
_USUAL_WINDOW = 27  # longer windows are reported, because decompressing takes as much memory
_DECOMPRESSORS: dict[str, Callable[[], Any]] = {
    "gzip": lambda: zlib.decompressobj(wbits=31),
    "bzip2": bz2.BZ2Decompressor,
    "xz": lzma.LZMADecompressor,
    "zstd": lambda: zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _LONGEST_WINDOW}),
}
_FRAME = re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18")  # in zstd, some frames are to be skipped


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
        if data and not (_FRAME.match(data) if compression == "zstd" else data.startswith(magic)):
            raise OSError(f"something that is not {compression} follows")


def needs_dictionary(head: bytes) -> bool:
    """Return whether a zstd file can only be decompressed with a dictionary, given its first bytes."""
    return head.startswith(COMPRESSIONS["zstd"]) and len(head) > 5 and head[4] & 0b11 > 0


def long_window(head: bytes) -> int:
    """Return the MiB of memory that decompressing a zstd file takes beyond the usual, or 0 (RFC 8878, 3.1.1.1).

    Parameters
    ----------
    head : bytes
        The first bytes of the file.
    """
    if not head.startswith(COMPRESSIONS["zstd"]) or len(head) < 6 or head[4] & 0b100000:
        return 0
    window = 10 + (head[5] >> 3)
    return 2 ** (window - 20) if _USUAL_WINDOW < window <= _LONGEST_WINDOW else 0


def decompressed(raw: BinaryIO, compression: str | None) -> Iterator[bytes]:
    """Yield the content of an open file in pieces of at most `PIECE` bytes.

    Parameters
    ----------
    raw : binary file
        The open file.
    compression : str or None
        One of `COMPRESSIONS`, or None if it is not compressed.

    Raises
    ------
    OSError, EOFError, lzma.LZMAError, zlib.error, zstd.ZstdError
        When the file is damaged or truncated (`DAMAGE`); the pieces before the damage are yielded first.
    """
    return _members(raw, compression) if compression else iter(lambda: raw.read1(PIECE), b"")  # type: ignore[attr-defined]
