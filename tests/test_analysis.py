"""Analyses: all parts use the same resamples, and a model is compared with itself and with another one."""

import json

import numpy as np
import pytest
from few_swaps import FEW

from models.config import Label, LabelSet
from pipeline.checks import check_splits
from pipeline.config import Data, Evaluation
from pipeline.corpora import load_corpus
from pipeline.evaluation import evaluate_split, headline
from pipeline.evaluation.analysis import analyse
from pipeline.evaluation.results import Analysis, Behaviour, DataChecks, Difference, Functionality, Results, Sample
from pipeline.evaluation.swaps import measure_swaps
from pipeline.metrics import flatten_metrics

LABELS = ["alpha", "beta"]
LABEL_SET = LabelSet(name="two", labels=[Label(name=name, definition="") for name in LABELS])
WANTED = Evaluation(rounds=200, slices=["teller"])


class Known:
    """A model that reads its probabilities from posts such as ``post 0.9 0.2``; the share `blur` of each is noise."""

    labels = LABELS
    prior_ = np.array([0.3, 0.2])

    def __init__(self, blur=0.0):
        self.blur, self.digest_ = blur, f"{blur:064}"

    def predict_proba(self, texts):
        known = np.array([[float(number) for number in text.split()[1:]] for text in texts], np.float32).reshape(len(texts), 2)
        noise = np.random.default_rng(1).random(known.shape, np.float32)
        return (1 - self.blur) * known + np.float32(self.blur) * noise

    def thresholds_at(self, point):
        return np.array([0.5, 0.5])


@pytest.fixture
def corpus(jsonl):
    """A corpus of 300 posts by 100 authors, whose labels can be told apart well but not perfectly."""
    rng = np.random.default_rng(0)
    Y = rng.random((300, 2)) < [0.3, 0.2]
    probabilities = np.clip(0.55 * Y + 0.55 * rng.random((300, 2)), 0, 1)
    rows = [
        {
            "id": str(k),
            "text": f"post {p[0]:.3f} {p[1]:.3f}",
            "labels": [label for label, has in zip(LABELS, y, strict=True) if has],
            "author": str(k % 100),
            "teller": "so"[k % 2],
        }
        for k, (y, p) in enumerate(zip(Y, probabilities, strict=True))
    ]
    return load_corpus(Data(sources=[str(jsonl("posts.jsonl", rows))]), LABEL_SET, seed=0, cut=False, further=WANTED.columns)


@pytest.fixture
def analysed(corpus):
    def analysis(model=None, other=None, wanted=WANTED, seed=0):
        model = model or Known()
        return analyse(evaluate_split(model, corpus, "all"), corpus, "all", model, wanted, seed, other)

    return analysis


def test_everything_is_there_and_can_be_written_as_json(analysed):
    results = analysed()
    wanted = ["sample", "intervals", "reliability", "thresholds", "mistakes", "slices"]
    assert [name for name, value in results if value is not None] == wanted
    assert results.sample == Sample(authors=100, rounds=200, confidence=0.95)
    assert list(results.reliability) == list(results.thresholds) == list(results.intervals.labels) == LABELS
    assert {part.column for part in results.slices} == {"length", "hashtag", "link", "emoji", "teller"}
    assert Analysis.model_validate_json(json.dumps(results.model_dump(mode="json"), allow_nan=False)) == results


def test_same_seed_same_results_another_seed_others(analysed):
    assert analysed() == analysed()
    assert analysed().intervals != analysed(seed=1).intervals


def test_a_slice_of_all_posts_has_the_intervals_of_the_whole(analysed):
    results = analysed()
    (whole,) = [part for part in results.slices if part.column == "length"]
    for label in LABELS:
        assert whole.labels[label].intervals.f1 == pytest.approx(results.intervals.labels[label].f1)


def test_a_model_against_itself_differs_nowhere(analysed):
    differences = analysed(other=Known()).comparison.differences
    overall = [found for name, found in differences if name != "labels"]
    of_labels = [found for compared in differences.labels.values() for _, found in compared]
    assert (len(overall), len(of_labels)) == (6, 2 * 5)
    for found in (*overall, *of_labels):
        assert found == Difference(difference=0, interval=(0, 0), verdict="no real difference")


def test_a_model_that_sees_less_is_worse_and_the_other_way_round(analysed):
    sharp, blurred = Known(), Known(blur=0.8)
    ours, theirs = analysed(sharp, blurred).comparison, analysed(blurred, sharp).comparison
    assert (ours.model, theirs.model) == (blurred.digest_, sharp.digest_)
    for name in ("macro_f1", "mean_average_precision"):
        better, worse = getattr(ours.differences, name), getattr(theirs.differences, name)
        assert (better.verdict, worse.verdict) == ("better", "worse")
        assert better.difference == pytest.approx(-worse.difference)
        assert better.interval == pytest.approx(tuple(-end for end in reversed(worse.interval)))
    assert ours.differences.labels["alpha"].brier.difference < 0
    assert ours.differences.labels["alpha"].brier.verdict == "better"


def test_posts_of_one_author_make_intervals_wider_than_posts_of_many(jsonl):
    widths = []
    for authors in (300, 30):
        rows = [
            {"id": str(k), "text": f"post {0.1 if k % 10 < 3 else 0.9} 0.9", "labels": LABELS, "author": f"{authors}-{k % authors}"}
            for k in range(300)
        ]
        corpus = load_corpus(Data(sources=[str(jsonl("posts.jsonl", rows))]), LABEL_SET, seed=0, cut=False)
        wanted = Evaluation(rounds=200)
        analysis = analyse(evaluate_split(Known(), corpus, "all"), corpus, "all", Known(), wanted, 0)
        low, high = analysis.intervals.labels["alpha"].recall
        widths.append(high - low)
    assert widths[1] > 3 * widths[0]


def functionality(passed, cases):
    return Functionality(cases=cases, passed=passed, failures=[], rate=passed / cases, interval=(0, 1))


def test_a_run_logs_the_headlines(analysed, corpus):
    evaluation, analysis = evaluate_split(Known(), corpus, "all"), analysed(other=Known(blur=0.8))
    functionalities = {"negation": functionality(1, 2), "sarcasm": functionality(2, 2)}
    results = Results(
        **dict(evaluation.metrics),
        **dict(analysis),
        model=Known().digest_,
        evaluated="all",
        behaviour=Behaviour(cases=4, passed=3, rate=0.75, passed_by_silence=0, functionalities=functionalities),
        swaps=measure_swaps(FEW, LABELS, lambda texts: np.repeat([[0.1, 0.9]], len(texts), axis=0).astype(np.float32), lambda p: p > 0.5),
        data=DataChecks.model_validate(check_splits(corpus).model_dump(exclude={"pairs"})),
        features={},
    )
    logged = headline(results)
    assert logged["macro_f1"] == evaluation.metrics.macro_f1
    assert (logged["macro_f1_low"], logged["macro_f1_high"]) == analysis.intervals.macro_f1
    assert logged["behaviour"] == {"passed": 0.75}
    assert logged["swaps"] == {"shift": pytest.approx(0), "changed": 0, "jobs_marked": 2}
    assert not {"slices", "thresholds", "reliability", "comparison"} & {name for name, value in logged.items() if isinstance(value, dict)}
    without = results.model_copy(update={"behaviour": None})
    assert not [name for name in flatten_metrics(headline(without)) if "behaviour" in name]
