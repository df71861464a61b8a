"""Read raw posts with the help of what is remembered about their chunks.

What a chunk becomes rarely depends on the chunks beside it. A few numbers for each chunk show in which posts this is possible. Such
posts are normalised as a whole. All others are read by looking up their chunks, which gives the same tokens.
"""

import re
from array import array
from collections.abc import Sequence
from itertools import accumulate, chain, islice

import numpy as np
from numpy.typing import NDArray

from models.arrays import Int64s
from models.hashtags import MARK
from models.masks import LEADING, PLACEHOLDER, TRAILING, USER, set_off_placeholders
from models.text import easily_repaired

_END = "\x00"  # stands after each post; a post that is easily repaired does not contain it
_PHONE_DIGITS = 7
_LONGEST = 1_000  # longer chunks are tokenised in pieces

# What a chunk is, as bits:
_ODD = 1  # a post with such a chunk is normalised as a whole
_LEADS, _TRAILS = 2, 4  # a chunk of masks alone, which are dropped where a post begins, or ends
_INTRODUCES, _SIGNS = 8, 16  # dropped together with masks: "rt" and "." at the beginning, "via" at the end
_UNCLEAR_BEGINNING, _UNCLEAR_END = 32, 64  # a part of the chunk may be dropped if there are masks beside it
_LETTER, _ONLY_LETTER = 128, 256  # holds, or is, a single letter or "-", which may form a word with those in the chunks beside it
_MASKED = 512  # a chunk with a mask

_INTRODUCTIONS = {"rt", "mt", "via", "cc", ".", "(", '"'}
_SIGNATURES = {"via", "cc", "h/t"}
_MAYBE_BEGINNING = re.compile(r'[:,;)]|[.("] ?(?:rt|mt|via|cc)$')
_MAYBE_END = re.compile(r'[.,;:!?)" ]+$|.* (?:via|cc|h/t)$')
_CONTRACTED = re.compile(r"(?:^| )[\"'(#]?(?:[tm]|ll|re|ve)(?!\w)")
_LETTERS = re.compile(r"(?:^|[ \"'(#])[^\W\d_](?!\w)|(?:^| )-(?= |$)")
_ONLY = re.compile(r"[^\W\d_]\.?|-")
# Most chunks become this. They hold neither masks nor single letters, and words stand beside a hashtag only at the end.
_WORD = r"(?!(?:ll|re|ve|via|cc)\b)[a-z]{2,}(?:'[a-z]+)?"
_USUAL = re.compile(
    rf"""(?!["'(#]?(?:ll|re|ve)(?!\w)|["(]?(?:rt|mt|via|cc)$)["'(#]?(?:[a-z]\w|\d)[!-%'-;=?\[-~]*"""
    rf"(?: {MARK}({_WORD}(?: {_WORD})*){MARK})?",
    re.ASCII,
)
_DIGIT = re.compile(r"\d")


def pack(begins: str, kind: int = 0, digits: int = 0, expects: str = "") -> int:
    """Put what is known about a chunk besides its tokens into one number, 16 bits for each.

    Parameters
    ----------
    begins : str
        How it begins, apart from apostrophes.
    kind : int
        What it is, as bits.
    digits : int
        The number of its digits.
    expects : str
        The words put beside a hashtag at its end; they are removed if the same words follow it anyway.
    """
    return kind | min(_PHONE_DIGITS, digits) << 16 | min(ord(begins[:1] or _END), 0xFFFF) << 32 | ord(expects[:1] or _END) << 48


def facts(reading: str) -> int:
    """Return what must be known about a chunk for which `models.chunks.read_chunk` returned `reading`."""
    if len(reading) <= _LONGEST and (usual := _USUAL.fullmatch(reading)):
        kind = _LETTER if _LETTERS.search(reading) else 0
        return pack(reading.lstrip("'"), kind, len(_DIGIT.findall(reading)), usual[1] or "")
    shown = " ".join(reading.replace(MARK, " ").split())
    letters = _LETTERS.findall(shown)
    certain = shown and len(shown) <= _LONGEST and (easily_repaired(shown) or "").strip() == shown and not _CONTRACTED.search(shown)
    if not certain or (len(letters) > 1 and " " in shown):
        return _ODD
    words, _, after = reading.partition(MARK)[2].partition(MARK)
    if after := after.lstrip(" '"):
        if MARK in after or after[0] == words[0]:
            return _ODD
        words = ""
    kind = _at_edges(shown) | (_LETTER if letters else 0) | (_ONLY_LETTER if _ONLY.fullmatch(shown) else 0)
    return pack(shown.lstrip(" '"), kind, len(_DIGIT.findall(shown)), words)


def _at_edges(shown: str) -> int:
    """Return what becomes of a chunk beside masks at the edges of a post."""
    if USER in shown or PLACEHOLDER.search(shown):
        return _MASKED | (_LEADS if LEADING.fullmatch(shown) else 0) | (_TRAILS if TRAILING.fullmatch(shown) else 0)
    beginning = _INTRODUCES if shown in _INTRODUCTIONS else bool(_MAYBE_BEGINNING.match(shown)) * _UNCLEAR_BEGINNING
    return beginning | (_SIGNS if shown in _SIGNATURES else bool(_MAYBE_END.match(shown)) * _UNCLEAR_END)


_Facts = NDArray[np.uint16]


class _Rows(dict[str, int]):
    """The row of each chunk; new ones get the next row, and wait in `new` to be learned. `characters` is the length of all."""

    def __init__(self) -> None:
        self.new = list[str]()
        self.characters = 0

    def __missing__(self, chunk: str) -> int:
        row = self[chunk] = len(self)
        self.new.append(chunk)
        self.characters += len(chunk)
        return row

    def take_new(self) -> list[str]:
        """Return the new chunks, which then count as learned."""
        new, self.new = self.new, []
        return new


class ChunkTable:
    """The token codes of chunks, and facts about the chunks.

    Attributes
    ----------
    rows : dict of str to int
        The row of each chunk.
    """

    def __init__(self) -> None:
        self.rows = _Rows()
        self._codes, self._ends, self._facts = array("q"), array("q", [0]), array("Q")
        self.rows[_END] = 0
        self.add([()], [pack(".")])

    def add(self, codes: Sequence[Sequence[int]], known: Sequence[int]) -> None:
        """Add the codes and facts of the chunks that have the next rows."""
        self._ends.extend(islice(accumulate(map(len, codes), initial=len(self._codes)), 1, None))
        self._codes.extend(chain.from_iterable(codes))
        self._facts.extend(known)

    def __len__(self) -> int:
        """Return the number of chunks that were learned."""
        return len(self._ends) - 1

    def find(self, posts: Sequence[str]) -> Int64s:
        """Return the rows of the chunks of easily repaired posts, with row 0 after each; chunks in ``rows.new`` are not learned yet."""
        together = set_off_placeholders(f" {_END} ".join([*posts, ""])).replace("`", "'")
        return np.fromiter(map(self.rows.__getitem__, together.split()), np.int64)

    def read(self, rows: Int64s) -> tuple[Int64s, Int64s, NDArray[np.bool_]]:
        """Return the tokens of posts.

        Parameters
        ----------
        rows : ndarray of int64
            Rows from `find`, all learned.

        Returns
        -------
        codes : ndarray of int64, shape (n_tokens,)
            The codes of the tokens of all posts.
        lengths : ndarray of int64, shape (n_posts,)
            The number of tokens of each post.
        odd : ndarray of bool, shape (n_posts,)
            The posts that must be normalised as a whole; for these, there are no codes.
        """
        ends = np.flatnonzero(rows == 0)
        starts = np.concatenate([[0], ends[:-1] + 1])
        around = np.concatenate([[0], rows, [0]])
        known = np.frombuffer(self._facts, "<u8")[around].view("<u2").reshape(-1, 4).T
        (before, _, _, _), (kind, digits, _, expects), (after, _, begins_after, _) = known[:, :-2], known[:, 1:-1], known[:, 2:]
        leads, trails = kind & _LEADS > 0, kind & _TRAILS > 0
        leads |= (kind & _INTRODUCES > 0) & (after & _LEADS > 0) & ((begins_after == ord("@")) | (begins_after == ord("<")))
        trails |= (kind & _SIGNS > 0) & (after & _TRAILS > 0)
        stay, stay_at_end = np.flatnonzero(~leads), np.concatenate([[-1], np.flatnonzero(~trails)])
        first, last = stay[np.searchsorted(stay, starts)], stay_at_end[np.searchsorted(stay_at_end, ends) - 1]
        alone = kind & _ODD > 0
        alone |= (before & after & _LETTER > 0) & (kind & _ONLY_LETTER > 0)
        alone |= (expects > 0) & ((begins_after == expects) | (begins_after == 0))
        odd = _may_hold_phone(kind, digits, starts, ends) | (last < first) & (first < ends)
        odd[np.searchsorted(ends, np.flatnonzero(alone))] = True
        odd |= _is_unclear_at_beginning(kind[first], after[first], first > starts)
        odd |= _is_unclear_at_end(kind[last], before[last], last + 1 < ends)
        chunks = np.where(odd, 0, np.maximum(last + 1 - first, 0))
        rows = rows[runs(first, chunks)]
        upto = np.frombuffer(self._ends, np.int64)
        tokens = upto[rows + 1] - upto[rows]
        so_far = np.concatenate([[0], np.cumsum(tokens)])
        upto_post = np.cumsum(chunks)
        return np.frombuffer(self._codes, np.int64)[runs(upto[rows], tokens)], so_far[upto_post] - so_far[upto_post - chunks], odd


def _is_unclear_at_beginning(first: _Facts, after: _Facts, dropped: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return in which posts these facts do not say where the masks at the beginning end, given whether any chunk before was dropped."""
    unclear = (first & _MASKED > 0) | (first & _UNCLEAR_BEGINNING > 0) & dropped
    return unclear | (first & (_INTRODUCES | _UNCLEAR_BEGINNING) > 0) & (after & (_INTRODUCES | _UNCLEAR_BEGINNING | _MASKED) > 0)


def _is_unclear_at_end(last: _Facts, before: _Facts, dropped: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return in which posts these facts do not say where the masks at the end begin, given whether any chunk after was dropped."""
    return (last & _MASKED > 0) | (last & _UNCLEAR_END > 0) & (dropped | (before & (_UNCLEAR_END | _MASKED) > 0))


def _may_hold_phone(kind: _Facts, digits: _Facts, starts: Int64s, ends: Int64s) -> NDArray[np.bool_]:
    """Return which posts have seven digits with nothing between them but what may stand in a phone number; only "-" may stand alone."""
    found = np.add.reduceat(digits, starts, dtype=np.int64) >= _PHONE_DIGITS
    if not len(posts := np.flatnonzero(found)):
        return found
    lengths = ends[posts] - starts[posts]
    chunks = runs(starts[posts], lengths)
    run = np.repeat(posts, lengths) + np.cumsum((digits[chunks] == 0) & (kind[chunks] & _ONLY_LETTER == 0))
    found[posts] = np.maximum.reduceat(np.bincount(run, digits[chunks])[run], np.cumsum(lengths) - lengths) >= _PHONE_DIGITS
    return found


def runs(starts: Int64s, lengths: Int64s) -> Int64s:
    """Return runs of consecutive numbers, one run after another, given where each starts and how long it is.

    Examples
    --------
    >>> runs(np.array([7, 0]), np.array([2, 3])).tolist()
    [7, 8, 0, 1, 2]
    """
    ends = np.cumsum(lengths)
    return np.repeat(starts - (ends - lengths), lengths) + np.arange(ends[-1] if len(ends) else 0)
