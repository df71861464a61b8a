"""The row of a threshold says what it finds and costs.

benchmarks/intervals.py measures whether a guaranteed recall holds on new posts.
"""

import numpy as np
import pytest
from scipy.stats import binom

from pipeline.config import Evaluation
from pipeline.evaluation.threshold_costs import compute_thresholds

RNG = np.random.default_rng(0)


def compute(y, p, wanted=None, at_random=None, threshold=0.5, authors=None):
    y, p = np.asarray(y, np.int8), np.asarray(p, np.float32)
    at_random = np.ones(len(y), bool) if at_random is None else np.asarray(at_random, bool)
    return compute_thresholds(y[:, None], p[:, None], ["alpha"], [threshold], wanted or Evaluation(), at_random, authors)["alpha"]


def counted(y, p, threshold):
    decided = np.asarray(p, np.float32) >= np.float32(threshold)
    right = (decided & (np.asarray(y) == 1)).sum()
    return right / decided.sum(), right / np.sum(y), decided.mean()


@pytest.fixture(scope="module")
def population():
    """Probabilities of 200,000 posts, a tenth of them positive, some of which are hard to tell from the rest."""
    y = (RNG.random(200_000) < 0.1).astype(np.int8)
    p = np.where(y == 1, RNG.beta(3, 2, len(y)), RNG.beta(1, 8, len(y))).astype(np.float32)
    return y, p


def test_rows_count_what_is_found_and_what_must_be_reviewed():
    result = compute([1, 1, 1, 0, 0, 0], [0.9, 0.6, 0.2, 0.6, 0.1, 0.3], at_random=[1, 0, 0, 1, 1, 1], threshold=0.6)
    assert result.positives == 3
    row = result.chosen
    assert (row.threshold, row.precision, row.recall, row.f1) == (0.6, 2 / 3, 2 / 3, 2 / 3)
    assert (row.share, row.share_at_random) == (3 / 6, 2 / 4)
    assert [row.threshold for row in result.curve] == [round(0.01 * k, 2) for k in range(101)]
    assert (result.curve[0].recall, result.curve[0].share) == (1, 1)
    assert result.curve[60] == row, "a probability of exactly the threshold is decided, as the model does"
    assert (result.curve[100].precision, result.curve[100].recall) == (None, 0)


def test_cost_is_of_the_highest_threshold_that_misses_no_more(population):
    y, p = (values[:2000] for values in population)
    for row in compute(y, p).cost:
        precision, recall, share = counted(y, p, row.threshold)
        assert (row.precision, row.recall, row.share) == pytest.approx((precision, recall, share))
        assert recall >= 1 - row.miss
        next_higher = p[(y == 1) & (p > row.threshold)].min()
        assert counted(y, p, next_higher)[1] < 1 - row.miss
        assert row.share_interval[0] < row.share_at_random < row.share_interval[1]


def test_as_many_may_be_missed_as_the_share_says_to_the_last():
    assert compute([1] * 20, np.linspace(0.05, 1, 20)).cost[1].threshold == pytest.approx(0.1)  # 5 % of 20 are one
    assert compute([1] * 19, np.linspace(0.05, 0.95, 19)).cost[1].threshold == pytest.approx(0.05)


def test_enriched_posts_do_not_count_into_the_share_to_review(population):
    y, p = population
    enriched = np.concatenate([np.arange(1000), np.flatnonzero(y)[-500:]])
    row = compute(y[enriched], p[enriched], at_random=np.arange(1500) < 1000).cost[1]
    everyday = counted(y, p, row.threshold)[2]
    assert row.share_interval[0] < everyday < row.share_interval[1]
    assert row.share > row.share_interval[1]


def test_without_posts_at_random_there_is_no_share_of_them():
    result = compute([1, 0], [0.7, 0.2], at_random=[0, 0])
    assert {row.share_at_random for row in [*result.curve, *result.cost]} == {None}
    assert {row.share_interval for row in result.cost} == {None}


def test_a_label_without_positives_has_no_recall_no_cost_and_a_reason():
    result = compute([0, 0, 0], [0.7, 0.2, 0.1])
    assert result.cost == []
    assert result.chosen.recall is result.chosen.f1 is None
    assert result.chosen.precision == 0
    assert result.guarantee.threshold is None
    assert "positives by 0 authors are too few" in result.guarantee.reason


@pytest.mark.parametrize(("recall", "confidence", "needed"), [(0.9, 0.9, 22), (0.95, 0.9, 45), (0.8, 0.95, 14), (0.5, 0.5, 1)])
def test_a_guarantee_needs_so_many_positives_and_no_fewer(recall, confidence, needed):
    wanted = Evaluation(recall=recall, guarantee=confidence)
    enough = compute([1] * needed + [0], np.linspace(0.9, 0.1, needed + 1), wanted).guarantee
    assert (enough.reason, enough.needed, enough.recall) == (None, needed, 1)
    few = compute([1] * (needed - 1) + [0], np.linspace(0.9, 0.1, needed), wanted).guarantee
    assert (few.threshold, few.recall, few.share, few.positives) == (None, None, None, needed - 1)
    assert f"needs at least {needed}" in few.reason


@pytest.mark.parametrize("positives", [30, 100, 173, 200, 1001])
def test_guaranteed_threshold_misses_as_many_as_an_exact_binomial_test_allows(positives):
    scores = RNG.random(positives)
    allowed = max(misses for misses in range(positives) if binom.cdf(misses, positives, 0.1) <= 0.1)
    found = compute([1] * positives, scores).guarantee
    assert found.threshold == pytest.approx(np.sort(scores)[allowed])


def test_all_positives_alike_are_no_trouble():
    assert compute([1] * 30 + [0] * 5, [1.0] * 30 + [0.0] * 5).guarantee.threshold == 1


def test_each_label_may_have_its_own_target(refused):
    Y, probabilities = np.ones((60, 2), np.int8), RNG.random((60, 2)).astype(np.float32)
    everywhere = np.ones(60, bool)

    def targets(recall):
        results = compute_thresholds(Y, probabilities, ["alpha", "beta"], [0.5, 0.5], Evaluation(recall=recall), everywhere)
        return {label: result.guarantee.target for label, result in results.items()}

    assert targets(0.8) == {"alpha": 0.8, "beta": 0.8}
    assert targets({"beta": 0.7, "alpha": 0.95}) == {"alpha": 0.95, "beta": 0.7}
    with refused("evaluation.recall", "has no value for beta", "each label"):
        targets({"alpha": 0.9})
    with refused("evaluation.recall", "'bata'", "alpha, beta"):
        targets({"alpha": 0.9, "bata": 0.9})


def test_a_guarantee_counts_each_author_once():
    authors = np.repeat(np.arange(21), 10)
    result = compute([1] * 210, RNG.random(210), Evaluation(recall=0.9, guarantee=0.9), authors=authors).guarantee
    assert (result.positives, result.authors, result.threshold) == (210, 21, None)
    assert result.reason == "positives by 21 authors are too few: a recall of 0.9 at 90% confidence needs at least 22 authors"


def test_a_guarantee_for_all_labels_together_holds_for_each_with_more_confidence():
    Y, p = np.ones((60, 4), np.int8), np.tile(np.linspace(0, 1, 60, dtype=np.float32)[:, None], 4)
    found = {}
    for together in (False, True):
        wanted = Evaluation(recall=0.9, guarantee=0.9, together=together)
        result = compute_thresholds(Y, p, list("abcd"), [0.5] * 4, wanted, np.ones(60, bool))
        found[together] = result["a"].guarantee
    assert (found[False].labels, found[False].needed, found[True].labels, found[True].needed) == (1, 22, 4, 36)
    assert binom.cdf(np.sum(p[:, 0] < found[True].threshold), 60, 0.1) <= 0.025
    assert found[True].threshold < found[False].threshold
    assert found[True].confidence == 0.9, "what is promised for all of them"
