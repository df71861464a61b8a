"""A small convolutional network over word and character n-grams: word order and wording that a bag of n-grams cannot see.

A word's vector is that of the word itself plus those of its character n-grams. A filter looks at `width` words in a row and
keeps its greatest response in the post. Hidden units put responses together, so that a "boss" may count for something only where
harm is told; targets are linear in those above zero. Nothing but the targets has an intercept: a score is that plus a sum over
words, which is what explains it. What a word adds to every filter at every place is one row of a table, computed once for each
distinct word: a post costs the sum of as many rows as it has words, and one small matrix product.
"""

from collections.abc import Callable, Iterator
from threading import Lock
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.arrays import Float32s, Int64s
from models.tokens import TokenBatch

_LONGEST = 80  # tokens of a post, while fitting
_BATCH = 256
_LEARNING_RATE = 3e-3
_DROPPED_WORDS, _DROPPED_DIMENSIONS, _DROPPED_RESPONSES = 0.1, 0.1, 0.3
_CHUNK = 2**11  # tokens scored at a time, which stay in the processor's cache
_REMEMBERED = 2**14  # tokens


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
    """The word `by` places further on at each place of padded posts, shape (n_posts, n_places)."""
    if not by:
        return words
    moved = np.full_like(words, nothing)
    if by > 0:
        moved[:, :-by] = words[:, by:]
    else:
        moved[:, -by:] = words[:, :by]
    return moved


class ConvolutionalScorer:
    """One score per target.

    Parameters
    ----------
    dimensions : int
        Of a word's vector.
    filters : int
    width : int
        Words that a filter sees, odd.
    hidden : int
        Units between filters and targets.
    epochs : int
    seed : int

    Attributes
    ----------
    vectors_ : ndarray of float16, shape (n_features, dimensions)
        Of words and character n-grams.
    filters_ : ndarray of float16, shape (dimensions, width * filters)
        Place by place.
    hidden_ : ndarray of float32, shape (filters, hidden)
    coef_ : ndarray of float32, shape (hidden, n_targets)
    intercept_ : ndarray of float32, shape (n_targets,)
    """

    def __init__(self, dimensions: int, filters: int, width: int, hidden: int, epochs: int, seed: int) -> None:
        self.dimensions, self.filters, self.width, self.hidden = dimensions, filters, width, hidden
        self.epochs, self.seed = epochs, seed
        self._places = range(-(width // 2), width // 2 + 1)
        self._learning = Lock()  # of words: threads may share a model

    def fit(
        self, words: sparse.csr_matrix, posts: TokenBatch, targets: Float32s, progress: Callable[[str], None] = lambda epoch: None
    ) -> Self:
        """Fit by Adam on the cross-entropy of all targets.

        Parameters
        ----------
        words : csr_matrix, shape (n_types, n_features)
            Of ``posts.types``, from `models.features.TfidfFeatures.of_words`.
        posts : TokenBatch
        targets : ndarray of float32, shape (n_posts, n_targets)
            Labels, or a teacher's probabilities.
        progress : callable, optional
            Told each epoch.
        """
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1):  # the same sums in the same order, however many cores there are
            return self._fit(words, posts, targets, progress)

    def _fit(self, words: sparse.csr_matrix, posts: TokenBatch, targets: Float32s, progress: Callable[[str], None]) -> Self:
        rng = np.random.default_rng(self.seed)
        share = targets.mean(axis=0, dtype=np.float64)
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
                adam.step(self._gradients(parameters, words, self._padded(posts, batch, len(posts.types)), targets[batch], rng), rate)
        return self.restore(vectors.astype(np.float16), filters.astype(np.float16), hidden, coef, intercept)

    @staticmethod
    def _batches(posts: TokenBatch, rng: np.random.Generator) -> Iterator[Int64s]:
        """Batches of posts of like lengths, in random order."""
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
        """Codes of posts, shape (n_posts, n_places), `nothing` behind their ends."""
        lengths = np.minimum(np.diff(posts.offsets)[batch], _LONGEST)
        places = np.arange(max(1, lengths.max()))
        inside = places < lengths[:, None]
        padded = np.full(inside.shape, nothing, np.int64)
        padded[inside] = posts.codes[(posts.offsets[batch][:, None] + places)[inside]]
        return padded

    def _gradients(
        self, parameters: list[Float32s], words: sparse.csr_matrix, padded: Int64s, targets: Float32s, rng: np.random.Generator
    ) -> list[Float32s]:
        """Gradients of the mean cross-entropy of a batch by each parameter, words and responses left out at random."""
        vectors, filters, hidden, coef, intercept = parameters
        nothing = words.shape[0]
        behind = padded == nothing
        padded = np.where(rng.random(padded.shape) < _DROPPED_WORDS, nothing, padded)
        types, places = np.unique(padded, return_inverse=True)
        types = types[types != nothing]
        places = places.reshape(padded.shape)  # numbers of types; len(types) for nothing, whose row of the table is zero
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
        responses[behind] = 0  # no filter stands behind a post's end, nor does one when posts are scored
        best = responses.argmax(axis=1)  # where each filter responds most, shape (n_posts, filters)
        greatest = np.maximum(np.take_along_axis(responses, best[:, None], axis=1)[:, 0], 0)
        heard = _kept(greatest.shape, _DROPPED_RESPONSES, rng)
        pooled = greatest * heard
        units = np.maximum(pooled @ hidden, 0)
        # From here backwards.
        error = (1 / (1 + np.exp(-(units @ coef + intercept))) - targets) / np.float32(len(targets))
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
        """Set fitted attributes."""
        self.vectors_, self.filters_, self.hidden_, self.coef_, self.intercept_ = vectors, filters, hidden, coef, intercept
        self._vectors, self._filters = vectors.astype(np.float32), filters.astype(np.float32)
        self._forget()
        return self

    def _forget(self) -> None:
        """Rows of the words seen: the first, of zeros, is that of no word; behind the last there is room for more."""
        self._rows: dict[str, int] = {}
        self._table = np.zeros((1, self.width * self.filters), np.float32)

    def _look_up(self, types: list[str], of_words: Callable[[list[str]], sparse.csr_matrix]) -> tuple[Int64s, Float32s]:
        """Row of each type in the table, which learns those that are new; and the table, shape (n_rows, width, filters)."""
        with self._learning:
            if len(self._rows) > _REMEMBERED:
                self._forget()
            if new := [word for word in types if word not in self._rows]:
                self._learn(new, of_words(new) @ self._vectors)
            rows = np.fromiter((self._rows[word] for word in types), np.int64, len(types))
            return rows, self._table.reshape(-1, self.width, self.filters)

    def _learn(self, new: list[str], embedded: Float32s) -> None:
        first = len(self._rows) + 1
        if first + len(new) > len(self._table):
            room = np.zeros((first + len(new) + len(self._table) // 2, self._table.shape[1]), np.float32)
            room[:first] = self._table[:first]
            self._table = room
        # One product a word: a word's row is the same bits whatever other words are new.
        np.matmul(embedded[:, None, :], self._filters, out=self._table[first : first + len(new), None])
        self._rows.update(zip(new, range(first, first + len(new)), strict=True))

    def _chunks(self, posts: TokenBatch, rows: Int64s) -> Iterator[tuple[int, int, list[Int64s]]]:
        """Consecutive posts, and the rows of the table that each of their places sums."""
        first = 0
        while first < len(posts):
            last = int(np.searchsorted(posts.offsets, posts.offsets[first] + _CHUNK))
            last = min(max(last, first + 1), len(posts))
            lengths = np.diff(posts.offsets[first : last + 1])
            # Between posts, and where one is empty, stand as many places without a word as a filter can look aside.
            margin = self.width // 2
            starts = np.cumsum(lengths + margin) - lengths
            spread = np.zeros(int((lengths + margin).sum()) + margin, np.int64)
            own = np.repeat(starts - (posts.offsets[first:last] - posts.offsets[first]), lengths) + np.arange(lengths.sum())
            spread[own] = rows[posts.codes[posts.offsets[first] : posts.offsets[last]]]
            yield first, last, [spread[own + by] for by in self._places]
            first = last

    def _responses(self, table: Float32s, seen: list[Int64s]) -> Float32s:
        """Responses at each place, shape (n_places, filters)."""
        responses: Float32s = table[seen[0], 0]
        for number in range(1, self.width):
            responses += table[seen[number], number]
        return responses

    def decision_function(self, posts: TokenBatch, of_words: Callable[[list[str]], sparse.csr_matrix]) -> Float32s:
        """Scores, shape (n_posts, n_targets); a post's are the same bits in any batch.

        Parameters
        ----------
        posts : TokenBatch
        of_words : callable
            `models.features.TfidfFeatures.of_words`.
        """
        rows, table = self._look_up(posts.types, of_words)
        pooled = np.zeros((len(posts), self.filters), np.float32)
        for first, last, seen in self._chunks(posts, rows):
            filled = np.diff(posts.offsets[first : last + 1]) > 0
            starts = posts.offsets[first:last][filled] - posts.offsets[first]
            if len(starts):
                pooled[first:last][filled] = np.maximum.reduceat(self._responses(table, seen), starts, axis=0)
        units = self._units(np.maximum(pooled, 0, out=pooled))
        scores = np.empty((len(posts), len(self.intercept_)), np.float32)
        for target, weights in enumerate(self.coef_.T):  # no matrix product, whose last bits depend on the batch
            scores[:, target] = (units * weights).sum(axis=1) + self.intercept_[target]
        return scores

    def _units(self, pooled: Float32s) -> Float32s:
        """Hidden units of posts, shape (n_posts, hidden), by one product a post, too small for threads: the same bits in any batch."""
        units: Float32s = np.maximum(np.matmul(pooled[:, None, :], self.hidden_)[:, 0], 0)
        return units

    def by_word(self, posts: TokenBatch, of_words: Callable[[list[str]], sparse.csr_matrix]) -> NDArray[np.float64]:
        """Divide the scores of posts, less the intercepts, among their tokens, shape (n_tokens, n_targets).

        Exact: a filter's greatest response is a sum of what the words it looks at add, and a score is its intercept plus a sum over
        the responses, weighted by way of the hidden units that are above zero in this post. Nothing else is added: units have no
        intercept.
        """
        rows, table = self._look_up(posts.types, of_words)
        divided = np.zeros((len(posts.codes), len(self.intercept_)))
        columns = np.arange(self.filters)
        for first, last, seen in self._chunks(posts, rows):
            responses, before = self._responses(table, seen), posts.offsets[first]
            for start, stop in zip(posts.offsets[first:last] - before, posts.offsets[first + 1 : last + 1] - before, strict=True):
                if start == stop:
                    continue
                best = start + responses[start:stop].argmax(axis=0)
                pooled = np.maximum(responses[best, columns], 0)
                above = self._units(pooled[None])[0] > 0
                weights = self.hidden_[:, above] @ self.coef_[above]  # of each filter for each target, in this post
                heard = pooled > 0
                for number, by in enumerate(self._places):
                    inside = heard & (best + by >= start) & (best + by < stop)
                    added = table[seen[number][best[inside]], number, columns[inside]]
                    np.add.at(divided, before + best[inside] + by, added[:, None].astype(np.float64) * weights[inside])
        return divided


def _kept(shape: tuple[int, ...], dropped: float, rng: np.random.Generator) -> Float32s:
    """Dropout: zero where dropped, else what keeps the mean."""
    kept: Float32s = (rng.random(shape, np.float32) >= dropped).astype(np.float32) / np.float32(1 - dropped)
    return kept
