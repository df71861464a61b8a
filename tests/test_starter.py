"""The bundled corpus: its size, labels and variety, and that it holds nobody's real words."""

import re
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer

from models.config import ROOT
from models.text import normalise
from pipeline.config_files import load_config
from pipeline.corpora import load_corpus

NEAR = 0.5  # Jaccard similarity of 5-character shingles; distinct posts of the corpus stay below 0.46
COMBINATIONS = [
    {"street_harassment", "assault"},
    {"workplace_harassment", "assault"},
    {"assault", "solidarity_support"},
    {"workplace_harassment", "solidarity_support"},
    {"street_harassment", "solidarity_support"},
    {"other_disclosure", "solidarity_support"},
]
# Handles that are allowed: masked ones, those invented for the corpus, and ends of disguised words.
HANDLES = {"@user"} | {"@ped", "@p3d", "@tion"}
# RAINN's public hotline; all other numbers have the form 555-01xx, which is never assigned.
HOTLINE = "8006564673"


@pytest.fixture(scope="module")
def starter():
    config = load_config([ROOT / "configs/experiments/extended.yaml"], sources=[str(ROOT / "data/starter")])
    return load_corpus(config.data, config.labels, seed=0)


@pytest.fixture(scope="module")
def posts(starter):
    return [post for split in starter.splits.values() for post in split]


def words(text):
    return re.findall(r"[a-z0-9']+", text.lower())


def near_duplicates(texts):
    """Return the pairs of posts of at least five words whose shingles have a Jaccard similarity of at least `NEAR`."""
    longer = [normalise(text) for text in texts if len(words(text)) >= 5]
    shingles = CountVectorizer(analyzer="char", ngram_range=(5, 5), binary=True, dtype=np.int32).fit_transform(longer)
    shared = (shingles @ shingles.T).tocoo()
    sizes = np.asarray(shingles.sum(axis=1)).ravel()
    similar = shared.data / (sizes[shared.row] + sizes[shared.col] - shared.data) >= NEAR
    return [(longer[i], longer[j]) for i, j in zip(shared.row[similar], shared.col[similar], strict=True) if i < j]


def common_openings(texts, more_than):
    return {
        opening: n for opening, n in Counter(" ".join(words(text)[:4]) for text in texts if len(words(text)) >= 4).items() if n > more_than
    }


def test_has_three_splits_and_enough_posts(starter):
    assert list(starter.splits) == ["train", "validation", "test"]
    assert sum(starter.splits.num_rows.values()) >= 1500
    assert starter.passed_over == []


def test_nothing_overlaps_within_train_or_between_splits(starter, posts):
    assert starter.overlap.dropped == 0
    assert len({normalise(post["text"]) for post in posts}) == len(posts)


def test_authors_are_known_and_in_one_split_each(starter):
    authors = [set(split["author"]) for split in starter.splits.values()]
    assert None not in set.union(*authors)
    assert sum(map(len, authors)) == len(set.union(*authors))


def test_every_split_has_every_label_in_number(starter):
    for name, least in (("train", 150), ("validation", 20), ("test", 40)):
        assert (starter.targets(name, starter.labels).sum(axis=0) >= least).all()


def test_a_quarter_to_a_third_of_each_split_has_no_label(starter):
    for name in starter.splits:
        assert 0.25 <= (starter.targets(name, starter.labels).sum(axis=1) == 0).mean() <= 0.35


def test_labels_combine(posts):
    for wanted in COMBINATIONS:
        assert sum(wanted <= set(post["labels"]) for post in posts) >= 5, wanted


def test_other_disclosure_excludes_the_specific_ones(posts):
    specific = {"workplace_harassment", "street_harassment", "assault"}
    assert not [post["id"] for post in posts if "other_disclosure" in post["labels"] and specific & set(post["labels"])]


def test_no_two_posts_are_nearly_the_same(posts):
    assert near_duplicates(post["text"] for post in posts) == []


def test_templates_would_be_found():
    template = "My {} at the {} would not stop touching me and nobody there believed a word I said."
    filled = [template.format(who, where) for who in ("boss", "manager") for where in ("bank", "office")]
    assert len(near_duplicates([*filled, "Something else altogether was said by this one."])) == 6
    assert common_openings([f"When I was a {what}" for what in ("girl", "boy", "cook", "nurse", "clerk")], 4) == {"when i was a": 5}


def test_no_opening_is_a_habit(posts):
    assert common_openings((post["text"] for post in posts), 4) == {}


def test_lengths_vary(posts):
    lengths = [len(words(post["text"])) for post in posts]
    assert min(lengths) <= 3
    assert np.percentile(lengths, 10) < 15
    assert max(lengths) > 60


def test_bare_and_obfuscated_posts_occur(posts):
    texts = [post["text"].lower() for post in posts]
    assert any(re.fullmatch(r"\W*me ?too\W*", text) for text in texts)
    assert (
        sum(bool(re.search(r"r[*@4]pe|s[3*]x|m[0o]l[3e]st|a[$s]{2}ault", text) and re.search(r"[a-z][*@$\d][a-z]", text)) for text in texts)
        >= 5
    )


def test_handles_links_addresses_and_numbers_are_nobodys(posts):
    for post in posts:
        text = post["text"]
        assert set(re.findall(r"(?<!\w)@\w+", text)) <= HANDLES, post["id"]
        assert not re.search(r"https?://|www\.|\w@\w+\.\w", text), post["id"]
        for number in re.findall(r"\d(?:[ ().-]{0,2}\d){6,}", text):
            digits = re.sub(r"\D", "", number)
            assert digits == HOTLINE or re.search(r"55501\d\d$", digits), (post["id"], number)


@pytest.mark.slow
def test_no_wording_of_the_real_posts():
    tool = ROOT.parent / "shared/tools/check_no_corpus_text.py"
    if not tool.exists():
        pytest.skip(f"needs {tool} and the corpora beside it")
    done = subprocess.run([sys.executable, tool, ROOT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
