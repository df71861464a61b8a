"""Plain sentences that anybody would try first, and what a model says about them."""

from dataclasses import dataclass

from models.classifier import Classifier
from pipeline.config import Data
from pipeline.corpora import load_corpus

SENTENCES = "data/plain/sentences.csv"


@dataclass(frozen=True)
class Answer:
    """What a model says about a sentence.

    Attributes
    ----------
    text : str
        The sentence.
    labels : tuple of str
        Those of the model's labels that the sentence deserves.
    probabilities : dict of str to float
        The model's probability of each label.
    given : tuple of str
        The labels that the model gives.
    """

    text: str
    labels: tuple[str, ...]
    probabilities: dict[str, float]
    given: tuple[str, ...]

    @property
    def right(self) -> bool:
        """Whether the model gives exactly the labels that the sentence deserves."""
        return set(self.given) == set(self.labels)


def answer_sentences(file: str, model: Classifier) -> list[Answer]:
    """Score the sentences in a file with a model.

    Parameters
    ----------
    file : str
        Any file of labelled posts that training can read, with the columns ``text`` and ``labels``.
    model : Classifier
        Its balanced thresholds decide.

    Returns
    -------
    list of Answer
        In the order of the file.

    Raises
    ------
    InputError
        If the file cannot be used. The message names it, the row and how to fix it.

    Examples
    --------
    >>> from models import Classifier
    >>> from models.config import find_file
    >>> answers = answer_sentences(str(find_file(SENTENCES)), Classifier.released())
    >>> answers[2].text, answers[2].labels
    ('I was raped at 15', ('assault',))
    """
    posts = load_corpus(Data(sources=[file]), model.config.labels, seed=0, cut=False).splits["all"]
    texts = list(posts["text"])
    probabilities = model.predict_proba(texts)
    decided = model.decide(probabilities)
    return [
        Answer(
            text,
            tuple(label for label in model.labels if label in labels),
            dict(zip(model.labels, values.tolist(), strict=True)),
            tuple(label for label, given in zip(model.labels, row.tolist(), strict=True) if given),
        )
        for text, labels, values, row in zip(texts, posts["labels"], probabilities, decided, strict=True)
    ]
