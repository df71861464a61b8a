"""Promotion: each gate alone can refuse a model, and says why."""

import numpy as np
import pytest

from pipeline.config import Promotion
from pipeline.evaluation.bootstrap import intervals, metrics_by_round, resample
from pipeline.evaluation.promotion import check_floors, decide_promotion
from pipeline.evaluation.results import (
    Behaviour,
    Comparison,
    Difference,
    Differences,
    Functionality,
    Intervals,
    LabelDifferences,
    LabelIntervals,
    Results,
    Sample,
    Seen,
)
from pipeline.evaluation.swaps import MarkedJobs, SwapKind, Swapped, Swaps
from pipeline.metrics import LabelMetrics, compute_metrics

LABELS = ["alpha", "beta"]
OVERALL = "macro_f1 or mean_average_precision better, neither worse"
WANTED = Promotion(max_ece=0.05, behaviour_floor=0.5, behaviour_floors={"negation": 0.8})


def compared(verdict="no real difference", difference=0.01, interval=(-0.02, 0.04)):
    return Difference(difference=difference, interval=interval, verdict=verdict)


BETTER = compared("better", 0.03, (0.01, 0.05))
WORSE = compared("worse", -0.04, (-0.07, -0.01))
UNDEFINED = compared("cannot tell", None, None)


def functionality(passed, cases):
    return Functionality(cases=cases, passed=passed, failures=[], rate=passed / cases, interval=(0, 1))


def all_fields(kind, value, **others):
    return kind(**dict.fromkeys(kind.model_fields, value) | others)


@pytest.fixture
def good():
    """Results of a model that passes every gate, for tests to spoil. Only what gates look at is filled in."""
    alike = all_fields(LabelDifferences, compared(), recall=WORSE)
    eces = {"alpha": (0.0, 0.06), "beta": (0.05, 0.12)}
    differences = all_fields(Differences, compared(), macro_f1=BETTER, labels=dict.fromkeys(LABELS, alike))
    functionalities = {"negation": functionality(12, 15), "sarcasm": functionality(6, 12)}
    return Results.model_construct(
        posts=100,
        labels={"alpha": LabelMetrics.model_construct(ece=0.03), "beta": LabelMetrics.model_construct(ece=0.09)},
        intervals=all_fields(Intervals, (0, 1), labels={label: all_fields(LabelIntervals, (0, 1), ece=ece) for label, ece in eces.items()}),
        seen_in_training=Seen(posts=1, share=0.01, short=0, without=None),
        behaviour=Behaviour(cases=27, passed=18, rate=18 / 27, passed_by_silence=0, functionalities=functionalities),
        comparison=Comparison.model_construct(differences=differences),
        sample=Sample(authors=120, rounds=1000, confidence=0.95),
    )


def changed(part, path, value):
    """Return the same results with another value at a path such as ``comparison.differences.labels.beta.f1``."""
    name, _, rest = path.partition(".")
    inside = part[name] if isinstance(part, dict) else getattr(part, name)
    new = {name: changed(inside, rest, value) if rest else value}
    return part | new if isinstance(part, dict) else part.model_copy(update=new)


def failed(results, wanted=WANTED):
    decision = decide_promotion(results, wanted)
    found = [gate for gate in decision.gates if not gate.passed]
    assert decision.promoted == (not found)
    return {gate.gate: gate.found for gate in found}


def test_a_model_that_passes_every_gate_is_promoted(good):
    decision = decide_promotion(good, WANTED)
    assert decision.promoted
    assert [gate.gate for gate in decision.gates] == [
        "alpha: f1 not worse",
        "alpha: average_precision not worse",
        "beta: f1 not worse",
        "beta: average_precision not worse",
        OVERALL,
        "at most 1.0% of the evaluated posts that are long enough to tell were seen in training",
        "alpha: ece at most 0.05",
        "beta: ece at most 0.05",
        "negation: at least 80% of cases",
        "sarcasm: at least 50% of cases",
    ]


@pytest.mark.parametrize("metric", ["f1", "average_precision"])
@pytest.mark.parametrize(
    ("verdict", "said"),
    [(WORSE, "-0.040 [-0.070, -0.010], worse"), (UNDEFINED, "cannot be computed, and so fails: too few posts have, or lack, the label")],
)
def test_worse_or_undefined_on_one_label_refuses(good, metric, verdict, said):
    assert failed(changed(good, f"comparison.differences.labels.beta.{metric}", verdict)) == {f"beta: {metric} not worse": said}


@pytest.mark.parametrize(("authors", "said"), [(1, "by only 1 author,"), (19, "by only 19 authors,")])
def test_comparisons_that_cannot_be_made_for_lack_of_authors_fail_and_say_so(good, authors, said):
    alike = all_fields(LabelDifferences, UNDEFINED)
    differences = all_fields(Differences, UNDEFINED, labels=dict.fromkeys(LABELS, alike))
    refused = failed(changed(changed(good, "comparison.differences", differences), "sample.authors", authors))
    assert len(refused) == 5
    assert all(said in found for found in refused.values())


def test_better_on_a_label_does_no_harm(good):
    assert failed(changed(good, "comparison.differences.labels.beta.f1", BETTER)) == {}


@pytest.mark.parametrize(
    ("macro_f1", "mean_average_precision", "passes"),
    [
        (BETTER, BETTER, True),
        (BETTER, compared(), True),
        (compared(), BETTER, True),
        (compared(), compared(), False),
        (BETTER, WORSE, False),
        (WORSE, BETTER, False),
        (WORSE, WORSE, False),
        (UNDEFINED, UNDEFINED, False),
        (compared(), UNDEFINED, False),
    ],
)
def test_better_overall_is_better_in_one_and_worse_in_neither(good, macro_f1, mean_average_precision, passes):
    results = changed(good, "comparison.differences.macro_f1", macro_f1)
    results = changed(results, "comparison.differences.mean_average_precision", mean_average_precision)
    assert list(failed(results)) == ([] if passes else [OVERALL])


def test_both_numbers_of_the_overall_gate_are_told(good):
    results = changed(good, "comparison.differences.mean_average_precision", WORSE)
    assert failed(results) == {OVERALL: "macro_f1 +0.030 [+0.010, +0.050], better; mean_average_precision -0.040 [-0.070, -0.010], worse"}


def test_calibration_refuses_where_it_is_off_by_more_than_chance(good):
    results = changed(good, "intervals.labels.beta.ece", (0.051, 0.12))
    assert failed(results) == {"beta: ece at most 0.05": "0.090 [0.051, 0.120]"}
    assert failed(results, WANTED.model_copy(update={"max_ece": 0.06})) == {}


def test_calibration_that_cannot_be_told_for_lack_of_authors_refuses(good):
    good = changed(good, "sample.authors", 5)
    said = "cannot be computed, and so fails: the posts are by only 5 authors, and at least 20 are needed"
    assert failed(changed(good, "intervals.labels.beta.ece", None)) == {"beta: ece at most 0.05": said}
    assert failed(changed(good, "intervals.labels.beta.ece", None), WANTED.model_copy(update={"max_ece": 1})) == {
        "beta: ece at most 1": said
    }
    Y = np.tile([[0, 1], [1, 0]], (30, 1)).astype(np.int8)
    probabilities = Y.astype(np.float32)  # right about all posts, but they are by too few authors
    for authors, passes in ((19, False), (20, True)):
        counts = resample(np.arange(60) % authors, 100, seed=0)
        metrics, by_round = (
            compute_metrics(Y, probabilities, Y == 1, LABELS, [0.5, 0.5]),
            metrics_by_round(Y, probabilities, Y == 1, counts),
        )
        measured = {"labels": metrics.labels, "intervals": intervals(metrics, by_round, 0.95)}
        wrong = failed(good.model_copy(update=measured))
        assert wrong == ({} if passes else {f"{label}: ece at most 0.05": said for label in LABELS})


def test_a_functionality_under_its_floor_refuses(good):
    results = changed(good, "behaviour.functionalities.sarcasm", functionality(5, 12))
    assert failed(results) == {"sarcasm: at least 50% of cases": "5 of 12"}


def test_an_exception_replaces_the_floor_both_ways(good):
    results = changed(good, "behaviour.functionalities.negation", functionality(11, 15))
    assert list(failed(results)) == ["negation: at least 80% of cases"]
    assert failed(results, Promotion(behaviour_floors={"negation": 0.1})) == {}
    assert list(failed(results, Promotion(behaviour_floor=0.9, behaviour_floors={"negation": 0.1}))) == ["sarcasm: at least 90% of cases"]


@pytest.mark.parametrize(
    ("seen", "most", "found"),
    [
        (Seen(posts=2, share=0.02, short=0, without=None), 0.01, "2 of 100 posts (2.0%)"),
        (Seen(posts=1, share=0.01, short=0, without=None), 0, "1 of 100 posts (1.0%)"),
        (Seen(posts=1, share=0.1, short=90, without=None), 0.01, "1 of 10 posts (10.0%); 90 more are too short to tell"),
        (Seen(posts=1, share=1.0, short=99, without=None), 0.01, "1 of 1 post (100.0%); 99 more are too short to tell"),
        (Seen(posts=0, share=None, short=100, without=None), 0.01, "cannot be computed, and so fails: 100 posts, all too short to tell"),
        (None, 0.01, "unknown: the model has no fingerprints of its training posts; train it again with this release"),
    ],
)
def test_posts_seen_in_training_refuse_unless_any_may_be(good, seen, most, found):
    results = changed(good, "seen_in_training", seen)
    assert failed(results, WANTED.model_copy(update={"max_seen": most})) == {
        f"at most {most:.1%} of the evaluated posts that are long enough to tell were seen in training": found
    }
    assert failed(results, WANTED.model_copy(update={"max_seen": 1})) == {}


def test_without_a_champion_nothing_is_compared(good):
    alone = changed(good, "comparison", None)
    assert failed(alone) == {}
    assert list(failed(changed(alone, "intervals.labels.alpha.ece", (0.1, 0.2)))) == ["alpha: ece at most 0.05"]


def test_without_cases_behaviour_is_not_asked(good):
    assert failed(changed(good, "behaviour", None)) == {}


def test_an_exception_for_a_misspelt_functionality_is_one_line(refused):
    with refused("promotion.behaviour_floors", "'negation'", "did you mean 'negations'?"):
        check_floors(WANTED, ["negations", "sarcasm"], swaps=False)


def test_behaviour_cannot_be_got_round_by_having_no_cases(refused):
    with refused("--promote", "evaluation.behaviour"):
        check_floors(WANTED, [], swaps=True)


def test_floors_are_refused_only_if_misspelt():
    check_floors(WANTED, ["negation", "negations"], swaps=False)
    check_floors(WANTED, ["sarcasm"], swaps=False)


def test_a_floor_for_what_no_case_asks_about_refuses_unless_it_is_0(good):
    results = changed(good, "behaviour.functionalities", {"sarcasm": functionality(6, 12)})
    assert failed(results) == {"negation: at least 80% of cases": "no case about the model's labels"}
    assert failed(results, WANTED.model_copy(update={"behaviour_floors": {"negation": 0}})) == {}


def test_cases_that_are_all_about_other_labels_refuse(good):
    results = changed(good, "behaviour", Behaviour(cases=0, passed=0, rate=None, passed_by_silence=0, functionalities={}))
    assert failed(results, WANTED.model_copy(update={"behaviour_floors": {}})) == {"behavioural cases about the model's labels": "none"}


def with_swaps(results, *, age=0.0, name=0.0, changed=0.0, jobs=0):
    """Results in which two groups of two kinds move by so much, against a control that moves more than is allowed."""

    def kind(*shifts):
        groups = [Swapped(posts=9, shifts={"alpha": shift, "beta": 0.0}, label="alpha", shift=shift, changed=changed) for shift in shifts]
        return SwapKind(groups={f"group {k}": each for k, each in enumerate(groups)}, changed=changed, control=groups[0])

    marked = MarkedJobs(posts=40, marked={f"job {k}": ["alpha"] for k in range(jobs)})
    swaps = Swaps(carriers=9, right=1.0, kinds={"age": kind(0.0, age), "name": kind(name)}, jobs=marked)
    return results.model_copy(update={"swaps": swaps})


LIMITED = WANTED.model_copy(update={"max_swap_shift": 0.03, "max_swap_changes": 0.02})


def test_swaps_refuse_only_if_there_are_limits_and_only_beyond_them(good):
    moved = with_swaps(good, age=-0.2, changed=0.5, jobs=9)
    assert failed(moved) == {}
    assert failed(with_swaps(good, age=-0.03, name=0.03, changed=0.02), LIMITED) == {}
    assert failed(with_swaps(good, age=-0.031), LIMITED) == {"swaps of age: shift at most 0.03": "-0.031, group 1, alpha"}
    assert failed(with_swaps(good, name=0.5), LIMITED) == {"swaps of name: shift at most 0.03": "+0.500, group 0, alpha"}
    said = ["swaps of age: at most 2.0% of decisions changed", "swaps of name: at most 2.0% of decisions changed"]
    assert failed(with_swaps(good, changed=0.021), LIMITED) == dict.fromkeys(said, "2.1%")
    assert list(failed(moved, WANTED.model_copy(update={"max_swap_shift": 0.1}))) == ["swaps of age: shift at most 0.1"]


def test_no_job_may_be_marked_at_two_per_cent(good):
    assert failed(with_swaps(good, jobs=1), LIMITED) == {"posts that name a job: at most 2.0% of harmless posts marked": "1 of 40"}
    assert failed(with_swaps(good, jobs=1), LIMITED.model_copy(update={"max_swap_changes": 0.025})) == {}


def test_limits_for_swaps_cannot_be_got_round_by_having_none(refused):
    for name in ("max_swap_shift", "max_swap_changes"):
        with refused("--promote", f"promotion.{name}", "evaluation.swaps=data/swaps"):
            check_floors(WANTED.model_copy(update={name: 0.02}), ["negation"], swaps=False)
    check_floors(LIMITED, ["negation"], swaps=True)
