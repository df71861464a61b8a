"""Turns posts into predictions, as the options ask."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.predictions import prediction_table
from pipeline.scoring.distinct import DistinctScorer
from pipeline.scoring.options import Options
from pipeline.scoring.posts import Post

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
    queued : ndarray of int64, shape (n_posts,), or None
        The number of each post's queue, as if all queues had room; None unless the options ask to route.
    """

    table: pa.Table
    decided: NDArray[np.bool_]
    review: NDArray[np.bool_] | None
    queued: NDArray[np.int64] | None


def predict(scorer: DistinctScorer, posts: Sequence[Post], options: Options) -> Predictions:
    """Score posts.

    Parameters
    ----------
    scorer : DistinctScorer
    posts : sequence of Post
        One or more.
    options : Options

    Returns
    -------
    Predictions
    """
    model = scorer.model
    ids, texts, kept = zip(*posts, strict=True)
    probabilities = scorer.score(texts)
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
        queue=options.queue_names(queued),
    )
    return Predictions(table, decided, review, queued)
