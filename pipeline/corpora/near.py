"""Finds posts that nearly repeat another one, in time that grows with their number, not with the number of pairs."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.corpora.wording import SHORT, count_words, outline, wording

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

NEAR = 0.8  # minimum Jaccard similarity of near-duplicates' runs of characters
_RUN = 5  # length of a run in characters; enough runs survive if one word in twenty is changed, which is not true of words
# Bands and rows of the index. It misses one in 4,500 pairs with a similarity of 0.8. False candidates cost little: each is verified.
_BANDS, _ROWS = 16, 4
_COMPARED = 3  # a text of a large group is compared with this many neighbours, and with this many of the first texts of every split
_MOST = 10  # near-duplicates per split that a text is paired with, so that a thousand variants of one text do not make a million pairs
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_AT_ONCE = 50_000  # pairs to verify at a time, which bounds the memory
_PRODUCTS = 4_000_000  # pairs to compare at a time where all are compared

# A text that another one contains whole counts as quoted there if it has this many words, or makes up this share of the other one.
_QUOTED, _MOSTLY = 12, 0.7
_START, _WHOLE = 5, 60  # number of words by which such a text is looked up, and maximum number of words that are compared

Pairs = NDArray[np.int64]  # shape (n_pairs, 2), the smaller index first


def _runs(outlines: Sequence[str]) -> "csr_matrix":
    """Return which runs of five characters each text holds, as a sparse matrix of 0 and 1 with a column for every hash of a run."""
    from scipy.sparse import csr_matrix

    codes = np.frombuffer("".join(outlines).encode("utf-32-le"), np.uint32).astype(np.uint64)
    hashes = np.zeros(len(codes) - _RUN + 1, np.uint64)
    for place in range(_RUN):
        hashes = (hashes + codes[place : place + len(hashes)]) * _MULTIPLIER
    ends = np.cumsum([len(outline) for outline in outlines])
    within = np.ones(len(codes), bool)
    within[(ends[:, None] - np.arange(1, _RUN)).ravel()] = False  # leave out runs that would reach into the next text
    pointers = np.r_[0, ends - (_RUN - 1) * np.arange(1, len(ends) + 1)]
    columns = (hashes[within[: len(hashes)]] >> np.uint64(2)).astype(np.int64)
    runs = csr_matrix((np.ones(len(columns), np.float32), columns, pointers), (len(outlines), 2**62))
    runs.sum_duplicates()
    runs.data[:] = 1
    return runs


def _bands(runs: "csr_matrix") -> NDArray[np.uint64]:
    """Return a key for each text and band (MinHash; Leskovec, Rajaraman & Ullman, Mining of Massive Datasets, 3.4).

    The probability that two texts have the same key in a band is the fourth power of their similarity.
    """
    random = np.random.default_rng(0)
    hashes, keys = runs.indices.astype(np.uint64), np.zeros((runs.shape[0], _BANDS), np.uint64)
    for band in range(_BANDS):
        for factor, shift, mix in random.integers(1, 2**63, (_ROWS, 3), np.uint64) | np.uint64(1):
            least = np.minimum.reduceat((hashes * factor + shift) >> np.uint64(32), runs.indptr[:-1])
            keys[:, band] = (keys[:, band] ^ least) * mix
    return keys


def _distinct(pairs: Pairs) -> Pairs:
    """Sort pairs, and leave out repeats and pairs of a text with itself."""
    ordered = np.sort(pairs, axis=1)
    base = int(ordered.max(initial=0)) + 1
    codes = np.unique(ordered[:, 0] * base + ordered[:, 1])
    ordered = np.stack([codes // base, codes % base], axis=1)
    return ordered[ordered[:, 0] < ordered[:, 1]]


def _first_of_each_split(members: NDArray[np.int64], inside: NDArray[np.bool_]) -> NDArray[np.int64]:
    return np.unique(np.concatenate([members[inside[members, split]][:_COMPARED] for split in range(inside.shape[1])]))


def _candidates(keys: NDArray[np.uint64], inside: NDArray[np.bool_]) -> Pairs:
    """Return pairs of texts that have the same key in a band.

    If up to eleven texts have a key, each is paired with every other. There may be more, as when many texts come from one template. Each is
    then paired with the first texts of every split and with its neighbours. For this, the texts are sorted by their key in the next band,
    which puts texts that also share that key next to each other.
    """
    found = [np.zeros((0, 2), np.int64)]
    for band in range(_BANDS):
        order = np.lexsort((keys[:, (band + 1) % _BANDS], keys[:, band]))
        ordered = keys[order, band]
        starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
        sizes = np.diff(np.r_[starts, len(order)])
        large = sizes > _MOST + 1
        in_small = np.repeat(~large, sizes)
        for step in range(1, _MOST + 1):
            same = (ordered[:-step] == ordered[step:]) & (in_small[step:] | (step <= _COMPARED))
            found.append(np.stack([order[:-step][same], order[step:][same]], axis=1))
        for start, size in zip(starts[large].tolist(), sizes[large].tolist(), strict=True):
            members = np.sort(order[start : start + size])
            first = _first_of_each_split(members, inside)
            found.append(np.stack([np.repeat(first, size), np.tile(members, len(first))], axis=1))
    return _distinct(np.concatenate(found))


def _similarities(runs: "csr_matrix", pairs: Pairs) -> NDArray[np.float64]:
    """Return the Jaccard similarity of each pair of texts."""
    sizes, shared = np.diff(runs.indptr), np.zeros(len(pairs))
    for start in range(0, len(pairs), _AT_ONCE):
        one, other = pairs[start : start + _AT_ONCE].T
        shared[start : start + _AT_ONCE] = np.asarray(runs[one].multiply(runs[other]).sum(axis=1)).ravel()
    similarities: NDArray[np.float64] = shared / (sizes[pairs].sum(axis=1) - shared)
    return similarities


def compare_all(wordings: Sequence[Sequence[str]], others: Sequence[Sequence[str]] = ()) -> Pairs:
    """Compare each of a few posts with all, and return the pairs that share four fifths of their runs of five characters.

    Unlike `near_duplicates`, this misses no pair, and its time grows with the number of pairs.

    Parameters
    ----------
    wordings : sequence of sequences of str
        What `wording` returns for each of the few posts, which are also compared with each other.
    others : sequence of sequences of str
        The same for posts that are not compared with each other.

    Returns
    -------
    ndarray of int, shape (n_pairs, 2)
        Indices of two posts, the smaller first; the others are numbered after the few.

    Examples
    --------
    >>> compare_all([["she", "was", "followed"], ["thank", "you"]], [["she", "was", "followed", "a"]]).tolist()
    [[0, 2]]
    """
    from scipy.sparse import csr_matrix

    outlines = [outline(words) for words in (*wordings, *others)]
    long = np.array([number for number, text in enumerate(outlines) if len(text) >= _RUN], np.int64)
    few, pairs = int(np.searchsorted(long, len(wordings))), [np.zeros((0, 2), np.int64)]
    if few:
        runs = _runs([outlines[number] for number in long])
        runs = csr_matrix((runs.data, np.unique(runs.indices, return_inverse=True)[1], runs.indptr))
        sizes, step = np.diff(runs.indptr), 1 + _PRODUCTS // len(long)
        for start in range(0, few, step):
            shared = (runs[start : min(start + step, few)] @ runs.T).tocoo()
            one, other = shared.row + start, shared.col
            near = (one < other) & (shared.data / (sizes[one] + sizes[other] - shared.data) >= NEAR)
            pairs.append(long[np.stack([one[near], other[near]], axis=1)])
    return np.concatenate(pairs)


def _quotations(wordings: Sequence[Sequence[str]]) -> Iterator[tuple[int, int]]:
    """Find texts that another text contains whole, and yield the indices of both."""
    starts: defaultdict[tuple[str, ...], set[int]] = defaultdict(set)
    whole: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    for number, words in enumerate(wordings):
        looked_for = tuple(words[:_WHOLE])
        starts[looked_for[:_START]].add(len(looked_for))
        if len(whole[looked_for]) < _MOST:
            whole[looked_for].append(number)
    for number, words in enumerate(wordings):
        searched = words[: 10 * _WHOLE]
        for place, start in enumerate(zip(*(searched[begin:] for begin in range(_START)), strict=False)):
            for length in starts.get(start, ()):
                quoted = whole.get(tuple(words[place : place + length]), ()) if place + length <= len(words) else ()
                yield from ((other, number) for other in quoted if other != number and len(wordings[other]) <= len(words))


def _is_quoted(quoted: Sequence[str], whole: Sequence[str]) -> bool:
    return count_words(quoted) >= _QUOTED or count_words(quoted) >= _MOSTLY * count_words(whole)


def _wanted(pairs: Pairs, inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which pairs hold one of the first ten near-duplicates that a text has in a split."""
    ends = np.concatenate([pairs, pairs[:, ::-1]])
    order = np.lexsort((ends[:, 1], ends[:, 0]))
    text, partner = ends[order].T
    wanted = np.zeros(len(ends), bool)
    for split in range(inside.shape[1]):
        there = np.flatnonzero(inside[partner, split])
        rank = np.arange(len(there)) - np.searchsorted(text[there], text[there])
        wanted[order[there[rank < _MOST]]] = True
    return wanted[: len(pairs)] | wanted[len(pairs) :]


def near_duplicates(
    wordings: Sequence[Sequence[str]], where: Sequence[Collection[str]], shortest: float = SHORT
) -> list[tuple[int, int, float]]:
    """Find pairs of posts in which one nearly repeats the other.

    Two posts nearly repeat each other if they share four fifths of the runs of five characters in their words. They also do so if one
    contains the whole of the other. The contained one must have at least twelve words or make up seven tenths of the longer one.

    Parameters
    ----------
    wordings : sequence of sequences of str
        What `wording` returns for each post.
    where : sequence of collections of str
        The splits that each post is in. A post is paired with its first ten near-duplicates of every split.
    shortest : float
        Minimum number of words; shorter posts are left out.

    Returns
    -------
    list of (int, int, float)
        Indices of two posts, the smaller first, and their Jaccard similarity, in ascending order.

    Examples
    --------
    >>> one = "my boss would not stop asking me out".split()
    >>> near_duplicates([one, "we marched through town today".split(), [*one, "again"]], [["all"]] * 3)
    [(0, 2, 0.8421052631578947)]
    """
    long = [number for number, words in enumerate(wordings) if count_words(words) >= shortest and len(outline(words)) >= _RUN]
    if len(long) < 2:
        return []
    chosen, splits = [wordings[number] for number in long], sorted({split for number in long for split in where[number]})
    inside = np.array([[split in where[number] for split in splits] for number in long], bool)
    runs = _runs([outline(words) for words in chosen])
    pairs = _candidates(_bands(runs), inside)
    pairs = pairs[_similarities(runs, pairs) >= NEAR]
    quoted = [pair for pair in set(_quotations(chosen)) if _is_quoted(chosen[pair[0]], chosen[pair[1]])]
    pairs = _distinct(np.concatenate([pairs, np.array(quoted, np.int64).reshape(-1, 2)]))
    pairs = pairs[_wanted(pairs, inside)]
    numbers = np.array(long)[pairs].tolist()
    return [(one, other, similarity) for (one, other), similarity in zip(numbers, _similarities(runs, pairs).tolist(), strict=True)]


def nearly_held_out(train: Sequence[str], held_out: set[str]) -> set[str]:
    """Return the texts that nearly repeat a held-out text.

    Parameters
    ----------
    train : sequence of str
        Normalised texts to learn from.
    held_out : set of str
        Normalised texts of the other splits.
    """
    texts = [*dict.fromkeys(train), *sorted(held_out.difference(train))]
    where = [["held out"] if text in held_out else ["train"] for text in texts]
    leaked = set()
    for one, other, _ in near_duplicates([wording(text, normalised=True) for text in texts], where) if held_out else []:
        if where[one] != where[other]:
            leaked.add(texts[one if where[one] == ["train"] else other])
    return leaked
