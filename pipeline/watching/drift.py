"""Compares posts with a reference, measure by measure and all together: how large the difference is, and whether it is due to chance."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.arrays import Float64s, Int64s
from models.description import Reference
from pipeline.predictions import FAMILIARITY
from pipeline.watching.stream import Stream

SCORE = "score of "
_MASK_EDGES = [1, 2, 3, 5]
_DECILES = np.arange(1, 10) / 10
_SPARSE = 10  # neighbouring bins with fewer posts than this, in both samples together, are joined
_SAMPLE = 4_000  # maximum number of posts of each kind that the classifier sees


@dataclass(frozen=True)
class Bins:
    """How many posts of the reference lie in each bin of a measure.

    Attributes
    ----------
    edges : list of float
        Values between the bins.
    upper : bool
        Whether a value on an edge belongs to the upper bin.
    counts : ndarray of int64, shape (len(edges) + 1,)
    """

    edges: list[float]
    upper: bool
    counts: Int64s

    @classmethod
    def of(cls, values: NDArray[np.generic], edges: Sequence[float], *, upper: bool) -> "Bins":
        """Count values in bins."""
        places = np.searchsorted(np.asarray(edges, np.float64), values.astype(np.float64), side="right" if upper else "left")
        return cls(list(edges), upper, np.bincount(places, minlength=len(edges) + 1).astype(np.int64))

    def count(self, values: NDArray[np.generic]) -> Int64s:
        """Return how many other values lie in each bin."""
        return Bins.of(values, self.edges, upper=self.upper).counts


def _untied(deciles: Sequence[float]) -> list[tuple[float, float]]:
    """Return the share below each decile, and its value; deciles that are equal are left out, because the share below them is not known."""
    return [(share, value) for share, value in zip(_DECILES.tolist(), deciles, strict=True) if list(deciles).count(value) == 1]


def values_of(stream: Stream, labels: Sequence[str]) -> dict[str, NDArray[np.float32]]:
    """Return the measures of distinct posts, by name.

    Parameters
    ----------
    stream : Stream
        The posts; copies count once.
    labels : sequence of str
        The model's labels.
    """
    first, _ = stream.distinct
    found = {f"{SCORE}{label}": stream.probabilities[first, k] for k, label in enumerate(labels)}
    if stream.measures is not None:
        named = dict(zip(FAMILIARITY, stream.measures[first].T, strict=True))
        found |= {"length": named["tokens"], **{name: named[name] for name in ("masks", "unknown_words", "unknown_characters")}}
    return found


def bins_of_model(reference: Reference) -> dict[str, Bins]:
    """Return the bins of a model's training posts.

    Parameters
    ----------
    reference : Reference
        From ``model.json``.
    """

    def counts(shares: Sequence[float]) -> Int64s:
        return np.round(np.array(shares) * reference.posts).astype(np.int64)

    scores = {f"{SCORE}{label}": shares for label, shares in reference.probabilities.items()}
    found = {name: Bins([k / len(shares) for k in range(1, len(shares))], True, counts(shares)) for name, shares in scores.items()}
    found["length"] = Bins([float(edge) for edge in reference.length_edges[1:]], True, counts(reference.lengths))
    for name, unknown in (("unknown_words", reference.unknown_words), ("unknown_characters", reference.unknown_characters)):
        if unknown and (edges := _untied(unknown.deciles)):
            below = [0.0, *(share for share, _ in edges), 1.0]
            found[name] = Bins([value for _, value in edges], False, counts(np.diff(below).tolist()))
    return found


def bins_of_stream(stream: Stream, labels: Sequence[str], lengths: Sequence[int]) -> dict[str, Bins]:
    """Return the bins of other posts.

    Parameters
    ----------
    stream : Stream
        The posts of the reference.
    labels : sequence of str
        The model's labels.
    lengths : sequence of int
        The shortest post of each bin of lengths.
    """
    found = {}
    for name, values in values_of(stream, labels).items():
        if name.startswith("unknown"):
            edges = sorted(set(np.quantile(values, _DECILES).tolist()))
            found[name] = Bins.of(values, edges, upper=False)
        else:
            fixed = {"length": list(map(float, lengths[1:])), "masks": list(map(float, _MASK_EDGES))}
            found[name] = Bins.of(values, fixed.get(name, [k / 20 for k in range(1, 20)]), upper=True)
    return found


def _joined(counts: Int64s) -> Int64s:
    """Join neighbouring bins, shape (2, n_bins), until each holds enough posts to compare."""
    joined = [np.zeros(2, np.int64)]
    for column in counts.T:
        if joined[-1].sum() >= _SPARSE:
            joined.append(np.zeros(2, np.int64))
        joined[-1] = joined[-1] + column
    if len(joined) > 1 and joined[-1].sum() < _SPARSE:
        joined[-2:] = [joined[-2] + joined[-1]]
    return np.stack(joined, axis=1)


def effect(reference: Int64s, counts: Int64s) -> tuple[float, float, float]:
    """Compare two histograms.

    Parameters
    ----------
    reference, counts : ndarray of int64, shape (n_bins,)

    Returns
    -------
    psi, js, p : float
        Population stability index, Jensen-Shannon distance, and the p-value of the chi-squared test that both are samples of one
        distribution.

    Examples
    --------
    >>> import numpy as np
    >>> [round(found, 3) for found in effect(np.array([500, 500]), np.array([52, 48]))]
    [0.002, 0.017, 0.782]
    """
    from scipy.special import rel_entr
    from scipy.stats import chi2_contingency

    table = _joined(np.stack([reference, counts]))
    if table.shape[1] < 2:
        return 0.0, 0.0, 1.0
    one, other = ((row + 0.5) / (row + 0.5).sum() for row in table.astype(np.float64))
    psi = float(((other - one) * np.log(other / one)).sum())
    middle = (one + other) / 2
    divergence = float((rel_entr(one, middle) + rel_entr(other, middle)).sum() / np.log(4))
    return psi, max(divergence, 0.0) ** 0.5, float(chi2_contingency(table).pvalue)  # rounding can make it negative


def compare(reference: dict[str, Bins], stream: Stream, labels: Sequence[str]) -> Iterator[tuple[str, tuple[float, float, float]]]:
    """Yield the name and the `effect` of each measure that both the reference and the posts have.

    Parameters
    ----------
    reference : dict of str to Bins
    stream : Stream
    labels : sequence of str
        The model's labels.
    """
    for name, values in values_of(stream, labels).items():
        if name in reference:
            yield name, effect(reference[name].counts, reference[name].count(values))


def _features(stream: Stream, rng: np.random.Generator) -> Float64s:
    """Return numbers about different posts drawn at random, without their masks, which platforms handle differently."""
    first, _ = stream.distinct
    chosen = rng.permutation(first)[:_SAMPLE]
    p = np.clip(stream.probabilities[chosen].astype(np.float64), 1e-6, 1 - 1e-6)
    columns = [np.log(p / (1 - p))]
    if stream.measures is not None:
        columns.append(np.delete(stream.measures[chosen], [1, 4], axis=1).astype(np.float64))
    return np.hstack(columns)


def two_samples(reference: Stream, stream: Stream, seed: int = 0) -> tuple[float, float]:
    """Fit a classifier on half of the posts to tell two samples apart, and test it on the other half (Lopez-Paz & Oquab 2017).

    Parameters
    ----------
    reference, stream : Stream
    seed : int

    Returns
    -------
    auc, p : float
        The area under the curve on the other half, and the p-value of the Mann-Whitney test that it is due to chance.
    """
    from scipy.stats import mannwhitneyu
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    rng = np.random.default_rng(seed)
    samples = [_features(each, rng) for each in (reference, stream)]
    X, y = np.concatenate(samples), np.repeat([0, 1], [len(sample) for sample in samples])
    weights = len(y) / 2 / np.bincount(y)[y]
    fitted = np.concatenate([np.arange(len(sample)) % 2 == 0 for sample in samples])
    with threadpool_limits(1):  # for so few posts, threads cost more than they give
        classifier = HistGradientBoostingClassifier(max_iter=30, max_leaf_nodes=8, learning_rate=0.2, random_state=seed)
        classifier.fit(X[fitted], y[fitted], weights[fitted])
        scores, truth = classifier.predict_proba(X[~fitted])[:, 1], y[~fitted]
    found = mannwhitneyu(scores[truth == 1], scores[truth == 0], alternative="greater")
    return float(found.statistic / (truth == 1).sum() / (truth == 0).sum()), float(found.pvalue)


def corrected(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for the number of comparisons, so that a false alarm is no likelier than with a single one (Holm)."""
    from statsmodels.stats.multitest import multipletests

    return [float(p) for p in multipletests(p_values, method="holm")[1]] if p_values else []
