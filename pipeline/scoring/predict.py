"""Turns posts into predictions, as the options ask."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.predictions import FAMILIARITY, prediction_table
from pipeline.scoring.distinct import DistinctScorer
from pipeline.scoring.options import Options
from pipeline.scoring.posts import Post

if TYPE_CHECKING:
    from models import Classifier

REASONS = 5  # maximum number of words per label


@dataclass(frozen=True)
class Predictions:
    """What a model says about posts.

    Attributes
    ----------
    table : pyarrow.Table
        Columns of `prediction_schema`.
    decided : ndarray of bool, shape (n_posts, n_labels)
    review : ndarray of bool, shape (n_posts, n_labels), or None
        Labels that a person should decide; None unless the options ask to abstain.
    stream : dict of str to float
        Sums over the posts of the numbers that say how much of them the model knows; empty unless the options ask for these.
    queued : ndarray of int64, shape (n_posts,), or None
        The number of the queue that each post would be in if all queues had room; None unless the options ask for queues.
    """

    table: pa.Table
    decided: NDArray[np.bool_]
    review: NDArray[np.bool_] | None
    stream: dict[str, float]
    queued: NDArray[np.int64] | None


def scorer_of(model: "Classifier", *, unfamiliar: bool) -> DistinctScorer:
    """Return a scorer for a job with these options.

    Parameters
    ----------
    model : Classifier
        A fitted classifier.
    unfamiliar : bool
        As in `Options`.

    Raises
    ------
    InputError
        When the model keeps no reference, which ``unfamiliar`` needs.
    """
    if not unfamiliar:
        return DistinctScorer(model)
    from pipeline.watching.familiarity import Familiarity

    return DistinctScorer(model, Familiarity(model))


def predict(scorer: DistinctScorer, posts: Sequence[Post], options: Options) -> Predictions:
    """Score posts.

    Parameters
    ----------
    scorer : DistinctScorer
        From `scorer_of`.
    posts : sequence of Post
        One or more.
    options : Options

    Returns
    -------
    Predictions
    """
    model = scorer.model
    ids, texts, kept = zip(*posts, strict=True)
    probabilities, measured = scorer.measured(texts)
    decided, review = options.decide(model, probabilities), options.for_review(probabilities)
    told = decided if review is None else decided | review
    queued = options.queued(model.labels, probabilities, decided)
    table = prediction_table(
        ids,
        probabilities,
        decided,
        model.labels,
        model.digest_,
        kept=dict(zip(options.keep, zip(*kept, strict=True), strict=True)),
        review=review,
        explanations=scorer.explain(texts, told, REASONS) if options.explain else None,
        familiarity=measured if options.unfamiliar else None,
        queue=options.queue_names(queued),
    )
    sums = measured.sum(axis=0, dtype=np.float64).tolist()
    return Predictions(table, decided, review, dict(zip(FAMILIARITY, sums, strict=False)), queued)
