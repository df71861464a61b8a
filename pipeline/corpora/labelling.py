"""Finds the labels of each post: those in its cell, those whose columns say yes, or those that most annotators gave."""

import difflib
import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from models.config import LabelSet
from pipeline.corpora.exports import Post, majority
from pipeline.corpora.labels_cell import FLAGS, LabelCells, canonical, flag_of, is_blank
from pipeline.corpora.layout import option
from pipeline.corpora.problems import Problems, counted

_SHOWN = 5  # how many unknown labels a message names
_MISSPELT = 0.75  # how similar to the name of a label a text must be to be quoted as a misspelling of it


def shown_value(value: Any) -> str:
    """Show a value only if it is short and plain: if columns are mixed up, it may be a post, which must not end up in a log."""
    if isinstance(value, str) and not re.fullmatch(r"[\w.:/-]{0,40}", value):
        return described(value)
    return repr(value) if isinstance(value, str | int | float | None) else described(value)


def described(value: Any) -> str:
    """Describe a value from a column of labels without quoting it: if columns are mixed up, even one word may be from a post.

    Examples
    --------
    >>> described("she told me"), described(7), described(None), described(["a"])
    ('a text of 11 characters', 'a number', 'null', 'a list')
    """
    if isinstance(value, str):
        return f"a text of {counted(len(value), 'character')}"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "a number"
    return "null" if value is None else f"a {type(value).__name__}"


class Labelling:
    """Finds the labels of the posts of a file or data set, and counts what users should be told.

    Parameters
    ----------
    labels : LabelSet
        Labels that posts may have.
    cells : LabelCells
        Reads cells that list labels.
    columns : str or mapping of str to str
        The column that lists labels, or the column of each label; not used for posts that have votes.
    problems : Problems
        Collects what cannot be read.
    """

    def __init__(self, labels: LabelSet, cells: LabelCells, columns: str | Mapping[str, str], problems: Problems) -> None:
        self.labels, self.cells, self.columns, self.problems = labels, cells, columns, problems
        self.counts: Counter[str] = Counter()
        self.unknown: dict[Any, list[int]] = {}  # the rows of each label that is not in the set
        self._spelt: dict[str, str] = {}

    def of(self, post: Post) -> list[str]:
        """Return the labels of a post, including those to be ignored."""
        if post.votes:
            return self._agreed(post)
        if isinstance(self.columns, str):
            cell = post.fields.get(self.columns)  # JSON may leave out a key whose value is null
            self.counts["blank"] += is_blank(cell)
            return self._listed(cell, post.number)
        flags = {label: self._flag(post, column) for label, column in self.columns.items()}
        return [label for label, given in flags.items() if given]

    def _agreed(self, post: Post) -> list[str]:
        asked = [vote.asked and frozenset(self.cells.match(name) or name for name in vote.asked) for vote in post.votes]
        listed = [self._listed(vote.given, post.number) for vote in post.votes]
        names, dropped = majority(zip(listed, asked, strict=True))
        times = Counter(name for names in asked for name in names or self.cells.known)
        self.counts.update(several=max(times.values()) > 1, dropped=dropped)
        return names

    def _listed(self, cell: Any, row: int) -> list[str]:
        names, unknown = self.cells.read(cell)
        self.counts["lists"] += not isinstance(cell, str | int | float | None)
        for each in unknown:
            rows = self.unknown.setdefault(each if isinstance(each, str | int | float) else described(each), [])
            if row not in rows[-1:]:
                rows.append(row)
        if isinstance(cell, str) and len(names) == 1 and cell.strip() not in (names[0], "") and self.cells.match(cell):
            self._spelt.setdefault(names[0], cell.strip())
        return names

    def _flag(self, post: Post, column: str) -> bool | None:
        cell = post.fields.get(column)
        flag = flag_of(cell)
        self.counts["blank flags"] += is_blank(cell)
        self.counts["flags"] += not is_blank(cell)
        if flag is None:
            self.problems.add(post.number, f"flag {column}", f"column {column!r} holds {described(cell)}, but cells must be {FLAGS}")
        return flag

    def _is_misspelt(self, label: Any) -> bool:
        """Return whether a value is so similar to a label that it can be quoted."""
        return isinstance(label, str) and bool(difflib.get_close_matches(canonical(label), self.cells.known, n=1, cutoff=_MISSPELT))

    def _told(self, quoted: Sequence[str], hidden: Sequence[Any]) -> str:
        """Quote misspelt labels, and describe or count everything else."""
        sizes = sorted(len(value) for value in hidden if isinstance(value, str))
        shown = [*map(repr, quoted[:_SHOWN]), *([f"{len(quoted) - _SHOWN:,} more like these"] if len(quoted) > _SHOWN else [])]
        if len(hidden) == 1:
            shown.append(described(hidden[0]))
        elif hidden:
            sort = f"texts of {sizes[0]:,} to {sizes[-1]:,} characters" if len(sizes) == len(hidden) else "values"
            shown.append(f"{len(hidden):,} different {sort}")
        if len(self.unknown) == 1:
            return f"{shown[0]}, which is not a label{' (it is not shown, because it may be a post)' if sizes else ''}"
        return f"{', '.join(shown)}, which are not labels{' (texts that may be posts are not shown)' if sizes else ''}"

    def complain(self, suggestion: str | None, *, exported: bool = False) -> None:
        """Add the unknown labels to the problems.

        Parameters
        ----------
        suggestion : str or None
            The option that names another column, if one seems to hold the labels.
        exported : bool
            Whether the labels are from an export of a labelling tool, and not from a column.
        """
        quoted = [label for label in self.unknown if self._is_misspelt(label)]
        hidden = [label for label in self.unknown if not self._is_misspelt(label)]
        rows = sorted({row for rows in self.unknown.values() for row in rows})
        near = {match for label in self.unknown for match in difflib.get_close_matches(str(label), self.cells.known, n=1)}
        hints = [f"did you mean {', '.join(map(repr, sorted(near)))}?" if near else f"the labels are {', '.join(self.cells.known)}"]
        if all(flag_of(label) is not None for label in self.unknown) and not self.counts["lists"]:
            example = option("labels", {self.cells.known[0]: str(self.columns)})
            hints.append(f"if the column is about one label only, say which one, as in {example}")
        elif all(isinstance(label, int | float) or label.isdigit() for label in self.unknown):
            hints.append("numbers do not say which label they mean; write names")
        else:
            ignored = ", ".join([*self.labels.ignored, *(["NAME"] if hidden else quoted)])
            how = ", with its name in place of NAME" if hidden else ""
            hints.append(f"to leave a label out on purpose{how}: --set {shlex.quote(f'labels.ignored=[{ignored}]')}")
        hints += [suggestion] if suggestion else []
        where = "the export" if exported else f"column {self.columns!r}"
        message = f"{where} holds {self._told(quoted, hidden)}; {'; '.join(hints)}"
        self.problems.add(rows[0], "unknown label", message, len(rows))

    def notes(self) -> list[str]:
        """Return what users should be told about the labels, one phrase each."""
        spelt = [f"{written!r} taken as {name}" for name, written in self._spelt.items()]
        counts = self.counts
        told = [", ".join(spelt)] if spelt else []
        if counts["blank"]:
            told.append(f"{counted(counts['blank'], 'blank or null cell')} taken to mean no labels")
        if counts["blank flags"] and counts["flags"]:
            told.append(f'{counted(counts["blank flags"], "blank or null cell")} taken to mean "no"')
        if counts["several"]:
            rule = "a label counts if more than half of the annotators asked gave it"
            dropped = counted(counts["dropped"], "label")
            told.append(f"several annotators on {counted(counts['several'], 'post')}: {rule}, which dropped {dropped}")
        return told
