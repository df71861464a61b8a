"""Reads rows of Excel workbooks."""

import json
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from datetime import date, time
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO

from models.errors import InputError
from pipeline.errors import DamagedError
from pipeline.records.foreign import refuse_other
from pipeline.records.rows import shown_columns

MOST_BYTES, MOST_CELLS = 512 * 2**20, 20_000_000  # unpacked size, and cells; calamine makes every cell between those that are filled
_PIECE, _LONGEST_TAG = 2**20, 2**16
_TAG = re.compile(rb"<(?:\w+:)?(row|c)(?=[\s/>])([^<>]*)>")
_PLACE = re.compile(rb"\sr\s*=\s*[\"']([A-Za-z]{0,7})([0-9]{0,12})[\"']")
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)  # what reading a zip file may raise


def _too_large(what: str, path: Path) -> InputError:
    return InputError(f"{path}: {what}; save the posts as .csv")


def _pieces(file: BinaryIO, path: Path, left: int) -> Iterator[bytes]:
    """Yield an unpacked file in pieces that end with whole tags."""
    rest = b""
    while piece := file.read(_PIECE):
        left -= len(piece)
        if left < 0:
            raise _too_large(f"unpacks to more than {MOST_BYTES >> 20} MiB", path)
        piece = rest + piece
        opened = piece.rfind(b"<")
        cut = opened if opened > piece.rfind(b">") else len(piece)
        rest = piece[cut:]
        if len(rest) > _LONGEST_TAG:
            raise DamagedError(f"{path}: cannot be read as a workbook (a tag is not closed); save it again as .xlsx or .csv")
        yield piece[:cut]


def _column(letters: bytes) -> int:
    number = 0
    for letter in letters.upper():
        number = number * 26 + letter - 64
    return number


def _check_size(path: Path) -> None:
    """Check that a workbook, and all cells up to a sheet's last filled ones, fit into memory; otherwise calamine ends Python."""
    left = MOST_BYTES
    with path.open("rb") as raw, zipfile.ZipFile(raw) as archive:
        if not {"xl/workbook.bin", "content.xml"}.isdisjoint(map(str.lower, archive.namelist())):
            raise zipfile.BadZipFile("another kind of workbook")
        for member in archive.infolist():
            row = column = last_row = last_column = 0
            with archive.open(member) as file:
                for piece in _pieces(file, path, left):  # type: ignore[arg-type]
                    left -= len(piece)
                    for tag, attributes in _TAG.findall(piece):
                        letters, number = found.groups() if (found := _PLACE.search(attributes)) else (b"", b"")
                        row = int(number) if number else row + (tag == b"row")
                        column = 0 if tag == b"row" else _column(letters) if letters else column + 1
                        if column and not attributes.endswith(b"/"):
                            last_row, last_column = max(last_row, row), max(last_column, column)
            if last_row * last_column > MOST_CELLS:
                raise _too_large(f"has a sheet of {last_row:,} rows and {last_column:,} columns, empty or not", path)


def _plain(cell: Any) -> Any:
    if isinstance(cell, float) and cell.is_integer():  # from 2**53 on, a float makes up the digits beyond the 15 that Excel keeps
        return int(cell if abs(cell) < 2**53 else Decimal(f"{cell:.15g}"))
    return cell.isoformat() if isinstance(cell, date | time) else cell


def workbook_lines(path: Path, tell: Callable[[Path, str], object]) -> Iterator[bytes]:
    """Yield the rows of a workbook's first sheet as lines of JSONL; the first row that is not empty holds the columns' names.

    Parameters
    ----------
    path : Path
        A ``.xlsx`` file.
    tell : callable
        Called with the path and a line about the sheets that are not read.

    Raises
    ------
    InputError
        When a column's name occurs twice, or the workbook is too large; `DamagedError` when the file is not a workbook.
    """
    import python_calamine

    try:
        _check_size(path)
        with path.open("rb") as file:  # from a path, only names in small letters are recognised
            workbook = python_calamine.load_workbook(file)
            rows = workbook.get_sheet_by_index(0).to_python(skip_empty_area=True)
            others = [name for name in workbook.sheet_names[1:] if workbook.get_sheet_by_name(name).height]
    except (InputError, DamagedError):
        raise
    except (python_calamine.CalamineError, OSError, *_DAMAGED) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        refuse_other(path, (b"PK",), "workbook")
        raise DamagedError(f"{path}: cannot be read as a workbook ({type(error).__name__}); save it again as .xlsx or .csv") from None
    if others:
        what = f"{len(others)} other sheets are" if len(others) > 1 else "1 other sheet is"
        tell(path, f"only the first sheet is read; {what} not empty")
    filled = [row for row in rows if any(cell != "" for cell in row)]
    names = [str(_plain(cell)).strip() for cell in filled[0]] if filled else []
    if repeated := [name for name in dict.fromkeys(names) if name and names.count(name) > 1]:
        raise InputError(f"{path}, header: column {shown_columns(repeated)} occurs twice; rename one")
    for row in filled[1:]:
        yield json.dumps({name: _plain(cell) for name, cell in zip(names, row, strict=True) if name}, default=str).encode() + b"\n"
