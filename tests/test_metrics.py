"""Metrics are compared with values computed by hand and with scikit-learn's multi-label functions."""

import json

import numpy as np
import pytest
import sklearn.metrics as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.metrics import compute_baselines, compute_metrics, expected_calibration_error, flatten_metrics, reliability

Y = np.array([[1, 0], [1, 1], [0, 0], [0, 0]], np.int8)
P = np.array([[0.9, 0.2], [0.4, 0.6], [0.6, 0.1], [0.1, 0.3]], np.float32)
OVERALL = ("macro_f1", "micro_f1", "mean_average_precision", "exact_match", "one_minus_hamming_loss", "example_jaccard")


def measured(truth, probabilities, threshold=0.5):
    labels = [f"label{k}" for k in range(truth.shape[1])]
    return compute_metrics(truth, probabilities, probabilities >= threshold, labels, [threshold] * len(labels))


@st.composite
def judged(draw):
    """Draw true labels and probabilities of a few posts, among which ties are likely."""
    posts, labels = draw(st.integers(1, 12)), draw(st.integers(1, 4))
    truth = draw(st.lists(st.integers(0, 1), min_size=posts * labels, max_size=posts * labels))
    tenths = draw(st.lists(st.integers(0, 10), min_size=posts * labels, max_size=posts * labels))
    return np.array(truth, np.int8).reshape(posts, labels), (np.array(tenths) / 10).astype(np.float32).reshape(posts, labels)


def test_values_by_hand():
    metrics = measured(Y, P)
    first = metrics.labels["label0"]
    # Decided: posts 0 and 2; true: posts 0 and 1. By rank the true ones are first and third.
    assert (first.precision, first.recall, first.f1, first.support, first.threshold) == (0.5, 0.5, 0.5, 2, 0.5)
    assert first.average_precision == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert first.roc_auc == pytest.approx(3 / 4)
    assert first.brier == pytest.approx((0.1**2 + 0.6**2 + 0.6**2 + 0.1**2) / 4)
    assert metrics.labels["label1"].f1 == 1
    assert {name: getattr(metrics, name) for name in ("posts", *OVERALL)} == pytest.approx(
        {
            "posts": 4,
            "macro_f1": 0.75,
            "micro_f1": 2 / 3,  # 2 right of 3 decided and 3 true
            "mean_average_precision": (5 / 6 + 1) / 2,
            "exact_match": 0.5,
            "one_minus_hamming_loss": 6 / 8,
            "example_jaccard": (1 + 1 / 2 + 0 + 1) / 4,
        }
    )


def test_calibration_error_by_hand():
    y = np.array([0, 1, 1, 0, 1], np.int8)
    probability = np.array([0.05, 0.05, 0.85, 0.94, 1.0], np.float32)
    # Bins: two posts at 0.05, one of them true; one at 0.85, true; and the last, which holds 1 too, 0.97 and half of two.
    assert expected_calibration_error(y, probability) == pytest.approx((2 * 0.45 + 1 * 0.15 + 2 * 0.47) / 5)
    mean_probability, share, posts = reliability(y, probability)
    assert mean_probability == pytest.approx([0.05, 0.85, 0.97])
    assert share.tolist() == [0.5, 1, 0.5]
    assert posts.tolist() == [2, 1, 2]


@settings(max_examples=20)
@given(judged())
def test_agrees_with_scikit_learn(case):
    truth, probabilities = case
    # Constant columns on both sides keep scikit-learn in its multi-label mode with one label, and change no other label's value.
    wide = np.hstack([truth, np.zeros((len(truth), 2), np.int8)])
    decided = np.hstack([probabilities >= 0.5, np.zeros((len(truth), 2), bool)]).astype(np.int8)
    metrics = measured(truth, probabilities)
    labels = list(metrics.labels.values())
    expected = reference.precision_recall_fscore_support(wide, decided, zero_division=0)
    for name, values in zip(("precision", "recall", "f1", "support"), expected, strict=True):
        assert [getattr(label, name) for label in labels] == pytest.approx(values[:-2])
    assert metrics.macro_f1 == pytest.approx(np.mean(expected[2][:-2]))
    assert metrics.micro_f1 == pytest.approx(reference.f1_score(wide, decided, average="micro", zero_division=0))
    assert metrics.exact_match == pytest.approx(reference.accuracy_score(wide, decided))
    assert metrics.example_jaccard == pytest.approx(reference.jaccard_score(wide, decided, average="samples", zero_division=1))
    loss = reference.hamming_loss(wide, decided) * wide.shape[1] / truth.shape[1]
    assert metrics.one_minus_hamming_loss == pytest.approx(1 - loss)
    for k, label in enumerate(labels):
        y, p = truth[:, k], probabilities[:, k]
        assert label.brier == pytest.approx(np.mean((p - y) ** 2), abs=1e-6)
        assert label.average_precision == (pytest.approx(reference.average_precision_score(y, p)) if y.any() else None)
        assert label.roc_auc == (pytest.approx(reference.roc_auc_score(y, p)) if 0 < y.mean() < 1 else None)


@settings(max_examples=20)
@given(judged())
def test_is_json_without_nan_whatever_is_undefined(case):
    truth, probabilities = case
    metrics = measured(truth, probabilities)
    baselines = compute_baselines(truth, truth.mean(axis=0), list(metrics.labels))
    for found in (metrics, baselines):
        tree = found.model_dump(mode="json")
        assert json.loads(json.dumps(tree, allow_nan=False)) == tree
        assert type(found).model_validate(tree) == found


def test_label_without_positives_is_undefined_and_left_out_of_the_mean():
    label = measured(np.array([[0], [0]], np.int8), np.array([[0.1], [0.7]], np.float32)).labels["label0"]
    assert label.average_precision is label.roc_auc is None
    assert (label.precision, label.recall, label.f1, label.support) == (0, 0, 0, 0)
    one_empty = measured(np.column_stack([Y[:, 0], np.zeros(4, np.int8)]), P)
    assert one_empty.mean_average_precision == one_empty.labels["label0"].average_precision
    assert measured(np.zeros((3, 2), np.int8), np.zeros((3, 2), np.float32)).mean_average_precision is None


def test_all_positives_all_decided():
    metrics = measured(np.ones((3, 1), np.int8), np.ones((3, 1), np.float32))
    label = metrics.labels["label0"]
    assert label.roc_auc is None
    assert [getattr(label, name) for name in ("precision", "recall", "f1", "average_precision")] == [1, 1, 1, 1]
    assert [getattr(label, name) for name in ("brier", "ece")] == [0, 0]
    assert [getattr(metrics, name) for name in OVERALL] == [1] * len(OVERALL)


def test_nothing_decided_scores_zero_but_matches_empty_posts():
    metrics = measured(Y, np.zeros_like(P))
    assert metrics.macro_f1 == metrics.micro_f1 == 0
    assert metrics.exact_match == metrics.example_jaccard == 0.5


def test_baselines_by_hand():
    baselines = compute_baselines(Y, np.array([0.6, 0.25]), ["a", "b"])
    zero, prior = baselines.all_zero, baselines.prior
    assert (zero.macro_f1, zero.exact_match, zero.one_minus_hamming_loss) == (0, 0.5, 5 / 8)
    assert zero.labels["a"].brier == 0.5
    # Label a is more frequent than not in train, so the prior gives it to every post, and b to none.
    assert (prior.labels["a"].precision, prior.labels["a"].recall, prior.labels["b"].recall) == (0.5, 1, 0)
    assert prior.labels["b"].brier == pytest.approx((0.75**2 + 3 * 0.25**2) / 4)
    assert prior.labels["b"].ece == pytest.approx(0, abs=1e-7)
    assert prior.labels["a"].average_precision == 0.5


def test_flatten_names_numbers_and_leaves_out_the_undefined():
    assert flatten_metrics({"posts": 2, "labels": {"a": {"f1": 0.5, "roc_auc": None}}, "evaluated": "test"}) == {
        "posts": 2.0,
        "labels.a.f1": 0.5,
    }
