"""Sublinear TF-IDF of word and character n-grams, computed once per distinct token.

Character n-grams (`char_wb`) never cross the boundary of a token, so the counts of a batch are the product
(posts x tokens) @ (distinct tokens x n-grams). N-grams are looked up as exact integer keys.
"""

from collections.abc import Callable, Iterator
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.arrays import Float32s, Int64s
from models.errors import InputError
from models.ngrams import CharacterCounter, WordCounter, count_pairs, learn_characters, learn_words, look_up, post_of_token
from models.privacy import may_show_characters, may_show_token, may_show_words
from models.tokens import TokenBatch

_CHUNK = 512  # number of posts scored at a time, small enough for the processor's cache


def _normalise_rows(matrix: sparse.csr_matrix) -> None:
    """Scale each row to length one, in place.

    Every row is summed on its own, so that a post's features are bit-for-bit the same in any batch.
    """
    lengths = np.diff(matrix.indptr)
    filled = lengths > 0
    squares = np.square(matrix.data, dtype=np.float64)
    norms = np.sqrt(np.add.reduceat(squares, matrix.indptr[:-1][filled])) if len(squares) else squares
    matrix.data /= np.repeat(norms, lengths[filled])


def _weight(counts: sparse.csr_matrix, idf: NDArray[np.float32]) -> None:
    """Turn counts into sublinear TF-IDF with rows of length one, in place."""
    counts.data = (np.log(counts.data) + np.float32(1)) * idf.take(counts.indices, mode="clip")  # this takes a third of the time of idf[…]
    _normalise_rows(counts)


def _beside(blocks: list[sparse.csr_matrix]) -> sparse.csr_matrix:
    return sparse.hstack(blocks, format="csr") if len(blocks) > 1 else blocks[0]


def _rows_and_columns(matrix: sparse.csr_matrix, row_names: Int64s) -> Int64s:
    """Return, for each entry, a number that identifies its row's name and its column."""
    cells: Int64s = np.repeat(row_names, np.diff(matrix.indptr)) * matrix.shape[1] + matrix.indices
    return cells


def _without_types(tokens: TokenBatch, wanted: Callable[[str], bool]) -> TokenBatch:
    """Return the posts without the tokens for which `wanted` is false."""
    kept = np.array([wanted(token) for token in tokens.types], bool)[tokens.codes]
    return TokenBatch(tokens.types, tokens.codes[kept], np.concatenate([[0], np.cumsum(kept)])[tokens.offsets])


class TfidfFeatures:
    """Word and character n-grams of tokenised posts; each block equals that of scikit-learn's ``TfidfVectorizer``.

    The word block equals ``TfidfVectorizer(ngram_range=(1, word_ngrams), min_df=word_min_df, sublinear_tf=True)`` on the
    same tokens. The character block equals ``TfidfVectorizer(analyzer="char_wb", ngram_range=char_ngrams, min_df=char_min_df,
    sublinear_tf=True)`` on the tokens joined by spaces. The columns are in the same order.

    Parameters
    ----------
    word_ngrams : {1, 2}
        Length of the longest word n-gram.
    char_ngrams : (int, int) or None
        Length of the shortest and the longest character n-gram, from 1 to 5; None for no character block.
    word_min_df, char_min_df : int
        Minimum number of posts that contain an n-gram.
    min_authors : int
        Minimum number of authors who used an n-gram.
    private : {"keep", "drop"}
        Whether to learn n-grams from tokens that look like names, handles, links or numbers. With "drop", no n-gram is such a token,
        contains one or was learned from one. N-grams that such tokens share with other words are kept, and their weights are learned
        from both (English only; see `models.privacy`).

    Attributes
    ----------
    words_, characters_ : list of str
        The sorted vocabularies: the columns of the output, words first.
    idf_ : ndarray of float32, shape (n_features,)
        ``ln((1 + n_posts) / (1 + posts that contain the n-gram)) + 1``.
    authors_ : ndarray of uint8, shape (n_features,), or None
        How many authors used each n-gram, where 255 means 255 or more; None for a model from an earlier release.

    Examples
    --------
    >>> posts = TokenBatch.from_lists([["believe", "her"], ["believe", "him"]])
    >>> features = TfidfFeatures(char_ngrams=None)
    >>> features.fit_transform(posts).shape, features.words_
    ((2, 1), ['believe'])
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

    def fit(self, X: TokenBatch, groups: Int64s | None = None) -> Self:
        """Learn vocabularies and document frequencies.

        Parameters
        ----------
        X : TokenBatch
            Posts to learn from.
        groups : ndarray of int, shape (n_posts,), optional
            Author of each post; by default, each post has its own author.

        Raises
        ------
        InputError
            When no n-gram is in enough posts by enough authors, or the word lists that ``private="drop"`` needs are not installed.
        """
        authors = np.arange(len(X)) if groups is None else np.unique(groups, return_inverse=True)[1]
        words = learn_words(X, authors, self.word_ngrams, self.word_min_df, self.min_authors)
        shown = X
        if self.private == "drop":
            words = {ngram: used for ngram, used in words.items() if may_show_words(ngram)}
            shown = _without_types(X, may_show_token)
        characters: dict[str, tuple[int, int]] = {}
        if self.char_ngrams:
            characters = learn_characters(shown, authors, *self.char_ngrams, self.char_min_df, self.min_authors)
        if self.private == "drop":
            characters = {ngram: used for ngram, used in characters.items() if may_show_characters(ngram)}
        if not words and not characters:
            raise InputError(self._nothing(len(X)))
        vocabularies = sorted(words), sorted(characters)
        used = [words[ngram] for ngram in vocabularies[0]] + [characters[ngram] for ngram in vocabularies[1]]
        posts_with, authors_with = np.array(used, np.int64).T
        idf = np.log((1 + len(X)) / (1 + posts_with)) + 1
        return self.restore(*vocabularies, idf.astype(np.float32), np.minimum(authors_with, 255).astype(np.uint8))

    def _nothing(self, posts: int) -> str:
        authors, remedy = "", "lower word_min_df (features.word_min_df in a config)"
        if self.min_authors > 1:
            authors, remedy = f" by at least {self.min_authors} authors", "lower word_min_df or min_authors (under features in a config)"
        shown = " and may be shown (private='drop')" if self.private == "drop" else ""
        return f"no n-gram is in at least {self.word_min_df} of the {posts} posts{authors}{shown}; {remedy}, or give more posts"

    def fit_transform(self, X: TokenBatch, groups: Int64s | None = None) -> sparse.csr_matrix:
        """Learn the vocabularies from posts and return their features.

        Parameters
        ----------
        X : TokenBatch
            Posts to learn from and to transform.
        groups : ndarray of int, shape (n_posts,), optional
            Author of each post, as in `fit`.

        Returns
        -------
        csr_matrix of float32, shape (n_posts, n_features)
            As from `transform`.
        """
        return self.fit(X, groups).transform(X)

    def restore(self, words: list[str], characters: list[str], idf: NDArray[np.float32], authors: NDArray[np.uint8] | None = None) -> Self:
        """Set the fitted state from stored arrays.

        Parameters
        ----------
        words, characters : list of str
            The sorted vocabularies, as in `words_` and `characters_`.
        idf : ndarray of float32, shape (n_features,)
            As in `idf_`.
        authors : ndarray of uint8, shape (n_features,), optional
            As in `authors_`.
        """
        self.words_, self.characters_, self.idf_, self.authors_ = words, characters, idf, authors
        self._single = {word: number for number, word in enumerate(word for word in words if " " not in word)}
        self._blocks: list[WordCounter | CharacterCounter] = [WordCounter(words)]
        if self.char_ngrams:
            self._blocks.append(CharacterCounter(characters, *self.char_ngrams))
        return self

    def transform(self, X: TokenBatch) -> sparse.csr_matrix:
        """Compute features.

        Parameters
        ----------
        X : TokenBatch
            Posts; an unknown token contributes the n-grams that it shares with known ones.

        Returns
        -------
        csr_matrix of float32, shape (n_posts, n_features)
            Each post's row has L2 norm 1 in each block.
        """
        weighted = []
        for block, idf in self._parts():
            counts = block.count(X)
            _weight(counts, idf)
            weighted.append(counts)
        return _beside(weighted)

    def dot(self, X: TokenBatch, weights: Float32s) -> Float32s:
        """Return the same as ``transform(X) @ weights``, bit for bit, in less time.

        Parameters
        ----------
        X : TokenBatch
            Posts. They are weighed 512 at a time, so that they stay in the processor's cache.
        weights : ndarray of float32, shape (n_features, n_columns)

        Returns
        -------
        ndarray of float32, shape (n_posts, n_columns)
            A post's sums are bit-for-bit the same in any batch.
        """
        sums = []
        for counted in zip(*(block.count_in_chunks(X, _CHUNK) for block in self._blocks), strict=True):
            for counts, (_, idf) in zip(counted, self._parts(), strict=True):
                _weight(counts, idf)
            sums.append(_beside(list(counted)) @ weights)
        return np.concatenate(sums)

    def of_words(self, types: list[str]) -> sparse.csr_matrix:
        """Return the n-grams of single words, shape (n_types, n_words + n_character_ngrams), where n_words counts word 1-grams only.

        A known word has the value 1 in its own column. The values of its character n-grams are equal, and their squares sum to 1.
        """
        found = np.array([self._single.get(word, -1) for word in types], np.int64)
        own = count_pairs(np.arange(len(types)), found, (len(types), len(self._single)))
        if not isinstance(characters := self._blocks[-1], CharacterCounter):
            return own
        grams = characters.of(types)
        counts = np.diff(grams.indptr)
        grams.data = np.repeat(1 / np.sqrt(np.maximum(counts, 1)), counts).astype(np.float32)
        return _beside([own, grams])

    def by_word(self, X: TokenBatch) -> tuple[TokenBatch, sparse.csr_matrix]:
        """Divide each post's features among its words.

        The value of an n-gram is divided evenly among its occurrences in the post. A character n-gram's part goes to the token that
        contains it; a word pair's part goes half to each of its words.

        Parameters
        ----------
        X : TokenBatch
            Posts to explain.

        Returns
        -------
        words : TokenBatch
            Each post's distinct tokens, in the order of their first occurrence.
        parts : csr_matrix of float64, shape (n_words, n_features)
            One row for each of ``words.codes``. A post's rows sum to its row of `transform`, and are bit-for-bit the same in any batch.
        """
        rows = post_of_token(X)
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
            at = look_up(_rows_and_columns(counts, np.arange(len(X))), _rows_and_columns(shares, rows[first]))
            shares.data *= (counts.data / places.astype(np.float64))[at]
            divided.append(shares)
        return words, _beside(divided)

    def _parts(self) -> Iterator[tuple["WordCounter | CharacterCounter", NDArray[np.float32]]]:
        """Yield each block and its part of `idf_`."""
        start = 0
        for block in self._blocks:
            stop = start + len(block.vocabulary)
            yield block, self.idf_[start:stop]
            start = stop

    @property
    def least_authors(self) -> Int64s:
        """The number of authors that certainly used each n-gram, shape (n_features,)."""
        return np.full(len(self.idf_), self.min_authors) if self.authors_ is None else self.authors_.astype(np.int64)

    def get_feature_names_out(self) -> NDArray[np.object_]:
        """Return the names of the columns, ``word:…`` and ``char:…``, shape (n_features,)."""
        return np.array([f"word:{term}" for term in self.words_] + [f"char:{term}" for term in self.characters_], object)
