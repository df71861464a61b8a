"""Turn text files into UTF-8."""

import codecs
import re
from collections.abc import Callable, Iterator
from itertools import chain, islice
from pathlib import Path

from models.errors import InputError

CHUNK = 2**16  # bytes to read at a time
_LOOKED_AT = 15  # number of chunks by which an encoding is guessed, after the first one with a byte that is not ASCII
_MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF32_LE: "utf-32-le", codecs.BOM_UTF32_BE: "utf-32-be"}
_MARKS |= {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}  # after UTF-32, whose mark begins the same way
_SPOKEN = {"cp1252": "Windows-1252", "mac_roman": "Mac OS Roman"}
# Bytes of letters and marks in Windows-1252 that occur in Western European text; other bytes are more likely to be a sign of damage.
_WESTERN = {*"‚„…‘’“”•–—™€ŠšŒœŽžŸ\xa0¡¢£¥§©ª«¬®°±²³´µ·¹º»¼½¾¿".encode("cp1252"), *range(0xC0, 0xFE)}
_MOSTLY = 0.9  # Windows-1252 is assumed if at least this share of the bytes that are not ASCII are such letters and marks
_FOREIGN = 0.25  # if a larger share of the letters is not ASCII, the text is in another alphabet


def _marked(head: bytes) -> tuple[str, int]:
    """Return the encoding that a byte order mark, or zeros beside each letter, reveals (otherwise ""), and the length of the mark."""
    for mark, encoding in _MARKS.items():
        if head.startswith(mark):
            return encoding, len(mark)
    few = head[:1024]
    for encoding, zeros, letters in (("utf-16-le", few[1::2], few[::2]), ("utf-16-be", few[::2], few[1::2])):
        if zeros and zeros.count(0) > len(zeros) / 2 and not letters.count(0):
            return encoding, 0
    return "", 0


def _guessed(sample: bytes, path: Path) -> str:
    """Return the encoding of a sample that is not ASCII: UTF-8 (perhaps with broken characters), Windows-1252 or Mac OS Roman."""
    text = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode(sample)
    broken = [ord(letter) - 0xDC00 for letter in re.findall("[\udc80-\udcff]", text)]
    valid = len(re.findall("[^\0-\x7f\udc80-\udcff]", text))
    if valid * 10 > len(broken) or not broken:
        return "utf-8"
    western = sum(byte in _WESTERN for byte in broken) >= _MOSTLY * len(broken)
    letters = len(re.findall("[A-Za-z\udc80-\udcff]", text))
    if len(broken) >= 5 and len(broken) > _FOREIGN * letters:
        raise InputError(f"{path}: is neither in UTF-8 nor in Windows-1252; save the file as UTF-8")
    if (newline := re.search(rb"\r\n?|\n", sample)) and newline[0] == b"\r":  # lines as an old Mac ends them
        return "mac_roman"
    return "cp1252" if western else "utf-8"


def _decoded(chunks: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    for chunk in chunks:
        yield decoder.decode(chunk).encode("utf-8", "replace")
    yield decoder.decode(b"", final=True).encode("utf-8", "replace")


def read_ahead(chunks: Iterator[bytes], count: int) -> tuple[bytes, Iterator[bytes]]:
    """Read some chunks ahead.

    Parameters
    ----------
    chunks : iterator of bytes
        Chunks of a file.
    count : int
        How many to read.

    Returns
    -------
    bytes
        What was read.
    iterator of bytes
        The remaining chunks; if reading ahead failed, asking for one raises the error.
    """
    read = []
    try:
        for chunk in islice(chunks, count):
            read.append(chunk)
    except OSError as error:
        return b"".join(read), _failing(error)
    return b"".join(read), chunks


def _failing(error: OSError) -> Iterator[bytes]:
    yield from ()
    raise error


def as_utf8(chunks: Iterator[bytes], path: Path, tell: Callable[[str], None]) -> Iterator[bytes]:
    """Turn the chunks of a file into UTF-8, without a byte order mark at the beginning.

    If there is no mark, the encoding is chosen at the first byte that is not ASCII, since all encodings look alike before it. If the text
    looks like damaged UTF-8, the damage stays as it is. (We do not use charset-normalizer, because it takes short English texts in
    Windows-1252 for Eastern European ones.)

    Parameters
    ----------
    chunks : iterator of bytes
        The file; the first chunk holds its beginning.
    path : Path
        The file, for error messages.
    tell : callable
        Called with the name of an encoding that is not UTF-8.

    Raises
    ------
    InputError
        When the file is not in UTF-8, UTF-16, UTF-32, Windows-1252 or Mac OS Roman.
    """
    head = next(chunks, b"")
    encoding, start = _marked(head)
    while head.startswith(codecs.BOM_UTF8, start) and encoding == "utf-8":  # some programs write the mark twice
        start += 3
    chunks = chain([head[start:]] if start else [head], chunks)
    if encoding not in ("", "utf-8"):
        tell(encoding.upper())
        yield from _decoded(chunks, encoding)
        return
    for chunk in chunks:
        if chunk.isascii():
            yield chunk
            continue
        ahead, rest = read_ahead(chunks, _LOOKED_AT)
        encoding = encoding or _guessed(chunk + ahead, path)
        rest = chain([chunk + ahead], rest)
        if encoding != "utf-8":
            tell(_SPOKEN[encoding])
            rest = _decoded(rest, encoding)
        yield from rest
        return
