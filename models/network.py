"""A small convolutional network over words and character n-grams, which sees word order and wording that a bag of n-grams cannot.

A word's vector is the sum of the vector of the word itself and those of its character n-grams. A filter looks at `width` consecutive
words and keeps its greatest response in the post. Beside these responses, the hidden units see the sum of the vectors of all words, divided
by the square root of their number, so that weak evidence adds up (as in a deep averaging network; Iyyer et al. 2015). Hidden units combine
both, so that "boss", for example, can count only where a post reports harm; the targets are linear in the hidden units that are above
zero. Only the targets have an intercept, so that a score is its intercept plus a sum over words, and that sum explains the score. What a
word adds to every filter at every position is one row of a table, computed once per distinct word. Scoring a post costs one sum of table
rows and one of vectors per word, and one small matrix product.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.arrays import Float32s, Int64s
from models.cache import RowCache
from models.products import in_blocks
from models.reading import runs
from models.tokens import TokenBatch

LONGEST = 200  # number of tokens of a post that the network learns from
_CHUNK = 2**9  # number of places scored at a time, small enough for the processor's cache
_REMEMBERED_BYTES = 2**26  # size of the table of word rows


def places_seen(width: int) -> range:
    """Return the places that a filter sees, counted from the one in the middle."""
    return range(-(width // 2), width // 2 + 1)


def bags_of(words: Int64s, offsets: Int64s, size: int) -> sparse.csr_matrix:
    """Return posts as bags of words, shape (n_posts, size), in which each of a post's n words counts 1 / sqrt(n).

    In posts longer than those that the network learns from, each counts less, so that their sums do not grow beyond what it has seen.

    Parameters
    ----------
    words : ndarray of int64, shape (n_tokens,)
        The column of each token.
    offsets : ndarray of int64, shape (n_posts + 1,)
        Where each post's tokens begin and end.
    size : int
        Number of columns.
    """
    lengths = np.diff(offsets)
    each = np.minimum(np.maximum(lengths, 1) ** -0.5, LONGEST**0.5 / np.maximum(lengths, 1))
    shares = np.repeat(each, lengths).astype(np.float32)
    return sparse.csr_matrix((shares, words, offsets), shape=(len(lengths), size))


class _Words(NamedTuple):
    """What the network needs to know of the words seen so far; the first row stands for a place without a word.

    Attributes
    ----------
    added : ndarray of float32, shape (n_rows, width * filters)
        What a word adds to each filter at each position in its window.
    vectors : ndarray of float32, shape (n_rows, dimensions)
        The words' vectors.
    """

    added: Float32s
    vectors: Float32s


class ConvolutionalScorer:
    """A convolutional network with one score per target.

    Parameters
    ----------
    dimensions : int
        Length of a word's vector.
    filters : int
        Number of filters.
    width : int
        Number of consecutive words that a filter sees; it must be odd.
    hidden : int
        Number of hidden units between the targets and what these units see: the filters' responses and the sum of the words' vectors.
    epochs : int
        Number of passes over the posts during fitting.
    seed : int
        Random seed of the initial weights, the batches and the dropout.

    Attributes
    ----------
    vectors_ : ndarray of float16, shape (n_features, dimensions)
        Vectors of words and character n-grams.
    filters_ : ndarray of float16, shape (dimensions, width * filters)
        Weights of the filters, one block per position in the window.
    hidden_ : ndarray of float32, shape (filters + dimensions, hidden)
        Weights of the hidden units: for the filters' responses, and for the sum of the words' vectors.
    coef_ : ndarray of float32, shape (hidden, n_targets)
        Weights of the targets.
    intercept_ : ndarray of float32, shape (n_targets,)
        Scores of an empty post.
    """

    def __init__(self, dimensions: int, filters: int, width: int, hidden: int, epochs: int, seed: int) -> None:
        self.dimensions, self.filters, self.width, self.hidden = dimensions, filters, width, hidden
        self.epochs, self.seed = epochs, seed
        self._places = places_seen(width)

    def fit(
        self,
        words: sparse.csr_matrix,
        posts: TokenBatch,
        targets: Float32s,
        weights: Float32s | None = None,
        progress: Callable[[str], None] = lambda epoch: None,
    ) -> Self:
        """Fit by Adam on the weighted cross-entropy of all targets.

        Parameters
        ----------
        words : csr_matrix, shape (n_types, n_features)
            N-grams of ``posts.types``, from `models.features.TfidfFeatures.of_words`.
        posts : TokenBatch
            Posts to learn from.
        targets : ndarray of float32, shape (n_posts, n_targets)
            Labels, or a teacher's probabilities.
        weights : ndarray of float32, shape (n_posts,), optional
            How much each post counts; by default, all count the same.
        progress : callable, optional
            Called at the start of each epoch.
        """
        from threadpoolctl import threadpool_limits

        from models.network_fitting import fit_network

        with threadpool_limits(1):  # one thread sums in the same order on any number of cores
            counted = np.ones(len(posts), np.float32) if weights is None else weights
            vectors, filters, *others = fit_network(self, words, posts, targets, counted, progress)
        return self.restore(vectors.astype(np.float16), filters.astype(np.float16), *others)

    def restore(
        self, vectors: NDArray[np.float16], filters: NDArray[np.float16], hidden: Float32s, coef: Float32s, intercept: Float32s
    ) -> Self:
        """Set the fitted state.

        Parameters
        ----------
        vectors, filters, hidden, coef, intercept : ndarray
            As in `vectors_`, `filters_`, `hidden_`, `coef_` and `intercept_`.
        """
        self.vectors_, self.filters_, self.hidden_, self.coef_, self.intercept_ = vectors, filters, hidden, coef, intercept
        self._vectors, self._filters = vectors.astype(np.float32), filters.astype(np.float32)
        self._forget()
        return self

    def _forget(self) -> None:
        """Empty the table of word rows."""
        room = _REMEMBERED_BYTES // ((self.width * self.filters + self.dimensions) * 4)
        self._known = RowCache[_Words](room, self._empty)

    def _empty(self, room: int) -> _Words:
        """Return a table with room for types; it takes up memory only where it is written to.

        A place without a word, beyond the ends of a post, adds nothing to a filter that reaches such a place, and minus infinity to one
        that is centred there.
        """
        added = np.empty((room + 1, self.width, self.filters), np.float32)
        added[0] = 0
        added[0, self.width // 2] = -np.inf
        return _Words(added.reshape(room + 1, -1), np.empty((room + 1, self.dimensions), np.float32))

    def _look_up(self, types: list[str], of_words: Callable[[list[str]], sparse.csr_matrix]) -> tuple[Int64s, _Words]:
        """Return the row of each type in the table, and the table."""

        def learn(table: _Words, first: int, new: list[str]) -> _Words:
            rows = slice(first, first + len(new))
            table.vectors[rows] = of_words(new) @ self._vectors
            in_blocks(table.vectors[rows], self._filters, table.added[rows])
            return table

        return self._known.look_up(types, learn)

    def _chunks(self, posts: TokenBatch, rows: Int64s) -> Iterator[tuple[Int64s, Int64s]]:
        """Yield posts of similar lengths that have words, and their words' rows, shape (n_places + width - 1, n_posts).

        Before and after each post, there are at least as many places without a word as a filter reaches to either side.
        """
        lengths, margin = np.diff(posts.offsets), self.width // 2
        of_token = np.append(rows.take(posts.codes), 0)  # the last row stands for no word
        order = np.argsort(lengths, kind="stable")
        order = order[np.searchsorted(lengths[order], 1) :]
        while len(order):
            some = order[:_CHUNK]
            fitting = np.arange(1, len(some) + 1) * lengths[some] <= _CHUNK
            some, order = np.split(order, [max(1, int(fitting.sum()))])
            place = np.arange(lengths[some[-1]])[:, None]
            token = np.where(place < lengths[some], posts.offsets[some] + place, len(posts.codes))
            words = np.zeros((len(place) + 2 * margin, len(some)), np.int64)
            words[margin : margin + len(place)] = of_token.take(token, mode="clip")
            yield some, words

    def _responses(self, table: Float32s, words: Int64s, responses: Float32s, added: Float32s) -> Float32s:
        """Return the filters' responses at each place of posts, shape (n_places, n_posts, filters), in the memory given.

        In `table`, shape (n_rows * width, filters), each word has `width` rows.
        """
        words = words * self.width
        shape = (len(words) - self.width + 1, words.shape[1], self.filters)
        responses, added = responses[: shape[0] * shape[1]], added[: shape[0] * shape[1]]
        table.take(words[: shape[0]].ravel(), axis=0, out=responses, mode="clip")  # other modes copy `out`
        for number in range(1, self.width):
            table.take(words[number : number + shape[0]].ravel() + number, axis=0, out=added, mode="clip")
            responses += added
        return responses.reshape(shape)

    def _room(self, posts: TokenBatch) -> Float32s:
        """Return memory for `_responses`, which is used again and again, because new memory costs more time than the sums in it."""
        return np.empty((2, max(_CHUNK, int(np.diff(posts.offsets).max(initial=0))), self.filters), np.float32)

    def decision_function(self, posts: TokenBatch, of_words: Callable[[list[str]], sparse.csr_matrix]) -> Float32s:
        """Return scores, shape (n_posts, n_targets); a post's scores are bit-for-bit the same in any batch.

        Parameters
        ----------
        posts : TokenBatch
            Posts to score.
        of_words : callable
            `models.features.TfidfFeatures.of_words` of the features that the network was fitted with.
        """
        rows, known = self._look_up(posts.types, of_words)
        table = known.added.reshape(-1, self.filters)
        pooled = np.zeros((len(posts), self.filters + self.dimensions), np.float32)
        room = self._room(posts)
        for some, words in self._chunks(posts, rows):
            responses = self._responses(table, words, *room)
            pooled[some, : self.filters] = responses.reshape(len(responses), -1).max(axis=0).reshape(-1, self.filters)
        np.maximum(pooled[:, : self.filters], 0, out=pooled[:, : self.filters])
        pooled[:, self.filters :] = bags_of(rows[posts.codes], posts.offsets, len(known.vectors)) @ known.vectors
        return in_blocks(self._units(pooled), self.coef_) + self.intercept_

    def _units(self, pooled: Float32s) -> Float32s:
        """Return the hidden units of posts, shape (n_posts, hidden)."""
        units: Float32s = np.maximum(in_blocks(pooled, self.hidden_), 0)
        return units

    def by_word(self, posts: TokenBatch, of_words: Callable[[list[str]], sparse.csr_matrix]) -> NDArray[np.float64]:
        """Divide the scores of posts, without the intercepts, among their tokens.

        The division is exact. A filter's greatest response is the sum of what the words in its window add. A score is its intercept plus a
        weighted sum of these responses and of the sum of the words' vectors, through the hidden units that are above zero in this post.
        Hidden units have no intercept, so nothing else is added.

        Parameters
        ----------
        posts : TokenBatch
            Posts to explain.
        of_words : callable
            As in `decision_function`.

        Returns
        -------
        ndarray of float64, shape (n_tokens, n_targets)
            One row for each of ``posts.codes``.
        """
        rows, known = self._look_up(posts.types, of_words)
        table = known.added.reshape(-1, self.filters)
        divided = np.zeros((len(posts.codes), len(self.intercept_)))
        bags = bags_of(rows[posts.codes], posts.offsets, len(known.vectors))
        sums = bags @ known.vectors
        room = self._room(posts)
        for some, words in self._chunks(posts, rows):
            responses = self._responses(table, words, *room)
            best = responses.argmax(axis=0)  # where each filter responds most, shape (n_posts, filters)
            pooled = np.maximum(np.take_along_axis(responses, best[None], axis=0)[0], 0)
            above = self._units(np.hstack([pooled, sums[some]])) > 0
            # How much everything that the units see counts for each target in each post.
            weights = np.matmul(self.hidden_ * above[:, None, :], self.coef_)
            starts, lengths = posts.offsets[some], np.diff(posts.offsets)[some]
            for number, by in enumerate(self._places):
                word = best + by
                post, column = np.nonzero((pooled > 0) & (word >= 0) & (word < lengths[:, None]))
                added = table[words[best[post, column] + number, post] * self.width + number, column]
                np.add.at(divided, starts[post] + word[post, column], added[:, None].astype(np.float64) * weights[post, column])
            tokens, post = runs(starts, lengths), np.repeat(np.arange(len(some)), lengths)
            parts = known.vectors[rows[posts.codes[tokens]]].astype(np.float64) * bags.data[tokens, None]
            for dimension in range(self.dimensions):  # not a matrix product, so that a post's values do not depend on the batch
                divided[tokens] += parts[:, dimension, None] * weights[post, self.filters + dimension]
        return divided
