"""Turns rows of files and data sets into labelled records, checking each."""

import difflib
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from models.config import LabelSet
from models.errors import InputError
from models.targets import known_author
from pipeline.config import Columns
from pipeline.corpora.corpus import Record
from pipeline.records import BrokenRow, Row, read_rows


def _names(value: Any, place: str) -> list[str]:
    if isinstance(value, str):
        value = [name.strip() for name in value.split(";") if name.strip()]
    if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
        raise InputError(f'{place}: the labels must be a list of names or names joined by ";", not {type(value).__name__}; correct the row')
    return list(value)


def _shown_value(value: Any) -> str:
    """Show a value only if it is short and plain: if columns are mixed up, it may be a post, which must not end up in a log."""
    if isinstance(value, str) and not re.fullmatch(r"[\w.:/-]{0,40}", value):
        return f"a text of {len(value)} characters"
    return repr(value) if isinstance(value, str | int | float | None) else type(value).__name__


def _flagged(fields: dict[str, Any], columns: dict[str, str], place: str) -> list[str]:
    names = []
    for name, column in columns.items():
        if str(fields.get(column)) not in {"0", "1", "False", "True"}:
            raise InputError(f"{place}: column {column!r} holds {_shown_value(fields.get(column))}; it must be 0 or 1")
        if str(fields[column]) in {"1", "True"}:
            names.append(name)
    return names


def _optional(fields: dict[str, Any], column: str | None) -> str | None:
    value = fields.get(column) if column else None
    missing = value is None or value == "" or (isinstance(value, float) and math.isnan(value))
    return None if missing else str(value)


def _author(fields: dict[str, Any], column: str | None) -> str | None:
    author = known_author(fields.get(column)) if column else None
    return None if author is None else str(author)


class Reader:
    """Turns rows into records, and keeps track of what must be unique or is counted across all sources.

    Parameters
    ----------
    labels : LabelSet
        Labels that rows may have.
    columns : Columns
        Which column holds which field of a record.
    further : sequence of str
        Other columns to keep, where rows have them.
    """

    def __init__(self, labels: LabelSet, columns: Columns, further: Sequence[str]) -> None:
        self.labels, self.columns, self.further = labels, columns, further
        self.known = [*labels.names, *labels.auxiliary]
        self.labelled = True  # whether rows are expected to have labels
        self.places: dict[str, str] = {}
        self.stems: Counter[str] = Counter()
        self.ignored: Counter[str] = Counter()

    @property
    def required(self) -> list[str]:
        """Columns that every row must have."""
        if not self.labelled:
            return [column for column in (self.columns.id, self.columns.text) if column]
        labels = self.columns.labels
        named = [labels] if isinstance(labels, str) else list(labels.values())
        return [column for column in (self.columns.id, self.columns.text, *named) if column]

    def stem(self, name: str) -> str:
        """Return the prefix of numbered ids: the name of a file or split, with a 2 appended if it is the second of that name."""
        self.stems[name] += 1
        return name if self.stems[name] == 1 else f"{name}{self.stems[name]}"

    def records(self, path: Path) -> Iterator[Record]:
        """Read the records of a file, raising `InputError` at the first row that cannot be used."""
        stem = self.stem(path.stem)
        for row in read_rows(path, self.required):
            if isinstance(row, BrokenRow):
                raise InputError(f"{path}, row {row.number}: {row.reason}; correct or delete the row")
            yield self.record(row, str(path), stem)

    def record(self, row: Row, origin: str, stem: str) -> Record:
        """Make a record of a row.

        Parameters
        ----------
        row : Row
            A row of `origin`.
        origin : str
            File or data set that the row is from, for messages.
        stem : str
            Prefix of the id if rows are numbered, from `stem`.

        Raises
        ------
        InputError
            If the row cannot be used. The message names the row and how to fix it.
        """
        place, columns, fields = f"{origin}, row {row.number}", self.columns, row.fields
        for column in self.required:
            if column not in fields:
                raise InputError(f"{place}: no column {column!r}; correct the row, or name the right column in data.columns")
        text = fields[columns.text]
        if not isinstance(text, str) or not text.strip():
            found = "is empty" if isinstance(text, str) else f"must be a string, not {type(text).__name__}"
            raise InputError(f"{place}: the text {found}; correct or delete the row")
        identifier = f"{stem}-{row.number}" if columns.id is None else fields[columns.id]
        if not isinstance(identifier, str | int) or identifier == "":
            raise InputError(f"{place}: id is {_shown_value(identifier)}; give each post an id, or set data.columns.id=null to number rows")
        identifier = str(identifier)
        if identifier in self.places:
            raise InputError(f"{place}: id {_shown_value(identifier)} is already used at {self.places[identifier]}; make ids unique")
        self.places[identifier] = place
        return Record(
            identifier,
            text,
            self._known(fields, place) if self.labelled else [],
            _author(fields, columns.author),
            _optional(fields, columns.created_at),
            _optional(fields, columns.source),
            {name: _optional(fields, name) for name in self.further},
        )

    def _known(self, fields: dict[str, Any], place: str) -> list[str]:
        column = self.columns.labels
        names = _names(fields[column], place) if isinstance(column, str) else _flagged(fields, column, place)
        for name in names:
            if name in self.labels.ignored:
                self.ignored[name] += 1
            elif name not in self.known:
                near = difflib.get_close_matches(name, self.known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"allowed are {', '.join(self.known)}"
                if "," in name:
                    hint = 'join the names of several labels by ";"'
                elif name.lower() in {"none", "nan", "null", "-"}:
                    hint = "for no label, leave the cell or the list empty"
                raise InputError(
                    f"{place}: unknown label {_shown_value(name)}; {hint} (to leave it out on purpose, add it to labels.ignored)"
                )
        return [name for name in self.known if name in names]
