"""Reads rows of JSON: one object per line, objects in an array, or objects that span lines."""

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import DamagedError
from pipeline.records import rows
from pipeline.records.encoding import CHUNK, read_ahead
from pipeline.records.rows import TOO_LONG, BrokenRow, Row, line_runs

_decode = json.JSONDecoder().raw_decode  # without the steps around it in `json.loads`, which take a fifth of the time
_ARRAY = re.compile(r"\[\s*(?:\{|\]\s*$)|\{[ \t]*\r?\n\s*[\"}]")  # an array of objects, or an object that goes on in the next line
_BETWEEN = re.compile(r"[\s,\[\]\ufeff]*")


def jsonl_rows(file: BinaryIO, first: int = 1) -> Iterator[Row | BrokenRow]:
    """Yield the rows of a JSONL file.

    Parameters
    ----------
    file : binary file
        The open file.
    first : int
        Number of the first line.
    """
    number = first - 1
    for line, lines in line_runs(file):
        number += lines
        if len(line) > rows.MAX_RECORD + 1:
            yield BrokenRow(number, TOO_LONG, len(line))
            continue
        if line.isspace():
            continue
        try:
            text = line.decode("utf-8").strip(" \t\r\n\ufeff")  # a byte order mark is in the middle where files were joined
            if not text or text.isspace():
                continue
            fields, end = _decode(text)
            if end < len(text):
                raise ValueError("more than one object")
            if "\\u" in text and "\\ud" in text.lower():  # posts may be cut in the middle of an escaped emoji
                encoded = json.dumps(fields, ensure_ascii=False).encode("utf-16", "surrogatepass")
                fields = json.loads(encoded.decode("utf-16", "replace"))
        except UnicodeDecodeError:
            yield BrokenRow(number, "not UTF-8", len(line))
        except (ValueError, RecursionError):
            yield BrokenRow(number, "not valid JSON", len(line))
        else:
            yield Row(number, fields) if isinstance(fields, dict) else BrokenRow(number, "not a JSON object", len(line))


def is_json_line(text: str) -> bool:
    """Return whether the first line of a text is a JSON object."""
    try:
        return isinstance(json.loads(text.lstrip().partition("\n")[0]), dict)
    except (ValueError, RecursionError):
        return False


def is_array(text: str) -> bool:
    """Return whether a text begins like an array of JSON objects, or like an object that spans lines."""
    return bool(_ARRAY.match(text.lstrip()))


def array_lines(chunks: Iterator[bytes], path: Path) -> Iterator[bytes]:
    """Yield the objects of a JSON array, or objects that span lines, as lines of JSONL, in bounded memory.

    Parameters
    ----------
    chunks : iterator of bytes
        The file in UTF-8.
    path : Path
        The file, for error messages.

    Raises
    ------
    DamagedError
        When something is not valid JSON; the objects before it are yielded first.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    text, start, number, depth = "", 0, 0, 0
    while True:
        between: re.Match[str] = _BETWEEN.match(text, start)  # type: ignore[assignment]  # never None: it also matches the empty string
        start, depth = between.end(), depth + between[0].count("[") - between[0].count("]")
        try:
            _, end = _decode(text, start)
            if end == len(text) and text[start] != "{":
                raise ValueError("a number may continue in the next chunk")
        except (ValueError, RecursionError):
            text, start = text[start:], 0
            if len(text) <= rows.MAX_RECORD:  # read as much again, so that a long object is not tried too often
                ahead, chunks = read_ahead(chunks, 1 + len(text) // CHUNK)
                if ahead:
                    text += decoder.decode(ahead)
                    continue
            if text or depth > 0:
                broken = f"not valid JSON, cut off or longer than {rows.MAX_RECORD >> 20} MiB, so the rest was not read"
                reason = broken if text else "the array was cut off before its end"
                raise DamagedError(f"{path}, row {number + 1}: {reason}; correct the file, or copy it again") from None
            return
        number += 1
        yield text[start:end].replace("\r", " ").replace("\n", " ").encode("utf-8", "surrogateescape") + b"\n"
        start = end
