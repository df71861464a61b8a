"""Compose new posts from parts of real ones for a teacher to label, because too few real posts have a rare label.

This follows the data augmentation of Tang et al. (2019), "Distilling task-specific knowledge from BERT into simple neural networks",
but replaces words by their nearest neighbours in the encoder's embedding space, not by words of the same part of speech.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.arrays import Int64s
from models.tokens import TokenBatch

_LONGEST = 60  # maximum number of tokens taken from a post
_CUT, _JOINED = 0.4, 0.35  # share of posts that are cut, and share that are joined with part of another post
_REPLACED = (0.1, 0.2, 0.35)  # share of the words with neighbours to replace; one value is drawn per post
_LEFT_OUT = (0.0, 0.08)  # share of the words to leave out; one value is drawn per post


@dataclass(frozen=True)
class Neighbours:
    """Words that may replace a word.

    Attributes
    ----------
    words : list of str
        The words that have neighbours.
    nearest : ndarray of int, shape (n_words, n_neighbours)
        Indices into `words` of each word's neighbours, which never include the word itself.
    probabilities : ndarray of float, shape (n_words, n_neighbours)
        Probability of each neighbour; rows sum to one, up to rounding.
    """

    words: list[str]
    nearest: NDArray[np.integer]
    probabilities: NDArray[np.floating]


class Composer:
    """Compose posts by drawing real ones and changing them.

    Parameters
    ----------
    posts : TokenBatch
        Real posts.
    pools : sequence of ndarray of int64
        Groups of posts, by index; all groups are drawn from equally often.
    neighbours : Neighbours
        Words that may replace a word.
    """

    def __init__(self, posts: TokenBatch, pools: Sequence[Int64s], neighbours: Neighbours) -> None:
        self.pools = [pool for pool in pools if len(pool)]
        row = {word: number for number, word in enumerate(neighbours.words)}
        # Words that no post contains get codes after those of the posts' words.
        code = {word: number for number, word in enumerate(posts.types)}
        for word in neighbours.words:
            code.setdefault(word, len(code))
        self.posts = TokenBatch(list(code), posts.codes, posts.offsets)
        self.row = np.array([row.get(word, -1) for word in code])
        self.code = np.array([code[word] for word in neighbours.words], np.int64)[neighbours.nearest]
        steps = np.cumsum(neighbours.probabilities.astype(np.float64), axis=1)
        self.steps = steps / steps[:, -1:]

    def _draw(self, rng: np.random.Generator) -> Int64s:
        post = rng.choice(self.pools[rng.integers(len(self.pools))])
        return self.posts.codes[self.posts.offsets[post] : self.posts.offsets[post + 1]][:_LONGEST]

    @staticmethod
    def _part(tokens: Int64s, shortest: int, rng: np.random.Generator) -> Int64s:
        if len(tokens) <= shortest:
            return tokens
        length = rng.integers(shortest, len(tokens) + 1)
        start = rng.integers(len(tokens) - length + 1)
        return tokens[start : start + length]

    def _replace(self, tokens: Int64s, rng: np.random.Generator) -> Int64s:
        rows = self.row[tokens]
        chosen = (rng.random(len(tokens)) < rng.choice(_REPLACED)) & (rows >= 0)
        nearest = (rng.random(int(chosen.sum()))[:, None] > self.steps[rows[chosen]]).sum(axis=1)
        replaced = tokens.copy()
        replaced[chosen] = self.code[rows[chosen], nearest]
        return replaced

    def _compose(self, rng: np.random.Generator) -> Int64s:
        tokens = self._draw(rng)
        if rng.random() < _CUT:
            tokens = self._part(tokens, 4, rng)
        if rng.random() < _JOINED:
            other = self._part(self._draw(rng), 2, rng)
            tokens = np.concatenate([tokens, other] if rng.random() < 0.5 else [other, tokens])
        tokens = self._replace(tokens, rng)
        kept: Int64s = tokens[rng.random(len(tokens)) >= rng.choice(_LEFT_OUT)]
        return kept

    def compose(self, count: int, seed: Sequence[int]) -> TokenBatch:
        """Compose posts; the same seed gives the same posts.

        Parameters
        ----------
        count : int
            How many posts to compose.
        seed : sequence of int
            Seed of NumPy's random generator.
        """
        rng = np.random.default_rng(seed)
        posts = [self._compose(rng) for _ in range(count)]
        offsets = np.concatenate([[0], np.cumsum([len(post) for post in posts])])
        return TokenBatch(self.posts.types, np.concatenate([*posts, np.zeros(0, np.int64)]), offsets)


def written(tokens: Sequence[str]) -> str:
    """Join tokens into a text for a model that has its own tokenizer; pieces that spaCy split off words are put back.

    Examples
    --------
    >>> written(["i", "did", "n't", "know", "."])
    "i didn't know."
    """
    return "".join(token if token[:1] == "'" or token in {"n't", ",", ".", "!", "?"} else f" {token}" for token in tokens).strip()
