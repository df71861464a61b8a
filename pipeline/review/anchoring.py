"""Measures whether annotators follow a prediction that they see, by comparison with posts whose prediction they do not see."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.bootstrap import resample
from pipeline.result_base import Interval, Result
from pipeline.review.answers import Answers
from pipeline.review.batch import Planned
from pipeline.review.choosing import RANDOM

_ROUNDS = 2000


class Followed(Result):
    """How often annotators gave the answer that the model had predicted, among those who were asked for it.

    Attributes
    ----------
    shown, blind : float or None
        Share of the answers that are the predicted ones, where annotators saw the prediction and where they did not.
    difference : float or None
        The first minus the second: what seeing the prediction did.
    interval : (float, float) or None
        95 % bootstrap interval of the difference, by post; None with fewer than 20 posts of either kind.
    """

    shown: float | None
    blind: float | None
    difference: float | None
    interval: Interval | None


class Anchoring(Result):
    """How often annotators followed the prediction.

    Attributes
    ----------
    posts_shown, posts_blind : int
        Posts with an answer, except those drawn at random, which are always blind and so cannot be compared.
    all_labels : Followed
        Whether all labels of a post are the predicted ones.
    labels : dict of str to Followed
        Whether a label is given if it was predicted, and not given otherwise.
    """

    posts_shown: int
    posts_blind: int
    all_labels: Followed
    labels: dict[str, Followed]


def _followed(rates: NDArray[np.float64], shown: NDArray[np.bool_]) -> Followed:
    """Compare the rates at which the answers to each post are the predicted ones."""
    parts = [rates[shown], rates[~shown]]
    means = [float(part.mean()) if len(part) else None for part in parts]
    difference = means[0] - means[1] if means[0] is not None and means[1] is not None else None
    drawn = [resample(np.arange(len(part)), _ROUNDS, seed) for seed, part in enumerate(parts)]
    interval = None
    if all(len(counts) for counts in drawn):
        one, other = (counts @ part / len(part) for counts, part in zip(drawn, parts, strict=True))
        low, high = np.quantile(one - other, [0.025, 0.975]).tolist()
        interval = (low, high)
    return Followed(shown=means[0], blind=means[1], difference=difference, interval=interval)


def measure_anchoring(answers: Answers, plan: Mapping[str, Planned], labels: list[str]) -> Anchoring:
    """Measure how often annotators followed the prediction, where they saw it and where they did not.

    The blind posts were drawn at random within each stratum, so that the two kinds of posts differ in nothing else.

    Parameters
    ----------
    answers : Answers
        What annotators said.
    plan : mapping of str to Planned
        The batch.
    labels : list of str
        Labels that the model predicts.

    Returns
    -------
    Anchoring
    """
    posts = [post for post, of_post in answers.by_post.items() if of_post and post in plan and plan[post].stratum != RANDOM]
    shown = sum(plan[post].shown for post in posts)

    def followed(*names: str) -> Followed:
        among = {*names}
        answered = {post: [answer.labels & among for answer in answers.by_post[post].values() if among <= answer.asked] for post in posts}
        asked = [post for post in posts if answered[post]]
        rates = [np.mean([given == plan[post].predicted & among for given in answered[post]]) for post in asked]
        return _followed(np.array(rates), np.array([plan[post].shown for post in asked], bool))

    return Anchoring(
        posts_shown=shown,
        posts_blind=len(posts) - shown,
        all_labels=followed(*labels),
        labels={name: followed(name) for name in labels},
    )
