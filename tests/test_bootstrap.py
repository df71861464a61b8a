"""Bootstrap: it equals measuring each resample, and it draws whole authors.

benchmarks/intervals.py measures how often its intervals cover the truth.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluation.bootstrap import compare, intervals, metrics_by_round, resample
from pipeline.evaluation.results import Difference
from pipeline.metrics import compute_metrics

LABELS = ["alpha", "beta", "gamma"]
THRESHOLDS = [0.5] * 3


def invented(seed: int, posts: int = 60, rarest: float = 0.2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return labels, probabilities with ties, and decisions."""
    rng = np.random.default_rng(seed)
    Y = (rng.random((posts, 3)) < [0.5, 0.3, rarest]).astype(np.int8)
    probabilities = np.clip(0.35 * Y + 0.65 * rng.random((posts, 3)), 0, 1).round(2).astype(np.float32)
    return Y, probabilities, probabilities >= 0.5


@given(seed=st.integers(0, 10_000), rarest=st.sampled_from([0.0, 0.02, 0.2]))
def test_each_round_is_what_measuring_the_resample_gives(seed, rarest):
    Y, probabilities, decided = invented(seed, rarest=rarest)
    counts = resample(np.arange(60) // 2, 2, seed)
    by_round = metrics_by_round(Y, probabilities, decided, counts)
    assert (by_round.pop("labels.calibration_noise") >= 0).all()
    for number, count in enumerate(counts):
        drawn = np.repeat(np.arange(60), count)
        wanted = compute_metrics(Y[drawn], probabilities[drawn], decided[drawn], LABELS, THRESHOLDS)
        for name, values in by_round.items():
            if values.ndim == 1:
                assert values[number] == pytest.approx(getattr(wanted, name))
                continue
            metric = name.removeprefix("labels.")
            expected = [getattr(values_of, metric) for values_of in wanted.labels.values()]
            if metric in ("recall", "f1"):  # of nothing
                expected = [value if values_of.support else None for value, values_of in zip(expected, wanted.labels.values(), strict=True)]
            expected = [np.nan if value is None else value for value in expected]
            assert values[number] == pytest.approx(expected, abs=1e-6, nan_ok=True)


def test_authors_are_drawn_whole_and_as_many_as_there_are():
    groups = np.array([3, 3, 3, 7, 9, 9, *range(100, 117)])
    counts = resample(groups, 500, seed=0)
    assert (counts[:, 0] == counts[:, 1]).all()
    assert (counts[:, 1] == counts[:, 2]).all()
    assert (counts[:, 4] == counts[:, 5]).all()
    assert (counts[:, [0, 3, 4, *range(6, 23)]].sum(axis=1) == 20).all()
    assert counts[:, 3].mean() == pytest.approx(1, abs=0.1)


def test_fewer_than_twenty_authors_give_no_intervals_and_no_verdict():
    Y, probabilities, decided = invented(0)
    for authors in (1, 19):
        few = measured(Y, probabilities, decided, resample(np.arange(60) % authors, 300, seed=0))
        assert intervals(*few, 0.95).macro_f1 is None
        assert compare(*few, *few, 0.95).macro_f1.verdict == "cannot tell"
    enough = measured(Y, probabilities, decided, resample(np.arange(60) % 20, 300, seed=0))
    assert intervals(*enough, 0.95).macro_f1 is not None


def test_positives_of_so_few_authors_that_resamples_miss_them_give_no_interval():
    Y = np.zeros((60, 3), np.int8)
    Y[:10, 0], Y[10:40, 1:] = 1, 1
    author = np.concatenate([np.zeros(10, int), np.arange(1, 51)])  # all ten of the first label are one author's
    probabilities = Y.astype(np.float32)
    bounds = intervals(*measured(Y, probabilities, Y == 1, resample(author, 300, seed=0)), 0.95).labels
    assert [getattr(bounds["alpha"], metric) for metric in ("recall", "f1", "average_precision")] == [None] * 3
    assert bounds["beta"].f1 == (1, 1)


def test_same_seed_same_resamples():
    groups = np.arange(50)
    assert np.array_equal(resample(groups, 20, seed=1), resample(groups, 20, seed=1))
    assert not np.array_equal(resample(groups, 20, seed=1), resample(groups, 20, seed=2))


def test_many_rounds_are_measured_in_blocks_without_a_difference(monkeypatch):
    Y, probabilities, decided = invented(0)
    counts = resample(np.arange(60), 50, seed=0)
    whole = metrics_by_round(Y, probabilities, decided, counts)
    monkeypatch.setattr("pipeline.evaluation.bootstrap._CELLS", 7 * 60)
    for name, values in metrics_by_round(Y, probabilities, decided, counts).items():
        assert values == pytest.approx(whole[name], nan_ok=True)


def measured(Y, probabilities, decided, counts):
    return compute_metrics(Y, probabilities, decided, LABELS, THRESHOLDS), metrics_by_round(Y, probabilities, decided, counts)


def test_interval_holds_the_estimate_and_is_none_where_the_metric_is_undefined():
    Y, probabilities, decided = invented(0, rarest=0)
    metrics, by_round = measured(Y, probabilities, decided, resample(np.arange(60), 300, seed=0))
    bounds = intervals(metrics, by_round, 0.95)
    assert bounds.labels["gamma"].average_precision is None
    for name in ("macro_f1", "mean_average_precision", "exact_match"):
        low, high = getattr(bounds, name)
        assert low < getattr(metrics, name) < high
    wider, narrower = intervals(metrics, by_round, 0.99).macro_f1, bounds.macro_f1
    assert wider[0] <= narrower[0]
    assert narrower[1] <= wider[1]
    assert wider != narrower


def test_models_are_told_apart_on_the_label_that_differs():
    Y, probabilities, _ = invented(1, posts=400)
    worse = probabilities.copy()
    worse[:, 0] = np.random.default_rng(0).random(400).astype(np.float32)
    counts = resample(np.arange(400), 300, seed=0)
    found = compare(*measured(Y, probabilities, probabilities >= 0.5, counts), *measured(Y, worse, worse >= 0.5, counts), 0.95)
    assert not hasattr(found.labels["alpha"], "ece")  # noise alone makes this error larger for the model that separates posts better
    for metric in ("f1", "average_precision", "brier"):  # for the last one, less is better
        assert getattr(found.labels["alpha"], metric).verdict == "better"
        assert getattr(found.labels["beta"], metric).verdict == "no real difference"
        assert getattr(found.labels["beta"], metric).difference == 0
    assert found.macro_f1.verdict == "better"
    back = compare(*measured(Y, worse, worse >= 0.5, counts), *measured(Y, probabilities, probabilities >= 0.5, counts), 0.95)
    assert back.labels["alpha"].f1.verdict == "worse"
    assert back.macro_f1.interval == pytest.approx(tuple(-bound for bound in reversed(found.macro_f1.interval)))


def test_pairing_finds_a_difference_that_two_intervals_hide():
    Y, probabilities, decided = invented(2, posts=300)
    missing = decided.copy()
    missing[np.flatnonzero(Y[:, 0] & decided[:, 0])[:8], 0] = False  # eight true positives fewer
    counts = resample(np.arange(300), 500, seed=0)
    ours, theirs = measured(Y, probabilities, decided, counts), measured(Y, probabilities, missing, counts)
    low, high = (intervals(*each, 0.95).labels["alpha"].recall for each in (theirs, ours))
    assert low[1] > high[0]
    assert compare(*ours, *theirs, 0.95).labels["alpha"].recall.verdict == "better"


def test_undefined_on_one_side_is_undefined_as_a_difference():
    Y, probabilities, decided = invented(0, rarest=0)
    counts = resample(np.arange(60), 200, seed=0)
    found = compare(*measured(Y, probabilities, decided, counts), *measured(Y, probabilities, decided, counts), 0.95)
    assert found.labels["gamma"].average_precision == Difference(difference=None, interval=None, verdict="cannot tell")


def bounds_of_ece(Y, probabilities, authors=None):
    """Return the interval of the first label's calibration error, the error itself, and its upper quantile over resamples."""
    counts = resample(np.arange(len(Y)) if authors is None else authors, 300, seed=0)
    metrics, by_round = measured(Y, probabilities, probabilities >= 0.5, counts)
    interval = intervals(metrics, by_round, 0.95).labels["alpha"].ece
    return interval, metrics.labels["alpha"].ece, np.quantile(by_round["labels.ece"][:, 0], 0.975)


def test_interval_of_the_calibration_error_holds_the_error_if_probabilities_are_wrong():
    Y, probabilities, _ = invented(3, posts=400)
    (low, high), error, upper = bounds_of_ece(Y, probabilities)
    assert high == pytest.approx(upper)
    assert 0 < low < error < high


def test_posts_by_authors_that_are_off_together_are_no_proof_of_a_wrong_calibration():
    rng = np.random.default_rng(0)
    authors, covered, wrong = np.repeat(np.arange(60), 20), 0, 0
    for _ in range(12):
        p = rng.beta(0.5, 1.5, 60)[authors]
        y = rng.random(60)[authors] < p  # an author's posts all have the label, or all lack it; the probabilities are right
        Y, probabilities = np.repeat(y[:, None], 3, 1).astype(np.int8), np.repeat(p[:, None], 3, 1).astype(np.float32)
        covered += bounds_of_ece(Y, probabilities, authors)[0][0] == 0
        wrong += bounds_of_ece(Y, probabilities / 4, authors)[0][0] > 0
    assert covered >= 11, "without the authors, it is about half of them"
    assert wrong >= 9, "what is really wrong is still seen"


def test_calibration_error_that_no_resample_changes_has_an_interval_in_order():
    probabilities = np.full((60, 3), 0.77, np.float32)
    counts = np.ones((50, 60), np.uint16)
    for bounds in intervals(*measured(np.ones((60, 3), np.int8), probabilities, probabilities > 0, counts), 0.95).labels.values():
        assert bounds.ece[0] <= bounds.ece[1]


def test_calibration_error_no_larger_than_chance_makes_it_may_be_none():
    rng = np.random.default_rng(0)
    probabilities = rng.beta(0.5, 1.5, (800, 3)).astype(np.float32)
    Y = (rng.random((800, 3)) < probabilities).astype(np.int8)
    (low, high), error, upper = bounds_of_ece(Y, probabilities)
    assert low == 0 < error
    assert high == pytest.approx(upper)
