"""Checks of a corpus find the planted faults, count them by split, and reveal no text or author."""

import csv
import io
import json
import os
import random
from contextlib import contextmanager
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from models.config import Label, LabelSet
from pipeline import terminal
from pipeline.checks import check_labels, check_splits, write_checks
from pipeline.checks.findings import ExactConflicts, NearConflicts, SharedAuthors
from pipeline.config import Data
from pipeline.corpora import load_corpus
from pipeline.corpora.near import near_duplicates
from pipeline.report.checks import check_terminal, checks_tables, show_texts

LABELS = LabelSet(name="two", labels=[Label(name=name, definition=name) for name in ("alpha", "beta")], auxiliary=["gamma"])
COUNTS = ["near_from", "splits", "duplicates", "conflicts", "authors", "label_errors"]
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def sentence(seed, words=30):
    """Return a sentence of invented words of four to six letters."""
    rng = random.Random(seed)
    return ["".join(rng.choices(LETTERS, k=rng.randint(4, 6))) for _ in range(words)]


@pytest.fixture
def corpus(jsonl, tmp_path):
    """``corpus(train=[("text", "alpha", "author"), …], test=…)``; ids are ``train-0`` and so on."""

    def load(*, drop=False, **splits):
        for split, rows in splits.items():
            posts = [(*row, "", None)[:3] if isinstance(row, tuple) else (row, "", None) for row in rows]
            records = [
                {"id": f"{split}-{number}", "text": text, "labels": labels.split(), "author": author}
                for number, (text, labels, author) in enumerate(posts)
            ]
            jsonl(f"data/{split}.jsonl", records)
        return load_corpus(Data(sources=[str(tmp_path / "data")], drop_overlap=drop), LABELS, seed=0)

    return load


def repeats(result, split, other):
    (row,) = [row for row in result.duplicates if (row.split, row.other) == (split, other)]
    return row.exact, row.near


def linked(result):
    return {frozenset([row.id, row.other_id]) for row in result.pairs}


class TestRepeats:
    def test_equal_texts_are_counted_in_both_directions_and_once_within_a_split(self, corpus):
        result = check_splits(corpus(train=["One, twice", "one,  TWICE", "one, twice", "else"], test=["one, twice", "other"]))
        assert repeats(result, "train", "train") == (2, 0)
        assert repeats(result, "train", "test") == (3, 0)
        assert repeats(result, "test", "train") == (1, 0)
        assert repeats(result, "test", "test") == (0, 0)

    def test_counts_are_those_by_which_loading_drops_posts(self, corpus):
        rng = random.Random(0)
        splits = {
            name: [(f"text {rng.randrange(40)}", rng.choice(["", "alpha"]), rng.choice("abcdefghijklmnop") + name[: rng.randrange(3)])
                   for _ in range(60)]
            for name in ("train", "test")
        }  # fmt: skip
        loaded = corpus(**splits)
        result, overlap = check_splits(loaded), loaded.overlap
        assert repeats(result, "train", "train")[0] == overlap.repeated > 0
        assert repeats(result, "train", "test")[0] == overlap.leaked_texts > 0
        assert result.authors.posts["train"] == overlap.leaked_authors > 0

    def test_a_corpus_without_overlap_has_nothing_exact(self, corpus):
        result = check_splits(corpus(drop=True, train=["a b", "a b", "c d"], test=["c d"]))
        assert result.splits["train"].posts == 1
        assert all(row.exact == 0 for row in result.duplicates)
        assert result.pairs == []

    @given(seed=st.integers(0, 10**6), place=st.integers(0, 29))
    def test_a_word_changed_in_a_long_post_makes_a_near_duplicate(self, seed, place):
        one = sentence(seed)
        other = [*one[:place], "changed", *one[place + 1 :]]
        texts = [" ".join(one), " ".join(sentence(seed + 1)), " ".join(other)]
        ((i, j, similarity),) = near_duplicates([text.split() for text in texts], [["all"]] * 3)
        assert (i, j) == (0, 2)
        assert 0.8 <= similarity < 1
        assert near_duplicates([text.split() for text in texts[::-1]], [["all"]] * 3) == [(0, 2, similarity)]

    def test_near_duplicates_are_those_that_comparing_all_finds(self):
        rng = random.Random(0)
        texts = []
        for template in range(12):
            words = sentence(template, 40)
            for _ in range(10):
                changed = {rng.randrange(40) for _ in range(rng.randrange(4))}
                texts.append(" ".join("".join(rng.choices(LETTERS, k=5)) if k in changed else word for k, word in enumerate(words)))
        texts = sorted(set(texts))
        runs = [{text[k : k + 5] for k in range(len(text) - 4)} for text in texts]
        jaccard = {(i, j): len(runs[i] & runs[j]) / len(runs[i] | runs[j]) for i, j in combinations(range(len(texts)), 2)}
        wanted = {pair: value for pair, value in jaccard.items() if value >= 0.8}
        assert len(wanted) > 100
        assert {(i, j): value for i, j, value in near_duplicates([text.split() for text in texts], [["all"]] * len(texts))} == wanted

    def test_handles_links_punctuation_and_emoji_do_not_tell_posts_apart(self, corpus):
        text = "my boss would not stop asking me out"
        result = check_splits(
            corpus(train=[text], test=[f"@someone {text}!!! 😡 https://example.org/x", "an unlike text of several words"])
        )
        assert repeats(result, "test", "train") == (0, 1)
        (row,) = result.pairs
        assert (row.kind, row.similarity, row.split, row.other_split) == ("near", 1.0, "train", "test")

    def test_a_post_with_an_equal_text_is_not_counted_as_near_too(self, corpus):
        text = "my boss would not stop asking me out"
        result = check_splits(corpus(train=[text, f"{text}!"], test=[text]))
        assert repeats(result, "test", "train") == (1, 0)
        assert repeats(result, "train", "test") == (1, 1)
        assert repeats(result, "train", "train") == (0, 1)

    def test_short_posts_are_compared_exactly_only(self, corpus):
        result = check_splits(corpus(train=["me too", "and it was me too"], test=["me too!", "@friend me too", "and it was me too!"]))
        assert [split.short for split in result.splits.values()] == [1, 2]
        assert linked(result) == {frozenset(["train-1", "test-2"])}

    def test_posts_without_a_word_are_no_duplicates(self, corpus):
        assert check_splits(corpus(train=["😡", "!!!"], test=["https://example.org/a", "@someone"])).pairs == []

    def test_every_repeated_post_stands_in_a_pair_and_many_copies_make_few_pairs(self, corpus):
        copies = 400
        result = check_splits(corpus(train=["again"] * copies, validation=["once"], test=["again"] * 3))
        found = {identifier for pair in linked(result) for identifier in pair}
        assert found == {f"train-{number}" for number in range(copies)} | {f"test-{number}" for number in range(3)}
        assert len(result.pairs) == len(linked(result)) <= 2 * (copies + 3)

    def test_a_text_filled_in_many_ways_makes_few_pairs_and_every_post_of_it_is_counted(self, corpus):
        ways = [" ".join([*sentence(0), *sentence(seed, 2)]) for seed in range(1, 101)]
        result = check_splits(corpus(train=ways[:60], test=ways[60:]))
        assert [(row.exact, row.near) for row in result.duplicates] == [(0, 59), (0, 60), (0, 40), (0, 39)]
        assert len(result.pairs) <= 100 * 20

    def test_what_is_split_does_not_matter_to_what_is_found(self, corpus, tmp_path):
        one = [" ".join(sentence(seed)) for seed in (1, 2, 3)]
        other = [f"{one[0]} more", one[1], "unlike"]
        there = check_splits(corpus(train=one, test=other))
        back = check_splits(corpus(train=other, test=one))
        assert repeats(there, "train", "test") == repeats(back, "test", "train") == (1, 1)
        assert len(there.pairs) == len(back.pairs) == 2
        assert {row.similarity for row in there.pairs} == {row.similarity for row in back.pairs}

    def test_pairs_across_splits_come_first_then_the_most_similar(self, corpus):
        base = sentence(1)
        near = [" ".join([*base[:-cut], *sentence(9, cut)]) for cut in (1, 2)]
        result = check_splits(corpus(train=["same here", "same here", near[0]], test=[near[1], " ".join(base)]))
        order = [(row.split != row.other_split, row.similarity) for row in result.pairs]
        assert order == sorted(order, reverse=True)
        assert [across for across, _ in order] == [True, True, False, False]

    def test_same_corpus_same_result(self, corpus):
        loaded = corpus(train=[" ".join(sentence(seed % 7)) + f" {seed % 3}" for seed in range(40)], test=["b", "b"])
        assert check_splits(loaded).model_dump_json() == check_splits(loaded).model_dump_json()


class TestConflicts:
    def test_equal_texts_with_other_labels(self, corpus):
        result = check_splits(
            corpus(train=[("same", "alpha"), ("same", "alpha"), ("agreed", "beta")], test=[("same", "beta"), ("agreed", "beta")])
        )
        assert result.conflicts.exact == ExactConflicts(texts=1, posts=3)
        labels = {name: found.exact for name, found in result.conflicts.labels.items()}
        assert labels == {"alpha": 1, "beta": 1, "gamma": 0}
        conflicts = [{row.id, row.other_id} for row in result.pairs if row.conflict]
        assert {"train-0", "test-0"} in conflicts
        assert {"train-0", "train-1"} not in conflicts

    def test_near_equal_texts_with_other_labels(self, corpus):
        text = "my boss would not stop asking me out"
        result = check_splits(corpus(train=[(text, "alpha gamma")], test=[(f"{text}!", "alpha"), (f"{text}?", "gamma alpha")]))
        assert result.conflicts.exact == ExactConflicts(texts=0, posts=0)
        assert result.conflicts.near == NearConflicts(pairs=2, posts=3)
        assert {name: found.near for name, found in result.conflicts.labels.items()} == {"alpha": 0, "beta": 0, "gamma": 2}


class TestAuthors:
    def test_authors_of_several_splits_and_their_posts(self, corpus):
        result = check_splits(
            corpus(
                train=[("a", "", "ann"), ("b", "", "ann"), ("c", "", "bob"), ("d", "", None)],
                test=[("e", "", "ann"), ("f", "", "cid"), ("g", "", None)],
            )
        )
        assert result.authors == SharedAuthors(known=3, in_several_splits=1, posts={"train": 2, "test": 1})


@pytest.fixture
def doubted(corpus):
    """A corpus with three wrong values of alpha, and the probabilities of a model that is right about them."""
    rng = np.random.default_rng(0)
    truth = rng.random((200, 2)) < 0.3
    wrong = [3, 40, 121]
    noted = truth.copy()
    noted[wrong, 0] ^= True
    noted[:, 1] = False
    rows = [(f"post {number}", "alpha" if alpha else "") for number, (alpha, _) in enumerate(noted)]
    probabilities = np.where(truth, 0.9, 0.1) + rng.uniform(-0.08, 0.08, truth.shape)
    return corpus(train=rows), {"train": probabilities.astype(np.float32)}, [f"train-{number}" for number in wrong]


class TestLabels:
    def test_wrong_labels_are_found_and_ranked(self, doubted):
        loaded, probabilities, wrong = doubted
        result = check_labels(loaded, probabilities)
        assert sorted(row.id for row in result.suspects[:3]) == sorted(wrong)
        qualities = [row.quality for row in result.suspects]
        assert qualities == sorted(qualities)
        for row in result.suspects:
            assert row.quality == pytest.approx(row.probability if row.given else 1 - row.probability, abs=1e-3)
        found = result.label_errors["train"]["alpha"]
        given = sum(row.given for row in result.suspects)
        assert (found.posts, found.wrongly_given) == (200, given)
        assert found.wrongly_given + found.wrongly_missing == len(result.suspects) <= 6

    def test_a_label_that_all_posts_have_or_none_is_not_judged(self, doubted):
        loaded, probabilities, _ = doubted
        found = check_labels(loaded, probabilities).label_errors["train"]["beta"]
        assert found.model_dump() == {"posts": 200, "given": 0, "wrongly_given": None, "wrongly_missing": None}

    def test_a_post_or_two_are_enough(self, corpus):
        result = check_labels(corpus(train=[("a", "alpha"), "b"], test=["c"]), {"train": np.eye(2), "test": np.zeros((1, 2))})
        assert result.suspects == []
        assert result.label_errors["train"]["alpha"].wrongly_given == 0
        assert result.label_errors["test"]["alpha"].wrongly_given is None

    def test_it_says_nothing(self, doubted, capfd):
        check_labels(*doubted[:2])
        assert capfd.readouterr() == ("", "")


@pytest.fixture
def suspicious(corpus):
    """A corpus with every kind of finding, and the expected findings about splits and labels.

    Its texts and authors contain the word "canary", so that a leak can be seen.
    """
    text = "canary my boss would not stop asking me out"
    loaded = corpus(
        train=[(text, "alpha", "canaryann"), (text, "", "canarybob"), *[(f"canary {k}", "alpha" if k % 2 else "") for k in range(20)]],
        test=[(f"{text} \x1b[31m!", "beta", "canaryann")],
    )
    probabilities = np.tile([[0.9, 0.1], [0.1, 0.1]], (11, 1))
    return loaded, check_splits(loaded), check_labels(loaded, {"train": probabilities})


def rendered(splits, labels, width=140):
    console = Console(file=io.StringIO(), width=width)
    console.print(*checks_tables(splits, labels), sep="\n")
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def cells(line):
    return [cell.strip() for cell in line.strip("│").split("│")]


class TestOutput:
    def test_files_hold_what_was_found(self, suspicious, tmp_path):
        _, splits, labels = suspicious
        write_checks(splits, labels, tmp_path / "out")
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["checks.json", "duplicates.csv", "label_errors.csv"]
        counts = json.loads((tmp_path / "out/checks.json").read_text())
        assert counts == {name: value for name, value in (splits.model_dump() | labels.model_dump()).items() if name in COUNTS}
        assert list(counts) == COUNTS
        with (tmp_path / "out/duplicates.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [(row["id"], row["other_id"], row["labels"], row["other_labels"], row["conflict"]) for row in rows] == [
            ("train-0", "test-0", "alpha", "beta", "True"),
            ("train-0", "train-1", "alpha", "", "True"),
        ]
        with (tmp_path / "out/label_errors.csv").open(newline="") as file:
            suspects = list(csv.DictReader(file))
        assert [row["id"] for row in suspects] == [row.id for row in labels.suspects]
        assert len(suspects) > 0

    def test_without_probabilities_there_is_no_file_of_label_errors(self, corpus, tmp_path):
        write_checks(check_splits(corpus(train=["a"])), None, tmp_path / "out")
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["checks.json", "duplicates.csv"]

    def test_earlier_checks_are_replaced_and_other_folders_are_not(self, suspicious, tmp_path, refused):
        _, splits, labels = suspicious
        write_checks(splits, labels, tmp_path / "out")
        write_checks(splits.model_copy(update={"pairs": []}), labels, tmp_path / "out")
        assert len((tmp_path / "out/duplicates.csv").read_text().splitlines()) == 1
        (tmp_path / "out/mine.txt").write_text("kept")
        with refused(tmp_path / "out", "is not an earlier output"):
            write_checks(splits, labels, tmp_path / "out")

    def test_neither_texts_nor_authors_get_out(self, suspicious, tmp_path):
        _, splits, labels = suspicious
        write_checks(splits, labels, tmp_path / "out")
        written = "".join(path.read_text() for path in (tmp_path / "out").iterdir())
        for shown in (written, splits.model_dump_json() + labels.model_dump_json(), "\n".join(rendered(splits, labels))):
            assert "train" in shown
            assert "canary" not in shown

    def test_tables_hold_the_counts(self, suspicious):
        lines = rendered(*suspicious[1:])
        assert any("1 of 2 known authors are in several" in line for line in lines)
        rows = [cells(line) for line in lines]
        assert ["train", "22", "20", "1"] in rows
        assert ["train", "train", "1", "0"] in rows
        assert ["test", "train", "0", "1"] in rows
        assert ["beta", "0", "1"] in rows
        assert ["any", "1", "1"] in rows
        assert ["train", "beta", "22", "0", "–", "–"] in rows

    def test_tables_fit_a_log_without_wrapping(self, suspicious):
        assert rendered(*suspicious[1:]) == rendered(*suspicious[1:], width=400)


@contextmanager
def on_terminal(monkeypatch):
    """Make standard output a real terminal, and yield a function that returns what was written to it."""
    ours, theirs = os.openpty()
    with monkeypatch.context() as patch, os.fdopen(theirs, "w", encoding="utf-8") as stdout:
        patch.setattr("sys.stdout", stdout)

        def written():
            stdout.flush()
            return os.read(ours, 100_000).decode()

        yield written
    os.close(ours)


class TestTexts:
    def test_texts_are_refused_where_they_could_end_up_in_a_log(self, suspicious, capsys, refused):
        for show in (check_terminal, lambda: show_texts(*suspicious[1:], suspicious[0], terminal.output())):
            with refused("--show-texts", "must be a terminal"):
                show()
        assert capsys.readouterr().out == ""

    def test_pairs_and_suspects_are_shown_on_a_terminal(self, suspicious, monkeypatch):
        loaded, splits, labels = suspicious
        with on_terminal(monkeypatch) as written:
            check_terminal()
            show_texts(splits, labels, loaded, terminal.output(), top=1)
            shown = written().splitlines()
        assert shown[0].startswith("near 0.")
        assert shown[0].endswith(", conflicting labels")
        assert shown[1] == "  train 'train-0' [alpha]  canary my boss would not stop asking me out"
        assert shown[2].startswith("  test 'test-0' [beta]  canary my boss")
        assert len(shown) == 5
        assert "\x1b" not in shown[2]
