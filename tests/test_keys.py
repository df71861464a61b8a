"""The hash table of integer keys, against a dictionary."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.keys import KeyTable

KEYS = st.integers(0, 2**62) | st.integers(0, 40)  # any, and some that are often equal


@given(keys=st.lists(KEYS, unique=True, max_size=60), others=st.lists(KEYS, max_size=60))
def test_positions_are_those_of_a_dictionary(keys, others):
    position = {key: number for number, key in enumerate(keys)}
    wanted = [*others, *keys, *others]
    found = KeyTable(np.array(keys, np.int64)).look_up(np.array(wanted, np.int64))
    assert found.tolist() == [position.get(key, -1) for key in wanted]


def test_keys_that_meet_in_one_slot_are_all_found():
    first = KeyTable(np.arange(1))
    keys = np.arange(1, 200_000)
    same = keys[first._first(keys) == first._first(keys[:1])][:3000]
    table = KeyTable(same)
    crowded = np.bincount(table._first(same)).max()
    assert crowded > 1
    np.testing.assert_array_equal(table.look_up(same), np.arange(len(same)))
    assert (table.look_up(np.setdiff1d(keys, same)) == -1).all()
