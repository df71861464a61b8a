"""Measure how much of a post its model knows: what ``score.py --unfamiliar`` writes and ``disclosure watch`` compares."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from models.arrays import Float32s
from models.cache import RowCache
from models.errors import InputError
from models.ngrams import post_of_token
from models.tokens import TokenBatch

if TYPE_CHECKING:
    from models import Classifier
    from models.features import TfidfFeatures

REMEMBERED = 2**17  # maximum number of words whose n-grams are counted only once
BEYOND = 1.5  # a post is unfamiliar beyond this multiple of the share that nine tenths of the training posts stay below
LEAST, MOST = 0.1, 0.9  # the lowest and the highest limit, whatever the training posts are

_MASKS = re.compile(r"@\w|://|\bwww\.|<(?:url|email|phone)>")


class Limits(NamedTuple):
    """The shares of unknown words and of unknown character n-grams that a post must both exceed to be unfamiliar."""

    words: float
    characters: float

    @classmethod
    def of(cls, model: "Classifier") -> "Limits":
        """Return the limits of a model: one and a half times what nine tenths of its training posts stay below, within bounds.

        Raises
        ------
        InputError
            When the model was saved by an earlier release, which kept no reference.
        """
        reference = model.reference_
        if reference is None:
            raise InputError("the model keeps no reference of its training posts; train it again, or omit --unfamiliar")
        found = [reference.unknown_words, reference.unknown_characters]
        words, characters = (0.0 if unknown is None else min(max(BEYOND * unknown.deciles[-1], LEAST), MOST) for unknown in found)
        return cls(words, characters)


def _known(features: "TfidfFeatures", words: list[str]) -> Float32s:
    """Return for each word whether it is known, the number of its character n-grams, and how many of these are known."""
    found = features.of_words(words)
    found.data = np.ones(len(found.data))
    single = found.shape[1] - len(features.characters_)
    low, high = features.char_ngrams or (1, 0)
    lengths = np.array([len(word) + 2 for word in words])
    grams = sum((np.maximum(lengths - size + 1, 0) for size in range(low, high + 1)), np.zeros(len(words)))
    known = [np.asarray(part.sum(axis=1)).ravel() for part in (found[:, :single], found[:, single:])]
    return np.stack([known[0], grams, known[1]], axis=1).astype(np.float32)


class Familiarity:
    """Measure posts by what a model knows.

    Parameters
    ----------
    model : Classifier
        A fitted classifier.

    Raises
    ------
    InputError
        When the model keeps no reference.

    Examples
    --------
    >>> from models import Classifier
    >>> model = Classifier.released()
    >>> texts = ["I believe you", "Nikt nie powinien się bać wracać do domu"]
    >>> Familiarity(model)(texts, model.tokenizer.read(texts))[:, -1].tolist()
    [0.0, 1.0]
    """

    def __init__(self, model: "Classifier") -> None:
        self.limits = Limits.of(model)
        self._features = model.scorers_.features
        self._words = RowCache[Float32s](REMEMBERED, lambda room: np.zeros((room + 1, 3), np.float32))

    def _fill(self, table: Float32s, first: int, words: list[str]) -> Float32s:
        table[first : first + len(words)] = _known(self._features, words)
        return table

    def __call__(self, texts: Sequence[str], tokens: TokenBatch) -> Float32s:
        """Measure posts.

        Parameters
        ----------
        texts : sequence of str, length n_posts
            Raw posts.
        tokens : TokenBatch
            Their tokens.

        Returns
        -------
        ndarray of float32, shape (n_posts, 5)
            The columns are in the order of `pipeline.predictions.FAMILIARITY`. They are the number of tokens, the number of handles, links
            and addresses, the share of tokens that are not in the vocabulary, the same share of character n-grams, and 1 for an unfamiliar
            post. A post without any token is unfamiliar.
        """
        rows, table = self._words.look_up(tokens.types, self._fill)
        sizes, posts = np.diff(tokens.offsets), post_of_token(tokens)
        of_tokens = table[rows].astype(np.float64)[tokens.codes]
        known, grams, known_grams = (np.bincount(posts, column, minlength=len(tokens)) for column in of_tokens.T)
        words = 1 - known / np.maximum(sizes, 1) - (sizes == 0)
        characters = 1 - known_grams / np.maximum(grams, 1) - (grams == 0)
        unfamiliar = (sizes == 0) | ((words > self.limits.words) & ((characters > self.limits.characters) | (grams == 0)))
        masks = [len(_MASKS.findall(text)) for text in texts]
        return np.stack([sizes, masks, words, characters, unfamiliar], axis=1).astype(np.float32)
