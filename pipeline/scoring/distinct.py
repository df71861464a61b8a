"""Score each distinct text only once, because a real stream of posts consists mostly of repetitions."""

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, groupby, pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from models.arrays import Float32s, Int64s, Probabilities
from models.cache import BoundedCache
from models.tokens import TokenBatch

if TYPE_CHECKING:
    from models import Classifier
    from models.explanation import Reason

REMEMBERED = 2**17  # maximum number of cached texts
REMEMBERED_CHARS = 500  # maximum length of a cached text
COMPUTED_CHARS = 2**19  # characters of text to score at a time; new words that were learned are forgotten only between batches
EXPLAINED_CHARS = 2**18  # characters of text to explain at a time, which bounds memory


def _distinct(tokens: TokenBatch) -> tuple[Int64s, list[int]]:
    """Return the first post of each group with the same tokens, and for each post the place of its group among these."""
    codes, bounds = tokens.codes.tobytes(), (tokens.offsets * tokens.codes.itemsize).tolist()
    places: dict[bytes, int] = {}
    of_posts = [places.setdefault(codes[start:stop], len(places)) for start, stop in pairwise(bounds)]
    return np.unique(np.array(of_posts, np.int64), return_index=True)[1], of_posts


class DistinctScorer:
    """Score texts with a model and a cache.

    The results for at least the last `REMEMBERED` / 2 short raw texts are cached. Texts in one batch that have the same tokens are
    also scored only once.

    Parameters
    ----------
    model : Classifier
        A fitted classifier.
    measure : callable, optional
        Takes raw texts and their tokens, and returns further numbers about each text, shape (n_texts, n_measures).

    Attributes
    ----------
    computed : int
        Number of texts that the model has scored.
    """

    def __init__(self, model: "Classifier", measure: Callable[[Sequence[str], TokenBatch], Float32s] | None = None) -> None:
        self.model = model
        self.measure = measure
        self.computed = 0
        self._answers = BoundedCache[bytes](REMEMBERED, REMEMBERED_CHARS)

    def score(self, texts: Sequence[str]) -> Probabilities:
        """Return the probabilities of raw posts, shape (n_posts, n_labels)."""
        return self.measured(texts)[0]

    def measured(self, texts: Sequence[str]) -> tuple[Probabilities, Float32s]:
        """Return the probabilities of raw posts, and what `measure` says of them, shape (n_posts, n_measures)."""
        rows = b"".join(self._answers.look_up(texts, self._compute))
        found = np.frombuffer(rows, np.float32).reshape(len(texts), -1) if texts else np.empty((0, len(self.model.labels)), np.float32)
        return found[:, : len(self.model.labels)], found[:, len(self.model.labels) :]

    def explain(self, texts: Sequence[str], wanted: NDArray[np.bool_], top: int) -> "list[Sequence[Reason]]":
        """Explain labels of raw posts.

        Parameters
        ----------
        texts : sequence of str, length n_posts
            Raw posts.
        wanted : ndarray of bool, shape (n_posts, n_labels)
            The labels to explain; texts that have the same tokens must have equal rows.
        top : int
            Maximum number of words per label.

        Returns
        -------
        list of sequence of Reason, length n_posts
            As from `models.explanation.reasons`.
        """
        from models.explanation import reasons

        row_of = {texts[row]: row for row in np.flatnonzero(wanted.any(axis=1)).tolist()}
        answers: dict[str, Sequence[Reason]] = {}
        before = accumulate(map(len, row_of), initial=0)
        for _, few in groupby(zip(row_of, before, strict=False), lambda pair: pair[1] // EXPLAINED_CHARS):
            part = [text for text, _ in few]
            tokens = self.model.tokenizer.read(part)
            first, places = _distinct(tokens)
            rows = [row_of[part[number]] for number in first.tolist()]
            found = reasons(self.model, tokens.take(first), wanted[rows], top)
            answers |= zip(part, (found[place] for place in places), strict=True)
        return [answers.get(text, ()) for text in texts]

    def _compute(self, texts: list[str]) -> Iterator[bytes]:
        before = accumulate(map(len, texts), initial=0)
        for _, few in groupby(zip(texts, before, strict=False), lambda pair: pair[1] // COMPUTED_CHARS):
            yield from self._compute_few([text for text, _ in few])

    def _compute_few(self, texts: list[str]) -> list[bytes]:
        tokens = self.model.tokenizer.read(texts)
        first, places = _distinct(tokens)
        self.computed += len(first)
        found = self.model.predict_proba_tokens(tokens.take(first))[places]
        return [row.tobytes() for row in (found if self.measure is None else np.hstack([found, self.measure(texts, tokens)]))]
