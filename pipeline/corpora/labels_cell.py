"""The many ways in which people write the labels of a post into a cell."""

import ast
import json
import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from models.config import LabelSet
from models.errors import InputError

_UNSET = {"", "nan", "null", "na", "n/a", "<na>"}  # how programs write that there is no value
_NOTHING = {"none", "-", "set()"}  # how people, or Python, write that there is no label
_YES = {"1", "1.0", "true", "t", "yes", "y", "x", "✓", "✔"}
_NO = {"0", "0.0", "false", "f", "no", "n", "-"}
FLAGS = "1 or 0, yes or no, true or false, x or blank"

_SEPARATORS = re.compile(r"[;|,/+&#\n]")
_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[\s_\-\u2010-\u2015]+")  # where a word ends in camelCase, snake_case, kebab-case or text
# NumPy writes ['a' 'b'], which Python would read as ['ab'], and lists of its strings are written [np.str_('a')].
_NUMPY = re.compile(r"(?<=['\"])\s+(?=['\"])"), re.compile(r"np\.\w+\(([^()]*)\)")
_PREFIX = re.compile(r"(?:labels?|is|has)[_.: -]+", re.IGNORECASE)  # `pandas.get_dummies` makes a column label_assault


def canonical(name: str) -> str:
    """Return a name as snake_case, so that names that differ only in case, spaces and hyphens become equal.

    Examples
    --------
    >>> canonical("Workplace-Harassment"), canonical("workplace harassment"), canonical("WorkplaceHarassment")
    ('workplace_harassment', 'workplace_harassment', 'workplace_harassment')
    """
    return _WORD.sub("_", unicodedata.normalize("NFKC", name).strip(" \t\r\n'\"")).casefold()


def is_blank(value: Any) -> bool:
    """Return whether a cell is empty, however its format shows that."""
    if isinstance(value, str):
        return value.strip().casefold() in _UNSET
    return value is None or (isinstance(value, float) and math.isnan(value))


def flag_of(value: Any) -> bool | None:
    """Return whether a cell of a column for one label says yes; a blank cell says no.

    Parameters
    ----------
    value : object
        The cell.

    Returns
    -------
    bool or None
        None if the cell says neither.

    Examples
    --------
    >>> [flag_of(value) for value in (1, "1.0", "Yes", "x", False, "", None, 0.7)]
    [True, True, True, True, False, False, False, None]
    """
    written = "" if is_blank(value) else str(value).strip().casefold()
    return True if written in _YES else False if written in {*_NO, ""} else None


def _decoded(text: str) -> Any:
    """Return the list or mapping that a text in brackets stands for, if JSON, Python or NumPy would write it so; otherwise the text."""
    text = text.strip()
    if len(text) < 2 or text[0] + text[-1] not in {"[]", "{}", "()"}:
        return text
    plain = _NUMPY[0].sub(", ", _NUMPY[1].sub(r"\1", text))
    for read in (json.loads, ast.literal_eval):
        try:
            return read(plain)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return text[1:-1]


def _written(value: Any) -> Iterator[Any]:
    """Yield what a cell lists, however nested."""
    value = value.tolist() if hasattr(value, "tolist") else _decoded(value) if isinstance(value, str) else value
    if is_blank(value):
        return
    if isinstance(value, Mapping):
        flags = {name: flag_of(flag) for name, flag in value.items()}
        if "choices" in value:  # Label Studio writes this where an annotator chose several labels
            yield from _written(value["choices"])
        elif None not in flags.values():
            yield from (name for name, given in flags.items() if given)
        else:
            yield value
    elif isinstance(value, list | tuple | set):
        for each in value:
            yield from _written(each)
    else:
        yield value


class LabelCells:
    """Reads cells that list labels.

    Names may differ from those of the label set in case, spaces and hyphens, and may be joined by one of ``; | , / + & #`` or be listed
    as JSON, Python or NumPy write lists.

    Parameters
    ----------
    labels : LabelSet
        Labels that cells may hold, including the ignored ones.

    Examples
    --------
    >>> from pipeline.config_files import load_config
    >>> cells = LabelCells(load_config().labels)
    >>> for cell in ("assault|street harassment", "['assault' 'street_harassment']", '{"choices": ["Assault", "Street-Harassment"]}'):
    ...     print(*cells.read(cell))
    ['assault', 'street_harassment'] []
    ['assault', 'street_harassment'] []
    ['assault', 'street_harassment'] []
    >>> cells.read("assault;asault")
    (['assault'], ['asault'])
    """

    def __init__(self, labels: LabelSet) -> None:
        self.names = labels.names
        self.known = [*self.names, *labels.auxiliary]
        self._listed = {*self.known, *labels.ignored}
        times = Counter(map(canonical, self._listed))
        self._by_form = {form: name for name in self._listed if times[form := canonical(name)] == 1}

    def match(self, written: str) -> str | None:
        """Return the label that is written this way, or None if there is none."""
        return written if written in self._listed else self._by_form.get(canonical(written))

    def columns(self, names: Iterable[str]) -> dict[str, str]:
        """Return the columns that are named after labels, by label; ignored labels are left out.

        Raises
        ------
        InputError
            If several columns are named after a label, and none of them is the label itself.
        """
        found: dict[str | None, list[str]] = defaultdict(list)
        for name in names:
            found[self.match(name) or self.match(_PREFIX.sub("", name, count=1))].append(name)
        for label in self.known:
            if len(found[label]) > 1 and label not in found[label]:
                one, other, *_ = found[label]
                raise InputError(f"the columns {one!r} and {other!r} are both named after {label}; rename or remove one of them")
        return {label: label if label in found[label] else found[label][0] for label in self.known if found[label]}

    def _parts(self, text: str) -> tuple[list[str], list[str]]:
        """Return the labels in a text that is not a list, and the parts that are not labels."""
        if whole := self.match(text):
            return [whole], []
        parts = [part for part in _SEPARATORS.split(text) if part.strip()]
        words = text.split()
        for split in (parts, words):
            if all(map(self.match, split)):
                return [name for each in split if (name := self.match(each))], []
        found = [name for part in parts if (name := self.match(part))]
        # A text without any label in it may be a post, and no part of a post must be shown.
        return (found, [part.strip() for part in parts if not self.match(part)]) if found else ([], [text.strip()])

    def read(self, value: Any) -> tuple[list[str], list[Any]]:
        """Return the labels that a cell lists, in the order of the cell, and whatever else it lists."""
        listed = list(_written(value))
        if len(listed) == 1 and isinstance(listed[0], str) and listed[0].strip().casefold() in _NOTHING and not self.match(listed[0]):
            return [], []
        names, unknown = list[str](), list[Any]()
        for written in listed:
            found, others = self._parts(written) if isinstance(written, str) else ([], [written])
            names += found
            unknown += others
        return list(dict.fromkeys(names)), unknown
