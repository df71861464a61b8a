"""Leaks: test posts that are in train in another form, and author names that mean nobody or have several spellings."""

import json

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.config import Label, LabelSet
from models.targets import author_numbers, known_author
from pipeline.checks import check_splits
from pipeline.config import Data
from pipeline.config_files import load_config
from pipeline.corpora import load_corpus, load_training_corpus, near
from pipeline.report import corpus_notes

LABELS = LabelSet(name="two", labels=[Label(name=name, definition=name) for name in ("alpha", "beta")])
PLACES = ["the bakery on Mill Road", "our church choir", "the night bus home", "my first flat in Leeds", "a swimming club for adults"]
PEOPLE = ["my boss", "a neighbour", "the caretaker", "an uncle of mine", "our teacher"]
POSTS = [
    f"At {place} {person} said {what} and nobody did a thing" for place in PLACES for person in PEOPLE for what in ("hello", "come here")
]
NOBODY = ["[deleted]", "[removed]", "NA", "N/A", "n/a", "nan", "NaN", "None", "null", "NULL", "", " ", "unknown", "Anonymous", "<NA>", "-"]


def load(tmp_path, drop=True, **splits):
    for name, rows in splits.items():
        lines = [json.dumps({"id": f"{name}{k}", "labels": [], **row}) + "\n" for k, row in enumerate(rows)]
        (tmp_path / f"{name}.jsonl").write_text("".join(lines))
    return load_corpus(Data(sources=[str(tmp_path)], drop_overlap=drop), LABELS, seed=0)


def texts(*found):
    return [{"text": text} for text in found]


@pytest.mark.parametrize(
    "form",
    ["RT @a: {}", "{} https://t.co/x", "{} #MeToo", '"{}"', "“{}” @b", "#MeToo {}", "{} so true", "RT @a: “{}” #MeToo 💜 https://t.co/x"],
)
@pytest.mark.parametrize("of_test", [True, False])
def test_a_test_post_that_stands_in_train_in_another_dress_is_reported_and_dropped(tmp_path, form, of_test):
    plain, dressed = texts(*POSTS), texts(*(form.format(post) for post in POSTS))
    own = texts("I planted six rows of beans behind the shed today", "Does anybody know when the library opens on Sundays")
    train, test = (dressed, plain) if of_test else (plain, dressed)
    corpus = load(tmp_path, train=[*own, *train], test=test)
    assert corpus.overlap.leaked_nearly == corpus.overlap.dropped == len(POSTS)
    assert corpus.splits["train"]["id"] == ["train0", "train1"]
    assert corpus.splits["test"].num_rows == len(POSTS)
    (note,) = corpus_notes(corpus)
    assert f"{len(POSTS):,} more of such a post with a small change" in note
    assert note.endswith(f"; {len(POSTS):,} posts dropped")
    found = check_splits(load(tmp_path, drop=False))
    (row,) = [row for row in found.duplicates if (row.split, row.other) == ("test", "train")]
    assert row.exact + row.near == len(POSTS)


def test_a_swapped_copy_repeats_no_post_of_another_split_and_no_other_copy(tmp_path):
    told = "My boss told {} what the {} in the kitchen did to me last winter and I have never gone back there"
    train = [{"text": told.format("her", "man"), "labels": ["alpha"]}, *texts("I told my mum about him", "I told my mom about him")]
    loaded = load(tmp_path, train=train, test=texts("RT @x: " + told.format("him", "woman")))
    swapped = loaded.with_swaps(0).splits["train"]["text"][3:]
    assert swapped == ["I told my dad about her"]


def test_held_out_texts_are_compared_in_one_order_whatever_the_hashes_of_strings(monkeypatch):
    seen = []
    monkeypatch.setattr(near, "near_duplicates", lambda wordings, where: seen.append(wordings) or [])
    held_out = {f"held-out text number {number}" for number in range(50)}
    near.nearly_held_out(["a train text"], held_out)
    assert seen[0][1:] == [near.wording(text, normalised=True) for text in sorted(held_out)]


def test_a_leak_can_stay_and_a_near_repeat_within_train_does(tmp_path):
    post = POSTS[0]
    corpus = load(tmp_path, drop=False, train=texts(f"RT @a: {post}", f"{post} #MeToo", POSTS[9], f"{POSTS[9]}!"), test=texts(post))
    assert (corpus.overlap.leaked_nearly, corpus.overlap.leaked_texts, corpus.overlap.dropped) == (2, 0, 0)
    assert corpus.overlapping.tolist() == [True, True, False, False]


def test_a_post_that_is_equal_is_not_counted_as_near_too(tmp_path):
    corpus = load(tmp_path, train=texts(POSTS[0].upper(), f"{POSTS[0]} #MeToo"), test=texts(POSTS[0]))
    assert (corpus.overlap.leaked_texts, corpus.overlap.leaked_nearly, corpus.overlap.dropped) == (1, 1, 2)


def test_when_all_train_posts_are_leaks_the_error_says_so(tmp_path, refused):
    load(tmp_path, train=texts(*(f"RT @a: {post}" for post in POSTS)), test=texts(*POSTS))
    config = load_config((), (), [str(tmp_path)])
    with refused("all 50 train posts were dropped", "data.drop_overlap=false"):
        load_training_corpus(config)


def test_what_everybody_writes_is_no_leak(tmp_path):
    corpus = load(tmp_path, train=texts("Me too.", "me too #MeToo", "I believe you"), test=texts("me too!", "I believe you #MeToo"))
    assert corpus.overlap.dropped == 0


def test_a_quotation_with_other_labels_is_no_contradiction_but_a_copy_is(tmp_path):
    long = f"{POSTS[0]} until I left"
    rows = [{"text": long, "labels": ["alpha"]}, {"text": f"{long}. {POSTS[40]}. I believe her, and I am with her.", "labels": ["beta"]}]
    found = check_splits(load(tmp_path, drop=False, train=rows, test=texts(f"{long} #MeToo")))
    assert (found.conflicts.near.pairs, found.conflicts.near.posts) == (1, 2)
    assert {(row.id, row.other_id): row.conflict for row in found.pairs}["train0", "train1"] is False


@pytest.mark.parametrize("nobody", [*NOBODY, None, float("nan"), pd.NA, pd.NaT])
def test_who_is_nobody_is_nobody(nobody):
    assert known_author(nobody) is None
    assert len(set(author_numbers([nobody, "ann", nobody], 3))) == 3


@given(
    st.sampled_from([name for name in NOBODY if name.strip()]),
    st.text("abXY", max_size=2),
    st.sampled_from([str, str.upper, str.lower, str.title]),
)
def test_nobody_in_any_case_and_nobody_else(nobody, more, change):
    assert known_author(f" {change(nobody)} ") is None
    assert (known_author(nobody + more) is None) == (not more)


@given(st.from_regex(r"[A-Za-z0-9_]{1,15}", fullmatch=True).filter(lambda name: known_author(name) is not None), st.booleans())
def test_an_author_has_one_spelling(name, at):
    spelt = f"@{name}" if at else f" {name.upper()} "
    assert known_author(spelt) == known_author(name) == known_author(known_author(name))


@given(st.integers(0, 2**53 - 1))
def test_a_number_is_one_author_as_text_and_as_float(number):
    assert {known_author(each) for each in (number, str(number), float(number), f"{number}.0", pd.Series([number]).iloc[0])} == {
        str(number)
    }


def test_half_a_corpus_by_nobody_is_kept(tmp_path):
    rows = [{"text": post, "author": NOBODY[k % len(NOBODY)] if k % 2 else f"a{k}"} for k, post in enumerate(POSTS)]
    corpus = load(tmp_path, train=rows[:40], test=rows[40:])
    assert corpus.overlap.leaked_authors == 0
    assert sum(author is not None for author in corpus.splits["train"]["author"]) == 20
    assert len(set(corpus.groups("train"))) == corpus.splits["train"].num_rows


def test_one_author_in_two_spellings_is_one_author(tmp_path):
    authors = [("@User1", "user1"), (1000.0, "1000"), ("1000.0", 1000)]
    for mine, theirs in authors:
        corpus = load(
            tmp_path, train=[{"text": POSTS[0], "author": mine}, {"text": POSTS[9]}], test=[{"text": POSTS[20], "author": theirs}]
        )
        assert corpus.overlap.leaked_authors == 1
        assert corpus.splits["train"]["id"] == ["train1"]
