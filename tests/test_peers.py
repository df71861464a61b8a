import json
import os
import random
import re
import sys
import threading
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from conftest import training

from benchmarks import peers
from benchmarks.libraries import PEERS
from benchmarks.libraries.linear import TfidfLogistic
from benchmarks.libraries.minilm import FineTuned
from benchmarks.libraries.peer import Peer, held_out
from benchmarks.libraries.rules import RULES, KeywordRules, MostFrequent
from benchmarks.libraries.spacy import BagOfWords
from benchmarks.peers_shown import front, markdown, table_rows
from models import Classifier
from models.config import Thresholds
from models.text import normalise

SIGNS = {
    "workplace_harassment": "my boss at the office",
    "street_harassment": "a stranger on the street",
    "assault": "he attacked me at night",
    "solidarity_support": "i believe you all",
}
FILLER = ["today", "we", "walked", "by", "the", "river", "and", "nobody", "said", "a", "word", "about", "rain", "or", "bread"]


def invent(rng, number, *, labelled=True):
    labels = [name for name in SIGNS if rng.random() < 0.3]
    words = rng.choices(FILLER, k=8) + [SIGNS[name] for name in labels]
    post = {"id": str(number), "text": " ".join(words), "labels": labels, "author": f"writer {number // 2}"}
    return post if labelled else {"id": post["id"], "text": post["text"]}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("corpus"), random.Random(0)
    rows = [invent(rng, number) for number in range(240)]
    plain = [invent(rng, number, labelled=False) for number in range(1000, 1400)]
    for name, chosen in {"train": rows[:180], "test": rows[180:], "tweets": plain[:40], "unlabeled": plain[40:]}.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(post) + "\n" for post in chosen))
    return folder


@pytest.fixture(scope="module")
def posts(corpus):
    (sources := corpus.parent / "labelled").mkdir(exist_ok=True)
    for name in ("train", "test"):
        (sources / f"{name}.jsonl").write_bytes((corpus / f"{name}.jsonl").read_bytes())
    return peers.load_posts([str(sources)], corpus / "tweets.jsonl", corpus / "unlabeled.jsonl")


@pytest.fixture
def run(posts, corpus, tmp_path):
    def run(*wanted, **options):
        files = {"off_domain": corpus / "tweets.jsonl", "stream": corpus / "unlabeled.jsonl", "out": tmp_path / "peers.json"}
        options = {"peer": list(wanted), "model": [], "data": posts.config.data.sources, **files, **options}
        peers.main(**options)
        return json.loads(options["out"].read_text())["peers"]

    return run


ROW = {
    "title": "one",
    "macro_f1": {"value": 0.5, "interval": [0.4, 0.6]},
    "mean_average_precision": {"value": 0.6, "interval": [0.5, 0.7]},
    "labels": {"a": {"f1": 0.4, "ece": 0.03}, "b": {"f1": 0.6, "ece": 0.01}},
    "behaviour": {"rate": 0.8},
    "off_domain": {"harassment": 0.003, "solidarity": 0.005},
    "train_seconds": 2.5,
    "posts_per_second": 1234.0,
    "tokenizer_posts_per_second": 10_000.0,
    "bytes": 5_000_000,
}


class Memory(Peer):
    """A peer that knows the labels of the posts that it was fitted on for certain, and gives no label to other posts."""

    title = "memory"
    settings = ({"of": "nobody"}, {"of": "everybody"})

    def fit(self, encoded, Y, groups):
        self.known = dict(zip(encoded, Y, strict=True))

    def probabilities(self, encoded):
        nothing = np.zeros(len(self.labels))
        return np.array([self.known.get(text, nothing) if self.setting["of"] == "everybody" else nothing for text in encoded], float)

    def save(self, folder):
        (folder / "memory").write_text("12345")


class Told(Memory):
    """A peer that, with one of its settings, reads the labels from signs in the posts."""

    def probabilities(self, encoded):
        signs = list(SIGNS.values())
        return np.array([[(sign in text) * (self.setting["of"] == "everybody") for sign in signs] for text in encoded], float)


def test_posts_are_scored_by_peers_that_saw_neither_them_nor_their_authors(posts):
    setting, found = peers.choose_setting(Memory, Memory(posts.labels, 0).encode(posts.texts), posts, lambda step: None)
    assert setting == {"of": "nobody"}, "what was seen does not help on folds, so that the first setting stays"
    assert not found.any()


def test_the_setting_is_the_best_on_folds(posts):
    setting, found = peers.choose_setting(Told, Told(posts.labels, 0).encode(posts.texts), posts, lambda step: None)
    assert setting == {"of": "everybody"}
    np.testing.assert_array_equal(found, posts.Y)


def test_thresholds_are_the_best_on_held_out_probabilities_and_scores_become_shares():
    rng = np.random.default_rng(0)
    Y = (rng.random((2000, 1)) < 0.2).astype(np.int8)
    held_out = np.where(Y == 1, rng.beta(4, 2, Y.shape), rng.beta(2, 4, Y.shape)) ** 4  # ranked correctly, but far too low
    peer = Told(["assault"], 0)
    peer.probabilities = lambda encoded: held_out
    tuned = peers.Tuned(peer, held_out, Y, Thresholds(tolerance=0))
    probabilities = tuned.predict_proba([""] * len(Y))
    assert probabilities.mean() == pytest.approx(Y.mean(), abs=0.005)

    def f1(decided):
        return 2 * (decided & (Y == 1)).sum() / (decided.sum() + Y.sum())

    assert f1(tuned.decide(probabilities)) == pytest.approx(max(f1(probabilities >= each) for each in np.unique(probabilities)))


def test_a_trial_leaves_the_test_split_alone(posts, corpus):
    trial = peers.load_posts(posts.config.data.sources, corpus / "tweets.jsonl", corpus / "unlabeled.jsonl", sample=150)
    assert len(trial.texts) + len(trial.test_texts) == 150
    assert {*trial.texts, *trial.test_texts} <= set(posts.texts)
    assert not set(trial.groups.tolist()) & set(trial.test_groups.tolist())
    assert trial.digest != posts.digest


def test_data_without_a_test_split_is_a_user_error(posts, corpus, tmp_path, refused):
    (tmp_path / "train.jsonl").write_bytes((corpus / "train.jsonl").read_bytes())
    with refused("no test posts found", "give --data a folder"):
        peers.load_posts([str(tmp_path)], corpus / "tweets.jsonl", corpus / "unlabeled.jsonl")


def test_most_frequent_gives_no_label(posts):
    model = peers.train_peer(MostFrequent, posts, lambda step: None).model
    np.testing.assert_allclose(model.predict_proba(["anything"])[0], posts.Y.mean(axis=0), rtol=1e-6)
    assert not model.decide(model.predict_proba(posts.texts)).any()


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("My boss kept touching me at work.", "workplace_harassment"),
        ("Some guy followed me home and catcalled me from his car", "street_harassment"),
        ("I was raped at a party, he forced himself on me", "assault"),
        ("To every survivor: I believe you. You are not alone.", "solidarity_support"),
    ],
)
def test_keyword_rules_know_the_plain_cases(text, label):
    rules = KeywordRules(list(SIGNS), 0)
    found = dict(zip(rules.labels, rules.predict_proba([text])[0], strict=True))
    assert max(found, key=found.get) == label
    assert found[label] > 0.7


def test_keyword_rules_speak_against_news_and_leave_the_rest_at_one_half():
    rules = KeywordRules(["assault", "of_another_set"], 0)
    told, news, rest = rules.predict_proba(["I was raped", "Weinstein denies alleged rape, lawyer says", "bread or rain"])
    assert told[0] > 0.5 > news[0]
    assert rest.tolist() == [0.5, 0.5]
    assert told[1] == 0.5


def test_keyword_rules_are_some_dozens_and_each_is_for_a_label_of_the_default_set(posts):
    assert list(RULES) == posts.labels
    assert sum(len(side) for rules in RULES.values() for side in rules) > 50


def found_by(kind, posts, **setting):
    peer = kind(posts.labels, 0, **setting)
    peer.fit(peer.encode(posts.texts), posts.Y, posts.groups)
    return peer.predict_proba(posts.test_texts)


def test_tfidf_learns_and_repeats_itself(posts):
    found = found_by(TfidfLogistic, posts, C=10)
    np.testing.assert_array_equal(found, found_by(TfidfLogistic, posts, C=10))
    assert found[posts.test_Y == 1].mean() > 0.7
    assert found[posts.test_Y == 0].mean() < 0.2


def test_spacy_learns_by_its_own_loop(posts, monkeypatch):
    monkeypatch.setattr(BagOfWords, "patience", 200)
    monkeypatch.setattr(BagOfWords, "buckets", 1000)
    found = found_by(BagOfWords, posts)
    assert found.shape == posts.test_Y.shape
    assert found[posts.test_Y == 1].mean() > found[posts.test_Y == 0].mean() + 0.4


def test_posts_to_stop_early_by_are_of_other_authors():
    groups = np.repeat(np.arange(30), 4)
    train, stop = held_out(groups, seed=0)
    assert sorted([*train, *stop]) == list(range(120))
    assert not set(groups[train]) & set(groups[stop])
    assert len(stop) == 12


def test_fine_tuned_gives_what_its_encoder_says_as_shares(posts, tmp_path, monkeypatch):
    class Encoder:
        def __init__(self, pretrained, n_targets, seed, threads):
            assert (pretrained, n_targets) == (tmp_path, 4)

        def fit(self, texts, targets):
            self.known = dict(zip(texts, targets * 4 - 2, strict=True))
            return self

        def decision_function(self, texts):
            return np.array([self.known[text] for text in texts])

    monkeypatch.setitem(sys.modules, "pipeline.teaching.encoder", type("module", (), {"Encoder": Encoder}))
    monkeypatch.setattr("benchmarks.libraries.minilm.weights", lambda: tmp_path)
    peer = FineTuned(posts.labels, 0)
    peer.fit(peer.encode(posts.texts), posts.Y, posts.groups)
    high, low = 1 / (1 + np.exp(-2)), 1 / (1 + np.exp(2))
    np.testing.assert_allclose(peer.predict_proba(posts.texts), np.where(posts.Y == 1, high, low), rtol=1e-6)


def test_one_core_holds_every_thread_and_lets_go_after(monkeypatch):
    before, done = os.sched_getaffinity(0), threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    threads = []
    monkeypatch.setitem(sys.modules, "torch", type("torch", (), {"get_num_threads": lambda: 7, "set_num_threads": threads.append}))
    try:
        with peers.one_core():
            assert {len(os.sched_getaffinity(int(task.name))) for task in Path("/proc/self/task").iterdir()} == {1}
            assert threads == [1]
        assert os.sched_getaffinity(thread.native_id) == os.sched_getaffinity(0) == before
        assert threads == [1, 7]
    finally:
        done.set()
        thread.join()


def test_turns_never_show_a_post_twice():
    turns = peers._turns([str(number) for number in range(100)], 20)
    assert [len(turn) for turn in turns] == [20, 20, 20]
    assert len({post for turn in turns for post in turn}) == 60
    assert [len(turn) for turn in peers._turns(["one", "two", "three", "four"], 20)] == [1, 1, 1]


@pytest.mark.slow
def test_all_are_measured_and_shown_and_nothing_shows_a_post(run, posts, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(PEERS, "memory", Memory)
    found = run("most_frequent", "tfidf", "memory", "ours_fast")
    assert list(found) == ["most_frequent", "tfidf", "memory", "ours_fast"]
    tfidf, frequent = found["tfidf"], found["most_frequent"]
    assert tfidf["macro_f1"]["interval"][0] <= tfidf["macro_f1"]["value"] <= tfidf["macro_f1"]["interval"][1]
    assert tfidf["macro_f1"]["value"] == pytest.approx(np.mean([values["f1"] for values in tfidf["labels"].values()]))
    assert tfidf["macro_f1"]["value"] > 0.8
    assert frequent["macro_f1"]["value"] == 0
    assert tfidf["setting"] in TfidfLogistic.settings
    assert tfidf["posts_per_second"] > 0
    assert frequent["off_domain"] == {"posts": 40, "harassment": 0, "solidarity": 0}
    assert tfidf["off_domain"]["harassment"] > tfidf["off_domain"]["solidarity"] > 0
    assert found["memory"]["bytes"] == 5
    for each in found.values():
        assert each["date"] == date.today().isoformat()
        assert re.fullmatch(r".+, \d+ cores", each["machine"])
    lines = (tmp_path / "peers.md").read_text().splitlines()
    assert len(lines) == 6
    assert lines[2].startswith(("| scikit-learn", "| ours, fast.yaml"))
    drawn = (tmp_path / "peers.svg").read_text()
    for metric in ("mAP, test split", "macro-F1, test split"):
        assert metric in drawn
    assert (drawn.count(f">{frequent['title']}<"), drawn.count(f">{tfidf['title']}<")) == (0, 2)  # a peer that reads no post is not drawn
    everything = capsys.readouterr().out + (tmp_path / "peers.json").read_text() + (tmp_path / "peers.svg").read_text()
    assert not {"river", "stranger", "boss"} & set(everything.split())


@pytest.fixture
def unmeasured(monkeypatch):
    """Peers that are neither trained nor measured; the list of those that would be trained."""
    trained = []
    monkeypatch.setattr(peers, "train_peer", lambda kind, posts, progress: trained.append(kind.title))
    monkeypatch.setattr(peers, "measure", lambda trained, posts, progress: ROW | {"machine": peers.machine()})
    return trained


def test_a_run_that_was_stopped_goes_on_and_a_named_peer_is_measured_again(run, unmeasured, monkeypatch):
    monkeypatch.setattr(peers, "PEERS", {"most_frequent": MostFrequent, "keywords": KeywordRules})
    monkeypatch.setattr(peers, "OURS", {})
    assert list(run("keywords")) == ["keywords"]
    assert list(run()) == ["keywords", "most_frequent"]
    assert list(run("keywords")) == ["keywords", "most_frequent"]
    assert unmeasured == ["keyword rules", "most frequent", "keyword rules"]


def test_results_of_another_machine_are_told_and_kept(run, unmeasured, posts, tmp_path, capsys, monkeypatch):
    (kept := tmp_path / "peers.json").write_text(
        json.dumps({"data": posts.digest, "peers": {"old": ROW, "other": ROW | {"machine": "Z80"}}})
    )
    assert list(run("most_frequent")) == ["old", "other", "most_frequent"]
    assert f"warning: {kept}: holds results from another machine (Z80, not {peers.machine()}); " in capsys.readouterr().err
    kept.write_text(json.dumps({"data": posts.digest, "peers": {"old": ROW, "same": ROW | {"machine": peers.machine()}}}))
    run("most_frequent")
    monkeypatch.setattr(peers, "PEERS", {})
    monkeypatch.setattr(peers, "OURS", {})
    kept.write_text(json.dumps({"data": posts.digest, "peers": {"other": ROW | {"machine": "Z80"}}}))
    run()
    assert "warning" not in capsys.readouterr().err, "nothing is added"


def test_results_go_into_a_new_folder_if_it_can_be_made(run, unmeasured, tmp_path, refused):
    run("most_frequent", out=tmp_path / "new" / "runs" / "peers.json")
    assert (tmp_path / "new" / "runs" / "peers.md").exists()
    (tmp_path / "file").write_text("")
    with refused(tmp_path / "file" / "peers.json", "cannot be written", "another --out"):
        run("most_frequent", out=tmp_path / "file" / "peers.json")


def test_a_library_that_is_missing_is_one_line_and_the_others_go_on(run, unmeasured, monkeypatch, capsys):
    monkeypatch.setattr(PEERS["fasttext"], "packages", ("no_such_module",))
    assert list(run("fasttext", "most_frequent")) == ["most_frequent"]
    assert (
        "fasttext: needs no_such_module, which is not installed; install the extra: pip install -e '.[bench]'\n" in capsys.readouterr().err
    )


def test_a_peer_that_does_not_exist_is_a_user_error(run, refused):
    with refused("no_such_peer", "allowed are most_frequent"):
        run("no_such_peer")
    with refused("--sample and --model cannot be combined", "use one"):
        run("most_frequent", model=[Path("runs/model")], sample=100)


def test_a_model_of_ours_is_measured_with_its_own_thresholds(run, posts, tmp_path):
    ours = Classifier.from_config(posts.config.of_model())
    ours.fit_tokens(training(ours.tokenizer([normalise(text) for text in posts.texts]), posts.Y, posts.groups))
    ours.save(tmp_path / "mine")
    found = run("most_frequent", model=[tmp_path / "mine"])["model mine"]
    decided = ours.decide(ours.predict_proba(posts.off_domain))
    assert found["off_domain"]["solidarity"] == pytest.approx(decided[:, 3].mean())
    assert found["train_seconds"] is None
    assert found["bytes"] == sum(path.stat().st_size for path in (tmp_path / "mine").iterdir())


def test_results_on_other_posts_or_of_something_else_are_kept(run, posts, tmp_path, refused):
    (tmp_path / "peers.json").write_text(json.dumps({"data": "0" * 64, "peers": {}}))
    with refused("other posts", "another --out"):
        run("most_frequent")
    (tmp_path / "peers.json").write_text("[]")
    with refused("holds no results"):
        run("most_frequent")
    assert (tmp_path / "peers.json").read_text() == "[]"


def test_rows_go_from_the_best_down_and_say_what_was_not_measured():
    slower = ROW | {"title": "slower", "posts_per_second": None, "train_seconds": None, "macro_f1": {"value": 0.4, "interval": None}}
    header, rule, *lines = markdown(table_rows({"slower": slower, "a": ROW})).splitlines()
    assert header.count("|") == rule.count("|") == 12
    assert lines[0] == "| one | 50.0 [40.0, 60.0] | 60.0 | 40 / 60 | 0.030 | 80.0 | 0.30 / 0.50 | 2.5 | 1,234 | 0.12 | 5.0 |"
    assert lines[1] == "| slower | 40.0 | 60.0 | 40 / 60 | 0.030 | 80.0 | 0.30 / 0.50 | – | – | – | 5.0 |"


def test_the_front_is_what_none_beats_in_speed_and_quality():
    assert front([(100, 0.5), (10, 0.9), (50, 0.4), (50, 0.7), (100, 0.6), (1, 0.9)]) == [4, 3, 1]
    assert front([]) == []
