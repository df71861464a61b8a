"""Turns rows of files and data sets into labelled records, checking each."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from models.config import LabelSet
from models.errors import InputError
from models.targets import known_author
from pipeline.config import Columns
from pipeline.corpora.class_names import features_of, with_class_names
from pipeline.corpora.corpus import Record
from pipeline.corpora.exports import Post, recognise
from pipeline.corpora.labelling import Labelling, described, shown_value
from pipeline.corpora.labels_cell import FLAGS, LabelCells, flag_of
from pipeline.corpora.layout import labels_elsewhere, lay_out, option
from pipeline.corpora.problems import Problems
from pipeline.records import BrokenRow, Row, read_rows

_NUMBERED = option("id", None)


def _optional(fields: dict[str, Any], column: str | None) -> str | None:
    value = fields.get(column) if column else None
    missing = value is None or value == "" or (isinstance(value, float) and math.isnan(value))
    return None if missing else str(value)


def _id_of(value: Any) -> str | None:
    """Return an id as text, or None if it cannot be one. If a column of numbers has gaps, pandas turns all of them into floats."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, str | int) and value != "" else None


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
    weights : mapping of str to float, optional
        How much the posts of a source count, by the value of their column ``source``; others have weight 1.
    unsure : float, optional
        How much a post counts if its column ``unsure`` is true.
    without_labels : str
        What a user can do with posts that have no labels, for messages.

    Attributes
    ----------
    notes : list of str
        One line for each file or data set that differs from what the config says; the line tells how it was read.
    """

    def __init__(
        self,
        labels: LabelSet,
        columns: Columns,
        further: Sequence[str],
        weights: Mapping[str, float] = MappingProxyType({}),
        unsure: float = 1.0,
        without_labels: str = "",
    ) -> None:
        self.labels, self.columns, self.further = labels, columns, further
        self.cells = LabelCells(labels)
        self.labelled = True  # whether rows are expected to have labels
        self.weights, self.unsure, self.without_labels = weights, unsure, without_labels
        self.places: dict[str, str] = {}
        self.stems: Counter[str] = Counter()
        self.ignored: Counter[str] = Counter()
        self.notes: list[str] = []

    def stem(self, name: str) -> str:
        """Return the prefix of numbered ids: the name of a file or split, with a 2 appended if it is the second of that name."""
        self.stems[name] += 1
        return name if self.stems[name] == 1 else f"{name}{self.stems[name]}"

    def records(self, path: Path) -> list[Record]:
        """Read the records of a file; an `InputError` lists all rows that cannot be used."""
        said = list[str]()
        rows = with_class_names(features_of(path), read_rows(path, [], tell=lambda _, what: said.append(what)))
        return self.table(rows, str(path), path.stem, said)

    def table(self, rows: Iterable[Row | BrokenRow], origin: str, stem: str, said: Iterable[str] = ()) -> list[Record]:
        """Make records of rows.

        Parameters
        ----------
        rows : iterable of Row or BrokenRow
            All rows of `origin`.
        origin : str
            File or data set that the rows are from, for messages.
        stem : str
            Name of the file or split, with which the ids begin if rows are numbered.
        said : iterable of str
            What users should be told about how the rows were read; this is only complete once all rows have been read.

        Raises
        ------
        InputError
            If rows cannot be used. The message names all kinds of problems, where they are and how to fix them.
        """
        problems, sound, stem = Problems(origin), list[Row](), self.stem(stem)
        for row in rows:
            if isinstance(row, Row):
                sound.append(row)
            else:
                problems.add(row.number, row.reason, f"{row.reason}; correct or delete the row")
        if not sound:
            problems.check()
        try:
            question = self.columns.labels if self.labelled else {}
            export = recognise(sound, question, self.cells) if isinstance(question, str) else None
            posts = export.posts if export else [Post(row.number, row.fields, []) for row in sound]
            fields = [post.fields for post in posts]
            columns, taken = lay_out(self.columns, fields, self.cells, self.labelled and not export, self.without_labels)
            if shown := [name for name in (columns.id, columns.text, columns.author) if name in self.further]:
                why = f"the column {shown[0]!r} would reveal in the report who wrote what"
                raise InputError(f"{why}; name another in evaluation.slices or evaluation.natural.column")
        except InputError as error:
            raise InputError(f"{origin}: {error}") from None
        labelling = Labelling(self.labels, self.cells, columns.labels, problems)
        made = [self._record(post, columns, labelling, problems, stem) for post in posts]
        if labelling.unknown:
            labelling.complain(None if export else labels_elsewhere(columns, fields, self.cells), exported=bool(export))
        problems.check()
        told = [*said, *([str(export)] if export else []), *taken, *labelling.notes()]
        self.notes += [f"{origin}: {'; '.join(told)}"] if told else []
        return [record for record in made if record]

    def _weight(self, fields: dict[str, Any], columns: Columns, number: int, problems: Problems) -> float:
        """Return how much a post counts: the product of its own weight, its source's and, if it is unsure, that of unsure posts."""
        value = _optional(fields, columns.weight)
        try:
            own = 1.0 if value is None else float(value)
        except ValueError:
            own = math.nan
        if not 0 < own < math.inf:
            shown = shown_value(fields[columns.weight or ""])
            fix = "make it a number above 0, or ignore the column: --set data.columns.weight=null"
            problems.add(number, "weight", f"{columns.weight} is {shown}; {fix}")
        unsure = flag_of(fields.get(columns.unsure)) if columns.unsure else False
        if unsure is None:
            fix = f"write {FLAGS}, or ignore the column: --set data.columns.unsure=null"
            problems.add(number, "unsure", f"column {columns.unsure!r} holds {described(fields[columns.unsure or ''])}; {fix}")
        return own * self.weights.get(_optional(fields, columns.source) or "none", 1.0) * (self.unsure if unsure else 1.0)

    def _record(self, post: Post, columns: Columns, labelling: Labelling, problems: Problems, stem: str) -> Record | None:
        """Make a record of a post; if it has a problem, add that to `problems` and return None."""
        fields, number = post.fields, post.number
        missing = [column for column in (columns.id, columns.text) if column is not None and column not in fields]
        for column in missing:
            problems.add(number, f"no {column}", f"no column {column!r}; correct the row, or name the right column in data.columns")
        if missing:
            return None
        text = fields[columns.text]
        if not isinstance(text, str) or not text.strip():
            found = "is empty" if isinstance(text, str) else f"must be a string, not {type(text).__name__}"
            problems.add(number, f"text {found}", f"the text {found}; correct or delete the row")
        identifier = f"{stem}-{number}" if columns.id is None else _id_of(fields[columns.id])
        if identifier is None:
            shown = shown_value(fields[columns.id or ""])
            problems.add(number, "id", f"id is {shown}; give each post an id, or number the rows: {_NUMBERED}")
        elif identifier in self.places:
            used = f"id {shown_value(identifier)} is already used at {self.places[identifier]}"
            problems.add(number, "used id", f"{used}; make ids unique, or number the rows: {_NUMBERED}")
        else:
            self.places[identifier] = f"{problems.origin}, row {number}"
        labels = labelling.of(post) if self.labelled else []
        self.ignored.update(name for name in labels if name in self.labels.ignored)
        return Record(
            str(identifier),
            str(text),
            [name for name in self.cells.known if name in labels],
            _author(fields, columns.author),
            _optional(fields, columns.created_at),
            _optional(fields, columns.source),
            self._weight(fields, columns, number, problems),
            {name: _optional(fields, name) for name in self.further},
        )
