"""A run recognises the posts that its model was trained on, and nobody else learns which they are."""

import json
import re
import shutil
from pathlib import Path
from zipfile import ZipFile

import pytest

from models import Classifier
from models.config import ROOT
from models.folders import check_output
from models.storage import FILES, FINGERPRINTS, RELEASED, RUN_FILES
from pipeline.config_files import load_config
from pipeline.corpora import load_corpus
from pipeline.corpora.wording import fingerprint, wording
from pipeline.evaluating import evaluate
from pipeline.fingerprints import Fingerprints, read_fingerprints
from pipeline.report.tables import metrics_tables, seen_note
from pipeline.scoring.spark import _ship_model
from pipeline.training import train

pytest_plugins = ["tracked_run"]
pytestmark = [pytest.mark.filterwarnings("ignore:::mlflow"), pytest.mark.usefixtures("without_plots")]

DIGEST = "0" * 64
QUICK = ["evaluation.rounds=100", "evaluation.behaviour=null", "evaluation.swaps=null", "data.drop_overlap=false"]
FAST = ["calibration.folds=2", "model.type=most_frequent"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def fingerprints(tracked):
    return read_fingerprints(tracked.out / FINGERPRINTS, tracked.first.model.digest_)


def posts_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def write(path: Path, posts: list[dict]) -> Path:
    path.write_text("".join(json.dumps(post) + "\n" for post in posts))
    return path


def test_training_posts_are_known_again_however_they_were_passed_on_and_others_are_not(tracked, fingerprints):
    train_texts = [post["text"] for post in posts_of(tracked.data / "train.jsonl")]
    seen, short = fingerprints.know(train_texts)
    assert (seen | short).all()
    assert seen.sum() > 250
    for form in ("RT @a: {}", "{} https://t.co/x", "“{}” #MeToo"):
        assert (fingerprints.know([form.format(text) for text in train_texts])[0] == seen).all()
    assert not fingerprints.know([post["text"] for post in posts_of(tracked.data / "test.jsonl")])[0].any()


def test_posts_that_a_model_learned_from_without_labels_count(tmp_path, tracked):
    more = write(tmp_path / "more.jsonl", [{"id": "u", "text": "nobody has labelled this one yet, and it is long enough"}])
    config = load_config((), (), [str(tracked.data), f"unlabelled={more}"])
    known = Fingerprints.of_training(DIGEST, load_corpus(config.data, config.labels, seed=0))
    assert known.know(["RT @b: Nobody has labelled this one yet, and it is long enough!"])[0].all()


def test_the_file_holds_hashes_in_an_order_that_tells_nothing_and_is_the_owner_s_alone(tracked, fingerprints):
    path = tracked.out / FINGERPRINTS
    tree = json.loads(path.read_text())
    assert set(tree) == {"form", "model", "fingerprints"}
    assert tree["model"] == tracked.first.model.digest_
    assert tree["fingerprints"] == sorted(fingerprints.hashes)
    assert all(re.fullmatch("[0-9a-f]{16}", each) for each in tree["fingerprints"])
    assert path.stat().st_mode & 0o777 == 0o600
    assert (tracked.out_again / FINGERPRINTS).read_bytes() == path.read_bytes()


def test_a_wider_umask_and_an_earlier_file_do_not_open_it(tmp_path):
    (tmp_path / FINGERPRINTS).write_text("earlier")
    (tmp_path / FINGERPRINTS).chmod(0o644)
    path = Fingerprints(DIGEST, frozenset(["0" * 16])).write(tmp_path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_fingerprints(path, DIGEST) == Fingerprints(DIGEST, frozenset(["0" * 16]))
    assert [each.name for each in tmp_path.iterdir()] == [FINGERPRINTS]


def test_a_file_of_another_model_or_form_is_none(tmp_path):
    path = Fingerprints(DIGEST, frozenset()).write(tmp_path)
    assert read_fingerprints(path, "1" * 64) is None
    path.write_text(json.dumps(json.loads(path.read_text()) | {"form": 0}))
    assert read_fingerprints(path, DIGEST) is None
    assert read_fingerprints(tmp_path / "none", DIGEST) is None


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"form": 1}', '{"form": 1, "model": "0", "fingerprints": 5}'])
def test_a_damaged_file_is_one_line(tmp_path, refused, content):
    (tmp_path / FINGERPRINTS).write_text(content)
    with refused(tmp_path / FINGERPRINTS, "damaged", "delete the file"):
        read_fingerprints(tmp_path / FINGERPRINTS, DIGEST)


def test_no_published_model_has_them_and_making_one_leaves_them_out():
    assert FINGERPRINTS not in FILES
    assert not (RELEASED / FINGERPRINTS).exists()
    (copied,) = re.findall(r"&& cp (.+) models/released/", (ROOT / "Makefile").read_text())
    assert "*" not in copied
    assert all(name in copied for name in FILES)
    assert FINGERPRINTS not in copied


def test_a_run_s_folder_may_be_written_again_and_a_model_saved_there_takes_them_away(tracked, tmp_path):
    folder = shutil.copytree(tracked.out, tmp_path / "model")
    check_output(folder, RUN_FILES)
    Classifier.load(folder).save(folder)
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES), "they may be of another model"


def evaluated(tracked, here, *posts, model=None, settings=(), **options):
    path = write(here / "posts.jsonl", [post | {"id": str(number)} for number, post in enumerate(posts)])
    uri = options.pop("uri", tracked.uri)
    config = load_config((), [*QUICK, *settings], [str(path)], tracking={"uri": uri, "experiment": "first"})
    return evaluate(model or tracked.first.model, config, here / "out", **options)


def test_an_evaluation_on_training_posts_says_that_it_means_nothing(here, tracked):
    results = evaluated(tracked, here, *posts_of(tracked.data / "train.jsonl"), trained_on=tracked.out)
    seen = results.seen_in_training
    assert (seen.posts + seen.short, seen.without) == (300, None)
    note = seen_note(results)
    assert note.startswith(f"{seen.posts} of the 300 posts (")
    assert "say nothing about new posts" in note
    page = (here / "out" / "report.html").read_text()
    assert "Seen in training." in page
    assert "say nothing about new posts" in page
    assert json.loads((here / "out" / "metrics.json").read_text())["seen_in_training"]["posts"] == seen.posts


def test_metrics_without_the_posts_that_were_seen_stand_beside(here, tracked):
    long = [post for post in posts_of(tracked.data / "train.jsonl") if fingerprint(wording(post["text"]))]
    seen, new = long[:30], posts_of(tracked.data / "test.jsonl")
    results = evaluated(tracked, here, *({**post, "text": f"RT @a: {post['text']} #MeToo"} for post in seen), *new)  # found in MLflow
    found, alone = results.seen_in_training, evaluated(tracked, here, *new)
    assert found.posts == 30
    assert found.share == 30 / (110 - found.short)
    assert found.without.posts == 80
    assert found.without.macro_f1 == alone.macro_f1
    assert alone.seen_in_training.posts == 0
    assert alone.seen_in_training.without is None
    assert "none of the 80 posts was seen in training" in seen_note(alone)
    assert f"without them, macro-F1 is {found.without.macro_f1:.3f}, not {results.macro_f1:.3f}" in seen_note(results)
    assert "model, not seen in training" in list(metrics_tables(results, "title")[1].columns[0].cells)


def test_a_model_without_fingerprints_says_that_it_does_not_know(here, tracked, empty_store):
    folder = shutil.copytree(tracked.out, here / "model", ignore=shutil.ignore_patterns(FINGERPRINTS))
    uri = f"sqlite:///{shutil.copy(empty_store, here)}"
    results = evaluated(tracked, here, *posts_of(tracked.data / "test.jsonl"), model=Classifier.load(folder), trained_on=folder, uri=uri)
    assert results.seen_in_training is None
    assert seen_note(results).startswith("unknown: no fingerprints of this model's training posts were found")
    assert "It is not known which of these posts" in (here / "out" / "report.html").read_text()


def test_the_split_of_an_undivided_file_is_that_of_training(here, tracked, empty_store):
    path = write(here / "all.jsonl", tracked.posts)
    tracking = {"uri": f"sqlite:///{shutil.copy(empty_store, here)}", "experiment": "first"}
    config = load_config((), [*QUICK, *FAST, "data.split.test=0.4", "data.split.validation=0"], [str(path)], tracking=tracking)
    trained = train(config, here / "model")
    config = load_config((), QUICK, [str(path)], tracking=tracking)
    results = evaluate(trained.model, config, here / "out", split="test", trained_on=here / "model")
    assert results.posts == trained.corpus.splits["test"].num_rows
    assert results.notes == ["divided as in training: validation 0, test 0.4"]
    assert results.seen_in_training.posts == 0
    others = load_config((), [*QUICK, "data.split.test=0.5"], [str(path)], tracking=tracking)
    results = evaluate(trained.model, others, here / "out", split="test", trained_on=here / "model")
    assert results.notes == ["data.split differs from that of training (validation 0, test 0.4), so the splits differ, too"]
    assert results.seen_in_training.posts > 10


def test_spark_s_executors_get_the_model_alone(tracked, tmp_path):
    class Context:
        """The part of a SparkContext that is needed to send a model."""

        listArchives = ()  # noqa: N815  # as Spark calls it

        def addArchive(self, path):  # noqa: N802
            shutil.copy(path, tmp_path / "sent.zip")

    assert (tracked.out / FINGERPRINTS).exists()
    _ship_model(Context(), tracked.out, DIGEST)
    assert sorted(ZipFile(tmp_path / "sent.zip").namelist()) == sorted(FILES)
