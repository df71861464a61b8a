"""Caches of results computed from strings, with bounded memory."""

from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from threading import Lock
from typing import Generic, TypeVar

import numpy as np

from models.arrays import Int64s

Value = TypeVar("Value")
Table = TypeVar("Table")


class BoundedCache(Generic[Value]):
    """Remember the results for at least the last `limit` / 2 distinct strings, and for at most `limit`.

    Results are kept in two generations. When the new generation is full, it becomes the old one. The previous old generation is dropped,
    except for results that were looked up again in the meantime.

    Parameters
    ----------
    limit : int
        Maximum number of strings.
    longest : int, optional
        Length in characters above which a string is not cached: long strings rarely repeat and take much memory.

    Examples
    --------
    >>> lengths = BoundedCache[int](limit=4)
    >>> lengths.look_up(["one", "three", "one"], lambda missing: map(len, missing))
    [3, 5, 3]
    """

    def __init__(self, limit: int, longest: int | None = None) -> None:
        self.limit = limit
        self.longest = longest
        self._new: dict[str, Value] = {}
        self._old: dict[str, Value] = {}

    def look_up(self, keys: Sequence[str], compute: Callable[[list[str]], Iterable[Value]]) -> list[Value]:
        """Return the results for strings, in the order of the strings.

        Parameters
        ----------
        keys : sequence of str
            The strings to look up; they may repeat.
        compute : callable
            Takes a list of the distinct strings that are not cached, and returns their results in the same order.
        """
        answers: dict[str, Value] = {}
        missing: list[str] = []
        for key in dict.fromkeys(keys):
            if key in self._new:
                answers[key] = self._new[key]
            elif key in self._old:
                answers[key] = self._old[key]
            else:
                missing.append(key)
        if missing:
            answers.update(zip(missing, compute(missing), strict=True))
        for key, answer in answers.items():
            if self.longest is None or len(key) <= self.longest:
                self._new[key] = answer
                if len(self._new) >= self.limit // 2:
                    self._old, self._new = self._new, {}
        return [answers[key] for key in keys]


class RowCache(Generic[Table]):
    """Remember which row of a table belongs to each string. Once the table is full, everything is forgotten. Threads may share a cache.

    Parameters
    ----------
    limit : int
        Maximum number of strings.
    empty : callable
        Takes a number of strings, and returns a table with room for that many rows after its first row, which stands for no string.

    Examples
    --------
    >>> lengths = RowCache[list[int]](10, lambda room: [0])
    >>> rows, table = lengths.look_up(["one", "three"], lambda table, first, new: [*table, *map(len, new)])
    >>> rows.tolist(), table
    ([1, 2], [0, 3, 5])
    """

    def __init__(self, limit: int, empty: Callable[[int], Table]) -> None:
        self.limit = limit
        self._empty = empty
        self._lock = Lock()
        self.forget()

    def forget(self) -> None:
        """Forget all strings."""
        self._rows: dict[str, int] = {}
        self._table: Table | None = None  # made when it is needed

    def look_up(self, keys: Sequence[str], fill: Callable[[Table, int, list[str]], Table]) -> tuple[Int64s, Table]:
        """Return the row of each string, and the table.

        Parameters
        ----------
        keys : sequence of str
            Distinct strings. If there are more than `limit`, they are not remembered.
        fill : callable
            Takes the table, the first row to fill, and the strings for that row and the ones after it. Returns the table with these rows
            filled. It must not change earlier rows, because another thread may be reading them.
        """
        if len(keys) > self.limit:
            return np.arange(1, len(keys) + 1), fill(self._empty(len(keys)), 1, list(keys))
        with self._lock:
            rows = self._known(keys)
            new = np.flatnonzero(rows == 0)
            if len(self._rows) + len(new) > self.limit:
                self.forget()
                new = np.arange(len(keys))
            if self._table is None:
                self._table = self._empty(self.limit)
            if len(new):
                first = len(self._rows) + 1
                rows[new] = np.arange(first, first + len(new))
                learned = [keys[number] for number in new.tolist()]
                self._table = fill(self._table, first, learned)
                self._rows.update(zip(learned, rows[new].tolist(), strict=True))
            return rows, self._table

    def _known(self, keys: Sequence[str]) -> Int64s:
        """Return the row of each string, or 0 for a new one."""
        return np.fromiter(map(self._rows.get, keys, repeat(0)), np.int64, len(keys))
