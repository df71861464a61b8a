"""Tell by a file's name whether and how it can be read."""

import re
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

from models.errors import InputError

InputFormat = Literal["jsonl", "csv", "parquet", "xlsx"]

STDIN = Path("-")
FILES = ".jsonl, .ndjson, .json, .csv, .tsv (these also .gz, .bz2, .xz or .zst), .parquet and .xlsx"

_KINDS = {"ndjson": ".jsonl", "json": ".jsonl", "tsv": ".csv"}
_NAME = re.compile(r"(?P<stem>.*)\.(?:(?P<whole>parquet|xlsx)|(?P<text>jsonl|ndjson|json|csv|tsv)(?:\.(?:gz|bz2|xz|zst))?)", re.IGNORECASE)
_REMEDIES = {
    ".txt": "give it the ending that fits its content: .jsonl, .csv or .tsv",
    ".zip": "unpack it",
    ".xls": "save it as .xlsx",
    ".ods": "save it as .xlsx",
}
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


def name_of(path: Path) -> tuple[str, str] | None:
    """Return a file's name without extensions, and its kind (see `kind_of`); None for files that cannot be read.

    Examples
    --------
    >>> name_of(Path("Posts.JSONL.gz")), name_of(Path("posts.tsv")), name_of(Path("notes.txt"))
    (('Posts', '.jsonl'), ('posts', '.csv'), None)
    """
    if not (found := _NAME.fullmatch(path.name)):
        return None
    ending = (found["whole"] or found["text"]).lower()
    return found["stem"], _KINDS.get(ending, f".{ending}")


def kind_of(path: Path, given: InputFormat | None = None) -> str:
    """Return the kind of a file: ``.jsonl``, ``.csv``, ``.parquet`` or ``.xlsx``; standard input is JSONL.

    Parameters
    ----------
    path : Path
        The file.
    given : InputFormat, optional
        Its kind, if the user named one; it takes precedence over the file's name.

    Raises
    ------
    InputError
        When the name has another ending.
    """
    if given:
        return f".{given}"
    if path == STDIN:
        return ".jsonl"
    if not (found := name_of(path)):
        remedy = _REMEDIES.get(path.suffix.lower(), "convert the file")
        raise InputError(f"{path}: must be one of {FILES}, but got {path.suffix or 'no extension'}; {remedy}")
    return found[1]


def is_stream(path: Path) -> bool:
    """Return whether a file can be read only once: standard input or a pipe."""
    return path == STDIN or path.is_fifo()


def partitions_of(path: Path) -> dict[str, str | None]:
    """Return the columns that the folders of a file stand for, as Hive, Spark and Arrow name them.

    Examples
    --------
    >>> partitions_of(Path("posts/year=2017/month=2017-10/part-0.parquet"))
    {'year': '2017', 'month': '2017-10'}
    """
    pairs = [folder.partition("=") for folder in path.parts[:-1]]
    return {unquote(name): None if value == _NO_VALUE else unquote(value) for name, equals, value in pairs if equals and name and value}
