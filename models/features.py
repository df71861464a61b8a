"""Sublinear TF-IDF of word and character n-grams, computed once per distinct token.

Character n-grams (`char_wb`) never cross a token, so the counts of a batch are
(posts x tokens) @ (distinct tokens x n-grams); n-grams are looked up as exact integer keys.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.errors import InputError
from models.privacy import may_show_characters, may_show_token, may_show_words
from models.tokens import TokenBatch

_CHUNK = 4096  # posts counted at a time while fitting, which bounds memory

Ints = NDArray[np.int64]


def _rows(tokens: TokenBatch) -> Ints:
    """Which post each token is of."""
    return np.repeat(np.arange(len(tokens)), np.diff(tokens.offsets))


def _counts(rows: Ints, columns: Ints, shape: tuple[int, int]) -> sparse.csr_matrix:
    """Count (row, column) pairs; columns below zero are left out."""
    kept = columns >= 0
    ones = np.ones(int(kept.sum()), np.float32)
    return sparse.csr_matrix((ones, (rows[kept], columns[kept])), shape=shape)


def _lookup(sorted_keys: Ints, keys: Ints) -> Ints:
    """Position of each key among `sorted_keys`, -1 where absent."""
    if not len(sorted_keys):
        return np.full(len(keys), -1, np.int64)
    positions = np.minimum(np.searchsorted(sorted_keys, keys), len(sorted_keys) - 1)
    return np.where(sorted_keys[positions] == keys, positions, -1)


def _code_points(strings: Iterable[str]) -> Ints:
    """All strings' characters, one after another."""
    return np.frombuffer("".join(strings).encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.int64)


def _normalise_rows(matrix: sparse.csr_matrix) -> None:
    """Scale each row to length one, in place.

    Every row is summed by itself, so that a post's features are the same bits whatever else is in the batch.
    """
    lengths = np.diff(matrix.indptr)
    filled = lengths > 0
    squares = np.square(matrix.data, dtype=np.float64)
    norms = np.sqrt(np.add.reduceat(squares, matrix.indptr[:-1][filled])) if len(squares) else squares
    matrix.data /= np.repeat(norms, lengths[filled])


def _weight(counts: sparse.csr_matrix, idf: NDArray[np.float32]) -> None:
    """Counts to sublinear TF-IDF with rows of length one, in place."""
    counts.data = (np.log(counts.data) + np.float32(1)) * idf[counts.indices]
    _normalise_rows(counts)


def _beside(blocks: list[sparse.csr_matrix]) -> sparse.csr_matrix:
    return sparse.hstack(blocks, format="csr") if len(blocks) > 1 else blocks[0]


def _cells(matrix: sparse.csr_matrix, row_names: Ints) -> Ints:
    """A number for the row's name and the column of each entry."""
    cells: Ints = np.repeat(row_names, np.diff(matrix.indptr)) * matrix.shape[1] + matrix.indices
    return cells


class _Words:
    """Counts word 1-grams, or 1- and 2-grams, of a fixed vocabulary."""

    def __init__(self, vocabulary: list[str]) -> None:
        self.vocabulary = vocabulary
        self.column = {term: column for column, term in enumerate(vocabulary) if " " not in term}
        size = len(vocabulary)
        pairs = []
        for column, term in enumerate(vocabulary):
            left, space, right = term.partition(" ")
            if space:
                pairs.append((self.column[left] * size + self.column[right], column))
        pairs.sort()
        self.keys = np.array([key for key, _ in pairs], np.int64)
        self.pair_column = np.array([column for _, column in pairs], np.int64)

    def _find(self, tokens: TokenBatch, rows: Ints) -> tuple[Ints, Ints, Ints]:
        """Column of each token, -1 where unknown; where known pairs begin, and their columns."""
        of_type = np.array([self.column.get(token, -1) for token in tokens.types], np.int64)
        columns = of_type[tokens.codes]
        if not len(self.keys) or len(columns) < 2:
            return columns, np.empty(0, np.int64), np.empty(0, np.int64)
        left, right = columns[:-1], columns[1:]
        adjacent = np.flatnonzero((rows[:-1] == rows[1:]) & (left >= 0) & (right >= 0))
        found = _lookup(self.keys, left[adjacent] * len(self.vocabulary) + right[adjacent])
        return columns, adjacent[found >= 0], self.pair_column[found[found >= 0]]

    def count(self, tokens: TokenBatch) -> sparse.csr_matrix:
        rows = _rows(tokens)
        columns, begin, pair_columns = self._find(tokens, rows)
        shape = (len(tokens), len(self.vocabulary))
        return _counts(np.concatenate([rows, rows[begin]]), np.concatenate([columns, pair_columns]), shape)

    def share(self, tokens: TokenBatch, owners: Ints, n_owners: int) -> sparse.csr_matrix:
        """How many of an n-gram's places are each owner's, given the owner of each token; of a pair's, half a place for either word."""
        columns, begin, pair_columns = self._find(tokens, _rows(tokens))
        shape = (n_owners, len(self.vocabulary))
        pairs = _counts(owners[begin], pair_columns, shape) + _counts(owners[begin + 1], pair_columns, shape)
        return _counts(owners, columns, shape) + pairs / 2


class _Characters:
    """Counts character n-grams within space-padded tokens, as ``analyzer="char_wb"`` does."""

    BITS = 12  # of a character's code; five of them fit an integer key exactly
    REMEMBERED = 2**16  # tokens

    def __init__(self, vocabulary: list[str], low: int, high: int) -> None:
        self.vocabulary, self.low, self.high = vocabulary, low, high
        points = _code_points(vocabulary)
        self.alphabet = np.unique(points)
        codes = _lookup(self.alphabet, points) + 1
        lengths = np.array([len(gram) for gram in vocabulary], np.int64)
        starts = np.cumsum(lengths) - lengths
        keys = np.zeros(len(vocabulary), np.int64)
        for place in range(high):
            longer = lengths > place
            keys[longer] = (keys[longer] << self.BITS) | codes[starts[longer] + place]
        self.order = np.argsort(keys)
        self.keys = keys[self.order]
        self.seen: dict[str, NDArray[np.int32]] = {}

    @classmethod
    def keys_of(cls, types: list[str], alphabet: Ints, low: int, high: int) -> tuple[Ints, Ints]:
        """N-grams of padded tokens as (type, key) pairs, leaving out those with a character outside `alphabet`."""
        points = _code_points(f" {token} " for token in types)
        codes = _lookup(alphabet, points) + 1
        lengths = np.array([len(token) + 2 for token in types], np.int64)
        ends = np.cumsum(lengths)
        type_of = np.repeat(np.arange(len(types)), lengths)
        left = np.repeat(ends, lengths) - np.arange(len(points))  # characters from here to the token's end
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
        # A token shorter than `low` is one n-gram by itself, as scikit-learn has it.
        short = known & start & (left < low)
        owners.append(type_of[short])
        keys.append(key[short])
        return np.concatenate(owners), np.concatenate(keys)

    def of(self, types: list[str]) -> sparse.csr_matrix:
        """N-grams of each token, shape (n_types, n_features); one that it holds twice stands there twice."""
        columns = self._columns(types)
        ends = np.cumsum(np.fromiter(map(len, columns), np.int64))
        every = np.concatenate(columns) if columns else np.empty(0, np.int32)
        shape = (len(types), len(self.vocabulary))
        return sparse.csr_matrix((np.ones(len(every), np.float32), every, np.concatenate([[0], ends])), shape=shape)

    def count(self, tokens: TokenBatch) -> sparse.csr_matrix:
        posts = sparse.csr_matrix(
            (np.ones(len(tokens.codes), np.float32), tokens.codes, tokens.offsets), shape=(len(tokens), len(tokens.types))
        )
        return posts @ self.of(tokens.types)

    def share(self, tokens: TokenBatch, owners: Ints, n_owners: int) -> sparse.csr_matrix:
        """How many of an n-gram's places are each owner's, given the owner of each token."""
        return _counts(owners, tokens.codes, (n_owners, len(tokens.types))) @ self.of(tokens.types)

    def _columns(self, types: list[str]) -> list[NDArray[np.int32]]:
        """Columns of each token's n-grams, looked up once for tokens that come again."""
        if len(self.seen) > self.REMEMBERED:
            self.seen = {}
        new = [token for token in types if token not in self.seen]
        owners, keys = self.keys_of(new, self.alphabet, self.low, self.high)
        found = _lookup(self.keys, keys)
        owners, columns = owners[found >= 0], self.order[found[found >= 0]].astype(np.int32)
        by_token = np.argsort(owners, kind="stable")
        ends = np.cumsum(np.bincount(owners, minlength=len(new)))
        self.seen.update(zip(new, np.split(columns[by_token], ends[:-1]), strict=False))
        return [self.seen[token] for token in types]


def _spread(rows: Ints, columns: Ints, size: int) -> Ints:
    """In how many distinct rows each of `size` columns stands."""
    return np.bincount(np.unique(rows * size + columns) % max(size, 1), minlength=size)


def _of_authors(tokens: TokenBatch, groups: Ints) -> TokenBatch:
    """One post for each author, made of all of theirs."""
    order = np.argsort(groups, kind="stable")
    joined = tokens.take(order)
    ends = np.flatnonzero(np.diff(groups[order], append=-1)) + 1 if len(groups) else np.empty(0, np.int64)
    return TokenBatch(joined.types, joined.codes, joined.offsets[np.concatenate([[0], ends])])


def _learn_words(tokens: TokenBatch, groups: Ints, ngrams: int, min_df: int, min_authors: int) -> dict[str, int]:
    """Word n-grams in at least `min_df` posts of `min_authors` authors, and how many posts hold each."""
    size = len(tokens.types)
    rows = _rows(tokens)
    found: dict[str, int] = {}
    posts_with = _spread(rows, tokens.codes, size)
    for code in np.flatnonzero((posts_with >= min_df) & (_spread(groups[rows], tokens.codes, size) >= min_authors)).tolist():
        found[tokens.types[code]] = int(posts_with[code])
    if ngrams == 2:
        adjacent = np.flatnonzero(rows[:-1] == rows[1:])
        pairs, pair_of = np.unique(tokens.codes[adjacent] * size + tokens.codes[adjacent + 1], return_inverse=True)
        posts_with = _spread(rows[adjacent], pair_of, len(pairs))
        authors_with = _spread(groups[rows[adjacent]], pair_of, len(pairs))
        for number in np.flatnonzero((posts_with >= min_df) & (authors_with >= min_authors)).tolist():
            left, right = divmod(int(pairs[number]), size)
            found[f"{tokens.types[left]} {tokens.types[right]}"] = int(posts_with[number])
    return found


def _posts_with(tokens: TokenBatch, of_type: sparse.csr_matrix) -> Ints:
    """How many posts hold each n-gram, given those of each type."""
    found = np.zeros(of_type.shape[1], np.int64)
    for start in range(0, len(tokens), _CHUNK):
        offsets = tokens.offsets[start : start + _CHUNK + 1]
        codes = tokens.codes[offsets[0] : offsets[-1]]
        posts = sparse.csr_matrix(
            (np.ones(len(codes), np.float32), codes, offsets - offsets[0]), shape=(len(offsets) - 1, len(tokens.types))
        )
        found += np.bincount((posts @ of_type).indices, minlength=len(found))
    return found


def _learn_characters(tokens: TokenBatch, groups: Ints, low: int, high: int, min_df: int, min_authors: int) -> dict[str, int]:
    """Character n-grams in at least `min_df` posts of `min_authors` authors, and how many posts hold each."""
    single = _Characters([*sorted({character for token in tokens.types for character in token}), " "], 1, 1)
    common = np.bincount(single.count(tokens).indices, minlength=len(single.vocabulary)) >= min_df
    alphabet = np.array(sorted(ord(single.vocabulary[number]) for number in np.flatnonzero(common)), np.int64)
    if len(alphabet) >= 1 << _Characters.BITS:
        limit = (1 << _Characters.BITS) - 1
        raise InputError(f"{len(alphabet)} distinct characters, at most {limit} can be n-gram features; raise features.char_min_df")
    owners, keys = _Characters.keys_of(tokens.types, alphabet, low, high)
    distinct, column = np.unique(keys, return_inverse=True)
    of_type = _counts(owners, column, (len(tokens.types), len(distinct)))
    posts_with = _posts_with(tokens, of_type)
    kept = np.flatnonzero(posts_with >= max(min_df, min_authors))
    if min_authors > 1:
        kept = kept[_posts_with(_of_authors(tokens, groups), of_type[:, kept]) >= min_authors]
    found = {}
    mask = (1 << _Characters.BITS) - 1
    for number in kept.tolist():
        codes_of = [int(distinct[number]) >> _Characters.BITS * place & mask for place in range(high)]
        gram = "".join(chr(alphabet[code - 1]) for code in reversed(codes_of) if code)
        found[gram] = int(posts_with[number])
    return found


def _without_types(tokens: TokenBatch, wanted: Callable[[str], bool]) -> TokenBatch:
    """The posts without the tokens that are not wanted."""
    kept = np.array([wanted(token) for token in tokens.types], bool)[tokens.codes]
    return TokenBatch(tokens.types, tokens.codes[kept], np.concatenate([[0], np.cumsum(kept)])[tokens.offsets])


class TfidfFeatures:
    """Word and character n-grams of tokenised posts, each block as scikit-learn's ``TfidfVectorizer`` gives it.

    The word block equals ``TfidfVectorizer(ngram_range=(1, word_ngrams), min_df=word_min_df, sublinear_tf=True)`` on the
    same tokens, the character block ``TfidfVectorizer(analyzer="char_wb", ngram_range=char_ngrams, min_df=char_min_df,
    sublinear_tf=True)`` on the tokens joined by spaces, columns in the same order.

    Parameters
    ----------
    word_ngrams : {1, 2}
        Longest word n-gram.
    char_ngrams : (int, int) or None
        Shortest and longest character n-gram, within 1 and 5; None for no character block.
    word_min_df, char_min_df : int
        Fewest posts that an n-gram must stand in.
    min_authors : int
        Fewest authors who must have used an n-gram.
    private : {"keep", "drop"}
        Whether to learn n-grams from tokens that look like names, handles, links or numbers. With "drop" no n-gram is one,
        has one in it or was learned from one; weights of n-grams that they share with other words are learned from them,
        too (English only, see `pipeline.privacy`).

    Attributes
    ----------
    words_, characters_ : list of str
        Vocabularies, sorted: the columns of the output, words first.
    idf_ : ndarray of float32, shape (n_features,)
        ``ln((1 + n_posts) / (1 + posts with it)) + 1``.
    """

    def __init__(
        self,
        word_ngrams: int = 2,
        char_ngrams: tuple[int, int] | None = (2, 5),
        word_min_df: int = 2,
        char_min_df: int = 3,
        min_authors: int = 1,
        private: Literal["keep", "drop"] = "keep",
    ) -> None:
        self.word_ngrams = word_ngrams
        self.char_ngrams = char_ngrams
        self.word_min_df = word_min_df
        self.char_min_df = char_min_df
        self.min_authors = min_authors
        self.private = private

    def fit(self, X: TokenBatch, groups: Ints | None = None) -> Self:
        """Learn vocabularies and document frequencies.

        Parameters
        ----------
        X : TokenBatch
            Posts.
        groups : ndarray of int, shape (n_posts,), optional
            Author of each post; by default each has its own.

        Raises
        ------
        InputError
            When no n-gram stands in enough posts, of enough authors, or the lists that ``private="drop"`` needs are missing.
        """
        authors = np.arange(len(X)) if groups is None else np.unique(groups, return_inverse=True)[1]
        words = _learn_words(X, authors, self.word_ngrams, self.word_min_df, self.min_authors)
        shown = X
        if self.private == "drop":
            words = {ngram: posts for ngram, posts in words.items() if may_show_words(ngram)}
            shown = _without_types(X, may_show_token)
        characters: dict[str, int] = {}
        if self.char_ngrams:
            characters = _learn_characters(shown, authors, *self.char_ngrams, self.char_min_df, self.min_authors)
        if self.private == "drop":
            characters = {ngram: posts for ngram, posts in characters.items() if may_show_characters(ngram)}
        if not words and not characters:
            raise InputError(self._nothing(len(X)))
        vocabularies = sorted(words), sorted(characters)
        posts_with = [words[ngram] for ngram in vocabularies[0]] + [characters[ngram] for ngram in vocabularies[1]]
        idf = np.log((1 + len(X)) / (1 + np.array(posts_with, np.int64))) + 1
        return self.restore(*vocabularies, idf.astype(np.float32))

    def _nothing(self, posts: int) -> str:
        authors, remedy = "", "lower features.word_min_df"
        if self.min_authors > 1:
            authors, remedy = f" by {self.min_authors} authors", "lower features.word_min_df or features.min_authors"
        shown = " and may be shown (features.private: drop)" if self.private == "drop" else ""
        return f"no n-gram stands in {self.word_min_df} of the {posts} posts{authors}{shown}; {remedy} or give more posts"

    def fit_transform(self, X: TokenBatch, groups: Ints | None = None) -> sparse.csr_matrix:
        """`fit`, then `transform` of the same posts."""
        return self.fit(X, groups).transform(X)

    def restore(self, words: list[str], characters: list[str], idf: NDArray[np.float32]) -> Self:
        """Set fitted attributes from stored ones."""
        self.words_, self.characters_, self.idf_ = words, characters, idf
        self._single = {word: number for number, word in enumerate(word for word in words if " " not in word)}
        self._blocks: list[_Words | _Characters] = [_Words(words)]
        if self.char_ngrams:
            self._blocks.append(_Characters(characters, *self.char_ngrams))
        return self

    def transform(self, X: TokenBatch) -> sparse.csr_matrix:
        """Compute features.

        Parameters
        ----------
        X : TokenBatch
            Posts; tokens never seen before count by the n-grams that they share with known ones.

        Returns
        -------
        csr_matrix of float32, shape (n_posts, n_features)
            Each block L2-normalised per post.
        """
        weighted = []
        for block, idf in self._parts():
            counts = block.count(X)
            _weight(counts, idf)
            weighted.append(counts)
        return _beside(weighted)

    def of_words(self, types: list[str]) -> sparse.csr_matrix:
        """N-grams of single words, shape (n_types, n_words + n_character_ngrams); n_words counts word 1-grams only.

        A known word's own value is 1; its character n-grams' values are equal and their squares sum to 1.
        """
        found = np.array([self._single.get(word, -1) for word in types], np.int64)
        own = _counts(np.arange(len(types)), found, (len(types), len(self._single)))
        if not isinstance(characters := self._blocks[-1], _Characters):
            return own
        grams = characters.of(types)
        counts = np.diff(grams.indptr)
        grams.data = np.repeat(1 / np.sqrt(np.maximum(counts, 1)), counts).astype(np.float32)
        return _beside([own, grams])

    def by_word(self, X: TokenBatch) -> tuple[TokenBatch, sparse.csr_matrix]:
        """Divide each post's features among its words.

        An n-gram's feature is divided evenly among the places where it stands in the post; there, a character n-gram's part
        falls to the token that holds it, a pair's by halves to its two words.

        Parameters
        ----------
        X : TokenBatch
            Posts.

        Returns
        -------
        words : TokenBatch
            Each post's distinct tokens, in the order in which they first stand there.
        parts : csr_matrix of float64, shape (n_words, n_features)
            A row for each of ``words.codes``; those of a post sum to its row of `transform`, and are the same bits in any batch.
        """
        rows = _rows(X)
        _, first, owners = np.unique(rows * len(X.types) + X.codes, return_index=True, return_inverse=True)
        order = np.argsort(first)
        first, owners = first[order], np.argsort(order)[owners]
        words = TokenBatch(X.types, X.codes[first], np.searchsorted(first, X.offsets))
        divided = []
        for block, idf in self._parts():
            counts = block.count(X)
            counts.sort_indices()
            places = counts.data.copy()
            _weight(counts, idf)
            shares = block.share(X, owners, len(first)).astype(np.float64)
            shares.sort_indices()
            at = _lookup(_cells(counts, np.arange(len(X))), _cells(shares, rows[first]))
            shares.data *= (counts.data / places.astype(np.float64))[at]
            divided.append(shares)
        return words, _beside(divided)

    def _parts(self) -> Iterator[tuple["_Words | _Characters", NDArray[np.float32]]]:
        """Each block and its part of `idf_`."""
        start = 0
        for block in self._blocks:
            stop = start + len(block.vocabulary)
            yield block, self.idf_[start:stop]
            start = stop

    def get_feature_names_out(self) -> NDArray[np.object_]:
        """Names of the columns: ``word:…`` and ``char:…``, shape (n_features,)."""
        return np.array([f"word:{term}" for term in self.words_] + [f"char:{term}" for term in self.characters_], object)
