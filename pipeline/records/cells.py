"""Texts in cells of CSV files that people open in a spreadsheet, which takes some texts for formulas."""

import re

_FORMULA = re.compile(r"[=+\-@\t\r]")  # beginnings of cells that a spreadsheet may compute, and so run what a stranger wrote


def to_cell(text: str) -> str:
    """Return a text as a cell that no spreadsheet computes: if it begins like a formula, an apostrophe comes before it.

    Examples
    --------
    >>> to_cell("@someone me too"), to_cell("me too"), from_cell(to_cell("'=1"))
    ("'@someone me too", 'me too', "'=1")
    """
    return f"'{text}" if _FORMULA.match(text.lstrip("'")) else text


def from_cell(cell: str) -> str:
    """Return the text from which `to_cell` made a cell."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell.lstrip("'")) else cell
