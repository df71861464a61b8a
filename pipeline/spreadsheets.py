"""Keeps cells of CSV files that people open from being run as formulas."""

import re

# What makes Excel, LibreOffice and Google Sheets take a cell for a formula, also in full width. Where semicolons separate cells, as in
# much of Europe, a cell may also begin in the middle of one of ours.
_FORMULA = re.compile(r"(^|[;\t\r\n])(?=\s*[=+\-@＝＋－＠])")


def as_text(value: object) -> object:
    r"""Put an apostrophe before what a spreadsheet would run as a formula; leave anything else, such as numbers, as it is.

    Parameters
    ----------
    value : object
        A cell.

    Examples
    --------
    >>> as_text('=HYPERLINK("http://x")'), as_text("a;@SUM(1)"), as_text("p-17"), as_text(-0.5)
    ('\'=HYPERLINK("http://x")', "a;'@SUM(1)", 'p-17', -0.5)
    """
    return _FORMULA.sub(r"\1'", value) if isinstance(value, str) else value
