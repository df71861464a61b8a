"""Promotion: each gate refuses by itself, and says why."""

import copy

import pytest

from pipeline.config import Promotion
from pipeline.evaluation.promotion import check_floors, decide_promotion

OVERALL = "macro_f1 or mean_average_precision better, neither worse"
WANTED = Promotion(max_ece=0.05, behaviour_floor=0.5, behaviour_floors={"negation": 0.8})


def compared(verdict="no real difference", difference=0.01, interval=(-0.02, 0.04)):
    return {"difference": difference, "interval": interval and list(interval), "verdict": verdict}


BETTER = compared("better", 0.03, (0.01, 0.05))
WORSE = compared("worse", -0.04, (-0.07, -0.01))
UNDEFINED = compared("undefined", None, None)


@pytest.fixture
def good():
    """Results of a model that passes every gate, to spoil."""
    return copy.deepcopy({
        "labels": {"alpha": {"ece": 0.03}, "beta": {"ece": 0.09}},
        "intervals": {"labels": {"alpha": {"ece": [0.0, 0.06]}, "beta": {"ece": [0.05, 0.12]}}},
        "behaviour": {"functionalities": {
            "negation": {"cases": 15, "passed": 12, "rate": 0.8},
            "sarcasm": {"cases": 12, "passed": 6, "rate": 0.5},
        }},
        "comparison": {"differences": {
            "macro_f1": BETTER,
            "mean_average_precision": compared(),
            "labels": {label: {"f1": compared(), "average_precision": compared(), "recall": WORSE} for label in ("alpha", "beta")},
        }},
    })  # fmt: skip


def failed(results, wanted=WANTED):
    decision = decide_promotion(results, wanted)
    found = [gate for gate in decision["gates"] if not gate["passed"]]
    assert decision["promoted"] == (not found)
    return {gate["gate"]: gate["found"] for gate in found}


def test_a_model_that_passes_every_gate_is_promoted(good):
    decision = decide_promotion(good, WANTED)
    assert decision["promoted"]
    assert [gate["gate"] for gate in decision["gates"]] == [
        "alpha: f1 not worse",
        "alpha: average_precision not worse",
        "beta: f1 not worse",
        "beta: average_precision not worse",
        OVERALL,
        "alpha: ece at most 0.05",
        "beta: ece at most 0.05",
        "negation: at least 80% of cases",
        "sarcasm: at least 50% of cases",
    ]


@pytest.mark.parametrize("metric", ["f1", "average_precision"])
@pytest.mark.parametrize(("verdict", "said"), [(WORSE, "-0.040 [-0.070, -0.010], worse"), (UNDEFINED, "undefined: too few positives")])
def test_worse_or_undefined_on_one_label_refuses(good, metric, verdict, said):
    good["comparison"]["differences"]["labels"]["beta"][metric] = verdict
    assert failed(good) == {f"beta: {metric} not worse": said}


def test_better_on_a_label_does_no_harm(good):
    good["comparison"]["differences"]["labels"]["beta"]["f1"] = BETTER
    assert failed(good) == {}


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
    good["comparison"]["differences"] |= {"macro_f1": macro_f1, "mean_average_precision": mean_average_precision}
    assert list(failed(good)) == ([] if passes else [OVERALL])


def test_both_numbers_of_the_overall_gate_are_told(good):
    good["comparison"]["differences"]["mean_average_precision"] = WORSE
    assert failed(good) == {OVERALL: "macro_f1 +0.030 [+0.010, +0.050], better; mean_average_precision -0.040 [-0.070, -0.010], worse"}


def test_calibration_refuses_where_it_is_off_by_more_than_chance(good):
    good["intervals"]["labels"]["beta"]["ece"] = [0.051, 0.12]
    assert failed(good) == {"beta: ece at most 0.05": "0.090 [0.051, 0.120]"}
    assert failed(good, WANTED.model_copy(update={"max_ece": 0.06})) == {}


def test_a_functionality_under_its_floor_refuses(good):
    good["behaviour"]["functionalities"]["sarcasm"] = {"cases": 12, "passed": 5, "rate": 5 / 12}
    assert failed(good) == {"sarcasm: at least 50% of cases": "5 of 12"}


def test_an_exception_replaces_the_floor_both_ways(good):
    good["behaviour"]["functionalities"]["negation"] = {"cases": 15, "passed": 11, "rate": 11 / 15}
    assert list(failed(good)) == ["negation: at least 80% of cases"]
    assert failed(good, Promotion(behaviour_floors={"negation": 0.1})) == {}
    assert list(failed(good, Promotion(behaviour_floor=0.9, behaviour_floors={"negation": 0.1}))) == ["sarcasm: at least 90% of cases"]


def test_without_a_champion_nothing_is_compared(good):
    del good["comparison"]
    assert failed(good) == {}
    good["intervals"]["labels"]["alpha"]["ece"] = [0.1, 0.2]
    assert list(failed(good)) == ["alpha: ece at most 0.05"]


def test_without_cases_behaviour_is_not_asked(good):
    good["behaviour"] = None
    assert failed(good) == {}


def test_an_exception_for_a_misspelt_functionality_is_one_line(refused):
    with refused("promotion.behaviour_floors", "'negation'", "did you mean 'negations'?"):
        check_floors(WANTED, ["negations", "sarcasm"])


def test_behaviour_cannot_be_got_round_by_having_no_cases(refused):
    with refused("--promote", "evaluation.behaviour"):
        check_floors(WANTED, [])


def test_an_exception_may_be_for_another_file_of_cases():
    check_floors(WANTED, ["negation", "negations"])
    check_floors(WANTED, ["sarcasm"])
