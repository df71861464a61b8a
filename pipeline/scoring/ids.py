"""Finds ids that do not identify a single post, because they repeat or because a spreadsheet has rounded them."""

import hashlib
import heapq
import re
from collections import Counter
from collections.abc import Iterable
from zlib import crc32

_SHOWN = re.compile(r"\d(?:[.,]\d+)?[eE]\+\d+")  # how a spreadsheet shows a long number
_KEPT = re.compile(r"\d{15}00+")  # how it saves a long number, of which it keeps 15 digits
_BY_CHANCE = 0.05  # at most this share of long numbers end in this way by chance
_SAMPLED = 256


class Ids:
    """Counts the ids of a shard that repeat or look rounded, and takes a sample of them by which shards can be compared."""

    def __init__(self) -> None:
        self._times: Counter[str] = Counter()

    def add(self, ids: Iterable[str]) -> None:
        """Add the ids of some posts."""
        self._times.update(ids)

    @property
    def repeated(self) -> int:
        """Number of posts that share an id with an earlier post of the shard."""
        return self._times.total() - len(self._times)

    @property
    def rounded(self) -> int:
        """Number of posts whose id looks like a number that a spreadsheet has rounded."""
        long = [identifier for identifier in self._times if len(identifier) > 5 and identifier[0].isdecimal()]
        shown, kept = (sum(self._times[identifier] for identifier in long if form.fullmatch(identifier)) for form in (_SHOWN, _KEPT))
        return shown + (kept if kept > _BY_CHANCE * len(long) else 0)

    @property
    def sample(self) -> list[int]:
        """Hashes of some ids, picked by a quick hash, so that two shards pick the same ones among the ids they share."""
        chosen = heapq.nsmallest(_SAMPLED, self._times, key=lambda identifier: crc32(identifier.encode()))
        return [int.from_bytes(hashlib.blake2b(identifier.encode(), digest_size=6).digest()) for identifier in chosen]
