"""A cache of results computed from strings, with bounded memory."""

from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

Value = TypeVar("Value")


class BoundedCache(Generic[Value]):
    """Remember the results for at least the last `limit` / 2 distinct strings, and for at most `limit`.

    Results are kept in two generations. When the new generation is full, it becomes the old one, and results of the previous old
    one are dropped unless they were looked up again in the meantime.

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
