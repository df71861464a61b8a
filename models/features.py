"""Sublinear TF-IDF of word and character n-grams, computed once per distinct token.

Character n-grams (`char_wb`) never cross a token, so the counts of a batch are
(posts x tokens) @ (distinct tokens x n-grams); n-grams are looked up as exact integer keys.
"""

from collections.abc import Callable, Iterator
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.arrays import Int64s
from models.errors import InputError
from models.ngrams import CharacterCounter, WordCounter, count_pairs, learn_characters, learn_words, look_up, post_of_token
from models.privacy import may_show_characters, may_show_token, may_show_words
from models.tokens import TokenBatch


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


def _cells(matrix: sparse.csr_matrix, row_names: Int64s) -> Int64s:
    """A number for the row's name and the column of each entry."""
    cells: Int64s = np.repeat(row_names, np.diff(matrix.indptr)) * matrix.shape[1] + matrix.indices
    return cells


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
        too (English only, see `models.privacy`).

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

    def fit(self, X: TokenBatch, groups: Int64s | None = None) -> Self:
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
        words = learn_words(X, authors, self.word_ngrams, self.word_min_df, self.min_authors)
        shown = X
        if self.private == "drop":
            words = {ngram: posts for ngram, posts in words.items() if may_show_words(ngram)}
            shown = _without_types(X, may_show_token)
        characters: dict[str, int] = {}
        if self.char_ngrams:
            characters = learn_characters(shown, authors, *self.char_ngrams, self.char_min_df, self.min_authors)
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

    def fit_transform(self, X: TokenBatch, groups: Int64s | None = None) -> sparse.csr_matrix:
        """`fit`, then `transform` of the same posts."""
        return self.fit(X, groups).transform(X)

    def restore(self, words: list[str], characters: list[str], idf: NDArray[np.float32]) -> Self:
        """Set fitted attributes from stored ones."""
        self.words_, self.characters_, self.idf_ = words, characters, idf
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
        own = count_pairs(np.arange(len(types)), found, (len(types), len(self._single)))
        if not isinstance(characters := self._blocks[-1], CharacterCounter):
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
            at = look_up(_cells(counts, np.arange(len(X))), _cells(shares, rows[first]))
            shares.data *= (counts.data / places.astype(np.float64))[at]
            divided.append(shares)
        return words, _beside(divided)

    def _parts(self) -> Iterator[tuple["WordCounter | CharacterCounter", NDArray[np.float32]]]:
        """Each block and its part of `idf_`."""
        start = 0
        for block in self._blocks:
            stop = start + len(block.vocabulary)
            yield block, self.idf_[start:stop]
            start = stop

    def get_feature_names_out(self) -> NDArray[np.object_]:
        """Names of the columns: ``word:…`` and ``char:…``, shape (n_features,)."""
        return np.array([f"word:{term}" for term in self.words_] + [f"char:{term}" for term in self.characters_], object)
