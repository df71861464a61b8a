"""Each distinct text scored once: most of a real stream is repetition."""

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

REMEMBERED = 2**17  # texts
REMEMBERED_CHARS = 500  # of a text at most
EXPLAINED_CHARS = 2**18  # of texts explained at a time, which bounds memory


class DistinctScorer:
    """Scores texts as the model does, but none twice that it remembers.

    Remembers the answers to the last `REMEMBERED` / 2 short texts at least, as they came; texts of one batch that are equal once
    normalised are computed once, too.

    Parameters
    ----------
    model : Classifier

    Attributes
    ----------
    computed : int
        Texts that the model has scored.
    """

    def __init__(self, model: "Classifier") -> None:
        self.model = model
        self.computed = 0
        self._answers = BoundedCache[bytes](REMEMBERED, REMEMBERED_CHARS)

    def score(self, texts: Sequence[str]) -> Probabilities:
        """Posts as they came to probabilities, shape (n_posts, n_labels)."""
        rows = b"".join(self._answers.look_up(texts, self._compute))
        return np.frombuffer(rows, np.float32).reshape(len(texts), len(self.model.labels))

    def explain(self, texts: Sequence[str], wanted: NDArray[np.bool_], top: int) -> "list[Sequence[Reason]]":
        """Why posts as they came have the labels wanted, shape (n_posts, n_labels), which must be the same for equal texts."""
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
