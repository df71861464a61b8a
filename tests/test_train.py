"""train.py: the function, the command line, and the mistakes that a user can make."""

import csv
import hashlib
import io
import json
import random
import re
import subprocess
import sys
from pathlib import Path

import mlflow
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from school import lessons_of
from typer.testing import CliRunner

from models import Classifier
from models.config import ROOT
from pipeline import tracking
from pipeline.commands.train import _name, _next, _of_data, _registered, main, where_to_look
from pipeline.config import Tracking
from pipeline.config_files import load_config
from pipeline.terminal import command_line
from pipeline.training import train

pytest_plugins = ["tracked_run", "taught"]
pytestmark = pytest.mark.filterwarnings("ignore:::mlflow")

QUICK = ["--set", "calibration.folds=3", "--set", "features.char_ngrams=null", "--set", "model.type=svm"]
GOOD = [
    {"id": "1", "text": "my boss grabbed me at the office", "labels": ["workplace_harassment"]},
    {"id": "2", "text": "sunny today", "labels": []},
]


def call(*arguments) -> str:
    """Call the command in this process and return what it prints, joined into one line."""
    result = CliRunner().invoke(command_line(main), [str(argument) for argument in arguments])
    if result.exception:
        raise result.exception
    return " ".join(result.stdout.split())


def lines(*posts) -> bytes:
    return "".join(json.dumps(post) + "\n" for post in posts).encode()


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_same_seed_and_data_give_the_same_bytes(tracked):
    files = sorted(path.name for path in tracked.out.iterdir())
    assert files == ["fingerprints.json", "model.json", "vocabulary.json", "weights.safetensors"]
    for name in files:
        assert (tracked.out / name).read_bytes() == (tracked.out_again / name).read_bytes()


def test_what_training_gives(tracked):
    trained = tracked.first
    loaded = Classifier.load(tracked.out)
    assert loaded.digest_ == trained.model.digest_
    assert loaded.description_["training_data"]["posts"] == 300
    assert loaded.description_["metrics"]["macro_f1"] == trained.evaluation.metrics.macro_f1
    assert trained.evaluation.title == "validation"
    assert trained.evaluation.metrics.macro_f1 > trained.evaluation.metrics.baselines.prior.macro_f1 + 0.2


def test_without_the_split_held_out_folds_are_evaluated(tracked, here):
    uri = tracked.store_copy(here)
    data = f"train={tracked.data}/train.jsonl"
    printed = call("--data", data, "--set", f"tracking.uri={uri}", "--experiment", "other", "--seed", 7, "--out", "model", *QUICK)
    assert "held-out folds of train, 300 posts" in printed
    assert "the thresholds were chosen on these posts, so precision, recall and F1 are a little too high" in printed
    assert "Operating points on held-out folds of train" in printed
    assert re.search(r"note no operating point cautious: workplace_harassment: only \d+ authors wrote ordinary posts, but 299 are", printed)
    assert "; give more posts, or set thresholds.cautious" in printed
    assert "experiment 'other'" in printed
    assert f"MLFLOW_TRACKING_URI={uri} " in printed
    assert Classifier.load(here / "model").config.seed == 7
    tracking.connect(Tracking(uri=uri, experiment="other"))
    (run,) = mlflow.search_runs(experiment_names=["other"], output_format="list")
    assert run.data.params["seed"] == "7"
    assert run.data.params["model.type"] == "svm"
    assert run.data.tags["evaluated"] == "held-out folds of train"
    assert "the thresholds were chosen on these posts" in run.data.tags["mlflow.note.content"]


def test_several_sources_are_one_corpus(tracked):
    config = load_config((), (), [f"train={tracked.data}/train.jsonl", f"validation={tracked.data}/test.jsonl"])
    assert config.data.sources == [f"train={tracked.data}/train.jsonl", f"validation={tracked.data}/test.jsonl"]
    printed = call("--dry-run", "--data", config.data.sources[0], "--data", config.data.sources[1])
    assert "│ posts │ 300 │ 80 │" in printed


@pytest.mark.slow
def test_dry_run_prints_config_and_counts_and_writes_nothing(tracked, tmp_path):
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); from pipeline import terminal; from pipeline.commands.train import main\n"
        f"sys.argv = ['train.py', '--dry-run', '--data', {str(tracked.data)!r}, '--set', 'model.C=0.25']\n"
        "try: terminal.run(main)\n"
        "finally: assert 'mlflow' not in sys.modules, 'mlflow is imported'"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "C: 0.25" in done.stdout
    assert "other_disclosure (auxiliary)" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_dry_run_tells_what_was_taken_for_what(here):
    (here / "posts.csv").write_text("text,label\n" + "".join(f"post number {number},Assault\n" for number in range(9)))
    result = CliRunner().invoke(command_line(main), ["--dry-run", "--data", "posts.csv"])
    printed = " ".join(result.stdout.split())
    assert "posts.csv: 'label' taken as the labels; row numbers taken as ids; 'Assault' taken as assault" in printed
    # Training would refuse these posts, so the dry run does, too, after all that it has to tell.
    assert "label 'workplace_harassment': no train post has it; label posts with it, or " in str(result.exception)


def test_the_first_version_is_said_to_be_the_champion():
    assert _registered("mine", "1") == ", registered as mine version 1, which is the champion now, because it is the first"
    assert _registered("mine", "2") == ", registered as mine version 2"
    assert _registered(None, None) == ""


def test_dry_run_finds_what_is_wrong(here, refused):
    (here / "posts.jsonl").write_bytes(lines({"id": "1", "text": "a", "labels": ["asault"]}))
    with refused("'asault', which is not a label; did you mean 'assault'"):
        call("--dry-run", "--data", "posts.jsonl")


def truncated_parquet() -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(GOOD), buffer)
    return buffer.getvalue()[:-100]


BROKEN = {
    "missing": ("posts.jsonl", None, "no such file"),
    "empty": ("posts.jsonl", b"", "empty"),
    "empty CSV": ("posts.csv", b"", "empty"),
    "other kind": ("posts.txt", b"text", "but got .txt"),
    "missing column": ("posts.jsonl", lines({"id": "1", "text": "a"}), "posts.jsonl: no column 'labels'"),
    "unknown label": (
        "posts.jsonl",
        lines(*GOOD, {"id": "3", "text": "a", "labels": ["love"]}),
        "row 3: column 'labels' holds a text of 4 characters, which is not a label (it is not shown, because it may be a post); the labels",
    ),
    "null text": ("posts.jsonl", lines(*GOOD, {"id": "3", "text": None, "labels": []}), "row 3: the text must be a string, not NoneType"),
    "number as text": ("posts.jsonl", lines(*GOOD, {"id": "3", "text": 5, "labels": []}), "row 3: the text must be a string, not int"),
    "empty text": ("posts.jsonl", lines(*GOOD, {"id": "3", "text": "  ", "labels": []}), "row 3: the text is empty"),
    "duplicate id": ("posts.jsonl", lines(*GOOD, {"id": "1", "text": "a", "labels": []}), "row 3: id '1' is already used at"),
    "truncated JSON": ("posts.jsonl", lines(*GOOD)[:-20], "row 2: not valid JSON"),
    "truncated CSV": ("posts.csv", b"id,text,labels\n1,good,assault\n2,ba", "row 2: 2 cells where the header has 3"),
    "truncated Parquet": ("posts.parquet", truncated_parquet(), "cannot be read as Parquet"),
}


@pytest.mark.parametrize(("name", "content", "said"), BROKEN.values(), ids=list(BROKEN))
def test_data_that_cannot_be_used_is_one_line_and_nothing_is_written(here, name, content, said, refused):
    path = here / name
    if content is not None:
        path.write_bytes(content)
    before = sorted(here.rglob("*"))
    with refused(said, path):
        call("--data", path)
    assert sorted(here.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--set", "model.tpye=svm"], "did you mean 'model.type'"),
        (["--set", "model.C=strong"], "model.C: got 'strong'"),
        (["--set", "model.C"], "must be SECTION.KEY=VALUE"),
        (["--config", "none.yaml"], "none.yaml: cannot be read"),
        (["--out", "full"], "full: exists and is not an earlier output"),
        (["--data", "full"], "no file named train, validation or test"),
    ],
)
def test_arguments_that_cannot_be_used(here, arguments, said, refused):
    (here / "full").mkdir()
    (here / "full" / "notes.txt").write_text("mine")
    with refused(said):
        call(*arguments)
    assert [path.name for path in here.iterdir()] == ["full"]


def test_too_few_positives_name_the_label_and_leave_no_run(tracked, here, refused):
    uri = tracked.store_copy(here)
    posts = [{"id": str(number), "text": f"text number {number}", "labels": ["assault"] * (number < 2)} for number in range(30)]
    (here / "train.jsonl").write_bytes(lines(*posts))
    with refused("label 'workplace_harassment': no train post has it"):
        call("--data", "train=train.jsonl", "--set", f"tracking.uri={uri}", "--experiment", "few", "--out", "model")
    assert not (here / "model").exists()
    tracking.connect(Tracking(uri=uri, experiment="few"))
    assert mlflow.search_runs(experiment_names=["few"], output_format="list") == []


def test_training_learns_from_a_teachers_lessons(tracked, files):
    uri = tracked.store_copy(files.folder)
    lessons_of(files.material).save(files.lessons)
    out = files.folder / "model"
    printed = call(*files.options, "--set", f"tracking.uri={uri}", "--out", out)
    assert "held-out folds of train, 72 posts" in printed
    loaded = Classifier.load(out)
    assert loaded.description_["training_data"]["posts"] == 72
    assert loaded.description_["training_data"]["unlabelled"] == 20
    assert loaded.description_["training_data"]["lessons"] == hashlib.sha256(files.lessons.read_bytes()).hexdigest()
    assert loaded.scorers_.network.coef_.shape == (5, 3)
    probabilities = loaded.predict_proba(["today zaxa rain", "today wika rain"])
    assert probabilities[0, 0] > probabilities[1, 0]
    assert probabilities[1, 1] > probabilities[0, 1]


def added(files, rows: list[dict]) -> list[str]:
    """Return the options of a training with a further train file, named last."""
    more = files.folder / "later.jsonl"
    more.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [*files.options, "--data", f"train={more}"]


def later(number: int, **fields: str) -> dict:
    return {
        "id": f"later{number}",
        "text": f"later words of post number{number} zaxa",
        "author": f"new{number}",
        "labels": ["alpha"],
    } | fields


def test_posts_that_were_labelled_later_are_learned_though_the_teachers_did_not_know_them(tracked, files):
    uri = tracked.store_copy(files.folder)
    lessons_of(files.material).save(files.lessons)
    options = added(files, [later(number) for number in range(8)])
    printed = call(*options, "--set", f"tracking.uri={uri}", "--out", files.folder / "model")
    assert "held-out folds of train, 80 posts" in printed


def test_posts_that_were_labelled_later_are_refused_before_the_others_or_if_the_teachers_read_their_authors(tracked, files, refused):
    uri = tracked.store_copy(files.folder)
    lessons_of(files.material).save(files.lessons)
    *others, data, newest = added(files, [later(0), later(1)])
    with refused("name posts that were labelled later last"):
        call(data, newest, *others, "--set", f"tracking.uri={uri}", "--out", files.folder / "model")
    reader = json.loads((files.folder / "more.jsonl").read_text().splitlines()[0])["author"]
    with refused("2 of the posts that were labelled later are by authors of unlabelled posts; leave them out"):
        call(
            *added(files, [later(number, author=reader) for number in range(2)]),
            "--set",
            f"tracking.uri={uri}",
            "--out",
            files.folder / "model",
        )
    assert not (files.folder / "model").exists()


def test_copies_with_swapped_words_are_not_taken_for_posts_that_were_labelled_later(tracked, files, refused):
    uri = tracked.store_copy(files.folder)
    train = files.folder / "train.jsonl"
    rows = [json.loads(line) for line in train.read_text().splitlines()]
    train.write_text("".join(json.dumps(row | {"text": f"he said {row['text']}"}) + "\n" for row in rows))
    lessons_of(files.material).save(files.lessons)
    with refused("the teachers knew 72 posts, but with copies (data.swaps) there are", "set data.swaps=false"):
        call(*files.options, "--set", "data.swaps=true", "--set", f"tracking.uri={uri}", "--out", files.folder / "model")


def test_lessons_of_other_posts_are_one_line_and_leave_no_model(tracked, files, refused):
    uri = tracked.store_copy(files.folder)
    lessons_of(files.material).save(files.lessons)
    with refused("the lessons were made from other posts, labels, authors or folds, or with another seed"):
        call(*files.options, "--seed", 1, "--set", f"tracking.uri={uri}", "--out", files.folder / "model")
    assert not (files.folder / "model").exists()


def test_store_out_of_reach_is_found_before_training(tracked, here, monkeypatch, refused):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr("pipeline.training.fit", lambda *arguments: pytest.fail("trained first"))
    with refused("MLflow store http://127"):
        call("--data", tracked.data, "--set", "tracking.uri=http://127.0.0.1:9", "--out", "model")
    assert list(here.iterdir()) == []


def test_store_that_goes_away_while_training_costs_no_model(tracked, tmp_path, refused):
    uri = tracked.store_copy(tmp_path)

    def wreck(step: str) -> None:
        if step == "tracking":
            (tmp_path / "mlflow.db").write_bytes(b"no longer a database" * 1000)

    config = load_config((), QUICK[1::2], [str(tracked.data)], tracking={"uri": uri, "experiment": "first"})
    with refused(f"{tmp_path}/model is written and can be used, but tracking it in MLflow failed"):
        train(config, tmp_path / "model", progress=wreck)
    assert Classifier.load(tmp_path / "model").predict_proba(["hello"]).shape == (1, 4)


FILLER = ["ba", "defi", "go", "luma", "ne", "piro", "su", "tavo", "zu", "kele", "mi", "nora"]


@pytest.fixture
def planted(here):
    """Posts with a repeat, an author in two splits, a conflict and three wrong labels, and the options with which to check them."""
    rng = random.Random(0)

    def posts(split: str, number: int) -> list[dict]:
        return [
            {
                "id": f"{split}-{k}",
                "text": " ".join(["canary", *rng.sample(FILLER, 6), ("wiku", "zaxa")[k % 2]]),
                "labels": ["alpha"] * (k % 2),
                "author": f"canary-{split}-{k}",
            }
            for k in range(number)
        ]

    train, test = posts("train", 90), posts("test", 30)
    train[10]["text"] = test[10]["text"]
    train[20]["author"] = test[20]["author"]
    train[32] |= {"text": train[30]["text"], "labels": ["alpha"]}
    train[41]["labels"] = test[5]["labels"] = test[7]["labels"] = []
    (here / "data").mkdir()
    (here / "data" / "train.jsonl").write_bytes(lines(*train))
    (here / "data" / "test.jsonl").write_bytes(lines(*test))
    (here / "labels.yaml").write_text("{name: one, labels: [{name: alpha, definition: alpha}]}")
    return ["--check-data", "--data", "data", "--set", "labels=labels.yaml", *QUICK]


def test_checks_of_data_find_what_is_planted_and_show_no_text(here, planted):
    before = sorted(here.iterdir())
    printed = call(*planted, "--out", "out")
    out = here / "out"
    assert sorted(here.iterdir()) == [*before, out], "no MLflow store, no model"
    found = json.loads((out / "checks.json").read_text())
    assert {(row["split"], row["other"]): row["exact"] for row in found["duplicates"] if row["exact"]} == {
        ("train", "train"): 1,
        ("train", "test"): 1,
        ("test", "train"): 1,
    }
    assert found["authors"]["in_several_splits"] == 1
    assert found["conflicts"]["exact"] == {"texts": 1, "posts": 2}
    with (out / "label_errors.csv").open() as file:
        assert {row["id"] for row in csv.DictReader(file)} == {"train-41", "test-5", "test-7"}
    assert "1 of 119 known authors are in several" in printed
    assert "Likely label errors" in printed
    for shown in (printed, *(path.read_text() for path in out.iterdir())):
        assert "test" in shown
        assert "canary" not in shown


def test_texts_are_shown_when_asked_for(planted, monkeypatch):
    monkeypatch.setattr("pipeline.report.checks.check_terminal", lambda: None)
    printed = call(*planted, "--out", "out", "--show-texts", 1)
    assert printed.count("canary") == 3, "a pair and a suspect"


def test_texts_are_refused_before_any_work_where_they_could_end_up_in_a_log(here, refused):
    with refused("--show-texts", "must be a terminal"):
        call("--check-data", "--data", "none.jsonl", "--show-texts", 3)
    assert list(here.iterdir()) == []


def test_data_that_cannot_be_learned_from_are_checked_all_the_same(here):
    (here / "train.jsonl").write_bytes(lines(*GOOD))
    printed = call("--check-data", "--data", "train=train.jsonl", "--out", "out")
    assert "the check for label errors was skipped: label" in printed
    assert sorted(path.name for path in (here / "out").iterdir()) == ["checks.json", "duplicates.csv"]


def test_folder_of_something_else_is_found_before_the_checks(here, refused):
    (here / "full").mkdir()
    (here / "full" / "notes.txt").write_text("mine")
    with refused("full: exists and is not an earlier output"):
        call("--check-data", "--data", "none.jsonl", "--out", "full")


@pytest.mark.parametrize(
    "options",
    ["--sweep s.yaml --check-data", "--dry-run --check-data", "--register a --check-data", "--register a --sweep s.yaml", "--show-texts 3"],
)
def test_options_that_contradict_each_other(here, options, refused):
    with refused(options.split()[0]):
        call("--data", "none.jsonl", *options.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--data", "none.jsonl"], "error: none.jsonl: no such file; check the path"),
        (["--seed", "-1"], "error: --seed: got -1; give a whole number from 0 to 4294967295"),
    ],
)
def test_an_error_is_exit_code_2_without_traceback(script, here, arguments, said):
    code, printed, told = script(main, *arguments)
    assert (code, printed, told.splitlines()[-1]) == (2, "", said)
    assert "Traceback" not in told
    assert list(here.iterdir()) == []


def test_what_evaluates_is_told_with_the_options_of_the_data():
    given = _of_data([Path("mine.yaml")], ["data.columns.text=full text", "model.C=1", "tracking.uri=secret"], ["a b.csv"])
    assert given == " --config mine.yaml --data 'a b.csv' --set 'data.columns.text=full text'"


def test_what_scores_is_told_the_columns_of_the_data():
    config = load_config(settings=["data.columns.text=full text", "data.columns.id=null"])
    assert _next(config).endswith(" --id-column none --text-column 'full text'")


def test_a_run_is_named_after_the_keys_that_were_set():
    assert _name([], ["labels=configs/labels/my.yaml", "model.C=0.5", "seed=3"], None) == "seed=3 C=0.5 labels=configs/labels/my.yaml"


def test_where_to_look():
    assert re.fullmatch(r"MLFLOW_TRACKING_URI=sqlite:///a.db \S*disclosure ui", where_to_look(Tracking(uri="sqlite:///a.db")))
    assert where_to_look(Tracking(uri="http://me:secret@host:5000")) == "open http://me:***@host:5000"
