"""Tables say what the metrics say, in a width that fits; figures are drawn where there is something to draw."""

import io

import numpy as np
import pytest
from rich.console import Console

from pipeline.config import Columns, Data, Label, LabelSet
from pipeline.corpora import load_corpus
from pipeline.metrics import compute_baselines, compute_metrics
from pipeline.report import corpus_notes, corpus_table, figures, label_table, metrics_tables, overall_table

LABELS = ["workplace_harassment", "street_harassment"]
Y = np.array([[1, 0], [1, 0], [0, 0], [0, 0]], np.int8)
P = np.array([[0.9, 0.2], [0.4, 0.6], [0.6, 0.1], [0.1, 0.3]], np.float32)


def measure(posts=slice(None)):
    metrics = compute_metrics(Y[posts], P[posts], P[posts] >= 0.5, LABELS, [0.5, 0.125])
    return metrics | {"baselines": compute_baselines(Y[posts], np.array([0.6, 0.1]), LABELS)}


def lines(*tables, width=140) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(*tables, sep="\n")
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def row(rendered: list[str], name: str) -> list[str]:
    """Cells of the one row that begins with a name."""
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


def test_overall_table_has_a_row_for_each_set_of_metrics():
    rendered = lines(overall_table({"model": measure(), "nothing": measure([2, 3])}))
    assert row(rendered, "") == ["posts", "macro f1", "micro f1", "mAP", "exact match", "1-hamming", "example jaccard"]
    assert row(rendered, "model") == ["4", "0.250", "0.400", "0.833", "0.500", "0.625", "0.500"]
    assert row(rendered, "nothing")[3] == "–"


def test_new_texts_have_rows_only_where_some_repeat():
    metrics = measure()
    assert not any("no other split" in line for line in lines(*metrics_tables(metrics, "all")))
    rendered = lines(*metrics_tables(metrics | {"new_texts_only": measure([0, 2, 3])}, "all"))
    assert [row(rendered, name)[0] for name in ("model", "all zero", "prior")] == ["4", "4", "4"]
    assert row(rendered, "model, texts in no other split")[0] == "3"
    assert row(rendered, "all zero, texts in no other split")[4] == "0.667"


def test_tables_fit_a_log_without_wrapping():
    tables = metrics_tables(measure() | {"new_texts_only": measure([0, 2])}, "A title")
    assert lines(*tables) == lines(*tables, width=400)


@pytest.fixture
def corpus(jsonl):
    """Two splits, with a repeat in train, an auxiliary and an ignored label, and a file that is no split."""
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
    assert "1 posts repeat an earlier one (1 with other labels)" in dropped
    assert "1 dropped" in dropped
    assert ignored == "ignored label odd: 1 times"
    assert passed_over.startswith("no split, passed over: ")
    assert passed_over.endswith("unlabeled.jsonl")


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
