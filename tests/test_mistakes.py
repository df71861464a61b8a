"""Mistakes are counted correctly, and the posts on which the model was most confidently wrong are named by id."""

import numpy as np
import pytest

from pipeline.evaluation.mistakes import count_mistakes

LABELS = ["a", "b"]
Y = np.array([[1, 1], [1, 0], [1, 0], [0, 0], [0, 1], [0, 0]], np.int8)
P = np.array([[0.9, 0.8], [0.2, 0.7], [0.4, 0.1], [0.6, 0.3], [0.95, 0.9], [0.1, 0.2]], np.float32)
IDS = ["p0", "p1", "p2", "p3", "p4", "p5"]


@pytest.fixture(scope="module")
def found():
    return count_mistakes(Y, P, P >= 0.5, LABELS, IDS)


def test_each_label_has_the_four_counts(found):
    a, b = found.labels["a"], found.labels["b"]
    assert (a.true_positives, a.false_positives, a.false_negatives, a.true_negatives) == (1, 2, 2, 1)
    assert (b.true_positives, b.false_positives, b.false_negatives, b.true_negatives) == (2, 1, 0, 3)


def test_surest_mistakes_come_first(found):
    assert [post.id for post in found.labels["a"].wrongly_given] == ["p4", "p3"]
    assert [(post.id, post.probability) for post in found.labels["a"].missed] == [("p1", 0.2), ("p2", 0.4)]
    assert found.labels["b"].missed == []


def test_no_more_than_ten_posts_are_listed():
    ids = [f"p{number}" for number in range(25)]
    probabilities = np.linspace(0.5, 0.9, 25, dtype=np.float32)[:, None]
    (label,) = count_mistakes(np.zeros((25, 1), np.int8), probabilities, probabilities >= 0.5, ["a"], ids).labels.values()
    assert [post.id for post in label.wrongly_given] == ids[:14:-1]
    assert label.false_positives == 25


def test_labels_that_are_confused_and_that_go_together(found):
    assert found.given_to == {
        "a": {"a": 1, "b": 2, "no label": 1},
        "b": {"a": 2, "b": 2, "no label": 0},
        "no label": {"a": 1, "b": 0, "no label": 1},
    }
    assert found.together == {"a": {"a": 3, "b": 1}, "b": {"a": 1, "b": 2}}
    assert found.given_together == {"a": {"a": 3, "b": 2}, "b": {"a": 2, "b": 3}}
