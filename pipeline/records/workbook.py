"""Reads rows of Excel workbooks."""

import json
from collections.abc import Callable, Iterator
from datetime import date, time
from pathlib import Path
from typing import Any

from models.errors import InputError
from pipeline.errors import DamagedError
from pipeline.records.rows import shown_columns


def _plain(cell: Any) -> Any:
    if isinstance(cell, float) and cell.is_integer():  # Excel has no numbers beyond these
        return int(cell)
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
        When a column's name occurs twice; `DamagedError` when the file is not a workbook.
    """
    import python_calamine

    try:
        with path.open("rb") as file:  # from a path, only names in small letters are recognised
            workbook = python_calamine.load_workbook(file)
            rows = workbook.get_sheet_by_index(0).to_python(skip_empty_area=True)
            others = [name for name in workbook.sheet_names[1:] if workbook.get_sheet_by_name(name).height]
    except (python_calamine.CalamineError, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise DamagedError(f"{path}: cannot be read as a workbook ({type(error).__name__}); save it again as .xlsx or .csv") from None
    if others:
        tell(path, f"only the first sheet is read, and not the {len(others)} others that are not empty")
    filled = [row for row in rows if any(cell != "" for cell in row)]
    names = [str(_plain(cell)).strip() for cell in filled[0]] if filled else []
    if repeated := [name for name in dict.fromkeys(names) if name and names.count(name) > 1]:
        raise InputError(f"{path}, header: column {shown_columns(repeated)} occurs twice; rename one")
    for row in filled[1:]:
        yield json.dumps({name: _plain(cell) for name, cell in zip(names, row, strict=True) if name}, default=str).encode() + b"\n"
