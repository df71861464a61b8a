"""A row of a file, whole or broken, and the limit to its length."""

import difflib
import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, AnyStr, BinaryIO

MAX_RECORD = 16 * 2**20  # maximum bytes of a JSONL line, and characters of a CSV row
_SKIPPED = 2**16  # how much of a longer line to skip at a time
_BLANK = re.compile(rb"[ \t\r\n]*\n")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")  # what is surely the name of a column

UNDECODABLE = re.compile("[\udc80-\udcff]")  # what `errors="surrogateescape"` makes of bytes that are not UTF-8
UNCLOSED = "a quote is never closed, so the rest of the file was not read"
TOO_LONG = f"record is longer than {MAX_RECORD >> 20} MiB"


@dataclass(slots=True)  # frozen instances take three times as long to make
class Row:
    """A row that could be read.

    Attributes
    ----------
    number : int
        Number of the line in a JSONL file, of the object in a JSON array, or of the data row in any other file, from 1.
    fields : dict
        Values by column.
    """

    number: int
    fields: dict[str, Any]


@dataclass(slots=True)
class BrokenRow:
    """A row that could not be read or used.

    Attributes
    ----------
    number : int
        As in `Row`.
    reason : str
        The reason, which never quotes the content.
    size : int
        Number of its bytes, or characters in CSV, if it could not be read; in JSONL and CSV, what looks like one row may be many.
    id : str or None
        The post's id, if it has one.
    """

    number: int
    reason: str
    size: int = field(default=0, compare=False)
    id: str | None = field(default=None, compare=False)


def read_lines(file: Any, newline: AnyStr) -> Iterator[AnyStr]:
    """Yield the lines of a file; a line longer than `MAX_RECORD` is cut to just above that length.

    Parameters
    ----------
    file : file
        An open text or binary file.
    newline : str or bytes
        The newline, of the file's type.
    """
    while line := file.readline(MAX_RECORD + 1):
        if len(line) <= MAX_RECORD or line.endswith(newline):
            yield line
            continue
        line += newline
        yield line
        while len(rest := file.readline(_SKIPPED)) == _SKIPPED and not rest.endswith(newline):
            pass


def line_runs(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Yield what `read_lines` yields, with the number 1; blank lines in a row come as one, with their number, which saves much time.

    Parameters
    ----------
    file : binary file
        An open file. Blank lines come one by one if it has no ``peek``.
    """
    peek = getattr(file, "peek", lambda: b"")
    for line in read_lines(file, b"\n"):
        if line.isspace() and len(line) < _SKIPPED and (blank := _BLANK.match(peek())):
            more = file.read(blank.end())
            yield line + more, 1 + more.count(b"\n")
        else:
            yield line, 1


def shown_columns(columns: Iterable[str], name: re.Pattern[str] = _NAME) -> str:
    """List column names for a message; whatever does not look like a name is only counted, because it may be somebody's words.

    Parameters
    ----------
    columns : iterable of str
        The names.
    name : re.Pattern
        What looks like a name.

    Examples
    --------
    >>> shown_columns(["id", "She told me today.", "Nobody knew."]), shown_columns(["She told me today."])
    ("'id', 2 more names that are not shown", 'a name that is not shown')
    """
    names = list(columns)
    shown = [repr(each) for each in names if name.fullmatch(each)]
    others, more = len(names) - len(shown), "more " if shown else ""
    if others == 1:
        shown.append(f"{'another' if shown else 'a'} name that is not shown")
    elif others:
        shown.append(f"{others} {more}names that are not shown")
    return ", ".join(shown)


def found_columns(columns: Iterable[str], name: re.Pattern[str] = _NAME) -> str:
    """List, as `shown_columns` does, the columns of a file that lacks one; if one looks like no name, ask whether there is a header."""
    names = list(columns)
    return shown_columns(names, name) + ("" if all(map(name.fullmatch, names)) else " (is there a header?)")


def named_with(option: str, missing: str, columns: Iterable[str]) -> str:
    """Return the option that names a column, with the column whose name is most similar to the missing one, if there is one.

    Parameters
    ----------
    option : str
        The option, such as ``--text-column``.
    missing : str
        The name that was given.
    columns : iterable of str
        The names that there are.

    Examples
    --------
    >>> named_with("--keep", "sorce", ["id", "source"]), named_with("--keep", "lang", ["id"])
    ('--keep source', '--keep COLUMN')
    """
    names = {name.casefold(): name for name in columns if _NAME.fullmatch(name)}
    near = difflib.get_close_matches(missing.casefold(), names, n=1)
    return f"{option} {shlex.quote(names[near[0]]) if near else 'COLUMN'}"
