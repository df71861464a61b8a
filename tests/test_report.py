"""Tables show the metrics in a width that fits, and figures are drawn if there is something to draw."""

import io
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from models.config import Label, LabelSet
from pipeline.config import Columns, Data, Evaluation
from pipeline.corpora import load_corpus
from pipeline.evaluation.results import (
    Behaviour,
    Comparison,
    Decision,
    Difference,
    Differences,
    Functionality,
    Gate,
    Intervals,
    LabelDifferences,
    LabelIntervals,
    LabelPrevalence,
    MeasuredMetrics,
    PeriodPrevalence,
    Prevalence,
    SplitMetrics,
)
from pipeline.evaluation.swaps import MarkedJobs, SwapKind, Swapped, Swaps
from pipeline.evaluation.threshold_costs import compute_thresholds
from pipeline.metrics import compute_baselines, compute_metrics
from pipeline.report import corpus_notes, corpus_table, figures, metrics_tables
from pipeline.report.tables import (
    behaviour_table,
    comparison_table,
    label_table,
    no_intervals_note,
    overall_table,
    prevalence_table,
    promotion_table,
    rounded_down,
    seen_note,
    swaps_table,
    thresholds_table,
)

LABELS = ["workplace_harassment", "street_harassment"]
Y = np.array([[1, 0], [1, 0], [0, 0], [0, 0]], np.int8)
P = np.array([[0.9, 0.2], [0.4, 0.6], [0.6, 0.1], [0.1, 0.3]], np.float32)


def measure(posts=slice(None)):
    metrics = compute_metrics(Y[posts], P[posts], P[posts] >= 0.5, LABELS, [0.5, 0.125])
    return SplitMetrics(**dict(metrics), baselines=compute_baselines(Y[posts], np.array([0.6, 0.1]), LABELS))


def measure_with_new(posts):
    """Return metrics of all posts, and metrics of `posts` as the posts whose text is in no other split."""
    new = measure(posts).model_dump(exclude={"new_texts_only"})
    return measure().model_copy(update={"new_texts_only": MeasuredMetrics.model_validate(new)})


def lines(*tables, width=140) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(*tables, sep="\n")
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def row(rendered: list[str], name: str) -> list[str]:
    """Return the cells of the only row that begins with this name."""
    rows = [[cell.strip() for cell in line.strip("│┃").replace("┃", "│").split("│")] for line in rendered]
    (found,) = [cells for cells in rows if cells[0] == name]
    return found[1:]


def test_label_table_holds_the_numbers_and_a_dash_where_there_is_none():
    rendered = lines(label_table(measure(), "Results"))
    assert "Results, 4 posts" in rendered[0]
    assert row(rendered, "label") == ["precision", "recall", "f1", "AP", "roc auc", "brier", "ece", "threshold", "support"]
    assert row(rendered, "workplace_harassment") == ["0.500", "0.500", "0.500", "0.833", "0.750", "0.185", "0.350", "0.500", "2"]
    assert row(rendered, "street_harassment")[:5] == ["0.000", "0.000", "0.000", "–", "–"]
    assert row(rendered, "street_harassment")[-2:] == ["0.125", "0"]
    assert "No post has street_harassment, so its F1 counts as 0 in the mean over the labels." in " ".join(map(str.strip, rendered))
    assert not any("No post has" in line for line in lines(label_table(measure([0, 1]).model_copy(update={"labels": {}}), "Results")))


def test_overall_table_has_a_row_for_each_set_of_metrics():
    rendered = lines(overall_table({"model": measure(), "nothing": measure([2, 3])}))
    assert row(rendered, "") == ["posts", "macro f1", "micro f1", "mAP", "exact match", "1-hamming", "example jaccard"]
    assert row(rendered, "model") == ["4", "0.250", "0.400", "0.833", "0.500", "0.625", "0.500"]
    assert row(rendered, "nothing")[3] == "–"


def test_new_texts_have_rows_only_where_some_repeat():
    assert not any("no other split" in line for line in lines(*metrics_tables(measure(), "all")))
    rendered = lines(*metrics_tables(measure_with_new([0, 2, 3]), "all"))
    assert [row(rendered, name)[0] for name in ("model", "all zero", "prior")] == ["4", "4", "4"]
    assert row(rendered, "model, texts in no other split")[0] == "3"
    assert row(rendered, "all zero, texts in no other split")[4] == "0.667"


def test_tables_fit_a_log_without_wrapping():
    tables = metrics_tables(measure_with_new([0, 2]), "A title")
    assert lines(*tables) == lines(*tables, width=400)


@pytest.fixture
def corpus(jsonl):
    """Two splits with a repeat in train, an auxiliary and an ignored label, and a file that does not belong to a split."""
    jsonl("data/train.jsonl", [
        {"id": "1", "text": "one", "labels": ["work"]},
        {"id": "2", "text": "two", "labels": ["work", "other", "odd"]},
        {"id": "3", "text": "ONE", "labels": []},
        {"id": "4", "text": "three", "labels": []},
    ])  # fmt: skip
    test = jsonl("data/test.jsonl", [{"id": "5", "text": "five", "labels": ["work"]}])
    jsonl("data/unlabeled.jsonl", [{"id": "6", "text": "six"}])
    labels = LabelSet(name="one", labels=[Label(name="work", definition="")], auxiliary=["other"], ignored=["odd"])
    return load_corpus(Data(sources=[str(test.parent)], columns=Columns(author=None)), labels, seed=0)


def test_corpus_table_counts_posts_and_positives_by_split(corpus):
    rendered = lines(corpus_table(corpus))
    assert row(rendered, "") == ["train", "test"]
    assert row(rendered, "posts") == ["3", "1"]
    assert row(rendered, "work") == ["2", "1"]
    assert row(rendered, "other (auxiliary)") == ["1", "0"]


def test_corpus_notes_tell_what_was_dropped_ignored_and_passed_over(corpus):
    dropped, ignored, passed_over = corpus_notes(corpus)
    assert dropped.startswith("in train: 1 repeat of an earlier post (1 with other labels), ")
    assert dropped.endswith("; 1 post dropped")
    assert ignored == "ignored label odd: 1 time"
    assert passed_over.startswith("skipped, not named after a split: ")
    assert passed_over.endswith("unlabeled.jsonl")


@pytest.mark.parametrize("author", [None, "a"])
def test_corpus_notes_say_that_there_is_no_author_when_posts_are_divided(jsonl, author):
    rows = [{"id": str(k), "text": f"post {k}", "labels": []} | ({"author": f"{author}{k}"} if author else {}) for k in range(30)]
    labels = LabelSet(name="one", labels=[Label(name="work", definition="")])
    notes = corpus_notes(load_corpus(Data(sources=[str(jsonl("posts.jsonl", rows))], drop_overlap=False), labels, seed=0))
    assert ("there is no author column, so posts are split one by one" in notes) == (author is None)


def test_corpus_notes_count_posts_without_labels(corpus):
    learned = replace(corpus, unlabelled=corpus.splits["train"])
    assert "3 posts without labels to learn from" in corpus_notes(learned)
    assert "1 post without labels to learn from" in corpus_notes(replace(corpus, unlabelled=learned.unlabelled.select([0])))


def test_figures_are_drawn_for_labels_with_positives():
    drawn = figures(Y, P, LABELS)
    assert list(drawn) == ["curves/workplace_harassment.png"]
    curve, calibration = drawn["curves/workplace_harassment.png"].axes
    assert curve.get_title() == "workplace_harassment"
    recall, precision = curve.lines[0].get_data()
    assert (0.5, 1.0) in zip(recall, precision, strict=True)
    assert calibration.collections[0].get_offsets().tolist() == pytest.approx(np.array([[0.1, 0], [0.4, 1], [0.6, 0], [0.9, 1]]), abs=1e-6)
    png = io.BytesIO()
    drawn["curves/workplace_harassment.png"].savefig(png)
    assert png.getvalue().startswith(b"\x89PNG")


def compared(difference, interval, verdict):
    return Difference(difference=difference, interval=interval, verdict=verdict)


def all_fields(kind, value, **others):
    return kind(**dict.fromkeys(kind.model_fields, value) | others)


def test_intervals_stand_below_their_numbers():
    bounds = dict.fromkeys(LABELS, all_fields(LabelIntervals, None, f1=(0.25, 0.75)))
    intervals = all_fields(Intervals, None, macro_f1=(0.125, 0.375), labels=bounds)
    rendered = lines(label_table(measure(), "Results", intervals))
    below = rendered[next(number for number, line in enumerate(rendered) if "workplace_harassment" in line) + 1]
    assert [cell.strip() for cell in below.split("│")][2:5] == ["", "", "0.250–0.750"]
    rendered = lines(overall_table({"model": measure(), "nothing": measure()}, intervals))
    model, below, nothing = ([cell.strip() for cell in line.split("│")[1:4]] for line in rendered if "│" in line)
    assert (model, below, nothing) == (["model", "4", "0.250"], ["", "", "0.125–0.375"], ["nothing", "4", "0.250"])


def test_comparison_says_which_differences_are_real():
    alike, undefined = compared(0.001, (-0.02, 0.02), "no real difference"), compared(None, None, "cannot tell")
    better = compared(0.125, (0.0625, 0.25), "better")
    worse = compared(-0.5, (-0.75, -0.25), "worse")  # of what the table leaves out
    found = all_fields(LabelDifferences, worse, f1=better, average_precision=undefined, brier=alike)
    differences = all_fields(Differences, worse, macro_f1=better, mean_average_precision=alike, labels={"workplace_harassment": found})
    rendered = lines(comparison_table(Comparison(model="0123456789abcdef", metrics=measure(), differences=differences), 0.9))
    assert "Compared with the model 0123456789ab:" in rendered[0]
    assert row(rendered, "macro f1, mAP") == ["+0.125", "+0.001", ""]
    assert row(rendered, "workplace_harassment") == ["+0.125", "cannot tell", "+0.001"]
    assert any("+0.062 to +0.250" in line for line in rendered)
    assert sum("better" in line for line in rendered) == 2
    assert not any("worse" in line for line in rendered)
    assert "If the models are equal, about 10% of the differences look real by chance." in " ".join(map(str.strip, rendered))
    named = comparison_table(Comparison(model="0123456789abcdef", metrics=measure(), differences=differences), 0.9, "runs/fast[0]")
    assert "Compared with runs/fast[0], the model 0123456789ab:" in lines(named)[0]


@pytest.mark.parametrize(("authors", "said"), [(3, "the posts are by 3 authors"), (4, "there are only 4 posts"), (20, "")])
def test_too_few_authors_for_intervals_are_said(authors, said):
    results = SimpleNamespace(sample=SimpleNamespace(authors=authors), posts=4)
    assert no_intervals_note(results) == (said and f"no intervals: {said}, but at least 20 are needed")


def test_differences_without_intervals_are_shown_beside_the_other_value():
    unsure = compared(0.125, None, "cannot tell")
    labels = dict.fromkeys(LABELS, all_fields(LabelDifferences, unsure))
    differences = all_fields(Differences, unsure, labels=labels)
    rendered = lines(comparison_table(Comparison(model="01" * 32, metrics=measure(), differences=differences), 0.95))
    assert row(rendered, "macro f1, mAP")[0] == "+0.125"
    assert any("other 0.250" in line for line in rendered)
    assert not any("cannot tell" in line or "interval" in line or "by chance" in line for line in rendered)


@pytest.mark.parametrize(
    ("seen", "short", "said"),
    [(0, 1, "none of the 9 posts was seen in training, and 1 is too short to tell"), (1, 2, "was seen in training, and 2 are too short")],
)
def test_what_was_seen_in_training_is_said_in_grammar(seen, short, said):
    found = SimpleNamespace(posts=seen, short=short, share=seen / 9, without=None)
    assert said in seen_note(SimpleNamespace(seen_in_training=found, posts=9))


def test_behaviour_table_shows_the_weakest_first_and_no_more_than_ten():
    tree = {
        f"f{number:02}": Functionality(cases=12, passed=number, failures=[], rate=number / 12, interval=(0, 1))
        for number in range(12, 0, -1)
    }
    rendered = lines(behaviour_table(Behaviour(cases=144, passed=78, rate=78 / 144, passed_by_silence=0, functionalities=tree)))
    assert "78 of 144" in " ".join(rendered)
    shown = [line.split("│")[1].strip() for line in rendered if "│ f" in line]
    assert shown == [f"f{number:02}" for number in range(1, 11)]


def test_swaps_table_shows_the_group_that_moves_most_beside_neutral_words():
    groups = {
        group: Swapped(posts=9, shifts={"assault": shift}, label="assault", shift=shift, changed=0.05)
        for group, shift in (("16", 0.02), ("81", -0.04))
    }
    kinds = {"age": SwapKind(groups=groups, changed=0.05, control=groups["16"]), "name": SwapKind(groups=groups, changed=0.1, control=None)}
    jobs = MarkedJobs(posts=40, marked={"cook": ["assault"]})
    rendered = lines(swaps_table(Swaps(carriers=69, right=0.75, kinds=kinds, jobs=jobs)))
    assert row(rendered, "age") == ["-0.040", "81: assault", "5.0%", "+0.020, 5.0%"]
    assert row(rendered, "name")[-1] == "–"
    assert "69 posts, 75% of which it labels right" in rendered[0]
    assert "1 of 40 harmless posts that name a job are marked: cook" in rendered[-1]


def test_thresholds_table_tells_the_price_and_where_positives_are_too_few():
    y = np.repeat([[1, 1], [1, 0], [0, 0]], [10, 50, 60], axis=0).astype(np.int8)
    p = np.linspace(0.99, 0.01, 120, dtype=np.float32)[:, None].repeat(2, axis=1)
    wanted = Evaluation(recall=0.9, guarantee=0.9)
    rendered = lines(thresholds_table(compute_thresholds(y, p, LABELS, [0.5, 0.5], wanted, np.ones(120, bool))))
    assert row(rendered, "label")[1] == "miss at most 5%"
    assert row(rendered, "workplace_harassment")[1] == "0.528: 47.5%"  # 57 of 60 positives; rounded down from 0.5288
    assert row(rendered, "workplace_harassment")[-1].startswith("90% from 0.5")
    assert row(rendered, "street_harassment")[-1] == "too few authors"


@pytest.mark.parametrize(
    ("threshold", "shown"),
    [
        (0.5288, "0.528"),
        (0.0012950350, "0.00129"),
        (0.00004567, "0.0000456"),
        (0.29, "0.29"),
        (0.99996, "0.999"),
        (1.0, "1.0"),
        (0.0, "0.0"),
        (None, "–"),
    ],
)
def test_thresholds_are_rounded_down_to_three_significant_digits(threshold, shown):
    assert rounded_down(threshold) == shown
    assert threshold is None or float(shown) <= threshold


def test_prevalence_table_has_a_block_for_all_and_each_month():
    alone = {"labelled_share": 0.9, "labelled_interval": (0.8, 0.95), "mean_probability": 0.7}
    few = LabelPrevalence(estimate=None, interval=None, too_few=True, positives=3, counted=0.25, **alone)
    lacking = few.model_copy(update={"positives": 98})
    known = LabelPrevalence(estimate=0.2, interval=(0.15, 0.27), too_few=False, positives=30, counted=0.3, **alone)
    total = PeriodPrevalence(posts=1000, labelled=100, labels=dict(zip(LABELS, (known, few), strict=True)))
    rendered = lines(prevalence_table(Prevalence(total=total, months={"2017-10": total})))
    assert row(rendered, "all") == ["workplace_harassment", "20.0%", "15.0%–27.0%", "30.0%", "30"]
    assert row(rendered, "2017-10")[0] == "workplace_harassment"
    assert sum("too few positives" in line for line in rendered) == 2
    rendered = lines(prevalence_table(Prevalence(total=total)))
    assert row(rendered, "all")[0] == "workplace_harassment"
    assert sum("too few positives" in line for line in rendered) == 1
    total = total.model_copy(update={"labels": dict(zip(LABELS, (known, lacking), strict=True))})
    assert sum("too few negatives" in line for line in lines(prevalence_table(Prevalence(total=total)))) == 1


def test_promotion_table_lists_what_was_not_passed():
    gates = [Gate(gate="a", passed=True, found="fine"), Gate(gate="b", passed=False, found="3 of 12")]
    rendered = lines(promotion_table(Decision(promoted=False, gates=gates)))
    assert "Not promoted: 1 of 2 gates passed" in " ".join(rendered)
    assert row(rendered, "b") == ["3 of 12"]
    assert not any("fine" in line for line in rendered)
    assert "Promoted: 1 of 1 gates passed" in " ".join(lines(promotion_table(Decision(promoted=True, gates=gates[:1]))))
