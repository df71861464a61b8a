"""Learn the n-grams of tokenised posts and count them once per distinct token, using exact integer keys.

Character n-grams (`char_wb`) never cross the boundary of a token, so the counts of a batch are the product
(posts x tokens) @ (distinct tokens x n-grams).
"""

from collections.abc import Iterable, Iterator
from itertools import repeat
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.arrays import Float32s, Int64s
from models.cache import RowCache
from models.errors import InputError
from models.keys import KeyTable
from models.tokens import TokenBatch

_CHUNK = 4096  # number of posts counted at a time during fitting, to bound memory


def post_of_token(tokens: TokenBatch) -> Int64s:
    """Return the index of the post that each token belongs to."""
    return np.repeat(np.arange(len(tokens)), np.diff(tokens.offsets))


def count_pairs(rows: Int64s, columns: Int64s, shape: tuple[int, int]) -> sparse.csr_matrix:
    """Count (row, column) pairs.

    Parameters
    ----------
    rows, columns : ndarray of int64, shape (n_pairs,)
        The pairs; those with a column below zero are skipped.
    shape : (int, int)
        Number of rows and columns of the result.

    Returns
    -------
    csr_matrix of float32

    Examples
    --------
    >>> count_pairs(np.array([0, 0, 1]), np.array([2, 2, -1]), (2, 3)).toarray().tolist()
    [[0.0, 0.0, 2.0], [0.0, 0.0, 0.0]]
    """
    kept = columns >= 0
    ones = np.ones(int(kept.sum()), np.float32)
    return sparse.csr_matrix((ones, (rows[kept], columns[kept])), shape=shape)


def look_up(sorted_keys: Int64s, keys: Int64s) -> Int64s:
    """Find keys in a sorted array.

    Parameters
    ----------
    sorted_keys : ndarray of int64
        Distinct keys in ascending order.
    keys : ndarray of int64, shape (n_keys,)
        Keys to find.

    Returns
    -------
    ndarray of int64, shape (n_keys,)
        Position of each key in `sorted_keys`, or -1 if it is absent.

    Examples
    --------
    >>> look_up(np.array([10, 20, 30]), np.array([30, 15])).tolist()
    [2, -1]
    """
    if not len(sorted_keys):
        return np.full(len(keys), -1, np.int64)
    positions = np.minimum(np.searchsorted(sorted_keys, keys), len(sorted_keys) - 1)
    return np.where(sorted_keys[positions] == keys, positions, -1)


def _code_points(strings: Iterable[str]) -> Int64s:
    """Return the code points of all strings, one after another."""
    return np.frombuffer("".join(strings).encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.int64)


def _in_chunks(matrix: sparse.csr_matrix, size: int) -> Iterator[sparse.csr_matrix]:
    """Yield the rows of a matrix, `size` at a time, and at least once."""
    if matrix.shape[0] <= size:
        yield matrix  # slicing would copy it
    else:
        yield from (matrix[start : start + size] for start in range(0, matrix.shape[0], size))


class WordCounter:
    """Count word n-grams (single words and pairs) of a fixed vocabulary."""

    def __init__(self, vocabulary: list[str]) -> None:
        self.vocabulary = vocabulary
        self.column = {term: column for column, term in enumerate(vocabulary) if " " not in term}
        of_pairs = [column for column, term in enumerate(vocabulary) if " " in term]
        words = [word for column in of_pairs for word in vocabulary[column].split(" ")]
        left, right = np.fromiter(map(self.column.__getitem__, words), np.int64).reshape(len(of_pairs), 2).T
        self.pairs = KeyTable(left * len(vocabulary) + right)
        self.pair_column = np.array(of_pairs, np.int64)

    def _find(self, tokens: TokenBatch, rows: Int64s) -> tuple[Int64s, Int64s, Int64s]:
        """Return the column of each token (-1 if unknown), the positions where known pairs begin, and the pairs' columns."""
        of_type = np.fromiter(map(self.column.get, tokens.types, repeat(-1)), np.int64, len(tokens.types))
        columns = of_type[tokens.codes]
        if not len(self.pair_column) or len(columns) < 2:
            return columns, np.empty(0, np.int64), np.empty(0, np.int64)
        left, right = columns[:-1], columns[1:]
        adjacent = np.flatnonzero((rows[:-1] == rows[1:]) & (left >= 0) & (right >= 0))
        found = self.pairs.look_up(left[adjacent] * len(self.vocabulary) + right[adjacent])
        return columns, adjacent[found >= 0], self.pair_column[found[found >= 0]]

    def count(self, tokens: TokenBatch) -> sparse.csr_matrix:
        """Count how often each post holds each n-gram, shape (n_posts, n_ngrams)."""
        columns, begin, pair_columns = self._find(tokens, post_of_token(tokens))
        found = np.full((len(columns), 2), -1)  # each token, and the pair that begins with it
        found[:, 0] = columns
        found[begin, 1] = pair_columns
        known = found.ravel() >= 0
        ends = np.concatenate([[0], np.cumsum(known)])[2 * tokens.offsets]
        ones = np.ones(int(ends[-1]), np.float32)
        counts = sparse.csr_matrix((ones, found.ravel()[known], ends), shape=(len(tokens), len(self.vocabulary)))
        counts.sum_duplicates()
        return counts

    def count_in_chunks(self, tokens: TokenBatch, size: int) -> Iterator[sparse.csr_matrix]:
        """Yield the rows of `count`, `size` at a time."""
        yield from _in_chunks(self.count(tokens), size)

    def share(self, tokens: TokenBatch, owners: Int64s, n_owners: int) -> sparse.csr_matrix:
        """Count the occurrences of each n-gram by owner of the token; a pair counts one half for the owner of each of its words.

        Parameters
        ----------
        tokens : TokenBatch
            Posts.
        owners : ndarray of int64, shape (n_tokens,)
            Index of the owner of each token.
        n_owners : int
            Number of owners.

        Returns
        -------
        csr_matrix, shape (n_owners, n_ngrams)
        """
        columns, begin, pair_columns = self._find(tokens, post_of_token(tokens))
        shape = (n_owners, len(self.vocabulary))
        pairs = count_pairs(owners[begin], pair_columns, shape) + count_pairs(owners[begin + 1], pair_columns, shape)
        return count_pairs(owners, columns, shape) + pairs / 2


class _Grams(NamedTuple):
    """The n-grams of the tokens seen so far, with room for more."""

    columns: NDArray[np.int32]
    ones: Float32s
    matrix: sparse.csr_matrix


class CharacterCounter:
    """Count character n-grams within space-padded tokens, as scikit-learn's ``analyzer="char_wb"`` does."""

    BITS = 12  # bits per character: the codes of five characters fit into one 64-bit key
    REMEMBERED = 2**15  # number of tokens whose n-grams are cached

    def __init__(self, vocabulary: list[str], low: int, high: int) -> None:
        self.vocabulary, self.low, self.high = vocabulary, low, high
        points = _code_points(vocabulary)
        self.alphabet = np.unique(points)
        codes = look_up(self.alphabet, points) + 1
        lengths = np.fromiter(map(len, vocabulary), np.int64, len(vocabulary))
        starts = np.cumsum(lengths) - lengths
        keys = np.zeros(len(vocabulary), np.int64)
        for place in range(high):
            longer = lengths > place
            keys[longer] = (keys[longer] << self.BITS) | codes[starts[longer] + place]
        self.keys = KeyTable(keys)
        self._known = RowCache[_Grams](self.REMEMBERED, self._none)

    @classmethod
    def keys_of(cls, types: list[str], alphabet: Int64s, low: int, high: int) -> tuple[Int64s, Int64s]:
        """Return the n-grams of space-padded tokens as pairs of a token and an integer key.

        Parameters
        ----------
        types : list of str
            Tokens, without padding.
        alphabet : ndarray of int64
            Sorted code points of the known characters; n-grams with any other character are left out.
        low, high : int
            Length of the shortest and the longest n-gram.

        Returns
        -------
        types, keys : ndarray of int64, shape (n_ngrams,)
            Index of the token, and key of the n-gram.
        """
        points = _code_points([" ", "  ".join(types), " "] if types else [])
        codes = look_up(alphabet, points) + 1
        lengths = np.fromiter(map(len, types), np.int64, len(types)) + 2
        ends = np.cumsum(lengths)
        type_of = np.repeat(np.arange(len(types)), lengths)
        left = np.repeat(ends, lengths) - np.arange(len(points))  # number of characters from here to the token's end
        start = np.zeros(len(points), bool)
        start[ends - lengths] = True
        key = np.zeros(len(points), np.int64)
        known = np.ones(len(points), bool)
        owners, keys = [], []
        for size in range(1, high + 1):
            rest = codes[size - 1 :]
            shifted = np.zeros(len(points), np.int64)
            shifted[: len(rest)] = rest
            inside = left >= size
            known &= ~inside | (shifted > 0)
            key = np.where(inside, (key << cls.BITS) | shifted, key)
            if size >= low:
                wanted = known & inside
                owners.append(type_of[wanted])
                keys.append(key[wanted])
        # A token shorter than `low` is one n-gram by itself, as in scikit-learn.
        short = known & start & (left < low)
        owners.append(type_of[short])
        keys.append(key[short])
        return np.concatenate(owners), np.concatenate(keys)

    def of(self, types: list[str]) -> sparse.csr_matrix:
        """Return the n-grams of each token, shape (n_types, n_features); an n-gram that occurs twice is stored twice."""
        rows, grams = self._known.look_up(types, self._learn)
        return grams.matrix[rows]

    def count(self, tokens: TokenBatch) -> sparse.csr_matrix:
        """Count how often each post holds each n-gram, shape (n_posts, n_ngrams)."""
        (counts,) = self.count_in_chunks(tokens, max(1, len(tokens)))
        return counts

    def count_in_chunks(self, tokens: TokenBatch, size: int) -> Iterator[sparse.csr_matrix]:
        """Yield the rows of `count`, `size` at a time."""
        rows, grams = self._known.look_up(tokens.types, self._learn)
        shape, ones = (len(tokens), grams.matrix.shape[0]), np.ones(len(tokens.codes), np.float32)
        posts = sparse.csr_matrix((ones, rows[tokens.codes], tokens.offsets), shape=shape)
        yield from (some @ grams.matrix for some in _in_chunks(posts, size))

    def share(self, tokens: TokenBatch, owners: Int64s, n_owners: int) -> sparse.csr_matrix:
        """Count the occurrences of each n-gram by owner of the token.

        Parameters
        ----------
        tokens : TokenBatch
            Posts.
        owners : ndarray of int64, shape (n_tokens,)
            Index of the owner of each token.
        n_owners : int
            Number of owners.

        Returns
        -------
        csr_matrix, shape (n_owners, n_ngrams)
        """
        return count_pairs(owners, tokens.codes, (n_owners, len(tokens.types))) @ self.of(tokens.types)

    def _none(self, _room: int) -> _Grams:
        return _Grams(np.empty(0, np.int32), np.empty(0, np.float32), sparse.csr_matrix((1, len(self.vocabulary)), dtype=np.float32))

    def _learn(self, grams: _Grams, first: int, types: list[str]) -> _Grams:
        """Append the n-grams of new tokens."""
        owners, keys = self.keys_of(types, self.alphabet, self.low, self.high)
        found = self.keys.look_up(keys)
        owners, found = owners[found >= 0], found[found >= 0]
        (columns, ones, matrix), start, stop = grams, grams.matrix.nnz, grams.matrix.nnz + len(found)
        if stop > len(columns):
            columns, ones = np.empty(2 * stop, np.int32), np.ones(2 * stop, np.float32)
            columns[:start] = matrix.indices
        columns[start:stop] = found[np.argsort(owners, kind="stable")]
        ends = start + np.cumsum(np.bincount(owners, minlength=len(types)))
        ends = np.concatenate([matrix.indptr, ends.astype(np.int32)])
        return _Grams(columns, ones, sparse.csr_matrix((ones[:stop], columns[:stop], ends), shape=(first + len(types), matrix.shape[1])))


def _spread(rows: Int64s, columns: Int64s, size: int) -> Int64s:
    """Return in how many distinct rows each of `size` columns occurs."""
    return np.bincount(np.unique(rows * size + columns) % max(size, 1), minlength=size)


def _of_authors(tokens: TokenBatch, groups: Int64s) -> TokenBatch:
    """Join all posts of each author into one post."""
    order = np.argsort(groups, kind="stable")
    joined = tokens.take(order)
    ends = np.flatnonzero(np.diff(groups[order], append=-1)) + 1 if len(groups) else np.empty(0, np.int64)
    return TokenBatch(joined.types, joined.codes, joined.offsets[np.concatenate([[0], ends])])


def learn_words(tokens: TokenBatch, groups: Int64s, ngrams: int, min_df: int, min_authors: int) -> dict[str, tuple[int, int]]:
    """Find the word n-grams that are common enough.

    Parameters
    ----------
    tokens : TokenBatch
        Posts.
    groups : ndarray of int64, shape (n_posts,)
        Author of each post, numbered from 0.
    ngrams : {1, 2}
        Length of the longest n-gram.
    min_df, min_authors : int
        Minimum number of posts that contain an n-gram, and of authors who used it.

    Returns
    -------
    dict of str to (int, int)
        How many posts contain each n-gram, and how many authors used it; the words of a pair are joined by a space.
    """
    size = len(tokens.types)
    rows = post_of_token(tokens)
    found: dict[str, tuple[int, int]] = {}
    posts_with, authors_with = _spread(rows, tokens.codes, size), _spread(groups[rows], tokens.codes, size)
    for code in np.flatnonzero((posts_with >= min_df) & (authors_with >= min_authors)).tolist():
        found[tokens.types[code]] = int(posts_with[code]), int(authors_with[code])
    if ngrams == 2:
        adjacent = np.flatnonzero(rows[:-1] == rows[1:])
        pairs, pair_of = np.unique(tokens.codes[adjacent] * size + tokens.codes[adjacent + 1], return_inverse=True)
        posts_with = _spread(rows[adjacent], pair_of, len(pairs))
        authors_with = _spread(groups[rows[adjacent]], pair_of, len(pairs))
        for number in np.flatnonzero((posts_with >= min_df) & (authors_with >= min_authors)).tolist():
            left, right = divmod(int(pairs[number]), size)
            found[f"{tokens.types[left]} {tokens.types[right]}"] = int(posts_with[number]), int(authors_with[number])
    return found


def _posts_with(tokens: TokenBatch, of_type: sparse.csr_matrix) -> Int64s:
    """Return how many posts contain each n-gram, given the n-grams of each type."""
    found = np.zeros(of_type.shape[1], np.int64)
    for start in range(0, len(tokens), _CHUNK):
        offsets = tokens.offsets[start : start + _CHUNK + 1]
        codes = tokens.codes[offsets[0] : offsets[-1]]
        posts = sparse.csr_matrix(
            (np.ones(len(codes), np.float32), codes, offsets - offsets[0]), shape=(len(offsets) - 1, len(tokens.types))
        )
        found += np.bincount((posts @ of_type).indices, minlength=len(found))
    return found


def learn_characters(tokens: TokenBatch, groups: Int64s, low: int, high: int, min_df: int, min_authors: int) -> dict[str, tuple[int, int]]:
    """Find the character n-grams that are common enough.

    Parameters
    ----------
    tokens : TokenBatch
        Posts.
    groups : ndarray of int64, shape (n_posts,)
        Author of each post, numbered from 0.
    low, high : int
        Length of the shortest and the longest n-gram.
    min_df, min_authors : int
        Minimum number of posts that contain an n-gram, and of authors who used it.

    Returns
    -------
    dict of str to (int, int)
        How many posts contain each n-gram, which has a space where a token begins or ends, and how many authors used it.

    Raises
    ------
    InputError
        When there are more distinct characters than the keys can hold.
    """
    single = CharacterCounter([*sorted({character for token in tokens.types for character in token}), " "], 1, 1)
    common = np.bincount(single.count(tokens).indices, minlength=len(single.vocabulary)) >= min_df
    alphabet = np.array(sorted(ord(single.vocabulary[number]) for number in np.flatnonzero(common)), np.int64)
    if len(alphabet) >= 1 << CharacterCounter.BITS:
        limit = (1 << CharacterCounter.BITS) - 1
        fix = "raise char_min_df (features.char_min_df in a config)"
        raise InputError(f"got {len(alphabet)} distinct characters, but n-grams can use at most {limit}; {fix}")
    owners, keys = CharacterCounter.keys_of(tokens.types, alphabet, low, high)
    distinct, column = np.unique(keys, return_inverse=True)
    of_type = count_pairs(owners, column, (len(tokens.types), len(distinct)))
    posts_with = _posts_with(tokens, of_type)
    kept = np.flatnonzero(posts_with >= max(min_df, min_authors))
    authors_with = _posts_with(_of_authors(tokens, groups), of_type[:, kept])
    kept, authors_with = kept[authors_with >= min_authors], authors_with[authors_with >= min_authors]
    found = {}
    mask = (1 << CharacterCounter.BITS) - 1
    for number, authors in zip(kept.tolist(), authors_with.tolist(), strict=True):
        codes_of = [int(distinct[number]) >> CharacterCounter.BITS * place & mask for place in range(high)]
        gram = "".join(chr(alphabet[code - 1]) for code in reversed(codes_of) if code)
        found[gram] = int(posts_with[number]), authors
    return found
