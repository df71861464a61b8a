"""Score each distinct text only once, because a real stream of posts consists mostly of repetitions."""

from collections.abc import Sequence
from itertools import accumulate, groupby
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from models.arrays import Probabilities
from models.cache import BoundedCache
from models.text import normalise

if TYPE_CHECKING:
    from models import Classifier
    from models.explanation import Reason

REMEMBERED = 2**17  # maximum number of cached texts
REMEMBERED_CHARS = 500  # maximum length of a cached text
EXPLAINED_CHARS = 2**18  # characters of text to explain at a time, which bounds memory


class DistinctScorer:
    """Score texts with a model and a cache.

    The results for at least the last `REMEMBERED` / 2 short raw texts are cached. Texts in one batch that are equal after
    normalisation are also scored only once.

    Parameters
    ----------
    model : Classifier
        A fitted classifier.

    Attributes
    ----------
    computed : int
        Number of texts that the model has scored.
    """

    def __init__(self, model: "Classifier") -> None:
        self.model = model
        self.computed = 0
        self._answers = BoundedCache[bytes](REMEMBERED, REMEMBERED_CHARS)

    def score(self, texts: Sequence[str]) -> Probabilities:
        """Return the probabilities of raw posts, shape (n_posts, n_labels)."""
        rows = b"".join(self._answers.look_up(texts, self._compute))
        return np.frombuffer(rows, np.float32).reshape(len(texts), len(self.model.labels))

    def explain(self, texts: Sequence[str], wanted: NDArray[np.bool_], top: int) -> "list[Sequence[Reason]]":
        """Explain labels of raw posts.

        Parameters
        ----------
        texts : sequence of str, length n_posts
            Raw posts.
        wanted : ndarray of bool, shape (n_posts, n_labels)
            The labels to explain; texts that are equal after normalisation must have equal rows.
        top : int
            Maximum number of words per label.

        Returns
        -------
        list of sequence of Reason, length n_posts
            As from `models.explanation.reasons`.
        """
        from models.explanation import reasons

        normalised = {row: normalise(texts[row]) for row in np.flatnonzero(wanted.any(axis=1)).tolist()}
        row_of = {text: row for row, text in normalised.items()}
        answers: dict[str, list[Reason]] = {}
        before = accumulate(map(len, row_of), initial=0)
        for _, few in groupby(zip(row_of, before, strict=False), lambda pair: pair[1] // EXPLAINED_CHARS):
            part = [text for text, _ in few]
            answers |= zip(part, reasons(self.model, part, wanted[[row_of[text] for text in part]], top), strict=True)
        return [answers[normalised[row]] if row in normalised else () for row in range(len(texts))]

    def _compute(self, texts: list[str]) -> list[bytes]:
        normalised = [normalise(text) for text in texts]
        place = {text: number for number, text in enumerate(dict.fromkeys(normalised))}
        self.computed += len(place)
        probabilities = self.model.predict_proba_normalised(list(place))
        return [probabilities[place[form]].tobytes() for form in normalised]
