"""Expected precision, recall and F1 without labels.

If probabilities are calibrated, they say how many of the marked posts have the label, and how many of the others do. This is
confidence-based performance estimation (CBPE), here for several labels. The band is for the values that would be found if somebody labelled
these very posts.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.arrays import Float64s
from models.description import Reference, Reliability
from models.reference import probability_bins
from pipeline.watching.results import Estimate, Expected
from pipeline.watching.stream import Stream

ROUNDS = 400
_PRIOR = 2.0  # weight, in posts, of the assumption that probabilities mean what they say
_WORTH = 0.5  # weight of a held-out post: posts by one author resemble each other, and models other than the one in use scored them


def _ratios(found: Reliability, shares: Sequence[float], posts: int, rng: np.random.Generator) -> tuple[Float64s, Float64s]:
    """Return how much likelier the label is than the probabilities of each bin say: the mean, and `ROUNDS` random draws.

    The draws differ by what the held-out posts leave open: the fewer of these are in a bin, the more the draws differ.
    """
    means = np.clip(found.probabilities, 1e-6, 1 - 1e-6)
    positives = np.array(found.positives) * posts * _WORTH
    others = np.maximum(np.array(shares) * posts * _WORTH - positives, 0)
    a, b = positives + _PRIOR * means, others + _PRIOR * (1 - means)
    return a / (a + b) / means, rng.beta(a, b, (ROUNDS, len(means))) / means


def _rates(correct: Float64s, given: Float64s | float, having: Float64s) -> tuple[Float64s, Float64s, Float64s]:
    """Return precision, recall and F1; NaN where there is nothing to divide by."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return correct / given, correct / having, 2 * correct / (given + having)


def _estimate(value: float, drawn: Float64s, confidence: float) -> Estimate:
    drawn = drawn[np.isfinite(drawn)]
    if not np.isfinite(value) or not len(drawn):
        return Estimate(value=None, band=None)
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2]).tolist()
    return Estimate(value=round(float(value), 6), band=(round(min(low, value), 6), round(max(high, value), 6)))


def _of_label(
    p: NDArray[np.float32],
    decided: NDArray[np.bool_],
    copies: Float64s,
    ratios: tuple[Float64s, Float64s],
    confidence: float,
    rng: np.random.Generator,
) -> Expected:
    bins, posts = probability_bins(p), copies.sum()
    given = float(copies[decided].sum())
    likely = np.minimum(p * ratios[0][bins], 1) * copies
    correct, having = np.zeros(ROUNDS), np.zeros(ROUNDS)
    for number, ratio in enumerate(ratios[1]):
        y = (rng.random(len(p), np.float32) < p * ratio[bins]) * copies  # copies of a post have the same label
        correct[number], having[number] = y[decided].sum(), y.sum()
    values = _rates(likely[decided].sum(), given, likely.sum())
    drawn = _rates(correct, given, having)
    share = _estimate(float(likely.sum() / posts), having / posts, confidence)
    found = [_estimate(float(value), draws, confidence) for value, draws in zip(values, drawn, strict=True)]
    return Expected(given=round(given / posts, 6), share=share, precision=found[0], recall=found[1], f1=found[2])


def expect(stream: Stream, labels: Sequence[str], reference: Reference | None, confidence: float, seed: int = 0) -> dict[str, Expected]:
    """Estimate precision, recall and F1 of each label.

    Parameters
    ----------
    stream : Stream
        The posts.
    labels : sequence of str
        The model's labels.
    reference : Reference or None
        What the model keeps of its training posts. If it holds `Reliability`, the band also allows for the uncertainty of the calibration.
    confidence : float
        How often the band should contain the value that labels would show, if the posts are like those of the calibration.
    seed : int

    Returns
    -------
    dict of str to Expected
    """
    rng = np.random.default_rng(seed)
    first, counts = stream.distinct
    copies = counts.astype(np.float64)
    found = {}
    for k, label in enumerate(labels):
        ratios = np.ones(20), np.ones((ROUNDS, 20))
        if reference and reference.reliability:
            ratios = _ratios(reference.reliability[label], reference.probabilities[label], reference.posts, rng)
        found[label] = _of_label(stream.probabilities[first, k], stream.decided[first, k], copies, ratios, confidence, rng)
    return found
