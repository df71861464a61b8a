import csv
import gzip
import hashlib
import html
import json
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from typer.testing import CliRunner

from models.config import ROOT
from models.errors import InputError
from pipeline.annotations import join as joining
from pipeline.annotations.form import (
    FOLDER,
    FORM,
    LONG,
    SHORT,
    Annotation,
    canonical_words,
    fingerprint,
    read_annotations,
    write_annotations,
)
from pipeline.annotations.join import join
from pipeline.annotations.making import annotate
from pipeline.commands.annotations import COMMANDS, join_command, make
from pipeline.config_files import load_config
from pipeline.corpora import load_corpus
from pipeline.records import rows
from pipeline.records import text as text_files
from pipeline.terminal import command_line

SHARED = ROOT.parent / "shared/data"
needs_corpora = pytest.mark.skipif(not SHARED.exists(), reason="../shared/data is not here")

OWN = "@user told us <url> that the foreman whistled at her on every shift & nobody minded 👍"
POSTS = [
    {"id": "1", "text": OWN, "labels": ["workplace_harassment"], "author": "maria_k", "source": "invented", "experiencer": "other"},
    {"id": "2", "text": "Catcalled twice between the bakery and my own front door", "labels": ["street_harassment"], "author": "maria_k"},
    {"id": "3", "text": "The new bus line opens on Monday, says the mayor", "labels": [], "author": "someone", "unsure": True},
    {"id": "4", "text": "Me too!", "labels": ["solidarity_support"], "author": "maria_k", "experiencer": "self", "stratum": "random"},
]
HELD_OUT = [{"id": "5", "text": "To everyone who spoke up today: I believe you", "labels": ["solidarity_support"], "author": "other_one"}]

words = st.lists(
    st.sampled_from(["Boss", "don’t", "café", "№5", "ﬁrst", "2016-2017", "#MeToo", "me_too", "ΣΑΣ", "soooooo", "<3", "😀"]), min_size=1
)
posts = st.tuples(words.map(" ".join), st.text(max_size=40)).map(" ".join)


@pytest.fixture
def corpus(jsonl):
    """A folder with two splits of invented posts."""
    columns = {"author", "source", "experiencer", "stratum", "unsure"}
    rows = [dict.fromkeys(columns) | post for post in [*POSTS, *HELD_OUT]]
    jsonl("corpus/train.jsonl", rows[: len(POSTS)])
    return jsonl("corpus/test.jsonl", rows[len(POSTS) :]).parent


@pytest.fixture
def made(corpus, tmp_path):
    """The annotations of the corpus."""
    make([str(corpus)], tmp_path / "made" / "invented.csv")
    return tmp_path / "made"


def records(folder):
    return {path.stem: [json.loads(line) for line in path.read_text("utf-8").splitlines()] for path in sorted(folder.glob("*.jsonl"))}


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def hash_of(text):
    return fingerprint(canonical_words(text))


# The canonical form

PINNED = {  # the words of the first form, and of the second
    "RT @someone: RT @other_one Don’t say “nothing” HAPPENED… https://t.co/a1 #MeToo": ("dontsaynothinghappenedmetoo",) * 2,
    "mail a.b@x.org or 555-010-9999 &amp;amp; ask: ｆｕｌｌ ﬁt, Straße, sooooo": (
        "mailoraskfullfitstrassesooo",
        "mailoraskfullfitstrasseso",
    ),
    "cafe\u0301 r\u0430pe 👍🏽 в_Москве 100 %": ("caférapeвмоскве100",) * 2,
    "rt if you agree @user": ("rtifyouagree",) * 2,
    "#IBelieveYou <p>r@ped</p> u/somebody": ("ibelieveyouprpedpusomebody", "ibelieveyouraped"),
}


@pytest.mark.parametrize("form", [1, 2])
@pytest.mark.parametrize(("text", "expected"), PINNED.items())
def test_the_canonical_form_is_that_of_its_version(text, expected, form):
    assert FORM == 2, "pin the new form here, and make the annotations again"
    assert "".join(canonical_words(text, form)) == expected[form - 1]
    if form == FORM:
        assert hash_of(text) == hashlib.sha256(expected[1].encode()).hexdigest()[:32]


def test_annotations_of_the_first_form_still_join(corpus, tmp_path):
    posts = [json.loads(line) for path in corpus.glob("*.jsonl") for line in path.read_text("utf-8").splitlines()]
    (tmp_path / "old").mkdir()
    rows = ["".join([fingerprint(canonical_words(post["text"], 1)), ",train,assault\n"]) for post in posts[:3]]
    (tmp_path / "old" / "old.csv").write_text("hash_v1,split,labels\n" + "".join(rows), "utf-8")
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"text": f"RT @x: {post['text']}"}) + "\n" for post in posts), "utf-8")
    assert join([tmp_path / "texts.jsonl"], tmp_path / "old", tmp_path / "out")["matched"] >= 3
    assert all(row["labels"] == ["assault"] for row in records(tmp_path / "out")["train"])


def in_clear(text):
    return text.replace("@user", "@Real_Name2").replace("<url>", "https://x.org/a?b=c&d").replace("<phone>", "+1 555 010 9999")


PERTURBED = {
    "upper case": str.upper,
    "white space": lambda text: f" \t{text.replace(' ', chr(10) + chr(160))}\r\n",
    "HTML entities": html.escape,
    "HTML entities, twice": lambda text: html.escape(html.escape(text)),
    "passed on": lambda text: f"RT @Some_One: {text}",
    "an answer": lambda text: f"@someone @else {text}",
    "a link appended": lambda text: f"{text} https://t.co/AbC123",
    "a picture appended": lambda text: f"{text} pic.twitter.com/AbC123",
    "handles and links in clear": in_clear,
    "hidden characters": lambda text: f"\ufeff{text}\u200b",
}


@pytest.mark.parametrize("change", PERTURBED.values(), ids=PERTURBED)
@given(text=words.map(" ".join))
@example(text=OWN)
@example(text="call <phone> , <url>")
def test_copies_of_a_post_have_one_hash(change, text):
    assert hash_of(change(text)) == hash_of(text)


@given(posts)
def test_any_text_has_words_of_letters_and_digits_only(text):
    assert all(word.isalnum() and word == word.casefold() for word in canonical_words(text))


@given(words, st.sampled_from(["not", "never", "ok"]))
def test_a_word_more_is_another_post(text, word):
    assert hash_of(" ".join([*text, word])) != hash_of(" ".join(text))


# Making annotations


def test_annotations_hold_labels_and_splits_and_no_word(made):
    rows = {row[f"hash_v{FORM}"]: row for row in rows_of(made / "invented.csv")}
    assert list(rows) == sorted(hash_of(post["text"]) for post in [*POSTS, *HELD_OUT])
    for post in [*POSTS, *HELD_OUT]:
        row = rows[hash_of(post["text"])]
        assert row["split"] == ("test" if post in HELD_OUT else "train")
        assert row["labels"] == ";".join(post["labels"])
        assert row["source"] == post.get("source", "")
    content = (made / "invented.csv").read_text()
    for post in [*POSTS, *HELD_OUT]:
        assert post["author"] not in content
        assert not any(word in content for word in re.findall(r"[a-z]{5,}", post["text"].lower()))


def test_authors_are_numbers_and_only_where_they_group(made):
    known, _ = read_annotations(made)
    author = {post["id"]: known[hash_of(post["text"])].author for post in [*POSTS, *HELD_OUT]}
    assert author == {"1": "1", "2": "1", "3": None, "4": None, "5": None}


def test_a_text_that_anyone_can_guess_is_tied_to_nobody(made):
    known, _ = read_annotations(made)
    short, long = (known[hash_of(POSTS[number]["text"])] for number in (3, 0))
    assert len(canonical_words(POSTS[3]["text"])) < SHORT <= len(canonical_words(OWN))
    assert (short.author, short.experiencer, short.labels, short.stratum) == (None, None, ("solidarity_support",), "random")
    assert (long.author, long.experiencer) == ("1", "other")


def corpus_of(tmp_path, jsonl, train, test):
    for name, texts in (("train", train), ("test", test)):
        rows = [{"id": f"{name}-{n}", "text": text, "labels": labels, "author": f"{name}{n}"} for n, (text, labels) in enumerate(texts)]
        jsonl(f"odd/{name}.jsonl", rows)
    config = load_config(settings=["data.drop_overlap=false"], sources=[str(tmp_path / "odd")])
    return load_corpus(config.data, config.labels, seed=0, cut=False, further=("experiencer", "stratum", "unsure"))


def test_posts_of_one_hash_become_one_and_a_held_out_one_is_kept(tmp_path, jsonl):
    train = [("Spoke to the police about it today", ["assault"]), ("SPOKE to the police about it: today", ["assault"])]
    found, counts = annotate(corpus_of(tmp_path, jsonl, train, [("spoke to the police, about it today!", ["assault"])]))
    assert [(one.split, one.labels) for one in found] == [("test", ("assault",))]
    assert counts == {"posts": 3, "merged": 2, "conflicting": 0, "wordless": 0, "short": 0}


def test_posts_of_one_hash_and_other_labels_are_left_out_and_counted(tmp_path, jsonl):
    train = [("Spoke to the police about it today", ["assault"]), ("Spoke to the police about it today…", []), ("👍 <url>", [])]
    found, counts = annotate(corpus_of(tmp_path, jsonl, train, [("Nothing new on the agenda this week", [])]))
    assert [one.split for one in found] == ["test"]
    assert counts == {"posts": 4, "merged": 0, "conflicting": 2, "wordless": 1, "short": 0}


def test_annotations_are_the_same_bytes_whatever_the_order_of_posts(corpus, made, tmp_path):
    train = corpus / "train.jsonl"
    train.write_text("".join(reversed(train.read_text().splitlines(keepends=True))))
    make([str(corpus)], tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == (made / "invented.csv").read_bytes()


def test_posts_without_split_are_refused(corpus, tmp_path, refused):
    with refused("train=FILE"):
        make([str(corpus / "train.jsonl")], tmp_path / "out.csv")


# Joining


def copies():
    """Somebody else's copies: in clear, escaped or passed on; one post is there twice, one is new, one is missing, and one is empty."""
    first, second, _, fourth, fifth = [post["text"] for post in [*POSTS, *HELD_OUT]]
    return [
        f"RT @x: {html.escape(in_clear(first))} https://t.co/9",
        second.upper(),
        "never seen by us",
        "",
        f"{fourth} 😀",
        fifth,
        f"{fifth} ",
    ]


def write_copies(path, column="body"):
    rows = [{column: text, "likes": 3} for text in copies()]
    if ".parquet" in path.suffixes:
        pq.write_table(pa.Table.from_pylist(rows), path)
        return path
    if ".csv" in path.suffixes:
        content = f"likes,{column}\n" + "".join('3,"{}"\n'.format(text.replace('"', '""')) for text in copies())
    elif path.name.startswith("array"):
        content = json.dumps(rows, indent=1)
    else:
        content = "".join(json.dumps(row) + "\n" for row in rows)
    data = content.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("name", ["p.jsonl", "p.jsonl.gz", "p.csv", "p.parquet", "array.json", "array.json.gz", "lines.json"])
def test_join_gives_posts_their_labels_back(name, made, tmp_path):
    counts = join([write_copies(tmp_path / name)], made, tmp_path / "out", "body")
    assert counts == {
        "texts": 7,
        "without_text": 1,
        "matched": 5,
        "repeated": 1,
        "shortened": 0,
        "conflicting": 0,
        "splits": {
            "train": {"annotations": 4, "matched": 3, "unmatched": 1},
            "test": {"annotations": 1, "matched": 1, "unmatched": 0},
        },
    }
    found = records(tmp_path / "out")
    assert {split: len(rows) for split, rows in found.items()} == {"train": 3, "test": 1}
    by_hash = {hash_of(post["text"]): post for post in [*POSTS, *HELD_OUT]}
    for row in [*found["train"], *found["test"]]:
        assert row["labels"] == by_hash[row["id"]]["labels"]
        assert row["text"] in copies()
    assert found["test"][0]["text"] == HELD_OUT[0]["text"], "the first copy is taken"


def test_what_join_writes_does_not_depend_on_the_order_of_texts(made, tmp_path):
    texts = [post["text"] for post in [*POSTS, *HELD_OUT]]
    for name, ordered in (("a", texts), ("b", texts[::-1])):
        (tmp_path / f"{name}.json").write_text(json.dumps([{"text": text} for text in ordered]))
        join([tmp_path / f"{name}.json"], made, tmp_path / name)
    for split in ("train", "test"):
        assert (tmp_path / "a" / f"{split}.jsonl").read_bytes() == (tmp_path / "b" / f"{split}.jsonl").read_bytes()


def test_the_corpus_itself_joined_is_the_corpus(corpus, made, tmp_path):
    join([corpus / "train.jsonl", corpus / "test.jsonl"], made, tmp_path / "out")
    config = load_config([ROOT / "configs/experiments/extended.yaml"])
    loaded = [
        load_corpus(config.data.model_copy(update={"sources": [str(folder)]}), config.labels, seed=0, further=("experiencer",))
        for folder in (corpus, tmp_path / "out")
    ]
    for split in ("train", "test"):
        before, after = ({row["text"]: (row["labels"], row["source"]) for row in one.splits[split]} for one in loaded)
        assert before == after
    assert dict(zip(loaded[1].splits["train"]["text"], loaded[1].column("train", "experiencer"), strict=True))[OWN] == "other"
    assert len(set(loaded[1].groups("train").tolist())) == 3, "two posts of one author stay together"


LONG_ONE = (
    "The night manager locked the depot behind me & said nobody would hear. "
    "I was nineteen, it was my third week, and @user at the gate heard"
)


def test_a_longer_copy_of_a_post_cut_off_is_found_and_shortened(tmp_path, jsonl):
    cut_off = f"{LONG_ONE}… <url>"
    assert len("".join(canonical_words(cut_off))) >= LONG
    found, _ = annotate(corpus_of(tmp_path, jsonl, [(cut_off, ["workplace_harassment"])], [("So tired of all this today…", [])]))
    write_annotations(found, tmp_path / "a.csv")
    full = f"{html.escape(in_clear(LONG_ONE))} everything. He only told them years later, 👍 https://t.co/x"
    other = LONG_ONE.replace("nineteen", "ninety") + " everything."
    texts = jsonl("texts.jsonl", [{"text": text} for text in ("So tired of all this today, says the mayor", other, full)])
    counts = join([texts], tmp_path / "a.csv", tmp_path / "out")
    assert (counts["matched"], counts["shortened"]) == (1, 1)
    [record] = records(tmp_path / "out")["train"]
    assert record["labels"] == ["workplace_harassment"]
    assert full.startswith(record["text"].removesuffix("…"))
    assert canonical_words(record["text"]) == canonical_words(cut_off)


def test_a_longer_copy_of_a_whole_post_is_another_post(tmp_path, jsonl, refused):
    cut_off_of_that_length = LONG_ONE.replace("nineteen", "eighteen") + "…"
    found, _ = annotate(corpus_of(tmp_path, jsonl, [(LONG_ONE, ["assault"])], [(cut_off_of_that_length, [])]))
    write_annotations(found, tmp_path / "a.csv")
    with refused("none of 1 texts"):
        join([jsonl("texts.jsonl", [{"text": f"{LONG_ONE} everything"}])], tmp_path / "a.csv", tmp_path / "out")


def test_of_several_beginnings_the_longest_is_taken(tmp_path, jsonl):
    found, _ = annotate(corpus_of(tmp_path, jsonl, [(f"{LONG_ONE}…", [])], [(f"{LONG_ONE} every…", ["assault"])]))
    write_annotations(found, tmp_path / "a.csv")
    join([jsonl("texts.jsonl", [{"text": f"{LONG_ONE} everything"}])], tmp_path / "a.csv", tmp_path / "out")
    assert [row["labels"] for row in records(tmp_path / "out")["test"]] == [["assault"]]


def test_annotations_that_contradict_each_other_are_left_out_and_counted(made, tmp_path):
    known, _ = read_annotations(made)
    key = hash_of(OWN)
    write_annotations([known[key]], made / "same.csv")
    assert read_annotations(made) == (known, 0)
    write_annotations([Annotation(key, "train", ())], made / "second.csv")
    left, conflicting = read_annotations(made)
    assert (set(known) - set(left), conflicting) == ({key}, 1)


@pytest.mark.parametrize("size", [50, 64, 2**16])
def test_json_is_read_the_same_whatever_its_pieces(size, tmp_path, monkeypatch):
    monkeypatch.setattr(text_files, "CHUNK", size)
    rows = [{"text": 'a "quoted" ], [ {text} \\ é 😀 \ud83d'}, {"text": "x" * 200, "n": {"m": [1, 2]}}, {"text": None}, {}]
    (tmp_path / "a.json").write_text("\ufeff" + json.dumps(rows, indent=2), encoding="utf-8")
    texts = list(joining._texts(tmp_path / "a.json", "text"))
    assert texts == ['a "quoted" ], [ {text} \\ é 😀 \ufffd', "x" * 200, "", ""]


def test_a_json_object_without_end_does_not_fill_the_memory(tmp_path, monkeypatch, refused):
    monkeypatch.setattr(text_files, "CHUNK", 50)
    monkeypatch.setattr(rows, "MAX_RECORD", 100)
    (tmp_path / "a.json").write_text('[{"text": "ok"}, {"text": "' + "x" * 1000)
    with refused("row 2", "longer than"):
        list(joining._texts(tmp_path / "a.json", "text"))


def test_what_is_too_long_for_a_post_matches_nothing(made, tmp_path, jsonl, monkeypatch, refused):
    monkeypatch.setattr(joining, "MAX_CHARS", len(OWN) - 1)
    with refused("none of 1 texts"):
        join([jsonl("texts.jsonl", [{"text": OWN}])], made, tmp_path / "out")


BAD_TEXTS = {
    "broken.jsonl": ('{"text": "Secret words"}\n{"text": ', ["row 2", "not valid JSON"]),
    "broken.json": ('[{"text": "Secret words"}, {"text": ', ["row 2", "cut off"]),
    "numbers.json": ('[{"text": "Secret words"}, 5]', ["row 2", "not a JSON object"]),
    "column.json": ('[{"Secret words": 1}]', ["row 1", "no column 'text'"]),
    "column.csv": ("body\nSecret words\n", ["row 1", "no column 'text'; found 'body'; name it with --text-column COLUMN"]),
    "near.csv": ("n,full_text\n1,Secret words\n", ["found 'full_text', 'n'; name it with --text-column full_text"]),
    "cells.csv": ("text,n\nSecret words,1\nSecret words\n", ["row 2", "1 cells"]),
    "type.jsonl": ('{"text": "Secret words"}\n{"text": 5}\n', ["row 2", "must be text, not int", "--text-column"]),
    "empty.json": ("[]", ["empty"]),
    "latin.json": (b'[{"text": "Secret words \xff"}]', ["not UTF-8"]),
    "zip.json.gz": (b"\x1f\x8bSecret words", ["damaged"]),
    "posts.xlsx": ("Secret words", [".xlsx"]),
    "other.jsonl": ('{"text": "Secret words"}\n', ["none of 1 texts", "--text-column"]),
}


@pytest.mark.parametrize(("name", "content", "said"), [(name, *bad) for name, bad in BAD_TEXTS.items()], ids=BAD_TEXTS)
def test_unusable_texts_are_refused_by_place_without_their_words(name, content, said, made, tmp_path, refused):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as caught:
        join([tmp_path / name], made, tmp_path / "out")
    message = str(caught.value)
    assert all(part in message for part in said)
    assert "Secret" not in message
    assert "\n" not in message
    assert not (tmp_path / "out").exists()


def test_a_missing_json_file_is_named(made, tmp_path, refused):
    with refused("gone.json", "no such file"):
        join([tmp_path / "gone.json"], made, tmp_path / "out")


BAD_ANNOTATIONS = {
    "another version": ("hash_v99,split,labels\n00,train,\n", ["row 1", "hash_v99", f"hash_v{FORM}"]),
    "no hash": ("id,split,labels\n00,train,\n", ["row 1", "no hash"]),
    "a broken hash": (f"hash_v{FORM},split,labels\nxyz,train,\n", ["row 1", "32 hexadecimal"]),
    "no such split": (f"hash_v{FORM},split,labels\n{'0' * 32},tarin,\n", ["row 1", "train, validation, test"]),
    "cells": (f"hash_v{FORM},split,labels\n{'0' * 32},train\n", ["row 1", "2 cells"]),
    "no number": (f"hash_v{FORM},split,labels,cut\n{'0' * 32},train,,x\n", ["row 1", "cut must be a number"]),
    "no labels": (f"hash_v{FORM},split\n{'0' * 32},train\n", ["row 1", "'labels'"]),
}


@pytest.mark.parametrize(("content", "said"), BAD_ANNOTATIONS.values(), ids=BAD_ANNOTATIONS)
def test_unusable_annotations_are_refused_by_place(content, said, tmp_path, refused):
    (tmp_path / "bad.csv").write_text(content)
    with refused("bad.csv", *said):
        read_annotations(tmp_path)


def test_a_folder_without_annotations_is_refused(tmp_path, refused):
    with refused("no annotations"):
        read_annotations(tmp_path)


def test_a_folder_that_holds_something_is_not_written_to(corpus, made, refused):
    with refused("choose another --out"):
        join([corpus / "train.jsonl"], made, corpus)
    assert len(records(corpus)["train"]) == len(POSTS)


def test_annotations_that_cannot_be_written_are_refused(corpus, tmp_path, refused):
    with refused("choose another --out"):
        make([str(corpus)], corpus)


def test_the_command_takes_several_files_after_one_option(corpus, made, tmp_path):
    files = [str(corpus / "train.jsonl"), str(corpus / "test.jsonl")]
    arguments = ["join", "--texts", *files, "--annotations", str(made), "--out", str(tmp_path / "out"), "--json"]
    done = CliRunner().invoke(command_line(COMMANDS), arguments)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["matched"] == 5
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["test.jsonl", "train.jsonl"]


def test_the_command_makes_annotations(corpus, made, tmp_path):
    done = CliRunner().invoke(command_line(COMMANDS), ["make", "--data", str(corpus), "--out", str(tmp_path / "again.csv")])
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("5 annotations in ")
    assert (tmp_path / "again.csv").read_bytes() == (made / "invented.csv").read_bytes()


def test_the_command_ends_in_one_line_and_exit_code_2(script, tmp_path):
    code, printed, said = script(COMMANDS, "join", "--texts", tmp_path / "gone.csv", "--out", tmp_path / "out")
    assert (code, printed) == (2, "")
    assert re.fullmatch(r"error: .*gone\.csv: no such file; check the path", said.splitlines()[-1])
    assert "Traceback" not in said


def test_the_command_shows_a_table(corpus, made, tmp_path, capsys):
    join_command([corpus / "train.jsonl"], tmp_path / "out", annotations=made)
    shown = capsys.readouterr().out
    assert re.search(r"train\W+4\W+4\W+0\W", shown)
    assert "4 texts read, 0 without text; 4 matched (0 duplicates" in shown


# What is shipped


def shipped():
    return rows_of(FOLDER / "posts.csv")


def test_shipped_annotations_are_hashes_and_small():
    rows = shipped()
    keys = [row[f"hash_v{FORM}"] for row in rows]
    assert keys == sorted(set(keys))
    assert (FOLDER / "posts.csv").stat().st_size < 3_000_000
    known = {label.name for label in load_config([ROOT / "configs/experiments/extended.yaml"]).labels.labels}
    for row in rows:
        assert re.fullmatch(r"[0-9a-f]{32}", row.pop(f"hash_v{FORM}"))
        assert set(filter(None, row.pop("labels").split(";"))) <= known
        assert re.fullmatch(r"\d*", row.pop("author"))
        assert row.pop("experiencer") in {"", "self", "other"}
        assert all(re.fullmatch(r"[A-Za-z0-9_]*", value) for value in row.values())


def test_the_data_card_counts_what_is_shipped():
    card = (FOLDER / "README.md").read_text("utf-8")
    names = [label.name for label in load_config([ROOT / "configs/experiments/extended.yaml"]).labels.labels]
    for split in ("train", "test"):
        labels = [set(filter(None, row["labels"].split(";"))) for row in shipped() if row["split"] == split]
        counts = [len(labels), *(sum(name in one for one in labels) for name in names), sum(not one for one in labels)]
        assert f"| {split} | {' | '.join(f'{count:,}' for count in counts)} |" in card
    authors = [row["author"] for row in shipped() if row["author"]]
    assert f"{len(authors):,} posts by {len(set(authors)):,} authors have a number" in card
    assert f"`cut` holds their number ({sum(bool(row['cut']) for row in shipped())} posts)" in card


@needs_corpora
def test_shipped_annotations_are_those_of_the_corpus(tmp_path):
    more = [f"train={SHARED / name / 'train.jsonl'}" for name in ("metoo2017_rest", "platforms")]
    make([str(SHARED / "metoo2017"), *more], tmp_path / "made.csv")
    assert (tmp_path / "made.csv").read_bytes() == (FOLDER / "posts.csv").read_bytes(), "make them again"


@needs_corpora
def test_a_copy_published_elsewhere_gets_its_labels(tmp_path):
    """The published SafeCity files are not masked, and they contain the whole of some posts that our corpus has only in part."""
    files = [SHARED / "safecity" / f"{name}.csv" for name in ("train", "dev", "test")]
    assert join(files, FOLDER, tmp_path / "out", "Description")["shortened"] == 3
    found = [row for rows in records(tmp_path / "out").values() for row in rows]
    assert {row["source"] for row in found} == {"safecity"}
    assert len(found) == sum(row["source"] == "safecity" for row in shipped()) == 220


@needs_corpora
def test_ordinary_tweets_match_nothing(tmp_path, refused):
    with refused("none of 2,134 texts"):
        join([SHARED / "offdomain" / name for name in ("tweets.jsonl", "hard.jsonl")], FOLDER, tmp_path / "out")
