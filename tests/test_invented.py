"""The invented corpus: its splits by writer, quotas, contrast sets and variety, and that it copies nobody's words."""

import csv
import hashlib
import json
import random
import re
from collections import Counter, defaultdict
from itertools import pairwise

import pytest
from sklearn.metrics import roc_auc_score

from models.config import ROOT
from models.text import normalise
from pipeline.config_files import load_config
from pipeline.corpora.near import near_duplicates
from pipeline.corpora.wording import wording

FOLDER = ROOT / "data/invented"
CARD = (FOLDER / "README.md").read_text("utf-8")
THEMES = {*(f"A{n}" for n in range(1, 9)), "L1", "L2", "L3", *(f"N{n}" for n in range(1, 7)), "C1"}
LATER = {"P1", "T1", *(f"X{n}" for n in range(1, 9)), *(f"Y{n}" for n in range(1, 10))}  # written after the test split was frozen
CONDUCT = {"workplace_harassment", "street_harassment", "assault", "other_disclosure"}
# What looks like handles: ends of words with a hidden letter, and addresses that are reserved for examples.
HANDLES = {"@user", "@ped", "@bbed", "@sturb", "@rassed", "@tcalled", "@tion", "@example"}


def shards(split):
    return sorted(FOLDER.glob(f"{split}-*.jsonl"))


def posts_of(split):
    return [json.loads(line) for path in shards(split) for line in path.read_text("utf-8").splitlines()]


@pytest.fixture(scope="module")
def splits():
    return {split: posts_of(split) for split in ("train", "validation", "test")}


@pytest.fixture(scope="module")
def posts(splits):
    return [post for split in splits.values() for post in split]


def share(posts, wanted):
    return sum(bool(wanted(post)) for post in posts) / len(posts)


def words(text):
    return re.findall(r"[a-z0-9']+", text.lower())


def runs(text, length=8):
    """Return the text's runs of `length` words, except those that only repeat a few words."""
    found = words(text)
    return {" ".join(found[k : k + length]) for k in range(len(found) - length + 1) if len({*found[k : k + length]}) > length // 2}


def test_the_test_split_is_frozen():
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in shards("test"))).hexdigest()
    assert f"`{digest}`" in CARD


def test_no_writer_is_in_two_splits_and_every_theme_is_in_each(splits):
    writers = [{post["author"] for post in split} for split in splits.values()]
    assert sum(map(len, writers)) == len(set().union(*writers))
    for name, split in splits.items():
        assert {post["source"] for post in split} == THEMES | (LATER if name == "train" else set())


def test_ids_and_texts_are_unique_and_none_is_in_the_starter(posts):
    texts = [normalise(post["text"]) for post in posts]
    assert len({post["id"] for post in posts}) == len({*texts}) == len(posts)
    starter = [
        json.loads(line)["text"] for path in (ROOT / "data/starter").glob("*.jsonl") for line in path.read_text("utf-8").splitlines()
    ]
    assert {*map(normalise, starter)}.isdisjoint(texts)


def test_labels_follow_the_codebook(posts):
    known = {*load_config().labels.names, "other_disclosure"}
    assert {label for post in posts for label in post["labels"]} == known
    # The label "other disclosure" is for conduct that none of the other three covers.
    assert [post["id"] for post in posts if "other_disclosure" in post["labels"] and len(CONDUCT & {*post["labels"]}) > 1] == []


def test_card_counts_are_the_files(splits):
    labels = [*load_config().labels.names, "other_disclosure"]
    for name, split in splits.items():
        counts = [len(split), *(sum(label in post["labels"] for post in split) for label in labels)]
        counts += [sum(not post["labels"] for post in split), sum(len(post["labels"]) > 1 for post in split)]
        assert f"| `{name}` | {' | '.join(f'{count:,}' for count in counts)} |" in CARD


def test_card_says_how_often_each_post_was_read(posts):
    for how, count in Counter(post["checked"] for post in posts).items():
        assert f"| `{how}` | {count:,} |" in CARD


def test_held_out_posts_were_all_read_twice(splits):
    assert {post["checked"] for name in ("validation", "test") for post in splits[name]} == {"agreed", "settled"}


def test_quotas(posts):
    assert 0.40 <= share(posts, lambda post: CONDUCT & {*post["labels"]}) <= 0.48
    assert 0.12 <= share(posts, lambda post: "solidarity_support" in post["labels"]) <= 0.20
    assert 0.35 <= share(posts, lambda post: not post["labels"]) <= 0.47
    assert share(posts, lambda post: post["length"] == "short") >= 0.18
    assert share(posts, lambda post: post["length"] == "long") >= 0.24
    assert max(Counter(post["source"] for post in posts).values()) <= 0.07 * len(posts)
    accounts = [post for post in posts if CONDUCT & {*post["labels"]}]
    plain = re.compile(r"\b(boss|harassed|assaulted|raped|groped|catcalled)\b|#metoo", re.IGNORECASE)
    assert share(accounts, lambda post: not plain.search(post["text"])) >= 1 / 3


def test_length_bands_are_those_of_the_texts(posts):
    def band(post):
        count = len(post["text"].split())
        return "short" if count < 8 else "middle" if count <= 40 else "long"

    assert [post["id"] for post in posts if post["length"] != band(post)] == []
    assert max(len(post["text"].split()) for post in posts) <= 250


def test_contrast_sets_differ_in_their_labels(posts):
    sets = defaultdict(list)
    for post in posts:
        if "pair" in post:
            sets[post["pair"]].append(post)
    assert sum(map(len, sets.values())) >= 5000
    assert [name for name, members in sets.items() if len({tuple(post["labels"]) for post in members}) < 2] == []
    assert [name for name, members in sets.items() if len({post["author"] for post in members}) > 1] == []


def test_no_opening_is_a_habit(posts):
    openings = Counter(" ".join(words(post["text"])[:2]) for post in posts if len(words(post["text"])) >= 2)
    assert openings.most_common(1)[0][1] <= 0.01 * len(posts)


def test_no_runs_of_words_are_shared_with_the_behavioural_cases_or_the_swaps(posts):
    with (ROOT / "data/behaviour/cases.csv").open(encoding="utf-8-sig", newline="") as file:
        cases = set().union(*(runs(row["text"]) for row in csv.DictReader(file)))
    for name in ("carriers", "jobs"):
        with (ROOT / f"data/swaps/{name}.csv").open(encoding="utf-8", newline="") as file:
            cases = cases.union(*(runs(row["text"]) for row in csv.DictReader(file)))
    assert [post["id"] for post in posts if runs(post["text"]) & cases] == []


def test_near_repeats_outside_contrast_sets_are_as_few_as_the_card_says(posts):
    pairs = near_duplicates([wording(post["text"]) for post in posts], [["all"]] * len(posts))
    apart = [(one, other) for one, other, _ in pairs if posts[one].get("pair") is None or posts[one]["pair"] != posts[other].get("pair")]
    assert len(apart) <= 20
    assert f"Outside contrast sets, {len(apart)} pairs of posts nearly repeat each other" in CARD


def distinct_pairs(texts, number=40_000):
    """Return the share of distinct pairs among the first `number` pairs of neighbouring words."""
    found = [pair for text in texts for pair in pairwise(words(text))][:number]
    return len({*found}) / len(found)


def test_posts_are_as_varied_as_those_of_the_starter(posts):
    starter = [json.loads(line)["text"] for line in (ROOT / "data/starter/train.jsonl").read_text("utf-8").splitlines()]
    texts = [post["text"] for post in posts]
    random.Random(0).shuffle(texts)
    assert distinct_pairs(texts, 20_000) >= 0.95 * distinct_pairs(starter, 20_000)


def test_length_does_not_give_accounts_away(posts):
    chosen = [post for post in posts if not post["labels"] or CONDUCT & {*post["labels"]}]
    area = roc_auc_score([bool(post["labels"]) for post in chosen], [len(post["text"].split()) for post in chosen])
    assert 0.45 <= area <= 0.56


def test_nobody_can_be_reached(posts):
    found = {handle for post in posts for handle in re.findall(r"@[a-z]+", post["text"].lower())}
    assert found <= HANDLES
    assert [post["id"] for post in posts if re.search(r"\+?\d[\d -]{8,}\d", post["text"])] == []
