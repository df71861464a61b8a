"""Fit the network of `models.network` by gradient descent, in NumPy."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.arrays import Float32s, Int64s
from models.network import LONGEST, ConvolutionalScorer, bags_of, places_seen
from models.tokens import TokenBatch

_BATCH = 256
_LEARNING_RATE = 3e-3
_DROPPED_WORDS, _DROPPED_DIMENSIONS = 0.1, 0.1
_DROPPED_INPUTS = 0.1  # of the hidden units: filters' responses, and numbers of the sum of vectors


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


def fit_network(
    network: ConvolutionalScorer,
    words: sparse.csr_matrix,
    posts: TokenBatch,
    targets: Float32s,
    weights: Float32s,
    progress: Callable[[str], None],
) -> list[Float32s]:
    """Fit a network by Adam on the weighted cross-entropy of all targets.

    Parameters
    ----------
    network : ConvolutionalScorer
        Says how large the network is, how often it sees the posts, and the seed. It is not changed.
    words : csr_matrix, shape (n_types, n_features)
        N-grams of ``posts.types``, from `models.features.TfidfFeatures.of_words`.
    posts : TokenBatch
        Posts to learn from.
    targets : ndarray of float32, shape (n_posts, n_targets)
        Labels, or a teacher's probabilities.
    weights : ndarray of float32, shape (n_posts,)
        How much each post counts.
    progress : callable
        Called at the start of each epoch.

    Returns
    -------
    list of ndarray of float32
        Vectors, filters, hidden weights, weights of the targets and their intercepts, in the shapes that
        `models.network.ConvolutionalScorer` describes.
    """
    rng = np.random.default_rng(network.seed)
    width, share = network.width, np.average(targets, axis=0, weights=weights)
    parameters = [
        rng.normal(0, 0.1, (words.shape[1], network.dimensions)).astype(np.float32),
        rng.normal(0, (network.dimensions * width) ** -0.5, (network.dimensions, width * network.filters)).astype(np.float32),
        rng.normal(0, network.filters**-0.5, (network.filters + network.dimensions, network.hidden)).astype(np.float32),
        rng.normal(0, 0.05, (network.hidden, targets.shape[1])).astype(np.float32),
        np.log((share + 1e-3) / (1 - share + 1e-3)).astype(np.float32),
    ]
    adam = _Adam(parameters)
    steps = network.epochs * -(-len(posts) // _BATCH)
    for epoch in range(network.epochs):
        progress(f"epoch {epoch + 1} of {network.epochs}")
        for batch in _batches(posts, rng):
            done = (adam.steps + 1) / steps
            rate = _LEARNING_RATE * min(done / 0.1, (1 - done) / 0.9)
            padded = _padded(posts, batch, len(posts.types))
            adam.step(_gradients(parameters, width, words, padded, targets[batch], weights[batch], rng), rate)
    return parameters


def _batches(posts: TokenBatch, rng: np.random.Generator) -> Iterator[Int64s]:
    """Yield batches of posts of similar lengths, in random order."""
    order, lengths = rng.permutation(len(posts)), np.minimum(np.diff(posts.offsets), LONGEST)
    batches: list[Int64s] = []
    for start in range(0, len(order), _BATCH * 16):
        chunk = order[start : start + _BATCH * 16]
        chunk = chunk[np.argsort(lengths[chunk], kind="stable")]
        batches += [chunk[first : first + _BATCH] for first in range(0, len(chunk), _BATCH)]
    for number in rng.permutation(len(batches)):
        yield batches[number]


def _padded(posts: TokenBatch, batch: Int64s, nothing: int) -> Int64s:
    """Return the codes of posts, shape (n_posts, n_places), with `nothing` after the end of each post."""
    lengths = np.minimum(np.diff(posts.offsets)[batch], LONGEST)
    places = np.arange(max(1, lengths.max()))
    inside = places < lengths[:, None]
    padded = np.full(inside.shape, nothing, np.int64)
    padded[inside] = posts.codes[(posts.offsets[batch][:, None] + places)[inside]]
    return padded


def _gradients(
    parameters: list[Float32s],
    width: int,
    words: sparse.csr_matrix,
    padded: Int64s,
    targets: Float32s,
    weights: Float32s,
    rng: np.random.Generator,
) -> list[Float32s]:
    """Return the gradients of a batch's weighted cross-entropy for each parameter.

    Dropout leaves out words, numbers of their vectors, and inputs of the hidden units at random. A post from which words are left out
    counts as a shorter one.
    """
    vectors, filters, hidden, coef, intercept = parameters
    n_filters = filters.shape[1] // width
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
    table = np.zeros((len(types) + 1, width, n_filters), np.float32)
    table[:-1] = (embedded @ filters).reshape(len(types), width, n_filters)
    cells, greatest = _loudest(table, places, behind)
    known = places < len(types)
    bags = bags_of(places[known], np.concatenate([[0], np.cumsum(known.sum(axis=1))]), len(types))
    pooled = np.hstack([greatest, bags @ embedded])
    heard = _kept(pooled.shape, _DROPPED_INPUTS, rng)
    pooled *= heard
    units = np.maximum(pooled @ hidden, 0)
    # The backward pass starts here.
    error = (1 / (1 + np.exp(-(units @ coef + intercept))) - targets) * (weights / np.float32(len(targets)))[:, None]
    of_units = (error @ coef.T) * (units > 0)
    of_pooled = (of_units @ hidden.T) * heard
    of_responses = of_pooled[:, :n_filters] * (greatest > 0)
    of_table = np.zeros(table.size)
    for at_position in cells:
        of_table += np.bincount(at_position.ravel(), of_responses.ravel(), table.size)
    of_rows = of_table.reshape(len(types) + 1, -1)[:-1].astype(np.float32)
    of_embedded = (of_rows @ filters.T + bags.T @ of_pooled[:, n_filters:]) * kept
    return [features.T @ of_embedded, embedded.T @ of_rows, pooled.T @ of_units, units.T @ error, error.sum(axis=0)]


def _loudest(table: Float32s, places: Int64s, behind: NDArray[np.bool_]) -> tuple[list[Int64s], Float32s]:
    """Return the cells of the table that make up each filter's greatest response in each post, and this response, or zero if it is below.

    There is one array of cells for each position in the window. All arrays have the shape (n_posts, filters).
    """
    n_types, width, n_filters = table.shape
    seen = [_shifted(places, by, n_types - 1) for by in places_seen(width)]
    responses = table[seen[0], 0]
    for number in range(1, width):
        responses += table[seen[number], number]
    responses[behind] = 0  # no filter is centred beyond a post's end, here or in scoring
    best = responses.argmax(axis=1)  # where each filter responds most, shape (n_posts, filters)
    greatest = np.maximum(np.take_along_axis(responses, best[:, None], axis=1)[:, 0], 0)
    posts, columns = np.arange(len(places))[:, None], np.arange(n_filters)
    return [(words[posts, best] * width + number) * n_filters + columns for number, words in enumerate(seen)], greatest


def _kept(shape: tuple[int, ...], dropped: float, rng: np.random.Generator) -> Float32s:
    """Return a dropout mask: zero where dropped, and elsewhere the factor that preserves the mean."""
    kept: Float32s = (rng.random(shape, np.float32) >= dropped).astype(np.float32) / np.float32(1 - dropped)
    return kept
