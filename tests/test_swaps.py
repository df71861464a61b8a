"""Swaps: the files that are shipped, what they tell of a model, and the copies of posts that training may add."""

import csv
import re

import numpy as np
import pytest
from few_swaps import FEW
from hypothesis import given
from hypothesis import strategies as st

from models.config import ROOT, Label, LabelSet
from models.text import normalise
from pipeline.config_files import load_config
from pipeline.corpora import load_training_corpus
from pipeline.corpora.swapping import _table, swapped
from pipeline.evaluation.swaps import CONTROL, Swaps, load_swaps, measure_swaps

SPECIFIC = {"workplace_harassment", "street_harassment", "assault"}
LABELS = ["alpha", "beta"]
LABEL_SET = LabelSet(name="two", labels=[Label(name=name, definition="") for name in LABELS], auxiliary=["gamma"])


@pytest.fixture(scope="module")
def shipped():
    return load_swaps("data/swaps", load_config([ROOT / "configs/experiments/extended.yaml"]).labels)


def test_every_label_and_none_is_carried_and_labels_are_the_codebook_s(shipped):
    known = {*load_config([ROOT / "configs/experiments/extended.yaml"]).labels.names}
    assert len(shipped.carriers) >= 60
    for label in known:
        assert sum(label in one.labels for one in shipped.carriers) >= 5, label
    assert sum(not one.labels for one in shipped.carriers) >= 12
    for one in shipped.carriers:
        assert set(one.labels) <= known, one.carrier_id
        assert not ("other_disclosure" in one.labels and SPECIFIC & set(one.labels)), one.carrier_id


def test_pages_count_what_is_there(shipped):
    card = (ROOT / "data/swaps/README.md").read_text(encoding="utf-8")
    kinds = {value.kind for value in shipped.values} - {CONTROL}
    assert (
        f"| {len(shipped.carriers)} posts, at least five of each label and {sum(not one.labels for one in shipped.carriers)} without any"
        in card
    )
    assert f"| {len(shipped.values)} values of {len(kinds)} kinds" in card
    assert f"| {len(shipped.jobs)} harmless posts" in card
    page = (ROOT / "docs/how_to/read_a_report.md").read_text(encoding="utf-8")
    assert f"In [{len(shipped.carriers)} invented posts](../../data/swaps/README.md)" in page
    assert f"how many of {len(shipped.jobs)} harmless posts" in page


def test_what_must_not_matter_is_there_with_controls(shipped):
    kinds = {value.kind for value in shipped.values}
    assert kinds >= {
        "name",
        "gender",
        "pronoun",
        "ethnicity",
        "religion",
        "nationality",
        "orientation",
        "disability",
        "age",
        "dialect",
        "job",
    }
    for slot in ("teller", "opening", "name"):
        assert sum(value.slot == slot and value.kind == CONTROL for value in shipped.values) >= 3
    assert len(shipped.jobs) == 40
    assert [job for job, text in shipped.jobs.items() if job not in text] == []


def test_every_swapped_post_is_a_post_of_its_own_without_slots(shipped):
    texts = shipped.texts()
    assert [text for text in texts if re.search(r"[{}]", text)] == []
    assert len({normalise(text) for text in texts}) == len(texts)
    assert "I'm Muslim. My friend Alex was groped on the metro last night. Nobody in the carriage helped." in texts
    assert "My friend Emily was groped on the metro last night. Nobody in the carriage helped." in texts
    assert any(text.startswith("A woman in the park opened her coat") for text in texts)


def score(texts):
    """Probabilities of a model to which some words matter."""
    alpha = [0.45 + 0.4 * ("zaxa" in text) + 0.1 * ("Muslim" in text) - 0.02 * ("early" in text) for text in texts]
    beta = [0.1 + 0.8 * ("wiku" in text) - 0.6 * ("Aye" in text) + 0.05 * ("Emily" in text) for text in texts]
    return np.array([alpha, beta], np.float32).T


def decide(probabilities):
    return probabilities >= 0.5


@pytest.fixture(scope="module")
def found() -> Swaps:
    return measure_swaps(FEW, LABELS, score, decide)


def test_a_group_is_measured_against_the_mean_of_its_controls(found):
    muslim = found.kinds["religion"].groups["Muslim"]
    assert muslim.shifts == pytest.approx({"alpha": 0.11, "beta": 0})
    assert (muslim.posts, muslim.label, muslim.shift) == (3, "alpha", muslim.shifts["alpha"])
    assert muslim.changed == pytest.approx(2 / 6)  # 0.44 becomes 0.55 in two of three posts of two labels
    assert found.kinds["religion"].groups["Jewish"].changed == 0
    assert found.kinds["religion"].changed == pytest.approx(2 / 12)
    assert found.kinds["religion"].worst == ("Muslim", muslim)
    assert found.kinds["age"].groups["16"].shift == pytest.approx(0.01)


def test_controls_are_measured_against_each_other(found):
    alone = found.kinds["religion"].control
    assert alone == found.kinds["age"].control
    assert abs(alone.shift) == pytest.approx(0.02)
    assert (alone.label, alone.changed, alone.posts) == ("alpha", 0, 6)
    assert found.kinds["name"].control is None


def test_values_of_a_group_are_taken_together_and_only_posts_with_the_slot(found):
    scots = found.kinds["dialect"].groups["Scots"]
    assert scots.posts == 6
    assert scots.shifts == pytest.approx({"alpha": 0, "beta": -0.3})
    assert scots.changed == pytest.approx(1 / 12)  # beta of the second post
    assert found.kinds["name"].groups["women"].posts == 1
    assert found.kinds["pronoun"].groups["she"].posts == 2
    assert (found.shift, found.changed) == (pytest.approx(0.3), pytest.approx(2 / 12))


def test_carriers_and_jobs_are_decided_as_they_stand(found):
    assert (found.carriers, found.right) == (3, 1)
    assert (found.jobs.posts, found.jobs.marked) == (2, {"cook": ["alpha"]})
    assert measure_swaps(FEW, ["other"], lambda texts: score(texts)[:, :1], decide).right is None
    assert Swaps.model_validate_json(found.model_dump_json()) == found


FILES = {
    "carriers.csv": ["carrier_id,labels,text", "1,alpha;gamma,{name} saw a {person}", "2,,nothing"],
    "values.csv": [
        *("slot,kind,group,value", "teller,control,control,I'm tall.", "teller,age,16,I'm 16.", "opening,control,control,Listen."),
        *("pronoun,control,control,they/them/their/person", "name,control,control,Alex"),
    ],
    "jobs.csv": ["job,text", "nurse,I'm a nurse."],
}
BROKEN = [
    ("carriers.csv", "1,alpa,text {name} {they}", ["line 4", "unknown label 'alpa'", "did you mean 'alpha'?"]),
    ("carriers.csv", "3,alpha,{nane}", ["line 4", "'{nane}'", "{name}"]),
    ("carriers.csv", "3,alpha,a } b", ["line 4", "'}'"]),
    ("carriers.csv", "3,alpha,", ["line 4", "column 'text' is missing or empty"]),
    ("carriers.csv", "2,alpha,again", ["carriers.csv", "'2' occurs twice"]),
    ("carriers.csv", '3,alpha,"open', ["carriers.csv", "not CSV", "null"]),
    ("values.csv", "tellr,age,17,I'm 17.", ["line 7", "slot is 'tellr'", "teller, opening, pronoun, name"]),
    ("values.csv", "teller,a/b,17,I'm 17.", ["line 7", "kind 'a/b'"]),
    ("values.csv", "teller,control,17,I'm 17.", ["line 7", "'control' in both"]),
    ("values.csv", "pronoun,pronoun,she,she/her", ["line 7", "'she/her'", "they/them/their/person"]),
    ("values.csv", "teller,age,16,I'm 16.", ["values.csv", "occurs twice"]),
    ("values.csv", "opening,age,16,Hey.", ["values.csv", "kind 'age' has the slots", "give each slot a kind of its own"]),
    ("jobs.csv", "nurse,I'm a nurse again.", ["jobs.csv", "'nurse' occurs twice"]),
]


def write(folder, **changes):
    for name, lines in FILES.items():
        (folder / name).write_text("\n".join(changes.get(name.removesuffix(".csv"), lines)) + "\n", encoding="utf-8")
    return str(folder)


@pytest.mark.parametrize(("name", "line", "said"), BROKEN)
def test_a_line_that_cannot_be_used_is_named(tmp_path, refused, name, line, said):
    write(tmp_path, **{name.removesuffix(".csv"): [*FILES[name], line]})
    with refused(*said):
        load_swaps(str(tmp_path), LABEL_SET)


@pytest.mark.parametrize(
    ("name", "lines", "said"),
    [
        ("values", FILES["values.csv"][:2] + FILES["values.csv"][3:], ["values.csv", "controls only"]),
        ("values", FILES["values.csv"][:-1], ["slot name has no control"]),
        ("carriers", ["carrier_id,labels,text", "1,,a {name}"], ["carriers.csv", "no text has a slot for pronoun", "{they}"]),
        ("carriers", ["carrier_id,text", "1,a {name}"], ["column 'labels' is missing"]),
        ("carriers", ["carrier_id,labels,text"], ["carriers.csv", "holds no posts; add some"]),
        ("jobs", ["job,text"], ["jobs.csv", "holds no jobs"]),
    ],
)
def test_what_is_missing_is_named(tmp_path, refused, name, lines, said):
    with refused(*said):
        load_swaps(write(tmp_path, **{name: lines}), LABEL_SET)


def test_files_that_are_not_there_or_no_text_are_named_with_what_to_do(tmp_path, refused):
    with refused("evaluation.swaps", "nowhere", "No such file", "set it to null"):
        load_swaps(str(tmp_path / "nowhere"), LABEL_SET)
    write(tmp_path)
    assert len(load_swaps(str(tmp_path), LABEL_SET).values) == 5
    (tmp_path / "jobs.csv").write_bytes(b"job,text\nnurse,\xff\n")
    with refused("jobs.csv", "not CSV in UTF-8"):
        load_swaps(str(tmp_path), LABEL_SET)


# Copies of posts for training


def rows():
    with (ROOT / "pipeline/corpora/swaps.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


TWO_WAYS = {word for word, other in _table()[0].items() if _table()[0][other] != word} | {"hers"}
NAMES = [name for names in _table()[1:] for name in names]
WORDS = [*sorted({*_table()[0], "her", "his", "him", "hers"} - TWO_WAYS), *NAMES]
OTHERS = ["boss", "#MeToo", "@sarah", "https://x.org/her", "and", "the", "knee", "told", "123", "naïve", "'s", "Shelter", "heR"]
PIECES = st.sampled_from(WORDS).flatmap(lambda word: st.sampled_from([word, word.title(), word.upper()])) | st.sampled_from(OTHERS)
POSTS = st.lists(st.tuples(PIECES, st.sampled_from([" ", ", ", ". ", " – ", "\n", "!"]))).map(lambda parts: "".join(map("".join, parts)))


def test_the_table_has_each_word_once_on_its_side_but_for_those_with_two_counterparts():
    assert {word for word in TWO_WAYS if word != "hers"} == {"mum", "mums", "mummy", "auntie", "mrs"}
    names = [row[side] for row in rows() if row["kind"] == "name" for side in ("feminine", "masculine")]
    assert len(names) == len({*names}) == 80
    assert {row["kind"] for row in rows()} == {"word", "name"}


@given(POSTS, st.integers())
def test_swapping_twice_gives_the_post_again(post, seed):
    assert swapped(swapped(post, seed), seed) == post


@given(st.text(), st.integers())
def test_any_text_keeps_its_words_and_what_lies_between_them(text, seed):
    copy = swapped(text, seed)
    assert re.split(r"[^\W_]+", copy) == re.split(r"[^\W_]+", text)
    assert swapped(text, seed) == copy


@pytest.mark.parametrize(
    ("text", "copy"),
    [
        ("My boss put his hand on her knee.", "My boss put her hand on his knee."),
        ("She told her that HER husband hit her.", "He told him that HIS wife hit him."),
        ("It was his. I saw him! Was it hers?", "It was hers. I saw her! Was it his?"),
        ("he's a man, she'd say", "she's a woman, he'd say"),
        ("Mum and the policewoman", "Dad and the policeman"),
        ("#herstory @his https://x.org/her the shepherd", "#herstory @his https://x.org/her the shepherd"),
        ("Sarah Jones said", "Sarah Jones said"),
        ("I told her again", "I told him again"),
    ],
)
def test_genders_are_swapped_consistently(text, copy):
    assert swapped(text, 0) == copy


def test_a_name_becomes_one_of_the_other_gender_wherever_it_stands():
    copy = swapped("Sarah, Emily and Sarah. Emily left.", "a seed")
    first, second, third, fourth = re.findall(r"[^\W_]+", copy.replace(" and ", " ").replace(" left", ""))
    assert (first, second) == (third, fourth)
    assert first != second
    assert {first, second} <= {*_table()[2]}
    assert len({swapped("Sarah", seed) for seed in range(20)}) > 5


@pytest.fixture
def folder(jsonl):
    texts = {
        "e": ("He Lost!", "x"),
        "a": ("He followed me.", "x"),
        "b": ("Nothing here.", None),
        "c": ("My sister told me.", None),
        "d": ("She won.", "x"),
    }
    train = [{"id": name, "text": text, "labels": ["assault"], "author": author} for name, (text, author) in texts.items()]
    jsonl("data/validation.jsonl", [{"id": "v", "text": "She lost!", "labels": [], "author": "v"}])
    return jsonl("data/train.jsonl", train).parent


def test_copies_have_the_labels_and_the_author_of_their_posts_and_repeat_no_post(folder):
    plain = load_training_corpus(load_config([], [], [str(folder)]))
    corpus = load_training_corpus(load_config([], ["data.swaps=true"], [str(folder)]))
    train = corpus.splits["train"].to_list()
    assert [row["id"] for row in train] == ["e", "a", "b", "c", "d", "a swapped", "c swapped", "d swapped"]
    assert [row["text"] for row in train[5:]] == ["She followed me.", "My brother told me.", "He won."]
    assert {tuple(row["labels"]) for row in train} == {("assault",)}
    groups = dict(zip((row["id"] for row in train), corpus.groups("train").tolist(), strict=True))
    assert groups["a"] == groups["a swapped"] == groups["d swapped"]
    assert groups["c"] == groups["c swapped"]
    assert len({groups["a"], groups["b"], groups["c"]}) == 3
    assert corpus.splits["validation"].to_list() == plain.splits["validation"].to_list()
    assert corpus.sha256 != plain.sha256
    assert "3 train posts copied with genders and first names swapped" in corpus.notes
    posts = corpus.to_learn_from()
    assert len(posts.texts) == len(posts.Y) == len(posts.groups) == 8


def test_copies_are_the_same_with_the_same_seed(folder):
    config = load_config([], ["data.swaps=true"], [str(folder)])
    first, second = load_training_corpus(config), load_training_corpus(config)
    assert first.splits["train"].to_list() == second.splits["train"].to_list()
    assert first.sha256 == second.sha256
