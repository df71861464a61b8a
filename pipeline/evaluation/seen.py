"""Finds out how many of the evaluated posts a model was trained on, and measures it without them."""

from models import Classifier
from pipeline.corpora import Corpus
from pipeline.evaluation.measuring import MeasuredSplit, metrics_of
from pipeline.evaluation.results import Seen
from pipeline.fingerprints import Fingerprints


def measure_unseen(model: Classifier, evaluation: MeasuredSplit, corpus: Corpus, split: str, trained_on: Fingerprints) -> Seen:
    """Count the evaluated posts that the model was trained on, and measure the model without them.

    Parameters
    ----------
    model : Classifier
        Model that was evaluated.
    evaluation : MeasuredSplit
        From `evaluate_split`.
    corpus : Corpus
        Has the evaluated posts.
    split : str
        Split of the corpus that was evaluated.
    trained_on : Fingerprints
        Fingerprints of the model's training posts.

    Returns
    -------
    Seen
    """
    seen, short = trained_on.know(corpus.splits[split]["text"][:])
    some, rest = seen.any() and not (seen | short).all(), ~seen
    without = (
        metrics_of(model, evaluation.Y[rest], evaluation.probabilities[rest], evaluation.decided[rest], evaluation.thresholds)
        if some
        else None
    )
    known = len(short) - int(short.sum())
    return Seen(posts=int(seen.sum()), short=len(short) - known, share=float(seen.sum() / known) if known else None, without=without)
