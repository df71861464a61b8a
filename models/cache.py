"""What was computed for a string, remembered in bounded memory."""

from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

Value = TypeVar("Value")


class BoundedCache(Generic[Value]):
    """Remembers the answers for at least the last `limit` / 2 distinct strings, and for no more than `limit`.

    Answers are kept in two generations: when the new one is full it becomes the old one, whose answers are forgotten unless
    they are asked for again.

    Parameters
    ----------
    limit : int
        Strings.
    longest : int, optional
        Longer strings, in characters, are not remembered: they seldom come again, and take room.

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
        """Answers for strings, in their order.

        Parameters
        ----------
        keys : sequence of str
        compute : callable
            Given the distinct strings that are not remembered, gives their answers in the same order.
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
