"""Reads posts from a ``.json`` file: an array of objects, or objects one after another."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from models.errors import InputError
from pipeline.errors import DamagedError
from pipeline.records import MAX_RECORD, Row, csv_text, open_text

_BETWEEN = re.compile(r"[\s,\[\]]*")
_UNDECODABLE = re.compile("[\udc80-\udcff]")  # bytes that are not UTF-8, as `csv_text` decodes them
_CHUNK = 2**16  # characters to read at a time


def _objects(file: TextIO, path: Path) -> Iterator[Row]:
    """Read the objects of a JSON file, in an array or one after another, in bounded memory."""
    decode = json.JSONDecoder().raw_decode
    text, start, number = "", 0, 0
    while True:
        start = _BETWEEN.match(text, start).end()  # type: ignore[union-attr]  # never None: it also matches the empty string
        try:
            found, end = decode(text, start)
        except (ValueError, RecursionError):
            text, start = text[start:], 0
            place = f"{path}, row {number + 1}"
            if len(text) > MAX_RECORD:
                raise InputError(f"{place}: not valid JSON, or longer than {MAX_RECORD >> 20} MiB; correct the file") from None
            if more := file.read(max(_CHUNK, len(text))):
                if _UNDECODABLE.search(more):
                    raise InputError(f"{place}, or soon after: not UTF-8; save the file as UTF-8") from None
                text += more
                continue
            if text:
                raise DamagedError(f"{place}: not valid JSON, or cut off; copy or write the file again") from None
            return
        number += 1
        if not isinstance(found, dict):
            raise InputError(f"{path}, row {number}: not a JSON object; the file must hold an array of objects")
        yield Row(number, found)
        start = end


def json_posts(path: Path, column: str) -> Iterator[Row]:
    """Read the rows of a ``.json`` file.

    Parameters
    ----------
    path : Path
        File with an array of objects, or objects one after another.
    column : str
        Key that the first object must have.

    Raises
    ------
    InputError
        If the file cannot be read, is not valid JSON in UTF-8, holds no objects or lacks the column.
    """
    number = 0
    if not path.is_file():
        raise InputError(f"{path}: no such file; check the path")
    try:
        with open_text(path) as (file, _), csv_text(file) as text:
            for row in _objects(text, path):
                number = row.number
                if number == 1 and column not in row.fields:
                    raise InputError(f"{path}, row 1: no column {column!r} among {len(row.fields)}; name one with --text-column")
                yield row
    except OSError as error:
        raise InputError(f"{path}, row {number + 1}: cannot be read ({error.strerror or error}); copy or write the file again") from None
    if not number:
        raise InputError(f"{path}: empty, no rows; give a file with posts")
