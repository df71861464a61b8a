"""Slices: which posts each of them contains, and that it is measured as if there were no other posts."""

import numpy as np
import pytest

from models.config import Label, LabelSet
from pipeline.config import Data, Evaluation, Natural
from pipeline.corpora import load_corpus
from pipeline.evaluation import MeasuredSplit
from pipeline.evaluation.bootstrap import intervals, metrics_by_round, resample
from pipeline.evaluation.results import MeasuredSliceLabel, SmallSliceLabel, SplitMetrics
from pipeline.evaluation.slices import compute_slices, drawn_at_random, slice_columns
from pipeline.metrics import compute_baselines, compute_metrics

LABELS = ["alpha", "beta"]
LABEL_SET = LabelSet(name="two", labels=[Label(name=name, definition="") for name in LABELS])
SHOWN = ["precision", "recall", "f1", "average_precision", "ece"]
EACH = np.arange(120)  # an author for each post


@pytest.fixture
def load(jsonl):
    """``load({"text": ...}, {...}, further=[...])`` makes a corpus of one split of these posts."""

    def posts(*rows, further=()):
        path = jsonl("posts.jsonl", [{"id": str(number), "text": "some words", "labels": [], **row} for number, row in enumerate(rows)])
        return load_corpus(Data(sources=[str(path)]), LABEL_SET, seed=0, cut=False, further=further)

    return posts


@pytest.fixture
def of_texts(load):
    return lambda *texts: slice_columns(load(*({"text": text} for text in texts)), "all", Evaluation())


@pytest.mark.parametrize(
    ("words", "length"),
    [
        (1, "1–4 words"),
        (4, "1–4 words"),
        (5, "5–14 words"),
        (14, "5–14 words"),
        (15, "15–29 words"),
        (29, "15–29 words"),
        (30, "30 words or more"),
        (400, "30 words or more"),
    ],
)
def test_length_is_counted_in_words(of_texts, words, length):
    assert of_texts(" ".join(["word"] * words))["length"] == [length]


def test_posts_with_a_hashtag(of_texts):
    found = of_texts("I said #MeToo", "#metoo", "we are number # 1", "plain words", "#यौन")["hashtag"]
    assert found == ["with hashtag", "with hashtag", "without hashtag", "without hashtag", "with hashtag"]


def test_posts_with_a_link(of_texts):
    found = of_texts("read https://t.co/abc123", "see www.example.org today", "plain words", "mail me@example.org")["link"]
    assert found == ["with link", "with link", "without link", "without link"]


def test_posts_with_an_emoji(of_texts):
    assert of_texts("thank you ❤️", "family 👩‍👩‍👧", "words :) <3")["emoji"] == ["with emoji", "with emoji", "without emoji"]


def test_source_and_month_are_sliced_by_only_where_there_are_any(load):
    bare = slice_columns(load({}, {}), "all", Evaluation())
    assert list(bare) == ["length", "hashtag", "link", "emoji"]
    rows = [{"source": "work", "created_at": "2017-11-02"}] * 10 + [{"created_at": "soon"}]
    known = slice_columns(load(*rows), "all", Evaluation())
    assert list(known) == ["source", "month", "length", "hashtag", "link", "emoji"]
    assert (known["source"], known["month"]) == (["work"] * 10 + [None], ["2017-11"] * 10 + [None])


def test_further_columns_are_sliced_by(load):
    corpus = load(*[{"teller": "s"}, {"teller": 3}] * 10, {"teller": None}, {}, further=["teller"])
    assert slice_columns(corpus, "all", Evaluation(slices=["teller"]))["teller"] == ["s", "3"] * 10 + [None, None]


def test_posts_drawn_at_random_are_told_from_the_enriched(load):
    rows = [{"stratum": stratum} for stratum in ("random", "keyword", None, "also random")]
    wanted = Evaluation(natural=Natural(column="stratum", values=["random", "also random"]))
    corpus = load(*rows, further=wanted.columns)
    assert slice_columns(corpus, "all", wanted)["drawn"] == ["at random", "enriched", "enriched", "at random"]
    assert drawn_at_random(corpus, "all", wanted.natural).tolist() == [True, False, False, True]
    assert drawn_at_random(corpus, "all", None).all()


@pytest.mark.parametrize(
    ("wanted", "parts"),
    [
        ({"slices": ["teler"]}, ["evaluation.slices", "'teler'", "no post in all has a value"]),
        ({"natural": {"column": "drawn_how", "values": ["random"]}}, ["evaluation.natural", "'drawn_how'", "no post in all has a value"]),
        ({"natural": {"column": "teller", "values": ["random", "any"]}}, ["evaluation.natural", "random, any", "'teller'"]),
    ],
)
def test_columns_that_cannot_be_sliced_by(load, refused, wanted, parts):
    wanted = Evaluation.model_validate(wanted)
    corpus = load(*({"teller": "s", "handle": f"someone {number}"} for number in range(41)), further=wanted.columns)
    with refused(*parts):
        slice_columns(corpus, "all", wanted)


def test_many_sources_or_months_are_sliced_by_the_frequent_ones(load):
    rows = [{"source": f"site {k}", "created_at": f"{1950 + k}-01-01"} for k in range(50) for _ in range(9 if k > 3 else 12)]
    columns = slice_columns(load(*rows), "all", Evaluation())
    assert set(columns["source"]) == {"site 0", "site 1", "site 2", "site 3", "(other)"}
    assert set(columns["month"]) == {"1950-01", "1951-01", "1952-01", "1953-01", "(other)"}
    assert columns["source"].count("(other)") == 46 * 9


def test_values_that_may_be_names_or_texts_are_not_shown(load):
    rows = [{"source": f"@someone{k}", "note": "a long sentence that somebody typed into a form", "kind": "a"} for k in range(12)]
    corpus = load(*rows, further=["note", "kind"])
    columns = slice_columns(corpus, "all", Evaluation(slices=["note", "kind"]))
    assert {name: set(columns[name]) for name in ("source", "note", "kind")} == {
        "source": {"(other)"}, "note": {"(other)"}, "kind": {"a"},
    }  # fmt: skip


def evaluated(posts: int = 120, rarest: float = 0.1) -> MeasuredSplit:
    rng = np.random.default_rng(0)
    Y = (rng.random((posts, 2)) < [0.4, rarest]).astype(np.int8)
    probabilities = (0.4 * Y + 0.6 * rng.random((posts, 2))).astype(np.float32)
    decided = probabilities >= np.array([0.5, 0.4], np.float32)
    metrics = compute_metrics(Y, probabilities, decided, LABELS, [0.5, 0.4])
    metrics = SplitMetrics(**dict(metrics), baselines=compute_baselines(Y, np.array([0.4, rarest]), LABELS))
    return MeasuredSplit("test", [str(number) for number in range(posts)], Y, probabilities, decided, metrics, [0.5] * Y.shape[1])


def test_a_slice_is_measured_as_if_it_were_all_there_is():
    evaluation, wanted = evaluated(), Evaluation(min_positives=1)
    groups = np.arange(120) // 2
    counts = resample(groups, 100, seed=0)
    parts = compute_slices(evaluation, LABELS, {"third": [["a", "b", None][k % 3] for k in range(120)]}, groups, counts, wanted)
    assert [(part.column, part.value, part.posts) for part in parts] == [
        ("third", "(none)", 40),
        ("third", "a", 40),
        ("third", "b", 40),
    ]
    for part, start in zip(parts, (2, 0, 1), strict=True):
        posts = np.arange(start, 120, 3)
        alone = evaluation.Y[posts], evaluation.probabilities[posts], evaluation.decided[posts]
        metrics = compute_metrics(*alone, LABELS, [0.5, 0.4])
        bounds = intervals(metrics, metrics_by_round(*alone, counts[:, posts]), 0.95)
        assert (part.macro_f1, part.exact_match) == (metrics.macro_f1, metrics.exact_match)
        for label in LABELS:
            assert part.labels[label].model_dump() == {
                "support": metrics.labels[label].support,
                **{name: getattr(metrics.labels[label], name) for name in SHOWN},
                "intervals": {name: getattr(bounds.labels[label], name) for name in SHOWN},
            }


@pytest.mark.parametrize(("authors", "known"), [(1, False), (19, False), (20, True)])
def test_a_slice_by_fewer_than_twenty_authors_has_no_intervals(authors, known):
    groups = np.where(EACH < 60, EACH % authors, EACH)  # with the others, there are enough authors in the whole split
    columns = {"half": ["one" if k < 60 else "other" for k in range(120)]}
    found = compute_slices(evaluated(rarest=0.4), LABELS, columns, groups, resample(groups, 100, seed=0), Evaluation(min_positives=1))
    of_parts = {part.value: [bounds for values in part.labels.values() for _, bounds in values.intervals] for part in found}
    assert [bounds is not None for bounds in of_parts["one"]] == [known] * 10
    assert None not in of_parts["other"]


def test_a_label_with_too_few_positives_shows_what_was_counted_and_nothing_else():
    evaluation = evaluated()
    few = int(evaluation.Y[:, 1].sum())
    wrong = int((evaluation.decided[:, 1] & (evaluation.Y[:, 1] == 0)).sum())
    assert wrong > 0
    counts = resample(EACH, 100, seed=0)
    for least, enough in ((few, True), (few + 1, False)):
        (part,) = compute_slices(evaluation, LABELS, {"all": ["same"] * 120}, EACH, counts, Evaluation(min_positives=least))
        assert [isinstance(part.labels[label], MeasuredSliceLabel) for label in LABELS] == [True, enough]
        assert (part.macro_f1 is not None) == enough
    assert part.labels["beta"] == SmallSliceLabel(support=few, false_positives=wrong)


def test_a_slice_of_one_post_without_any_label_is_counted():
    evaluation = evaluated(rarest=0)
    quiet = int(np.flatnonzero(~evaluation.Y.any(axis=1))[0])
    columns = {"which": ["lone" if k == quiet else "rest" for k in range(120)]}
    parts = compute_slices(evaluation, LABELS, columns, EACH, resample(EACH, 100, seed=0), Evaluation())
    assert [(part.value, part.posts) for part in parts] == [("rest", 119), ("lone", 1)]
    assert parts[1].labels["alpha"].support == 0


def test_slices_come_in_the_order_of_columns_then_of_size_then_of_name():
    columns = {"second": ["y"] * 50 + ["x"] * 70, "first": ["d", "c", "b", "a"] * 30}
    parts = compute_slices(evaluated(), LABELS, columns, EACH, resample(EACH, 100, seed=0), Evaluation())
    assert [(part.column, part.value) for part in parts] == [
        *(("second", value) for value in "xy"),
        *(("first", value) for value in "abcd"),
    ]
