"""Reads rows of CSV, whatever the delimiter."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path
from typing import BinaryIO

from models.errors import InputError
from pipeline.records import rows
from pipeline.records.rows import TOO_LONG, UNCLOSED, UNDECODABLE, BrokenRow, Row, read_lines, shown_columns

_DELIMITERS = ",;\t|"
_NAMES = {"\t": "tabs"}
_LOOKED_AT = 20  # number of rows by which the delimiter is chosen
_SEP = re.compile(r'"?sep=(?P<delimiter>[^"\r\n])"?(?P<newline>\r\n|\n|\r)', re.IGNORECASE)  # the line in which Excel names the delimiter
_BLANK = ("\n", "\r\n", "\r")
_NEWLINE = re.compile(r'(?:"[^"]*"|[^"\r\n])*?(\r\n|\n|\r)')

Span = tuple[str, list[str] | str]


@dataclass(frozen=True, slots=True)
class Dialect:
    r"""How the rows of a CSV file are written.

    Attributes
    ----------
    delimiter : str
        What separates cells.
    spaced : bool
        Whether delimiters are followed by spaces that are not part of the cells.
    newline : str
        ``\\n``, which may follow a ``\\r``, or a lone ``\\r``, as old programs for the Mac write it.
    """

    delimiter: str = ","
    spaced: bool = False
    newline: str = "\n"

    def described(self, expected: str) -> list[str]:
        """Say what is unusual about this dialect; the delimiter `expected` is not unusual."""
        return [
            *([f"separated by {_NAMES.get(self.delimiter, repr(self.delimiter))}"] if self.delimiter != expected else []),
            *(["without the spaces after delimiters"] if self.spaced else []),
            *(["with lines that end in a lone CR"] if self.newline == "\r" else []),
        ]


PLAIN = Dialect()


@contextmanager
def csv_text(file: BinaryIO, newline: str = "\n") -> Iterator[io.TextIOWrapper]:
    """Decode a CSV file; undecodable bytes become lone surrogates, so that we can read on after a bad row.

    Parameters
    ----------
    file : binary file
        The open file.
    newline : str
        What ends a line; other newlines are left as they are.
    """
    text = io.TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline=newline)
    try:
        yield text
    finally:
        if not file.closed:
            text.detach()  # otherwise it would close the file


def csv_spans(lines: Iterator[str], dialect: Dialect = PLAIN) -> Iterator[Span]:
    """Yield each row of a CSV file as text, with its values or the reason why it cannot be read.

    A quote that is never closed ends the file (`UNCLOSED`), because what follows may be rows or the rest of a quoted post.

    Parameters
    ----------
    lines : iterator of str
        The lines of the file.
    dialect : Dialect
        How it is written.
    """
    csv.field_size_limit(2 * rows.MAX_RECORD)
    taken: list[str] = []

    def feed() -> Iterator[str]:
        size = 0
        for line in lines:
            if not taken and line[0] == "\ufeff":  # in the middle of a file, where files were joined
                line = line.lstrip("\ufeff")  # noqa: PLW2901
            if not taken and line in _BLANK:
                continue
            size = size + len(line) if taken else len(line)
            taken.append(line)
            if size > rows.MAX_RECORD + 1:
                raise csv.Error
            yield line

    def read() -> Iterator[list[str]]:
        return csv.reader(feed(), delimiter=dialect.delimiter, skipinitialspace=dialect.spaced, strict=True)

    reader = read()
    while True:
        taken.clear()
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "unexpected end" in str(error) or (not str(error) and len(taken) > 1):
                yield "".join(taken), UNCLOSED
                return
            if "new-line" in str(error):  # the message of csv ends with advice to programmers
                error = csv.Error("a line break of another kind in a cell without quotes; perhaps several rows")
            several = ", a quote that spans lines" if len(taken) > 1 else ""
            yield "".join(taken), f"not valid CSV ({error}{several})" if str(error) else TOO_LONG
            reader = read()
        else:
            yield "".join(taken), values


def csv_header(spans: Iterator[Span], path: Path) -> tuple[str, list[str]]:
    """Return the first row of a CSV file as text and as column names, both empty for an empty file; raise `InputError` if it is invalid.

    Parameters
    ----------
    spans : iterator
        The result of `csv_spans`.
    path : Path
        The file, for error messages.
    """
    text, header = next((span for span in spans if span[1]), ("", []))
    if isinstance(header, str):
        raise InputError(f"{path}, header: {header}; correct the header")
    if any(map(UNDECODABLE.search, header)):
        raise InputError(f"{path}, header: is not UTF-8; save the file as UTF-8")
    header = [name.strip().strip("\ufeff") for name in header]
    if repeated := [name for name, times in Counter(header).items() if name and times > 1]:
        raise InputError(f"{path}, header: column {shown_columns(repeated)} occurs twice; rename one")
    return text, header


def csv_rows(file: BinaryIO, path: Path, first: int = 1, dialect: Dialect = PLAIN) -> Iterator[Row | BrokenRow]:
    """Yield the rows of a CSV file after its header.

    Parameters
    ----------
    file : binary file
        The open file.
    path : Path
        The file, for error messages.
    first : int
        Number of the first row.
    dialect : Dialect
        How the file is written.
    """
    with csv_text(file, dialect.newline) as text:
        spans = csv_spans(read_lines(text, dialect.newline), dialect)
        _, header = csv_header(spans, path)
        number = first - 1
        for line, values in spans:
            if not values:
                continue
            number += 1
            if isinstance(values, str):
                yield BrokenRow(number, values, len(line))
            elif len(values) != len(header):
                yield BrokenRow(number, f"{len(values)} cells where the header has {len(header)}", len(line))
            elif values == header:
                yield BrokenRow(number, "is the header again")
            elif any(map(UNDECODABLE.search, values)):
                yield BrokenRow(number, "not UTF-8", len(line))
            else:
                yield Row(number, dict(zip(header, values, strict=True)))


def _suitability(text: str, dialect: Dialect, columns: Sequence[str], *, whole: bool) -> tuple[int, bool, float, bool]:
    spans = csv_spans(read_lines(io.StringIO(text, newline=dialect.newline), dialect.newline), dialect)
    found = [values for _, values in islice(spans, _LOOKED_AT) if values]
    if not whole and 1 < len(found) < _LOOKED_AT:
        found.pop()  # the sample may end in the middle of it
    if not found or isinstance(found[0], str):
        return 0, False, 0.0, False
    names = found[0]
    alike = sum(not isinstance(values, str) and len(values) == len(names) for values in found) / len(found)
    after_delimiters = text.partition(dialect.delimiter)[2][:1].isspace()
    known = sum(column in {name.strip() for name in names} for column in columns)
    return known, len(names) > 1, alike, dialect.spaced == after_delimiters


def find_dialect(text: str, columns: Sequence[str], delimiters: str = _DELIMITERS, *, whole: bool = True) -> tuple[Dialect, int]:
    r"""Return how a CSV file is written, and the length of what precedes its header.

    A delimiter is chosen by the columns that the header must have, then by the rows that have as many cells as the header.
    `csv.Sniffer` would choose by characters that recur, and is often wrong with prose.

    Parameters
    ----------
    text : str
        The beginning of the file, decoded.
    columns : sequence of str
        Columns that the file must have, if they are known.
    delimiters : str
        Delimiters to try; the first is preferred.
    whole : bool
        Whether this is the whole file.

    Examples
    --------
    >>> find_dialect("id;text\n1;A man, on the bus\n", ["id", "text"])[0].delimiter
    ';'
    """
    said = _SEP.match(text)
    text = text[said.end() :] if said else text
    found = _NEWLINE.match(text)
    newline = "\r" if found and found[1] == "\r" else "\n"
    pairs = product(said["delimiter"] if said else delimiters, (False, True))
    candidates = [Dialect(delimiter, spaced, newline) for delimiter, spaced in pairs]
    suitability = {dialect: _suitability(text, dialect, columns, whole=whole) for dialect in candidates}
    best = max(candidates, key=suitability.__getitem__)
    cut_up = suitability[best][:2] > (0, False)  # otherwise, at most one of the columns was found
    return best if cut_up else candidates[0], said.end() if said else 0
