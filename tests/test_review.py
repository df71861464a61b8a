"""Batches of posts to label: what is chosen, what annotators get, and what is read back."""

import csv
import json
import re
import sys
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks import label_next as learning
from models.config import ROOT, Label, LabelSet
from pipeline import terminal
from pipeline.commands import disclosure
from pipeline.config import Columns, Data
from pipeline.config_files import load_config
from pipeline.corpora import load_corpus
from pipeline.corpora.wording import wording
from pipeline.records.cells import from_cell, to_cell
from pipeline.review import pool
from pipeline.review.agreement import disagreements, labelled_posts, measure_agreement, never_asked, read_settled, write_disagreements
from pipeline.review.anchoring import measure_anchoring
from pipeline.review.answers import Answer, Answers, read_answers
from pipeline.review.batch import ChosenPost, Planned, read_batch, render_interface, to_task
from pipeline.review.choosing import LABELLED, RANDOM, Shares, choose, group_repeats, quotas
from pipeline.review.selecting import Wanted, _blind, label_next

LABELS = LabelSet(
    name="two",
    labels=[Label(name="alpha", definition='Says "alpha" & means <it>.'), Label(name="beta", definition="Beta.")],
    auxiliary=["gamma"],
)
NAMES = LABELS.names
RNG = np.random.default_rng(5)
WORDS = ["".join(RNG.choice(list("abcdefghij"), 6)) for _ in range(300)]


def sentence(rng, words=9):
    return " ".join(rng.choice(WORDS, words))


@pytest.fixture(scope="module")
def stream():
    """Posts of which many repeat an earlier one, nearly or exactly, by 60 authors."""
    rng = np.random.default_rng(1)
    own = [sentence(rng) for _ in range(150)]
    texts = (
        own
        + [f"RT @someone: {text}" for text in own[:50]]
        + [f"{text} again" for text in own[:50]]
        + ["me too", "Me too!", "ME TOO #alpha"]
    )
    order = rng.permutation(len(texts))
    return [{"id": f"p{n}", "text": texts[k], "author": f"a{k % 60}", "source": "forum"} for n, k in enumerate(order.tolist())]


def probabilities_of(n, seed=0):
    return np.random.default_rng(seed).beta(0.4, 1.2, (n, 2)).astype(np.float32)


class TestChoosing:
    @pytest.mark.parametrize("seed", [0, 1])
    @pytest.mark.parametrize("shares", [Shares(), Shares(0, 0), Shares(0, 1), Shares(1, 0)])
    def test_no_post_author_or_wording_twice(self, stream, shares, seed):
        wordings = [wording(post["text"]) for post in stream]
        groups = group_repeats(wordings, wordings[:20])
        authors = np.unique([post["author"] for post in stream], return_inverse=True)[1]
        order = np.random.default_rng(seed).permutation(len(stream))
        chosen = choose(probabilities_of(len(stream), seed), NAMES, wordings, groups, authors, order, 30, shares, seed)
        posts = [post for post, _ in chosen]
        assert len(posts) == 30
        assert len(set(authors[posts])) == 30
        assert len({*groups[posts].tolist()} - {LABELLED}) == 30
        assert len(np.unique(group_repeats([wordings[post] for post in posts]))) == 30
        assert not {tuple(wordings[post]) for post in posts} & {tuple(words) for words in wordings[:20]}

    def test_strata_have_their_shares(self, stream):
        n = len(stream)
        p = np.stack([probabilities_of(n)[:, 0], probabilities_of(n)[:, 0] / 9], axis=1)
        chosen = choose(p, NAMES, [[str(k)] for k in range(n)], np.arange(n), np.arange(n), np.arange(n), 20, Shares(0.2, 0.5), 0)
        counts = {name: sum(stratum == name for _, stratum in chosen) for name in dict.fromkeys(stratum for _, stratum in chosen)}
        assert counts == {"random": 4, "rare: alpha": 1, "rare: beta": 9, "uncertain": 6}

    def test_random_posts_do_not_depend_on_the_model(self):
        words, each = [[str(k)] for k in range(90)], np.arange(90)
        found = [choose(probabilities_of(90, seed), NAMES, words, each, each, each, 20, Shares(0.5, 0.2), 3) for seed in (0, 1)]
        drawn = [[post for post, stratum in chosen if stratum == RANDOM] for chosen in found]
        assert drawn[0] == drawn[1]
        assert len(drawn[0]) == 10

    def test_uncertain_posts_are_of_many_kinds(self):
        """Of three kinds of posts, the model is least sure of one; a batch still has all three, and the least sure ones of each."""
        rng = np.random.default_rng(0)
        kinds = [rng.choice(WORDS[k * 100 : k * 100 + 12], 8).tolist() for k in range(3) for _ in range(40)]
        p = np.concatenate([0.5 + 0.001 * np.arange(40), 0.6 + 0.001 * np.arange(40), 0.7 + 0.001 * np.arange(40)])
        each = np.arange(120)
        chosen = choose(np.stack([p, p], axis=1), NAMES, kinds, each, each, each, 12, Shares(0, 0), 0)
        assert {post // 40 for post, _ in chosen} == {0, 1, 2}
        assert {post % 40 for post, _ in chosen} >= {0}

    @pytest.mark.parametrize(("size", "shares"), [(15, Shares(0.5, 0.5)), (5, Shares(0.3, 0.7)), (3, Shares(0.5, 0.5))])
    def test_strata_that_are_both_rounded_up_are_no_larger_than_the_batch(self, size, shares):
        each, words = np.arange(90), [[str(k)] for k in range(90)]
        assert len(choose(probabilities_of(90), NAMES, words, each, each, each, size, shares, 0)) == size

    @pytest.mark.parametrize("n", [0, 1, 5])
    def test_too_few_posts_give_what_there_is(self, n):
        each = np.arange(n)
        assert len(choose(probabilities_of(n), NAMES, [["x", str(k)] for k in range(n)], each, each, each, 8, Shares(), 0)) == n

    def test_posts_without_words_and_labels_that_never_occur(self):
        each = np.arange(40)
        chosen = choose(np.zeros((40, 2), np.float32), NAMES, [[]] * 40, each, each, each, 8, Shares(), 0)
        assert len({post for post, _ in chosen}) == 8

    def test_repeats_of_repeats_are_one_group(self):
        base = [f"word{k}" for k in range(14)]
        chain = [[*base, *(f"more{k}" for k in range(n))] for n in range(4)]
        assert group_repeats([*chain, ["me", "too"], ["me", "too"]]).tolist() == [0, 0, 0, 0, 1, 1]
        assert group_repeats(chain, [chain[3]]).tolist() == [LABELLED] * 4
        assert group_repeats([]).tolist() == []

    def test_short_repeats_are_one_group(self):
        assert group_repeats([["she", "was", "followed"], ["she", "was", "followed", "a"], ["thank", "you"]]).tolist() == [0, 0, 1]

    @pytest.mark.parametrize("seed", [0, 1])
    def test_repeats_that_the_index_missed_are_not_chosen(self, seed):
        """No group here holds two posts, as if the index had missed every repeat; one text has many variants, and some are short."""
        rng = np.random.default_rng(seed)
        own = [sentence(rng, words).split() for words in (3, 4, 9, 12) for _ in range(10)]
        wordings = own + [[*words, "a"] for words in own] + [[*own[0], *rng.choice(list("abc"), 2)] for _ in range(20)]
        each, labelled = np.arange(len(wordings)), [[*words, "b"] for words in own[::10]]
        p = probabilities_of(len(wordings), seed)
        chosen = choose(p, NAMES, wordings, each, each, rng.permutation(each), 30, Shares(), seed, labelled)
        words = [wordings[post] for post, _ in chosen]
        assert len(words) == 30
        assert learning.near_duplicates_in(words) == 0
        assert all(learning.near_duplicates_in([known, *words]) == 0 for known in labelled)
        assert each.tolist() == list(range(len(wordings)))

    def test_quotas_add_up(self):
        assert quotas(np.array([[0.5, 0.0, 0.25]]), 7)[1] == 7
        assert all(sum(quotas(probabilities_of(30), count)) == count for count in range(20))

    @pytest.mark.parametrize(("shares", "named"), [((0.7, 0.7), "--random"), ((-0.1, 0), "--random"), ((float("nan"), 0), "--rare")])
    def test_shares_that_cannot_be(self, shares, named, refused):
        with refused(named):
            Shares(*shares)

    def test_blind_posts_are_all_random_ones_and_a_share_of_every_stratum(self):
        each, words = np.arange(200), [[str(k)] for k in range(200)]
        chosen = choose(probabilities_of(200), NAMES, words, each, each, each, 100, Shares(0.2, 0.4), 0)
        blind = _blind(chosen, 0.25, np.random.default_rng(0))
        for stratum in {stratum for _, stratum in chosen}:
            posts = [post for post, name in chosen if name == stratum]
            assert abs(sum(post in blind for post in posts) - (len(posts) if stratum == RANDOM else len(posts) / 4)) < 1


class TestHandOver:
    POST = ChosenPost(
        "7", '=1+1 "quoted", <b> & é', Planned("uncertain", True, frozenset({"beta"})), {"alpha": 0.2, "beta": 0.7}, {"source": "x"}
    )

    def test_interface_is_xml_with_all_labels_and_definitions(self):
        root = ET.fromstring(render_interface(LABELS))  # noqa: S314  # our own file
        choices = {choice.get("value"): choice.get("hint") for choice in root.iter("Choice")}
        assert choices == {"alpha": 'Says "alpha" & means <it>.', "beta": "Beta.", "gamma": None, "none": "None of these labels."}
        assert root.find("View").get("className") == "post blurred"
        assert root.find("Choices").get("toName") == root.find("View/Text").get("name")

    def test_interface_without_blur_and_with_a_label_called_none(self):
        labels = LabelSet(name="n", labels=[Label(name="none", definition="Nothing.")])
        root = ET.fromstring(render_interface(labels, blur=False))  # noqa: S314
        assert [choice.get("hint") for choice in root.iter("Choice")] == ["Nothing."]
        assert root.find("View").get("className") == "post"

    def test_task_shows_the_prediction_unless_it_is_blind(self):
        task = to_task(self.POST, LABELS, "0123456789abcdef")
        assert task["data"] == {"id": "7", "text": self.POST.text, "stratum": "chosen", "source": "x"}
        (shown,) = task["predictions"]
        assert (shown["model_version"], shown["result"][0]["value"]) == ("0123456789ab", {"choices": ["beta"]})
        blind = ChosenPost("8", "x", Planned("random", False, frozenset()), {"alpha": 0.2})
        assert to_task(blind, LABELS, "m")["predictions"] == []
        assert "alpha" not in json.dumps(to_task(blind, LABELS, "m"))

    @pytest.mark.parametrize("text", ["=1", "'=1", "''@x", "@someone me too", "- no", "plain", "'quoted'", "", "+1", "\tx"])
    def test_cells_are_no_formulas_and_lose_nothing(self, text):
        assert not to_cell(text).startswith(("=", "+", "-", "@", "\t", "\r"))
        assert from_cell(to_cell(text)) == text


@pytest.fixture
def batch(stream, jsonl, model, tmp_path):
    """``batch(...)`` chooses 20 posts of the stream with the session's model, and returns the folder and the summary."""
    posts = jsonl("stream.jsonl", stream)

    def make(out="batch", size=20, shares=None, seed=0, **options):
        return tmp_path / out, label_next([str(posts)], model, tmp_path / out, Wanted(size, shares or Shares(), seed=seed), **options)[0]

    return make


def rows_of(path):
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


class TestBatch:
    def test_holds_no_text_unless_asked(self, batch, stream):
        folder, summary = batch()
        assert sorted(path.name for path in folder.iterdir()) == ["batch.csv", "batch.json", "interface.xml"]
        written = "".join(path.read_text() for path in folder.iterdir())
        assert not any(post["text"] in written for post in stream)
        assert not {post["author"] for post in stream} & set(re.findall(r"\w+", written))
        assert summary.posts == 20
        assert json.loads((folder / "batch.json").read_text())["strata"] == summary.strata

    def test_with_texts(self, batch, stream):
        folder, summary = batch(with_texts=True)
        plan, tasks, sheet = read_batch(folder), json.loads((folder / "tasks.json").read_text()), rows_of(folder / "posts.csv")
        by_id = {post["id"]: post["text"] for post in stream}
        assert [task["data"]["id"] for task in tasks] == [row["id"] for row in sheet] == list(plan)
        assert all(task["data"]["text"] == by_id[task["data"]["id"]] for task in tasks)
        assert all(bool(task["predictions"]) == plan[task["data"]["id"]].shown for task in tasks)
        assert all(bool(row["predicted"]) == plan[row["id"]].shown and not row["alpha"] and not row["annotator"] for row in sheet)
        assert summary.blind == sum(not planned.shown for planned in plan.values())
        assert {planned.stratum for planned in plan.values()} >= {"random", "uncertain"}

    def test_earlier_batches_and_what_repeats_them_are_left_out(self, batch, stream, jsonl):
        folder, _ = batch()
        again, summary = batch("second", labelled=[str(folder)])
        texts = {post["id"]: wording(post["text"]) for post in stream}
        first, second = read_batch(folder), read_batch(again)
        assert not first.keys() & second.keys()
        assert (group_repeats([texts[post] for post in second], [texts[post] for post in first]) != LABELLED).all()
        assert summary.left_out["labelled or in an earlier batch"] == 20

    def test_what_repeats_an_earlier_batch_is_left_out_although_its_posts_are_gone(self, batch, stream, jsonl, model, tmp_path, refused):
        folder, _ = batch(with_texts=True)
        rest = [post | {"id": f"new {post['id']}"} for post in stream if post["id"] not in read_batch(folder)]
        second, _ = label_next([str(jsonl("rest.jsonl", rest))], model, tmp_path / "second", Wanted(20), labelled=[str(folder)])
        texts = {post["id"]: wording(post["text"]) for post in [*stream, *rest]}
        first, found = read_batch(folder), read_batch(tmp_path / "second")
        assert second.posts == 20
        assert (group_repeats([texts[post] for post in found], [texts[post] for post in first]) != LABELLED).all()
        (folder / "tasks.json").write_text("[{}]")
        with refused("tasks.json: is damaged"):
            pool.read_labelled([str(folder)], LABELS, Columns())

    def test_labelled_posts_are_left_out(self, batch, stream, jsonl):
        done = jsonl("done.jsonl", [{**post, "id": f"other {post['id']}", "labels": []} for post in stream[:100]])
        folder, _ = batch(labelled=[str(done)])
        texts = {post["id"]: wording(post["text"]) for post in stream}
        assert (
            group_repeats([texts[post] for post in read_batch(folder)], [wording(post["text"]) for post in stream[:100]]) != LABELLED
        ).all()

    def test_same_seed_same_files(self, batch):
        folders = [batch(name, with_texts=True)[0] for name in ("one", "two")]
        assert [path.read_bytes() for path in sorted(folders[0].iterdir())] == [path.read_bytes() for path in sorted(folders[1].iterdir())]

    def test_nothing_that_exists_is_replaced(self, batch, refused):
        folder, _ = batch(with_texts=True)
        before = (folder / "posts.csv").read_bytes()
        with refused("choose another --out"):
            batch()
        assert (folder / "posts.csv").read_bytes() == before

    @pytest.mark.parametrize(
        ("options", "named"),
        [
            ({"labelled": ["nowhere.jsonl"]}, "nowhere.jsonl"),
            ({"size": 0}, "--size"),
        ],
    )
    def test_what_cannot_be(self, batch, options, named, refused):
        with refused(named):
            batch("bad", **options)

    def test_of_many_posts_the_random_ones_are_random(self, batch, monkeypatch):
        """Only the most uncertain posts are compared with each other, but random ones are drawn from all."""
        monkeypatch.setattr(pool, "_SHORTLIST", 1)
        plans = [read_batch(batch(name, size=2, shares=Shares(0.5, 0), seed=seed)[0]) for seed, name in enumerate("abcdefgh")]
        drawn = {post for plan in plans for post, planned in plan.items() if planned.stratum == RANDOM}
        uncertain = {post for plan in plans for post, planned in plan.items() if planned.stratum != RANDOM}
        assert len(drawn) >= 6
        assert len(uncertain) < 6

    def test_no_post_left(self, batch, stream, jsonl, refused, tmp_path):
        done = jsonl("done.jsonl", [{**post, "labels": []} for post in stream])
        with refused("no post to choose"):
            batch(labelled=[str(done)])
        assert not (tmp_path / "batch").exists()

    def test_a_batch_that_is_none(self, tmp_path, refused):
        with refused("batch.csv"):
            read_batch(tmp_path)
        (tmp_path / "batch.csv").write_text("id,stratum,shown,predicted\n1,random,perhaps,\n")
        with refused("row 1"):
            read_batch(tmp_path)


def said(**by_post):
    """Return answers: ``said(p1=dict(ann=["alpha"], ben=[]))``."""
    every = frozenset(["alpha", "beta", "gamma"])
    given = {post: {name: Answer(frozenset(labels), every) for name, labels in of.items()} for post, of in by_post.items()}
    return Answers(["alpha", "beta", "gamma"], given, {post: {"text": f"text of {post}", "stratum": "random"} for post in given})


class TestAgreement:
    def test_textbook(self):
        """Krippendorff's example with two observers and binary data (2011, Computing Krippendorff's Alpha-Reliability, part A): 0.095."""
        meg, owen = [0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]
        answers = said(**{f"p{k}": {"meg": ["alpha"] * m, "owen": ["alpha"] * o} for k, (m, o) in enumerate(zip(meg, owen, strict=True))})
        found = measure_agreement(answers)
        assert found.labels["alpha"].alpha == pytest.approx(0.095, abs=5e-4)
        assert found.labels["alpha"].agreement == pytest.approx(0.6)
        assert found.labels["alpha"].disputed == 4
        (pair,) = found.pairs
        assert pair.kappa["alpha"] == pytest.approx((0.6 - 0.56) / (1 - 0.56))
        assert (found.labels["beta"].alpha, pair.kappa["beta"]) == (None, None)
        assert (found.posts, found.several, found.annotators) == (10, 10, {"meg": 10, "owen": 10})

    def test_without_nltk_a_message_says_what_to_install(self, monkeypatch, refused):
        monkeypatch.setitem(sys.modules, "nltk.metrics", None)
        with refused("'.[agreement]'"):
            measure_agreement(said(a={"ann": ["alpha"], "ben": []}))

    def test_posts_with_one_answer_do_not_count(self):
        answers = said(a={"ann": ["alpha"], "ben": ["alpha"]}, b={"ann": [], "ben": []}, c={"ann": ["beta"]})
        found = measure_agreement(answers)
        assert (found.several, found.labels["alpha"].alpha, found.alpha, found.same) == (2, 1, 1, 1)
        assert found.labels["beta"].posts == 2

    def test_sets_that_overlap_are_half_right(self):
        whole = [said(a={"ann": ["alpha", "beta"], "ben": labels}, b={"ann": [], "ben": []}) for labels in (["alpha"], ["gamma"])]
        close, far = (measure_agreement(answers).alpha for answers in whole)
        assert 1 > close > far

    def test_labels_that_nobody_asked_about_are_no_disagreement(self):
        one, both = frozenset(["alpha"]), frozenset(["alpha", "beta"])
        given = {
            f"p{k}": {"ann": Answer(one if k % 2 else frozenset(), one), "ben": Answer(both if k % 2 else both - one, both)}
            for k in range(40)
        }
        apart = {"q": {"ann": Answer(one, one), "ben": Answer(frozenset(), both - one)}}  # no label was asked of both
        answers = Answers(["alpha", "beta"], given | apart)
        found = measure_agreement(answers)
        assert (found.same, found.alpha, found.several) == (1, 1, 41)
        assert never_asked(answers, {}) == []
        alone = Answers(["alpha", "beta"], {post: {"ann": of_post["ann"]} for post, of_post in given.items()})
        assert never_asked(alone, {}) == ["nobody was asked about beta on 40 posts, which count as not having it"]
        post = next(iter(alone.by_post))
        assert never_asked(alone, {(post, "beta"): True}) == ["nobody was asked about beta on 39 posts, which count as not having it"]

        plan = {post: Planned("uncertain", k % 2 == 0, both) for k, post in enumerate(given)}
        followed = measure_anchoring(Answers(["alpha", "beta"], given), plan, NAMES)
        assert (followed.labels["beta"].shown, followed.labels["beta"].blind) == (1, 1)
        assert (followed.all_labels.shown, followed.all_labels.blind) == (0, 1), "ann was not asked about all"
        silent = measure_anchoring(alone, plan, NAMES)
        assert (silent.posts_shown, silent.labels["beta"].shown, silent.all_labels.shown) == (20, None, None)

    def test_disagreements_are_settled(self, tmp_path, refused):
        answers = said(
            a={"ann": ["alpha"], "ben": ["alpha", "beta"]},
            b={"ann": [], "ben": [], "cat": ["beta"]},
            c={"ann": ["gamma"], "ben": ["gamma"]},
        )
        rows = disagreements(answers, {"a": Planned("uncertain", True, frozenset({"beta"}))})
        assert [(row["id"], row["label"], row["said_yes"], row["said_no"], row["predicted"]) for row in rows] == [
            ("a", "beta", "ben", "ann", "yes"),
            ("b", "beta", "cat", "ann;ben", ""),
        ]
        path = tmp_path / "disagreements.csv"
        write_disagreements(rows, path)
        assert "text of" not in path.read_text()
        assert {row["id"]: (row["labels"], row["unsure"]) for row in labelled_posts(answers, {})} == {
            "a": (["alpha"], True),
            "b": ([], True),
            "c": (["gamma"], False),
        }
        path.write_text(path.read_text().replace(",yes,\n", ",yes,x\n"))
        settled = read_settled(path, answers)
        assert settled == {("a", "beta"): True}
        (first, *_) = labelled_posts(answers, settled)
        assert (first["labels"], first["unsure"], first["text"]) == (["alpha", "beta"], False, "text of a")
        with refused("--settled"):
            write_disagreements(rows, path)
        write_disagreements(disagreements(answers, {}, settled), path)
        assert read_settled(path, answers) == settled

    @pytest.mark.parametrize(("row", "named"), [("z,beta,yes", "post"), ("a,delta,yes", "label"), ("a,beta,perhaps", "settled must be")])
    def test_settled_file_of_something_else(self, tmp_path, row, named, refused):
        (tmp_path / "d.csv").write_text(f"id,label,settled\n{row}\n")
        with refused("row 1", named):
            read_settled(tmp_path / "d.csv", said(a={"ann": []}))

    def test_anchoring(self):
        """Annotators who see the prediction follow it; those who do not, say alpha."""
        plan = {f"p{k}": Planned("random" if k >= 100 else "uncertain", k % 2 == 0, frozenset({"beta"})) for k in range(120)}
        answers = said(**{f"p{k}": {"ann": ["beta"] if k % 2 == 0 else ["alpha"]} for k in range(120)})
        found = measure_anchoring(answers, plan, NAMES)
        assert (found.posts_shown, found.posts_blind) == (50, 50)
        assert (found.labels["beta"].shown, found.labels["beta"].blind, found.labels["beta"].interval) == (1, 0, (1, 1))
        few = measure_anchoring(said(p0={"ann": []}), plan, NAMES)
        assert (few.all_labels.shown, few.all_labels.blind, few.all_labels.difference, few.all_labels.interval) == (0, None, None, None)


def export(tmp_path, name="export.json", annotators=(1, 2)):
    """Write an export of Label Studio: on every second post, the annotators do not agree."""

    def annotation(who, choices):
        result = [{"from_name": "labels", "to_name": "text", "type": "choices", "value": {"choices": choices}}]
        return {"completed_by": who, "result": result, "was_cancelled": False}

    tasks = [
        {
            "id": 90 + k,
            "data": {"id": f"p{k}", "text": f"text {k}", "stratum": "random"},
            "annotations": [annotation(annotators[0], ["alpha"]), annotation(annotators[1], ["alpha"] if k % 2 else ["none"])],
            "predictions": [{"result": []}],
        }
        for k in range(6)
    ]
    (tmp_path / name).write_text(json.dumps(tasks))
    return tmp_path / name


class TestAnswers:
    def read(self, *files):
        return read_answers([str(file) for file in files], LABELS, Columns())

    def test_label_studio(self, tmp_path):
        answers = self.read(export(tmp_path))
        assert answers.annotators == ["1", "2"]
        assert {name: sorted(answer.labels) for name, answer in answers.by_post["p0"].items()} == {"1": ["alpha"], "2": []}

    def test_who_it_was_may_be_a_mapping(self, tmp_path):
        people = ({"id": 3, "email": "ann@example.org"}, {"id": 4})
        assert self.read(export(tmp_path, annotators=people)).annotators == ["4", "ann@example.org"]

    def test_signed_sheets_of_two_annotators(self, batch, tmp_path):
        folder, _ = batch(with_texts=True)
        rows = rows_of(folder / "posts.csv")
        for name, marked in (("ann", "x"), ("ben", "")):
            filled = [row | {"alpha": marked, "annotator": name if n < 15 else ""} for n, row in enumerate(rows)]
            with (tmp_path / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, rows[0])
                writer.writeheader()
                writer.writerows(filled)
        answers = self.read(tmp_path / "ann.csv", tmp_path / "ben.csv")
        assert answers.annotators == ["ann", "ben"]
        assert sum(bool(of_post) for of_post in answers.by_post.values()) == 15
        assert measure_agreement(answers).labels["alpha"].disputed == 15
        corpus = load_corpus(Data(sources=[str(tmp_path / "ann.csv")]), LABELS, seed=0, cut=False)
        assert corpus.splits["all"]["labels"] == [["alpha"]] * 15
        assert "5 posts left out" in corpus.notes[0]

    def test_only_a_question_that_is_answered_again_is_an_answer_that_does_not_count(self, jsonl):
        rows = [{"text": "a", "label": label, "answer": "accept", "_annotator_id": "ann", "id": 1} for label in ("alpha", "beta")]
        each = jsonl("prodigy.jsonl", rows)
        assert not any("again" in note for note in self.read(each).notes)
        files = [jsonl(f"{folder}/ann.jsonl", [{"id": n, "text": "a", "labels": []} for n in range(3)]) for folder in ("a", "b", "c")]
        notes = [note for note in self.read(*files).notes if "again" in note]
        assert notes == ["ann answered again for 3 posts; the later answer counts"]

    def test_posts_without_ids_are_numbered_but_cannot_be_compared(self, jsonl, refused):
        files = [jsonl(f"{name}.jsonl", [{"text": "a", "labels": "alpha"}]) for name in ("ann", "ben")]
        assert list(self.read(files[0]).by_post) == ["ann-1"]
        with refused("ann.jsonl, row 1", "no id"):
            self.read(*files)

    def test_plain_files_are_named_after_their_annotators(self, jsonl):
        files = [jsonl(f"{name}.jsonl", [{"id": 1, "text": "a", "labels": given}]) for name, given in (("ann", "alpha"), ("ben", []))]
        answers = self.read(*files)
        assert {name: sorted(answer.labels) for name, answer in answers.by_post["1"].items()} == {"ann": ["alpha"], "ben": []}

    @pytest.mark.parametrize(
        ("row", "named"),
        [
            ({"id": 1, "text": "a", "labels": ["delta"]}, "unknown"),
            ({"id": 1, "text": "a", "labels": ["alpha", "none"]}, "both none and a label"),
            ({"id": 1, "text": "a", "stratum": "x", "predicted": "", "alpha": "perhaps", "beta": "", "annotator": "ann"}, "'alpha'"),
            ({"id": 1, "text": "a", "stratum": "x", "predicted": "", "alpha": "", "beta": "", "annotator": " "}, "finished"),
        ],
    )
    def test_files_that_cannot_be_used(self, jsonl, row, named, refused):
        with refused("bad.jsonl", named):
            self.read(jsonl("bad.jsonl", [row]))


class TestCommands:
    def run(self, *arguments):
        return CliRunner().invoke(terminal.command_line(disclosure.COMMANDS), [str(argument) for argument in arguments])

    def test_from_posts_to_agreement_and_a_corpus(self, tmp_path, stream, jsonl, model):
        model.save(tmp_path / "model")
        done = self.run(
            "label-next", jsonl("s.jsonl", stream), "--model", tmp_path / "model", "--size", 12, "--out", tmp_path / "b", "--with-texts"
        )
        assert done.exit_code == 0, done.output
        assert "chose 12" in done.stdout
        labels = tmp_path / "two.yaml"
        labels.write_text(json.dumps(LABELS.model_dump()))
        tasks = json.loads((tmp_path / "b/tasks.json").read_text())
        for n, task in enumerate(tasks):
            choices = [["alpha"], ["alpha"] if n % 3 else ["beta", "gamma"]]
            results = [[{"from_name": "labels", "to_name": "text", "type": "choices", "value": {"choices": each}}] for each in choices]
            task |= {"id": n, "annotations": [{"completed_by": who, "result": result} for who, result in enumerate(results)]}
        (tmp_path / "export.json").write_text(json.dumps(tasks))
        options = ["--batch", tmp_path / "b", "--set", f"labels={labels}", "--out", tmp_path / "a"]
        done = self.run("agreement", tmp_path / "export.json", *options, "--with-texts")
        assert done.exit_code == 0, done.output
        assert "12 of 12 disagreements" in done.stdout
        assert json.loads((tmp_path / "a/agreement.json").read_text())["anchoring"]["posts_blind"] > 0
        corpus = load_corpus(Data(sources=[str(tmp_path / "a/labelled.jsonl")]), LABELS, seed=0, cut=False, further=("stratum", "unsure"))
        assert corpus.splits["all"].num_rows == 12
        assert sum(value == "True" for value in corpus.column("all", "unsure")) == 4
        assert "random" in corpus.column("all", "stratum")
        assert not any(post["text"] in done.output for post in stream)

    def test_batch_of_other_posts(self, tmp_path, refused):
        (tmp_path / "batch.csv").write_text("id,stratum,shown,predicted\nother,random,no,\n")
        (tmp_path / "l.yaml").write_text(json.dumps(LABELS.model_dump()))
        done = self.run(
            "agreement", export(tmp_path), "--batch", tmp_path, "--set", f"labels={tmp_path / 'l.yaml'}", "--out", tmp_path / "a"
        )
        assert "none of its posts" in str(done.exception)
        assert not (tmp_path / "a").exists()

    def test_authors_that_are_not_there_are_said(self, tmp_path, stream, jsonl, model):
        model.save(tmp_path / "model")
        posts = jsonl("s.jsonl", [{"id": post["id"], "text": post["text"]} for post in stream])
        done = self.run("label-next", posts, "--model", tmp_path / "model", "--size", 500, "--out", tmp_path / "b", "--json")
        assert "--author-column" in done.stderr
        assert "of 500 posts could be chosen" in done.stderr
        assert "others repeat these" in done.stderr
        assert json.loads(done.stdout)["posts"] < 155
        few = jsonl("few.jsonl", [{"id": k, "text": WORDS[k], "author": k} for k in range(3)])
        done = self.run("label-next", few, "--model", tmp_path / "model", "--size", 5, "--out", tmp_path / "few")
        assert "note     only 3 of 5 posts could be chosen\n" in done.stderr


class TestBenchmark:
    def test_near_duplicates_are_counted_over_all_pairs(self):
        one = WORDS[:9]
        assert learning.near_duplicates_in([one, [*one, "again"], WORDS[20:29], ["me", "too"], ["me", "too"], one]) == 3

    def test_labels_needed(self):
        labels, scores = np.array([100.0, 200, 300]), np.array([0.2, 0.6, 0.5])
        found = [learning.labels_needed(labels, scores, wanted) for wanted in (0.1, 0.4, 0.6, 0.9)]
        assert found == pytest.approx([100, 150, 200, 300])

    def test_labels_saved_are_counted_seed_by_seed(self):
        def curve(*scores):
            return [{"labels": 100.0 * (k + 1), "macro_f1": f1, "map": f1 / 2, "near_duplicates": 0} for k, f1 in enumerate(scores)]

        random, better = [curve(0.2, 0.4, 0.6), curve(0.2, 0.6, 0.4)], [curve(0.2, 0.6, 0.6), curve(0.2, 0.5, 0.7)]
        found = learning.summarise({"random": random, "label-next": better})["strategies"]
        assert found["random"]["saved"] == {"mean": 0, "low": 0, "high": 0}
        assert found["label-next"]["saved"]["mean"] == pytest.approx((100 - 50) / 2)
        assert found["label-next"]["saved_map"]["mean"] == pytest.approx((100 - 50) / 2)
        assert found["label-next"]["needed"]["mean"] == pytest.approx((200 + 250) / 2)

    def test_each_strategy_chooses_from_the_pool(self, stream):
        words, pool = [wording(post["text"]) for post in stream], np.arange(40, len(stream))
        config = load_config(settings=[f"labels={ROOT / 'configs/labels/safecity.yaml'}"])
        p = np.random.default_rng(0).random((len(pool), 3)).astype(np.float32)
        posts = learning.Posts(None, None, None, np.arange(len(stream)), words, group_repeats(words), config)
        chosen = {name: choose(posts, pool, p, np.arange(40), 15, 0) for name, choose in learning.STRATEGIES.items()}
        assert all(len(set(found.tolist())) == 15 and set(found) <= set(pool) for found in chosen.values())
        assert learning.near_duplicates_in([words[post] for post in chosen["label-next"].tolist()]) == 0
