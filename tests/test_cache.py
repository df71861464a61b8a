"""The cache of table rows: what it answers, remembers and forgets."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.cache import RowCache

BATCHES = st.lists(st.lists(st.sampled_from("abcdefghij"), unique=True, max_size=8), max_size=12)


@given(batches=BATCHES, limit=st.integers(1, 9))
def test_rows_are_those_of_their_strings_however_little_is_remembered(batches, limit):
    learned: list[str] = []

    def fill(table: np.ndarray, first: int, new: list[str]) -> np.ndarray:
        learned.extend(new)
        table[first : first + len(new)] = [ord(word) for word in new]
        return table

    cache = RowCache[np.ndarray](limit, lambda room: np.zeros(room + 1, np.int64))
    before: list[tuple[np.ndarray, np.ndarray, list[str]]] = []
    for batch in batches:
        rows, table = cache.look_up(batch, fill)
        before.append((rows, table, batch))
        assert len(cache._rows) <= limit
        for rows, table, words in before:  # what was handed out stays as it was
            assert table[rows].tolist() == [ord(word) for word in words]
    if len({word for batch in batches for word in batch}) <= limit:
        assert len(learned) == len(set(learned))
