"""Reads columns of dates in the formats that platforms and spreadsheets export."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import TypeAlias

# A date in ISO 8601, or two of them: what the text means if its first number is the month, and if it is the day.
Found: TypeAlias = str | tuple[str, str] | None

_EPOCH = re.compile(r"(\d{9,10}|\d{13})(?:\.\d+)?")  # seconds or milliseconds since 1970
_MONTH = re.compile(r"\d{4}-\d{2}")
_TIME = r"(?:[ ,T]+\d{1,2}[:.]\d{2}.*)?"
_YEAR_FIRST = re.compile(rf"(\d{{4}})[/.-](\d{{1,2}})[/.-](\d{{1,2}}){_TIME}")
_YEAR_LAST = re.compile(rf"(\d{{1,2}})[/.-](\d{{1,2}})[/.-](\d{{4}}|\d{{2}}){_TIME}")
# Any format that names the month and has a day and a year of four digits, such as RFC 2822 and Twitter's own.
_IN_WORDS = re.compile(r"(?=.*\b\d{4}\b)(?=.*\b\d{1,2}(?:st|nd|rd|th)?\b)(?=.*[A-Za-z]{3})[\w\s,.:+()/-]{8,60}")


def _date(year: str, month: str, day: str) -> str | None:
    try:
        return date(int(year) + (2000 if len(year) <= 2 else 0), int(month), int(day)).isoformat()
    except ValueError:
        return None


def _in_words(text: str) -> str | None:
    from dateutil import parser

    try:
        return str(parser.parse(text, ignoretz=True).isoformat())
    except (ValueError, OverflowError):
        return None


def _read(text: str) -> Found:
    if found := _EPOCH.fullmatch(text):
        return datetime.fromtimestamp(int(found[1]) / (1000 if len(found[1]) > 10 else 1), UTC).isoformat()
    try:
        datetime.fromisoformat(text)
    except ValueError:
        pass
    else:
        return text
    if _MONTH.fullmatch(text):
        return _date(text[:4], text[5:], "1")
    if found := _YEAR_FIRST.fullmatch(text):
        return _date(*found.groups())
    if found := _YEAR_LAST.fullmatch(text):
        one, other, year = found.groups()
        month_first, day_first = _date(year, one, other), _date(year, other, one)
        return (month_first, day_first) if month_first and day_first and one != other else month_first or day_first
    return _in_words(text) if _IN_WORDS.fullmatch(text) else None


@dataclass
class Dates:
    """A column of dates, and what was found in it.

    A date such as 10/11/2017 may be the 11th of October or the 10th of November. The column decides: if some of its dates, such as
    10/15/2017, allow only one order, all have that order. If no date decides, or some allow only one order and some only the other, dates
    that could be in either order are left out.

    Parameters
    ----------
    name : str
        Name of the column, for `notes`.

    Examples
    --------
    >>> dates = Dates("created_at")
    >>> dates.settled([dates.read(text) for text in ("10/15/2017", "10/11/2017", "1508098909", "Sun Oct 15 20:21:49 +0000 2017")])
    ['2017-10-15', '2017-10-11', '2017-10-15T20:21:49+00:00', '2017-10-15T20:21:49']
    >>> dates.notes()
    ["created_at: dates such as 10/11/2017 are read as month/day/year, because 1 of the column's dates can be read in no other way"]
    """

    name: str
    given: int = 0
    unread: int = 0
    open: int = 0  # number of dates that could be in either order
    orders: dict[str, int] = field(default_factory=lambda: {"month/day/year": 0, "day/month/year": 0})  # dates that allow only this order

    def read(self, text: str | None) -> Found:
        """Read one date of the column.

        Parameters
        ----------
        text : str or None
            Seconds or milliseconds since 1970, ISO 8601, numbers with the year first or last, RFC 2822, Twitter's format, or
            anything else that names the month in English.

        Returns
        -------
        str, (str, str) or None
            A value to pass to `settled` once the whole column has been read; a string is a date in ISO 8601.
        """
        if text is None:
            return None
        found = _read(text.strip())
        self.given += 1
        self.unread += found is None
        self.open += isinstance(found, tuple)
        if isinstance(found, str) and (numbers := _YEAR_LAST.fullmatch(text.strip())) and numbers[1] != numbers[2]:
            self.orders["day/month/year" if int(numbers[1]) > 12 else "month/day/year"] += 1
        return found

    @property
    def order(self) -> str | None:
        """The order of day and month, or None if the column does not show it."""
        possible = [order for order, dates in self.orders.items() if dates]
        return possible[0] if len(possible) == 1 else None

    def settled(self, found: Iterable[Found]) -> list[str | None]:
        """Return the dates in ISO 8601; None for those that were not given, cannot be read, or could be in either order.

        Parameters
        ----------
        found : iterable
            What `read` returned.
        """
        if self.order is None:
            return [None if isinstance(each, tuple) else each for each in found]
        chosen = list(self.orders).index(self.order)
        return [each[chosen] if isinstance(each, tuple) else each for each in found]

    def notes(self) -> list[str]:
        """Return what a user should know about the column, one line each."""
        notes = []
        if self.unread:
            remedy = "write 2017-10-15 or 2017-10-15T20:21:49+00:00"
            notes.append(f"{self.name}: left out because they cannot be read: {self.unread:,} of {self.given:,} dates; {remedy}")
        if self.open and self.order:
            certain = f"because {self.orders[self.order]:,} of the column's dates can be read in no other way"
            notes.append(f"{self.name}: dates such as 10/11/2017 are read as {self.order}, {certain}")
        elif self.open:
            mixed = "some dates in the column are month/day, others day/month"
            why = mixed if any(self.orders.values()) else "no date in the column shows which"
            reads = f"left out: {self.open:,} of {self.given:,} dates, which may be month/day or day/month, as in 10/11/2017, and {why}"
            notes.append(f"{self.name}: {reads}; write 2017-10-11")
        return notes


def month_of(created_at: str | None) -> str | None:
    """Return the month of a date in ISO 8601, such as ``2017-10``; None if there is no date."""
    return None if created_at is None else datetime.fromisoformat(created_at).strftime("%Y-%m")


def only_months(found: Found) -> Found:
    """Return only the months of what `Dates.read` returned, because they take less memory than dates."""
    return (month_of(found[0]) or "", month_of(found[1]) or "") if isinstance(found, tuple) else month_of(found)
