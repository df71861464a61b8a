"""Recognise, by how they begin, files of kinds that we do not read, or do not read under such a name."""

from pathlib import Path

from models.errors import InputError
from pipeline.records.compression import COMPRESSIONS
from pipeline.records.kinds import InputFormat

_OTHERS = {
    b"PK\x03\x04": "is a zip archive or an Excel file; unpack it, or make its name end in .xlsx",
    b"PAR1": "is a Parquet file; make its name end in .parquet",
    b"\xd0\xcf\x11\xe0": "is an old Excel file, or one with a password; save it as .csv or as .xlsx",
    **dict.fromkeys([b"7z\xbc\xaf", b"Rar!", b"\x1f\x9d", b"\x04\x22\x4d\x18", b"\xff\x06\x00\x00sNaPpY"], "is packed; unpack it"),
    **dict.fromkeys([b"Obj\x01", b"ORC", b"ARROW1", b"FEA1"], "is in Avro, ORC or Arrow; write it as Parquet"),
    b"SQLite format 3": "is a database; export its posts as CSV",
    **dict.fromkeys([b"%PDF", b"\x89HDF", b"\x93NUMPY", b"{\\rtf"], "is a document or an array of numbers; save its posts as CSV"),
    **dict.fromkeys(
        [b"<!", b"<?xml", b"<html", b"<HTML"], "is a web page or XML, perhaps a server's error; download it again, or convert it"
    ),
}
_TAR = slice(257, 262)  # where a tar archive says what it is


def foreign(head: bytes) -> str | None:
    """Return what is wrong with a text that begins like this; None if nothing seems to be.

    Parameters
    ----------
    head : bytes
        The beginning of a file, after decompression.
    """
    if head[_TAR] == b"ustar":
        return "is packed; unpack it"
    if any(map(head.startswith, COMPRESSIONS.values())):
        return "is packed twice; unpack it, as in zcat FILE | …"
    return next((what for magic, what in _OTHERS.items() if head.lstrip().startswith(magic)), None)


def refuse_other(path: Path, begins: tuple[bytes, ...], kind: str) -> None:
    """Refuse a file that is of another kind and not merely damaged.

    Parameters
    ----------
    path : Path
        A file that could not be read.
    begins : tuple of bytes
        How a file of its kind begins.
    kind : str
        That kind, for the message.

    Raises
    ------
    InputError
        When it begins otherwise, and not with zeros, as after the loss of a disk's block.
    """
    with path.open("rb") as file:
        head = file.read(1024)
    if head.startswith(begins) or not head[:8].strip(b"\0"):
        return
    packed = any(map(head.startswith, COMPRESSIONS.values()))
    other = "is packed; unpack it" if packed else foreign(head)
    raise InputError(f"{path}: {other or f'is not a {kind}; correct its name, or name its format with score.py --input-format'}")


def remedied(what: str, given: InputFormat | None) -> str:
    """Return what is wrong with a file, with another remedy if the user said what it holds."""
    return f"{what.partition(';')[0]}; correct --input-format {given}" if given and "its name" in what else what
