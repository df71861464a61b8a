"""A small convolutional network over words and character n-grams, which sees word order and wording that a bag of n-grams cannot.

A word's vector is the sum of the vector of the word itself and those of its character n-grams. A filter looks at `width` consecutive
words and keeps its greatest response in the post. Hidden units combine these responses, so that "boss", for example, can count only
where a post reports harm; the targets are linear in the hidden units that are above zero. Only the targets have an intercept, so that a
score is its intercept plus a sum over words, and that sum explains the score. What a word adds to every filter at every position is one row
of a table, computed once per distinct word. Scoring a post costs one sum of table rows per word, and one small matrix product.
"""

from collections.abc import Callable, Iterator
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.arrays import Float32s, Int64s
from models.cache import RowCache
from models.products import in_blocks
from models.tokens import TokenBatch

_LONGEST = 200  # maximum number of tokens of a post during fitting
_BATCH = 256
_LEARNING_RATE = 3e-3
_DROPPED_WORDS, _DROPPED_DIMENSIONS, _DROPPED_RESPONSES = 0.1, 0.1, 0.1
_CHUNK = 2**9  # number of places scored at a time, small enough for the processor's cache
_REMEMBERED_BYTES = 2**26  # size of the table of word rows


class _Adam:
    """Adam (Kingma & Ba 2015), in place."""

    def __init__(self, parameters: list[Float32s]) -> None:
        self.parameters = parameters
        self.means = [np.zeros_like(each) for each in parameters]
        self.squares = [np.zeros_like(each) for each in parameters]
        self.steps = 0

    def step(self, gradients: list[Float32s], rate: float) -> None:
        self.steps += 1
        rate *= float(np.sqrt(1 - 0.999**self.steps) / (1 - 0.9**self.steps))
        for parameter, gradient, mean, square in zip(self.parameters, gradients, self.means, self.squares, strict=True):
            mean[:] = np.float32(0.9) * mean + np.float32(0.1) * gradient
            square[:] = np.float32(0.999) * square + np.float32(0.001) * gradient * gradient
            parameter[:] -= np.float32(rate) * mean / (np.sqrt(square) + np.float32(1e-8))


def _shifted(words: Int64s, by: int, nothing: int) -> Int64s:
    """Return, for each place in padded posts, the word `by` places further on, shape (n_posts, n_places)."""
    if not by:
        return words
    moved = np.full_like(words, nothing)
    if by > 0:
        moved[:, :-by] = words[:, by:]
    else:
        moved[:, -by:] = words[:, :by]
    return moved


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
        Number of hidden units between filters and targets.
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
    hidden_ : ndarray of float32, shape (filters, hidden)
        Weights of the hidden units.
    coef_ : ndarray of float32, shape (hidden, n_targets)
        Weights of the targets.
    intercept_ : ndarray of float32, shape (n_targets,)
        Scores of an empty post.
    """

    def __init__(self, dimensions: int, filters: int, width: int, hidden: int, epochs: int, seed: int) -> None:
        self.dimensions, self.filters, self.width, self.hidden = dimensions, filters, width, hidden
        self.epochs, self.seed = epochs, seed
        self._places = range(-(width // 2), width // 2 + 1)

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

        with threadpool_limits(1):  # one thread sums in the same order on any number of cores
            return self._fit(words, posts, targets, np.ones(len(posts), np.float32) if weights is None else weights, progress)

    def _fit(
        self, words: sparse.csr_matrix, posts: TokenBatch, targets: Float32s, weights: Float32s, progress: Callable[[str], None]
    ) -> Self:
        rng = np.random.default_rng(self.seed)
        share = np.average(targets, axis=0, weights=weights)
        vectors = rng.normal(0, 0.1, (words.shape[1], self.dimensions)).astype(np.float32)
        spread = (self.dimensions * self.width) ** -0.5
        filters = rng.normal(0, spread, (self.dimensions, self.width * self.filters)).astype(np.float32)
        hidden = rng.normal(0, self.filters**-0.5, (self.filters, self.hidden)).astype(np.float32)
        coef = rng.normal(0, 0.05, (self.hidden, targets.shape[1])).astype(np.float32)
        intercept = np.log((share + 1e-3) / (1 - share + 1e-3)).astype(np.float32)
        parameters = [vectors, filters, hidden, coef, intercept]
        adam = _Adam(parameters)
        steps = self.epochs * -(-len(posts) // _BATCH)
        for epoch in range(self.epochs):
            progress(f"epoch {epoch + 1} of {self.epochs}")
            for batch in self._batches(posts, rng):
                done = (adam.steps + 1) / steps
                rate = _LEARNING_RATE * min(done / 0.1, (1 - done) / 0.9)
                padded = self._padded(posts, batch, len(posts.types))
                adam.step(self._gradients(parameters, words, padded, targets[batch], weights[batch], rng), rate)
        return self.restore(vectors.astype(np.float16), filters.astype(np.float16), hidden, coef, intercept)

    @staticmethod
    def _batches(posts: TokenBatch, rng: np.random.Generator) -> Iterator[Int64s]:
        """Yield batches of posts of similar lengths, in random order."""
        order, lengths = rng.permutation(len(posts)), np.minimum(np.diff(posts.offsets), _LONGEST)
        batches: list[Int64s] = []
        for start in range(0, len(order), _BATCH * 16):
            chunk = order[start : start + _BATCH * 16]
            chunk = chunk[np.argsort(lengths[chunk], kind="stable")]
            batches += [chunk[first : first + _BATCH] for first in range(0, len(chunk), _BATCH)]
        for number in rng.permutation(len(batches)):
            yield batches[number]

    @staticmethod
    def _padded(posts: TokenBatch, batch: Int64s, nothing: int) -> Int64s:
        """Return the codes of posts, shape (n_posts, n_places), with `nothing` after the end of each post."""
        lengths = np.minimum(np.diff(posts.offsets)[batch], _LONGEST)
        places = np.arange(max(1, lengths.max()))
        inside = places < lengths[:, None]
        padded = np.full(inside.shape, nothing, np.int64)
        padded[inside] = posts.codes[(posts.offsets[batch][:, None] + places)[inside]]
        return padded

    def _gradients(
        self,
        parameters: list[Float32s],
        words: sparse.csr_matrix,
        padded: Int64s,
        targets: Float32s,
        weights: Float32s,
        rng: np.random.Generator,
    ) -> list[Float32s]:
        """Return the gradients of a batch's weighted cross-entropy for each parameter; dropout leaves out words and responses at random."""
        vectors, filters, hidden, coef, intercept = parameters
        nothing = words.shape[0]
        behind = padded == nothing
        padded = np.where(rng.random(padded.shape) < _DROPPED_WORDS, nothing, padded)
        types, places = np.unique(padded, return_inverse=True)
        types = types[types != nothing]
        places = places.reshape(padded.shape)  # indices of types; len(types) stands for no word, and its row of the table is zero
        features = words[types]
        embedded = features @ vectors
        kept = _kept(embedded.shape, _DROPPED_DIMENSIONS, rng)
        embedded *= kept
        table = np.zeros((len(types) + 1, self.width, self.filters), np.float32)
        table[:-1] = (embedded @ filters).reshape(len(types), self.width, self.filters)
        seen = [_shifted(places, by, len(types)) for by in self._places]
        responses = table[seen[0], 0]
        for number in range(1, self.width):
            responses += table[seen[number], number]
        responses[behind] = 0  # no filter is centred beyond a post's end, here or in scoring
        best = responses.argmax(axis=1)  # where each filter responds most, shape (n_posts, filters)
        greatest = np.maximum(np.take_along_axis(responses, best[:, None], axis=1)[:, 0], 0)
        heard = _kept(greatest.shape, _DROPPED_RESPONSES, rng)
        pooled = greatest * heard
        units = np.maximum(pooled @ hidden, 0)
        # The backward pass starts here.
        error = (1 / (1 + np.exp(-(units @ coef + intercept))) - targets) * (weights / np.float32(len(targets)))[:, None]
        of_units = (error @ coef.T) * (units > 0)
        of_responses = (of_units @ hidden.T) * heard * (greatest > 0)
        posts, columns = np.arange(len(padded))[:, None], np.arange(self.filters)
        of_table = np.zeros(table.size)
        for number in range(self.width):
            cells = (seen[number][posts, best] * self.width + number) * self.filters + columns
            of_table += np.bincount(cells.ravel(), of_responses.ravel(), table.size)
        of_rows = of_table.reshape(len(types) + 1, -1)[:-1].astype(np.float32)
        of_embedded = (of_rows @ filters.T) * kept
        return [features.T @ of_embedded, embedded.T @ of_rows, pooled.T @ of_units, units.T @ error, error.sum(axis=0)]

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
        room = _REMEMBERED_BYTES // (self.width * self.filters * 4)
        self._known = RowCache[Float32s](room, self._empty)

    def _empty(self, room: int) -> Float32s:
        """Return a table with room for types; it takes up memory only where it is written to.

        Its first row stands for a place without a word, beyond the ends of a post. It adds nothing to a filter that reaches such a place,
        and minus infinity to one that is centred there.
        """
        table = np.empty((room + 1, self.width, self.filters), np.float32)
        table[0] = 0
        table[0, self.width // 2] = -np.inf
        return table.reshape(room + 1, -1)

    def _look_up(self, types: list[str], of_words: Callable[[list[str]], sparse.csr_matrix]) -> tuple[Int64s, Float32s]:
        """Return the number of each type's first row in the table, and the table, shape (n_rows, filters), `width` rows per type."""

        def learn(table: Float32s, first: int, new: list[str]) -> Float32s:
            in_blocks(of_words(new) @ self._vectors, self._filters, table[first : first + len(new)])
            return table

        rows, table = self._known.look_up(types, learn)
        return rows * self.width, table.reshape(-1, self.filters)

    def _chunks(self, posts: TokenBatch, rows: Int64s) -> Iterator[tuple[Int64s, Int64s]]:
        """Yield posts of similar lengths that have words, and their words' table rows, shape (n_places + width - 1, n_posts).

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
        """Return the filters' responses at each place of posts, shape (n_places, n_posts, filters), in the memory given."""
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
        rows, table = self._look_up(posts.types, of_words)
        pooled = np.zeros((len(posts), self.filters), np.float32)
        room = self._room(posts)
        for some, words in self._chunks(posts, rows):
            responses = self._responses(table, words, *room)
            pooled[some] = responses.reshape(len(responses), -1).max(axis=0).reshape(-1, self.filters)
        units = self._units(np.maximum(pooled, 0, out=pooled))
        return in_blocks(units, self.coef_) + self.intercept_

    def _units(self, pooled: Float32s) -> Float32s:
        """Return the hidden units of posts, shape (n_posts, hidden)."""
        units: Float32s = np.maximum(in_blocks(pooled, self.hidden_), 0)
        return units

    def by_word(self, posts: TokenBatch, of_words: Callable[[list[str]], sparse.csr_matrix]) -> NDArray[np.float64]:
        """Divide the scores of posts, without the intercepts, among their tokens.

        The division is exact. A filter's greatest response is the sum of what the words in its window add. A score is its intercept plus a
        weighted sum of these responses, through the hidden units that are above zero in this post. Hidden units have no intercept, so
        nothing else is added.

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
        rows, table = self._look_up(posts.types, of_words)
        divided = np.zeros((len(posts.codes), len(self.intercept_)))
        room = self._room(posts)
        for some, words in self._chunks(posts, rows):
            responses = self._responses(table, words, *room)
            best = responses.argmax(axis=0)  # where each filter responds most, shape (n_posts, filters)
            pooled = np.maximum(np.take_along_axis(responses, best[None], axis=0)[0], 0)
            above = self._units(pooled) > 0
            weights = np.matmul(self.hidden_ * above[:, None, :], self.coef_)  # weight of each filter for each target in each post
            starts, lengths = posts.offsets[some], np.diff(posts.offsets)[some]
            for number, by in enumerate(self._places):
                word = best + by
                post, column = np.nonzero((pooled > 0) & (word >= 0) & (word < lengths[:, None]))
                added = table[words[best[post, column] + number, post] + number, column]
                np.add.at(divided, starts[post] + word[post, column], added[:, None].astype(np.float64) * weights[post, column])
        return divided


def _kept(shape: tuple[int, ...], dropped: float, rng: np.random.Generator) -> Float32s:
    """Return a dropout mask: zero where dropped, and elsewhere the factor that preserves the mean."""
    kept: Float32s = (rng.random(shape, np.float32) >= dropped).astype(np.float32) / np.float32(1 - dropped)
    return kept
