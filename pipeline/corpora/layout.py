"""Finds out which column of a file holds what, and suggests options where it cannot tell."""

import json
import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import yaml

from models.errors import InputError
from pipeline.config import Columns
from pipeline.corpora.labels_cell import LabelCells, canonical, is_blank
from pipeline.corpora.problems import counted
from pipeline.records import found_columns

_OURS = Columns()
_PLAIN = re.compile(r"[\w.:/-]{1,32}( [\w.:/-]{1,20})?")  # without a header, a column's name may be somebody's words
_SHOWN = re.compile(rf"(?:{_PLAIN.pattern})?")  # a column may also have no name
_IDS = {"id", "tweet_id", "post_id", "doc_id", "status_id", "comment_id", "document_id", "id_str", "uid", "uuid", "nr"}
_AUTHORS = {"author", "user", "user_id", "username", "user_name", "screen_name", "handle", "author_id", "author_name"}
SAMPLE = 200  # rows to look at for a suggestion


class Layout(NamedTuple):
    """Which column holds what, and a description of whatever differs from the config."""

    columns: Columns
    taken: list[str]


def option(key: str, value: Any) -> str:
    """Return the option that sets a key of ``data.columns``, quoted for a shell.

    Parameters
    ----------
    key : str
        The key.
    value : str, mapping or None
        A column, a column for each label, or None for no column.

    Examples
    --------
    >>> option("text", "full text"), option("id", None)
    ("--set 'data.columns.text=full text'", '--set data.columns.id=null')
    """

    def written(name: str) -> str:
        plain = re.fullmatch(r"[\w .-]+", name) and yaml.safe_load(name) == name
        return name if plain else json.dumps(name, ensure_ascii=False)

    if isinstance(value, Mapping):
        shown = "{" + ", ".join(f"{label}: {written(column)}" for label, column in value.items()) + "}"
    else:
        shown = "null" if value is None else written(value)
    return f"--set {shlex.quote(f'data.columns.{key}={shown}')}"


def find_column(wanted: str, names: Sequence[str]) -> str | None:
    """Find a column by its name, or else the only one whose name differs from it in case, spaces and hyphens alone.

    Parameters
    ----------
    wanted : str
        The name.
    names : sequence of str
        The names of all columns.
    """
    alike = [name for name in names if canonical(name) == canonical(wanted)]
    return wanted if wanted in names else alike[0] if len(alike) == 1 else None


def guess_id_and_text(rows: Sequence[dict[str, Any]]) -> dict[str, str | None]:
    """Guess which column holds ids, from the names, and which one holds texts, from the cells.

    If no column holds ids, ``id`` is None; if none holds texts, ``text`` is left out.

    Parameters
    ----------
    rows : sequence of dict
        The rows; only the first ones are looked at.
    """
    names, sample = list(dict.fromkeys(name for row in rows for name in row)), rows[:SAMPLE]
    words = {name: sum(len(str(row.get(name)).split()) for row in sample if isinstance(row.get(name), str)) for name in names}
    text = max(words, key=lambda name: words[name], default=None)
    guessed = {"id": next((name for name in names if canonical(name) in _IDS), None)}
    return guessed | ({"text": text} if text is not None and words[text] > 2 * len(sample) and _PLAIN.fullmatch(text) else {})


def _suggested(names: Sequence[str], rows: Sequence[dict[str, Any]], cells: LabelCells) -> dict[str, Any]:
    """Guess which columns hold ids, texts and, from the cells, labels."""
    sample = rows[:SAMPLE]
    guessed: dict[str, Any] = dict(guess_id_and_text(rows))
    listing = Counter[str]()
    for name in names:
        read = [cells.read(row.get(name)) for row in sample if not is_blank(row.get(name))]
        if read and all(found or not unknown for found, unknown in read):
            listing[name] = sum(bool(found) for found, _ in read)
    flagged = cells.columns(names)
    if len(+listing) == 1:
        guessed["labels"] = next(iter(+listing))
    elif flagged:
        guessed["labels"] = flagged
    return {key: value for key, value in guessed.items() if not isinstance(value, str) or _PLAIN.fullmatch(value)}


def _author_elsewhere(columns: Columns, names: Sequence[str]) -> str | None:
    """Return a column that is named like an author, if the column that the config names is missing."""
    if columns.author is None or find_column(columns.author, names):
        return None
    return next((name for name in names if canonical(name) in _AUTHORS), None)


def _labels_in(columns: Columns, names: Sequence[str], cells: LabelCells) -> str | dict[str, str] | None:
    """Find the column with labels, or else one column for each label; None if there is neither."""
    if not isinstance(columns.labels, str):
        found = {label: find_column(column, names) for label, column in columns.labels.items()}
        return {label: column for label, column in found.items() if column is not None} if None not in found.values() else None
    one = find_column(columns.labels, names)
    if one is not None or columns.labels != _OURS.labels:
        return one
    flagged = cells.columns(names)
    return flagged if set(cells.names) <= set(flagged) else find_column("label", names)


def _may_be_numbered(columns: Columns, found: Mapping[str, Any]) -> bool:
    """Return whether rows are to be numbered: there is no column with ids, and the config does not ask for a certain one."""
    return "id" in found and found["id"] is None and columns.id == _OURS.id


def _lacking(
    columns: Columns, found: Mapping[str, Any], names: Sequence[str], suggested: Mapping[str, Any], without_labels: str
) -> InputError:
    """Make the error for columns that are not there, with the options that would read the file."""
    lacking, options = list[str](), list[str]()
    for key in (key for key in found if found[key] is None):
        wanted = getattr(columns, key)
        if key == "id" and _may_be_numbered(columns, found):
            options += [option(key, suggested[key])] if suggested.get(key) else []
            continue
        lacking += [repr(name) for name in ([wanted] if isinstance(wanted, str) else wanted.values()) if find_column(name, names) is None]
        options.append(option(key, suggested.get(key, None if key == "id" else f"{key.upper()}_COLUMN")))
        if isinstance(suggested.get(key), Mapping):
            options[-1] += " (a label without a column is then never given)"
        elif key == "labels" and key not in suggested:
            options[-1] += without_labels and f" ({without_labels})"
    options += [option("author", other)] if (other := _author_elsewhere(columns, names)) else []
    used = [*found.values(), *suggested.values()]
    others = set(names).difference(*(each.values() if isinstance(each, Mapping) else [each] for each in used))
    named = all(found[key] or suggested.get(key) for key in found if key != "id")
    if named and others and columns.author is not None and not other and not find_column(columns.author, names):
        options.append("(if another column names authors, add --set data.columns.author=AUTHOR_COLUMN)")
    return InputError(f"no column {', '.join(lacking)}; found {found_columns(names, _SHOWN)}; name the columns: {' '.join(options)}")


def lay_out(columns: Columns, rows: Sequence[dict[str, Any]], cells: LabelCells, labelled: bool, without_labels: str = "") -> Layout:
    """Find out which column holds what.

    Columns are found by their names in the config, in upper or lower case, and with spaces or hyphens in place of ``_``. Also, ``label``
    may stand for ``labels``, labels may have columns of their own, and rows are numbered if there is no ``id``.

    Parameters
    ----------
    columns : Columns
        What the config says.
    rows : sequence of dict
        All rows.
    cells : LabelCells
        Tells which cells hold labels.
    labelled : bool
        Whether the rows must have a column with labels, or one for each label.
    without_labels : str
        What a user can do with posts that have no labels, for the message.

    Raises
    ------
    InputError
        If a column is missing. The message gives the options with which the rows can be read, but not the name of the file.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    wanted = {key: value for key, value in columns if isinstance(value, str) and key != "labels"}
    found: dict[str, Any] = {key: find_column(name, names) for key, name in wanted.items()}
    taken = [f"{column!r} taken as the {key}" for key, column in found.items() if column not in (None, wanted[key])]
    if labelled:
        found["labels"] = _labels_in(columns, names, cells)
        if isinstance(found["labels"], str) and found["labels"] != columns.labels:
            taken.append(f"{found['labels']!r} taken as the labels")
        elif isinstance(found["labels"], Mapping) and found["labels"] != columns.labels:
            taken.append(f"{counted(len(found['labels']), 'column')} taken as labels: {', '.join(found['labels'])}")
    needed: dict[str, Any] = {key: found[key] for key in ("id", "text", "labels") if key in found}
    if _may_be_numbered(columns, needed) and None not in [value for key, value in needed.items() if key != "id"]:
        other = next((name for name in names if canonical(name) in _IDS), None)
        taken.append("row numbers taken as ids" + (f" (or take another column: {option('id', other)})" if other else ""))
    elif None in needed.values():
        raise _lacking(columns, needed, names, _suggested(names, rows, cells), without_labels)
    if other := _author_elsewhere(columns, names):
        taken.append(f"no column taken as the author (or take one: {option('author', other)})")
    return Layout(columns.model_copy(update={key: found[key] for key in found}), taken)


def labels_elsewhere(columns: Columns, rows: Sequence[dict[str, Any]], cells: LabelCells) -> str | None:
    """Return the option that names a column other than the config's, if that column seems to hold the labels."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    found = _suggested(names, rows, cells).get("labels")
    return None if found in (None, columns.labels) else option("labels", found)
