"""evaluate.py: what it writes, what it tracks, what it promotes, and what it refuses."""

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import Result
from typer.testing import CliRunner

from models import Classifier
from models.config import ROOT
from models.description import LabelCost, OperatingPoint
from pipeline import tracking
from pipeline.commands.evaluate import main
from pipeline.config import Tracking
from pipeline.config_files import load_config
from pipeline.evaluating import evaluate
from pipeline.evaluation import Results
from pipeline.model_location import load_model
from pipeline.scoring import Options, score_files
from pipeline.terminal import command_line
from pipeline.training import train

pytest_plugins = ["tracked_run"]
pytestmark = [pytest.mark.filterwarnings("ignore:::mlflow"), pytest.mark.usefixtures("without_plots")]

LABELS = ["workplace_harassment", "street_harassment", "assault", "solidarity_support"]
PER_LABEL = ["precision", "recall", "f1", "average_precision", "roc_auc", "brier", "ece", "threshold", "support"]
OVERALL = ["macro_f1", "micro_f1", "mean_average_precision", "exact_match", "one_minus_hamming_loss", "example_jaccard"]
RESULTS = [
    "seen_in_training",
    "sample",
    "intervals",
    "reliability",
    "thresholds",
    "mistakes",
    "slices",
    "behaviour",
    "swaps",
    "data",
    "features",
]
FILES = ["metrics.json", "predictions.parquet", "report.html"]
SAFECITY = ROOT / "configs" / "experiments" / "safecity.yaml"
CANARY = "zyxcanary"
NO_FLOORS = ["promotion.max_ece=1", "promotion.behaviour_floor=0", "promotion.behaviour_floors.help_and_resources=0"]


def invoke(*arguments) -> Result:
    return CliRunner().invoke(command_line(main), [str(argument) for argument in arguments])


def call(*arguments) -> str:
    """Call the command in this process and return what it prints, joined into one line."""
    result = invoke(*arguments)
    if result.exception:
        raise result.exception
    return " ".join(result.stdout.split())


def settings(values) -> list[str]:
    return [argument for value in values for argument in ("--set", value)]


def read_metrics(folder: Path) -> dict[str, Any]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads((folder / "metrics.json").read_text(), parse_constant=refuse)


def write_posts(path: Path, posts: list[dict]) -> None:
    path.write_text("".join(json.dumps(post) + "\n" for post in posts))


def posts_of(data: Path) -> list[dict]:
    return [json.loads(line) for line in (data / "test.jsonl").read_text().splitlines()]


@pytest.fixture
def here(tmp_path, monkeypatch, tracked):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracked.uri)
    return tmp_path


@dataclass(frozen=True)
class Evaluated:
    arguments: list[str]
    data: Path
    out: Path
    printed: str
    metrics: dict[str, Any]
    run: mlflow.entities.Run


@pytest.fixture(scope="module")
def evaluated(tracked, tmp_path_factory) -> Evaluated:
    """An evaluation with all behavioural cases, scores of unlabelled posts, and test posts that all contain a word to search for."""
    folder = tmp_path_factory.mktemp("evaluated")
    shutil.copytree(tracked.data, folder / "data")
    posts = [
        post | {"text": f"{post['text']} {CANARY}", "author": f"{post['author']}-{CANARY}", "created_at": f"2017-{10 + number % 2}-15"}
        for number, post in enumerate(posts_of(tracked.data))
    ]
    write_posts(folder / "data" / "test.jsonl", posts)
    unlabelled = [{"id": post["id"], "text": post["text"], "created_at": "2017-10-15"} for post in tracked.posts[:200]]
    write_posts(folder / "posts.jsonl", unlabelled)
    score_files([folder / "posts.jsonl"], tracked.out, folder / "scores", Options(keep=["created_at"]))
    values = ["evaluation.rounds=100", f"tracking.uri={tracked.uri}", "tracking.experiment=evaluations"]
    arguments = ["--model", tracked.out, "--data", folder / "data", "--scores", folder / "scores", *settings(values)]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        result = invoke(*arguments, "--out", "out")
    assert result.exception is None
    tracking.connect(Tracking(uri=tracked.uri, experiment="evaluations"))
    (run,) = mlflow.search_runs(experiment_names=["evaluations"], output_format="list")
    return Evaluated(arguments, folder / "data", folder / "out", result.output, read_metrics(folder / "out"), run)


def test_metrics_file_has_every_metric(evaluated, tracked):
    metrics = evaluated.metrics
    assert "no splits" not in evaluated.printed
    assert (metrics["evaluated"], metrics["posts"], metrics["model"]) == ("test", 80, tracked.first.model.digest_)
    for results in (metrics, metrics["baselines"]["all_zero"], metrics["baselines"]["prior"]):
        assert list(results["labels"]) == LABELS
        assert all(set(PER_LABEL) <= set(values) for values in results["labels"].values())
        assert set(OVERALL) <= set(results)
    posts = posts_of(evaluated.data)
    assert metrics["labels"]["assault"]["support"] == sum("assault" in post["labels"] for post in posts)
    assert metrics["baselines"]["all_zero"]["exact_match"] == np.mean([not set(post["labels"]) & set(LABELS) for post in posts])


def test_metrics_file_has_all_that_the_report_shows(evaluated):
    metrics = evaluated.metrics
    assert set(metrics) == {
        "model",
        "evaluated",
        "operating_point",
        "notes",
        "posts",
        "labels",
        "baselines",
        "prevalence",
        *OVERALL,
        *RESULTS,
    }
    assert metrics["sample"]["rounds"] == 100
    for name in ("reliability", "thresholds", "features"):
        assert list(metrics[name]) == LABELS
    assert {part["column"] for part in metrics["slices"]} == {"source", "month", "length", "hashtag", "link", "emoji"}
    assert [(part["value"], part["posts"]) for part in metrics["slices"] if part["column"] == "month"] == [("2017-10", 40), ("2017-11", 40)]
    low, high = metrics["intervals"]["macro_f1"]
    assert low < metrics["macro_f1"] < high


def test_metrics_file_reads_back_as_the_results(here, tracked, weak):
    config = load_config((), tracked.quick, [str(tracked.data)], tracking={"uri": tracked.store_copy(here), "experiment": "first"})
    results = evaluate(tracked.first.model, config, Path("out"), against=Classifier.load(weak / "model"))
    assert results.comparison.differences.macro_f1.verdict == "better"
    written = Path("out/metrics.json").read_text()
    assert Results.model_validate_json(written) == results
    assert json.dumps(results.model_dump(mode="json"), indent=1) + "\n" == written


def test_behaviour_is_that_of_the_suite_with_the_words_behind_each_failure(evaluated):
    behaviour = evaluated.metrics["behaviour"]
    assert len(behaviour["functionalities"]) >= 30
    assert behaviour["passed"] + sum(len(found["failures"]) for found in behaviour["functionalities"].values()) == behaviour["cases"]
    for found in behaviour["functionalities"].values():
        assert all(list(failure["words"]) == failure["failed"] for failure in found["failures"])


def test_swaps_are_those_of_the_suite(evaluated):
    swaps = evaluated.metrics["swaps"]
    assert {"name", "pronoun", "religion", "age", "job", "dialect"} <= set(swaps["kinds"])
    assert f"Swaps in {swaps['carriers']} posts" in evaluated.printed
    assert swaps["jobs"]["posts"] == 40


def test_shares_of_labels_are_estimated_from_scores(evaluated):
    total, months = evaluated.metrics["prevalence"]["total"], evaluated.metrics["prevalence"]["months"]
    assert (total["posts"], total["labelled"], list(total["labels"])) == (200, 80, LABELS)
    assert [(month, found["posts"], found["labelled"]) for month, found in months.items()] == [("2017-10", 200, 40)]


def test_shares_of_labels_are_estimated_from_scores_without_dates(here, tracked):
    write_posts(here / "posts.jsonl", [{"id": post["id"], "text": post["text"]} for post in tracked.posts[:200]])
    score_files(["posts.jsonl"], tracked.out, "scores")
    quick = settings([*tracked.quick, "evaluation.behaviour=null"])
    printed = call("--model", tracked.out, "--data", tracked.data / "test.jsonl", "--scores", "scores", "--out", "out", *quick)
    assert "all posts, 80 posts" in printed, "a file without splits is evaluated whole"
    assert (
        printed.count("note the data has no splits, so all of it was measured; if the model was trained on some of it, use --split test")
        == 1
    )
    metrics = read_metrics(Path("out"))
    assert list(metrics["prevalence"]) == ["total", "at_random"]
    assert not metrics["prevalence"]["at_random"], "nobody said so"
    assert "set evaluation.natural=all" in printed
    (note,) = metrics["notes"]
    assert "hold only if copies could also be drawn for labelling; disclosure label-next draws none" in note
    assert note in " ".join(printed.split())
    assert "none of the 80 posts was seen in training" in printed
    assert metrics["behaviour"] is None
    assert metrics["swaps"] is None


def test_leaks_are_counted_as_the_data_came_and_without_ids_of_pairs(evaluated):
    data = evaluated.metrics["data"]
    assert "pairs" not in data
    assert {name: split["posts"] for name, split in data["splits"].items()} == {"train": 300, "validation": 80, "test": 80}
    assert list(data["label_errors"]) == ["test"]


def test_report_is_one_page(evaluated):
    page = (evaluated.out / "report.html").read_text()
    assert page.lower().startswith("<!doctype html>")
    for name in ("macro_f1", "mean_average_precision"):
        assert f"{evaluated.metrics[name]:.3f}" in page


def test_predictions_are_a_row_for_each_post_without_text(evaluated, tracked):
    table = pq.read_table(evaluated.out / "predictions.parquet")
    assert table.column_names == ["id", *(f"prob_{label}" for label in LABELS), "labels", "model", "true_labels"]
    posts = posts_of(evaluated.data)
    assert table["id"].to_pylist() == [post["id"] for post in posts]
    assert table["true_labels"].to_pylist() == [[label for label in LABELS if label in post["labels"]] for post in posts]
    wanted = tracked.first.model.predict_proba([post["text"] for post in posts])
    assert np.stack([table[f"prob_{label}"].to_numpy() for label in LABELS], axis=1) == pytest.approx(wanted, abs=1e-6)
    assert set(table["model"].to_pylist()) == {tracked.first.model.digest_}


def test_run_is_tied_to_the_model_of_another_experiment(evaluated, tracked):
    run = evaluated.run
    assert run.data.tags["model_digest"] == tracked.first.model.digest_
    assert run.data.tags["evaluated"] == "test"
    assert run.data.metrics["test/macro_f1"] == pytest.approx(evaluated.metrics["macro_f1"])
    assert run.data.metrics["test/seen_in_training"] == 0
    swaps = evaluated.metrics["swaps"]
    assert run.data.metrics["swaps/changed"] == pytest.approx(max(kind["changed"] for kind in swaps["kinds"].values()))
    assert run.data.metrics["swaps/jobs_marked"] == len(swaps["jobs"]["marked"])
    assert run.data.metrics["behaviour/passed"] == pytest.approx(evaluated.metrics["behaviour"]["rate"])
    tracking.connect(Tracking(uri=tracked.uri, experiment="evaluations"))
    model = mlflow.get_logged_model(tracking.find_model(tracked.first.model.digest_))
    tied = {metric.key: metric.value for metric in model.metrics if metric.run_id == run.info.run_id}
    assert [link.model_id for link in mlflow.get_run(run.info.run_id).inputs.model_inputs] == [model.model_id]
    assert run.info.run_name.startswith(f"evaluate {tracked.out.parent.name}/{tracked.out.name} · data test · ")
    assert f"Macro-F1 is **{evaluated.metrics['macro_f1']:.3f} [" in run.data.tags["mlflow.note.content"]
    assert tied["test/macro_f1"] == pytest.approx(evaluated.metrics["macro_f1"])
    files = {path.path for path in mlflow.MlflowClient().list_artifacts(run.info.run_id, "evaluation")}
    assert files == {f"evaluation/{name}" for name in FILES}


def test_run_has_the_parameters_that_the_model_was_made_with(evaluated):
    assert load_config().calibration.folds != 3
    assert evaluated.run.data.params["calibration.folds"] == "3"


def test_no_text_or_author_is_printed_written_or_tracked(evaluated, tracked):
    artifacts = Path(evaluated.run.info.artifact_uri.removeprefix("file://"))
    files = [path for folder in (evaluated.out, artifacts) for path in folder.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {*FILES, "config.yaml", "assault.png"}
    tables = [str(pq.read_table(path).to_pylist()).encode() for path in files if path.suffix == ".parquet"]
    content = b"\n".join(
        [evaluated.printed.encode(), (tracked.folder / "mlflow.db").read_bytes(), *(path.read_bytes() for path in files), *tables]
    )
    assert posts_of(evaluated.data)[0]["id"].encode() in content, "the search sees what is there"
    assert CANARY.encode() not in content
    for post in posts_of(tracked.data):
        if len(post["text"]) > 30:
            assert post["text"].encode() not in content
            assert json.dumps(post["text"])[1:-1].encode() not in content


@pytest.mark.slow
def test_same_inputs_give_the_same_bytes_in_another_process(evaluated, tmp_path, tracked):
    (tmp_path / "store").mkdir()
    own = ["--set", f"tracking.uri={tracked.store_copy(tmp_path / 'store')}", "--out", "again"]
    command = [sys.executable, str(ROOT / "evaluate.py"), *map(str, evaluated.arguments), *own]
    environment = os.environ | {"PYTHONHASHSEED": "1"}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "again").iterdir()) == FILES
    for name in FILES:
        assert (tmp_path / "again" / name).read_bytes() == (evaluated.out / name).read_bytes()


@pytest.mark.parametrize("location", ["models:/disclosure@champion", "models:/disclosure/2", "runs:/{run}/model", "{out}"])
def test_model_is_found_wherever_it_is(here, tracked, location):
    model = location.format(run=tracked.again.run_id, out=tracked.out)
    assert load_model(model, Tracking()).digest_ == tracked.first.model.digest_


def test_the_released_model_is_called_so_and_compared(here, tracked, monkeypatch):
    monkeypatch.setattr("models.storage.RELEASED", tracked.out)
    quick = settings(tracked.quick)
    printed = call("--model", "released", "--against", "released", "--data", tracked.data, "--out", "out", *quick)
    digest = tracked.first.model.digest_[:12]
    assert "the released model on " in printed
    assert f"Compared with the released model ({digest})" in printed
    page = Path("out/report.html").read_text()
    assert "<h1>Evaluation of the released model</h1>" in page
    assert f"The other model is the released model ({digest})." in page


def test_a_model_against_itself_shows_no_real_difference(here, tracked):
    quick = settings(tracked.quick)
    printed = call("--model", "models:/disclosure@champion", "--against", tracked.out, "--data", tracked.data, "--out", "out", *quick)
    differences = read_metrics(Path("out"))["comparison"]["differences"]
    for tree in ({name: found for name, found in differences.items() if name != "labels"}, *differences["labels"].values()):
        assert {(found["difference"], found["verdict"]) for found in tree.values()} == {(0, "no real difference")}
    assert f"Compared with {tracked.out}, the model {tracked.first.model.digest_[:12]}: " in " ".join(printed.split())
    assert "no real difference" in printed
    assert "better" not in printed
    assert "worse" not in printed


@pytest.fixture(scope="module")
def weak(tracked, tmp_path_factory):
    """A model that reads no post, registered as version 3 in a store of its own: the folders of both."""
    folder = tmp_path_factory.mktemp("weak")
    tracked_in = {"uri": tracked.store_copy(folder), "experiment": "first"}
    config = load_config((), ["model.type=most_frequent", "calibration.folds=2"], [str(tracked.data)], tracking=tracked_in)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert train(config, folder / "model", register="disclosure").version == "3"
    return folder


@pytest.fixture
def contest(here, monkeypatch, weak):
    """A client of a separate store, in which a model is version 1 and the champion, and a weaker model is version 3."""
    (here / "store").mkdir()
    shutil.copy(weak / "mlflow.db", here / "store" / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{here}/store/mlflow.db")
    tracking.connect(Tracking())
    return mlflow.MlflowClient()


def champion(client, name="disclosure") -> str:
    return str(client.get_registered_model(name).aliases["champion"])


def last_run():
    return mlflow.search_runs(search_all_experiments=True, order_by=["start_time DESC"], max_results=1, output_format="list")[0]


def test_a_model_that_is_worse_is_not_promoted_and_the_run_says_why(contest, tracked, weak):
    result = invoke("--model", weak / "model", "--promote", "disclosure", "--data", tracked.data, "--out", "out", *settings(tracked.quick))
    assert result.exit_code == 3
    assert champion(contest) == "1"
    metrics = read_metrics(Path("out"))
    assert metrics["comparison"]["model"] == tracked.first.model.digest_
    assert metrics["comparison"]["differences"]["macro_f1"]["verdict"] == "worse"
    gates = {gate["gate"]: gate["passed"] for gate in metrics["promotion"]["gates"]}
    assert not metrics["promotion"]["promoted"]
    assert not gates["assault: average_precision not worse"]
    assert len([gate for gate in gates if gate.endswith("of cases")]) == 4
    printed = " ".join(result.stdout.split())
    assert "Not promoted" in printed
    assert "assault: average_precision not worse" in printed
    kept = mlflow.artifacts.load_dict(f"{last_run().info.artifact_uri}/evaluation/metrics.json")
    assert kept["promotion"] == metrics["promotion"]


def test_a_model_is_not_promoted_on_posts_that_it_was_trained_on(contest, tracked, weak):
    contest.set_registered_model_alias("disclosure", "champion", "3")
    gates = settings([*NO_FLOORS, *tracked.quick])
    result = invoke(
        "--model", "models:/disclosure/2", "--promote", "disclosure", "--data", tracked.data / "train.jsonl", "--out", "out", *gates
    )
    assert result.exit_code == 3
    assert champion(contest) == "3"
    failed = [gate for gate in read_metrics(Path("out"))["promotion"]["gates"] if not gate["passed"]]
    assert [gate["gate"] for gate in failed] == ["at most 1.0% of the evaluated posts that are long enough to tell were seen in training"]
    assert "were seen in training" in " ".join(result.stdout.split())


def test_a_model_that_passes_becomes_champion(contest, tracked, weak):
    contest.set_registered_model_alias("disclosure", "champion", "3")
    gates = [*NO_FLOORS, *tracked.quick]
    printed = call("--model", tracked.out, "--promote", "disclosure", "--data", tracked.data, "--out", "out", *settings(gates))
    assert champion(contest) == "2", "the newest version with these bytes"
    metrics = read_metrics(Path("out"))
    assert metrics["promotion"]["promoted"]
    assert metrics["comparison"]["model"] == Classifier.load(weak / "model").digest_
    assert metrics["comparison"]["differences"]["macro_f1"]["verdict"] == "better"
    assert "Not promoted" not in printed


@pytest.fixture
def challenged(contest, tracked):
    """``challenged(step, call)`` evaluates a model that is good enough to be promoted, and calls `call` when `step` is reached."""
    contest.set_registered_model_alias("disclosure", "champion", "3")
    tracked_in = {"uri": tracking.store_uri(Tracking()), "experiment": "first"}
    config = load_config((), [*NO_FLOORS, *tracked.quick], [str(tracked.data)], tracking=tracked_in)

    def run(at, meanwhile):
        return evaluate(tracked.first.model, config, "out", promote="disclosure", progress=lambda step: meanwhile() if step == at else None)

    return run


@pytest.mark.parametrize(("step", "gate"), [("writing the report", "the champion is still the same"), ("tracking", "made champion")])
def test_a_champion_that_changed_meanwhile_stays_and_nothing_says_promoted(contest, challenged, step, gate):
    results = challenged(step, lambda: contest.set_registered_model_alias("disclosure", "champion", "1"))
    assert champion(contest) == "1"
    failed = {each.gate: each.found for each in results.promotion.gates if not each.passed}
    said = "the champion is now version 1, but this model was compared with version 3; evaluate again"
    assert failed == {gate: f"--promote disclosure: {said}"}
    kept = mlflow.artifacts.load_dict(f"{last_run().info.artifact_uri}/evaluation/metrics.json")
    for metrics in (read_metrics(Path("out")), kept):
        assert metrics["promotion"] == results.promotion.model_dump(mode="json")
        assert not metrics["promotion"]["promoted"]
    assert "Not promoted." in Path("out/report.html").read_text()
    assert "promoted" not in last_run().data.tags


def test_a_champion_that_the_registry_refuses_is_not_promoted(challenged, monkeypatch):
    def fail(*_):
        raise OSError("registry is read-only")

    monkeypatch.setattr(mlflow.MlflowClient, "set_registered_model_alias", fail)
    results = challenged("nothing", lambda: None)
    assert "registry is read-only" in results.promotion.gates[-1].found
    assert not read_metrics(Path("out"))["promotion"]["promoted"]
    assert "promoted" not in last_run().data.tags


def test_a_store_that_fails_before_the_promotion_leaves_no_file_that_says_promoted(here, challenged, refused):
    with refused("tracking it in MLflow failed"):
        challenged("tracking", lambda: (here / "store" / "mlflow.db").write_bytes(b"no longer a database" * 1000))
    assert not read_metrics(Path("out"))["promotion"]["promoted"]


def test_a_model_that_train_did_not_save_is_evaluated_without_its_features(here, tracked):
    Classifier.load(tracked.out).save(Path("saved"))
    rows = [json.loads(line) for line in (tracked.data / "test.jsonl").read_text("utf-8").splitlines()]
    write_posts(here / "posts.jsonl", [{"label": row.pop("labels"), **row} for row in rows])
    printed = call("--model", "saved", "--data", "test=posts.jsonl", "--out", "out", *settings(tracked.quick))
    assert "test, 80 posts" in printed
    told = "posts.jsonl: 'label' taken as the labels"
    assert printed.count(told) == 1
    assert read_metrics(Path("out"))["notes"] == [told]
    assert Path("out/report.html").read_text("utf-8").count("taken as the labels") == 1
    assert read_metrics(Path("out"))["features"] == {}
    assert "does not record how many posts" in Path("out/report.html").read_text()


def test_a_model_that_was_not_fitted_is_one_line(tracked, refused):
    with refused("has not been fitted", "model.fit"):
        evaluate(Classifier(), tracked.config, "out")


def test_settings_of_labels_are_checked_with_the_models_labels(here, other_labels, tracked, refused):
    arguments = ["--model", other_labels, "--data", tracked.data, *settings(tracked.quick)]
    with refused("which are not labels", "labels.ignored"):
        call(*arguments)
    with refused("none of its 80 posts has any of the labels alpha, beta"):
        call(*arguments, "--set", "labels.ignored=[workplace_harassment,street_harassment,assault,solidarity_support,other_disclosure]")


def test_cases_about_none_of_the_models_labels_are_shown_and_not_promoted(contest, tracked):
    contest.delete_registered_model_alias("disclosure", "champion")
    Path("cases.csv").write_text("functionality,case_id,contrast_id,text,test,labels,must,must_not\na,a-1,,ogled,labels,,ogling,\n")
    values = [*NO_FLOORS, "evaluation.rounds=100", "evaluation.behaviour=cases.csv", "evaluation.swaps=null"]
    result = invoke("--model", tracked.out, "--promote", "disclosure", "--data", tracked.data, "--out", "out", *settings(values))
    assert result.exit_code == 3
    assert "behavioural cases about the model's labels" in result.stdout
    assert "Not promoted." in Path("out/report.html").read_text()


def test_without_a_champion_the_floors_alone_decide(contest, tracked):
    contest.delete_registered_model_alias("disclosure", "champion")
    arguments = ["--model", tracked.out, "--promote", "disclosure", "--data", tracked.data, "--split", "validation", "--out", "out"]
    floors = [*NO_FLOORS, "promotion.behaviour_floors.denial_added=1"]
    result = invoke(*arguments, *settings([*tracked.quick, *floors]))
    metrics = read_metrics(Path("out"))
    assert "comparison" not in metrics
    assert [gate["gate"] for gate in metrics["promotion"]["gates"] if not gate["passed"]] == ["denial_added: at least 100% of cases"]
    assert result.exit_code == 3
    assert "validation, 80 posts" in result.stdout
    assert "champion" not in contest.get_registered_model("disclosure").aliases


@pytest.fixture
def sensitive(tracked, here) -> Classifier:
    """The model, with a second operating point."""
    model = deepcopy(tracked.first.model)
    point = OperatingPoint(
        thresholds=dict.fromkeys(LABELS, 0.05),
        labels=dict.fromkeys(LABELS, LabelCost(recall=None, precision=None, false_alarms=None)),
        false_alarms=None,
        ordinary=0,
    )
    model.measured_points_ = {**model.measured_points_, "sensitive": point}
    del model.digest_, model.description_
    model.save(here / "store" / "sensitive")
    return model


def test_an_operating_point_decides_what_is_measured(tracked, sensitive, here):
    arguments = ["--data", tracked.data, *settings(tracked.quick), "--model", "store/sensitive", "--against", "store/sensitive"]
    printed = call(*arguments, "--operating-point", "sensitive", "--out", "at-sensitive")
    call(*arguments, "--out", "at-balanced")
    at, balanced = read_metrics(Path("at-sensitive")), read_metrics(Path("at-balanced"))
    assert (at["operating_point"], balanced["operating_point"]) == ("sensitive", "balanced")
    assert "sensitive at sensitive on " in printed
    posts = posts_of(tracked.data)
    decided = sensitive.predict([post["text"] for post in posts], "sensitive")
    for k, label in enumerate(LABELS):
        assert at["labels"][label]["threshold"] == at["thresholds"][label]["chosen"]["threshold"] == 0.05
        true = np.array([label in post["labels"] for post in posts])
        assert at["labels"][label]["recall"] == pytest.approx(decided[true, k].mean())
        assert at["labels"][label]["average_precision"] == balanced["labels"][label]["average_precision"]
    assert at["comparison"]["metrics"]["macro_f1"] == at["macro_f1"] != balanced["macro_f1"]
    assert at["behaviour"] != balanced["behaviour"]
    assert "at the operating point sensitive</p>" in Path("at-sensitive/report.html").read_text()
    assert "at the operating point" not in Path("at-balanced/report.html").read_text()


def test_an_operating_point_that_a_model_lacks_is_said_before_anything_is_written(tracked, sensitive, here, refused):
    old = deepcopy(sensitive)
    old.measured_points_ = {}  # as in a model of an earlier release
    del old.digest_, old.description_
    old.save(here / "store" / "old")
    arguments = ["--data", tracked.data, *settings(tracked.quick)]
    with refused("--model: operating point 'cautious': the model has only balanced"):
        call(*arguments, "--model", "store/old", "--operating-point", "cautious")
    with refused("--against: operating point 'sensitive': the model has only balanced"):
        call(*arguments, "--model", "store/sensitive", "--against", "store/old", "--operating-point", "sensitive")
    with refused("--promote compares models at the operating point balanced, not sensitive; leave --operating-point out"):
        call(*arguments, "--model", "store/sensitive", "--promote", "disclosure", "--operating-point", "sensitive")
    assert [path.name for path in here.iterdir()] == ["store"]


def test_what_cannot_be_promoted_is_said_before_anything_is_written(contest, tracked, weak, here, refused):
    arguments = ["--model", tracked.out, "--data", tracked.data, *settings(tracked.quick)]
    with refused("--promote disclosure", "version 1", "is the champion already"):
        call(*arguments, "--promote", "disclosure")
    with refused("nobody", tracked.first.model.digest_[:12], "no model has that name", "register DIR --name nobody"):
        call(*arguments, "--promote", "nobody")
    contest.create_registered_model("another")
    contest.create_model_version("another", "folder", tags={"model_digest": "0123"})
    with refused("another", "its versions are 1", "register DIR --name another"):
        call(*arguments, "--promote", "another")
    with refused("--against and --promote", "give only one of them"):
        call(*arguments, "--promote", "disclosure", "--against", weak / "model")
    with refused("promotion.behaviour_floors", "'denial_aded'", "did you mean 'denial_added'?"):
        call(*arguments, "--promote", "disclosure", "--set", "promotion.behaviour_floors.denial_aded=1")
    assert [path.name for path in here.iterdir()] == ["store"]


@pytest.fixture
def other_labels(model, here) -> Path:
    """A model with other labels, in a folder that looks like one from MLflow."""
    model.save(here / "store" / "data" / "model")
    return here / "store" / "data" / "model"


def test_models_of_other_labels_are_not_compared(contest, tracked, here, other_labels, refused):
    contest.create_registered_model("mixed")
    contest.create_model_version("mixed", str(here / "store"), tags={"model_digest": "other"})
    contest.create_model_version("mixed", "folder", tags={"model_digest": tracked.first.model.digest_})
    contest.set_registered_model_alias("mixed", "champion", "1")
    arguments = ["--model", tracked.out, "--data", tracked.data, *settings(tracked.quick)]
    for compared in (["--against", other_labels], ["--promote", "mixed"]):
        with refused("the model has the labels workplace_harassment, ", ", but the other model has alpha, beta; both need"):
            call(*arguments, *compared)
    assert [path.name for path in here.iterdir()] == ["store"]
    assert champion(contest, "mixed") == "1"


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("models:/nobody@champion", "models:/nobody@champion: was not found in MLflow store"),
        ("models:/disclosure@nobody", "models:/disclosure@nobody: was not found in MLflow store"),
        ("runs:/0123/model", "runs:/0123/model: was not found in MLflow store"),
        ("nowhere", "nowhere: is not a model directory"),
    ],
)
def test_model_that_is_nowhere(here, tracked, location, said, refused):
    with refused(said):
        call("--model", location, "--data", tracked.data)
    assert list(here.iterdir()) == []


def test_store_out_of_reach(here, tracked, refused):
    start = time.monotonic()
    with refused("MLflow store http://127"):
        call("--model", tracked.out, "--data", tracked.data, "--set", "tracking.uri=http://127.0.0.1:9")
    assert time.monotonic() - start < 15
    assert list(here.iterdir()) == []


def runs() -> int:
    return len(mlflow.search_runs(search_all_experiments=True, output_format="list"))


@pytest.fixture
def leaves_nothing(here):
    """Check that the test writes no new file and tracks no run."""
    tracking.connect(Tracking())
    before = runs()
    yield
    assert runs() == before
    assert [path.name for path in here.iterdir() if path.name not in {"posts.jsonl", "scores"}] == []


@pytest.mark.usefixtures("leaves_nothing")
@pytest.mark.parametrize(
    ("setting", "parts"),
    [
        ("evaluation.slices=[experiencer]", ["evaluation.slices", "'experiencer'", "correct the column's name"]),
        ("evaluation.slices=[author]", ["column 'author'", "who wrote what"]),
        ("evaluation.natural={column: stratum, values: [random]}", ["evaluation.natural", "'stratum'"]),
        ("evaluation.natural={column: source, values: [random]}", ["evaluation.natural", "random", "'source'"]),
        ("evaluation.recall={assault: 0.9}", ["evaluation.recall", "workplace_harassment"]),
        ("evaluation.behaviour=none.csv", ["evaluation.behaviour", "none.csv", "No such file"]),
        ("evaluation.rounds=10", ["evaluation.rounds", "10"]),
    ],
)
def test_what_cannot_be_looked_at_is_one_line(tracked, setting, parts, refused):
    with refused(*parts):
        call("--model", tracked.out, "--data", tracked.data, *settings([*tracked.quick, setting]))


@pytest.mark.usefixtures("leaves_nothing")
def test_a_split_without_positives_is_one_line(here, tracked, refused):
    write_posts(here / "posts.jsonl", [post | {"labels": []} for post in posts_of(tracked.data)])
    with refused("all: none of its 80 posts has any of the labels workplace_harassment, ", "score.py"):
        call("--model", tracked.out, "--data", "posts.jsonl")


@pytest.mark.usefixtures("leaves_nothing")
def test_scores_of_another_model_or_none_are_one_line(here, tracked, weak, refused):
    write_posts(here / "posts.jsonl", [{"id": post["id"], "text": post["text"]} for post in tracked.posts[:20]])
    score_files(["posts.jsonl"], weak / "model", "scores")
    arguments = ["--model", tracked.out, "--data", tracked.data, *settings(tracked.quick)]
    with refused("scored by the model", f"not by {tracked.first.model.digest_[:12]}"):
        call(*arguments, "--scores", "scores")
    with refused("nowhere: no such file or folder"):
        call(*arguments, "--scores", "nowhere")


def test_store_that_goes_away_costs_no_results(here, tracked, refused):
    uri = tracked.store_copy(here)

    def wreck(step: str) -> None:
        if step == "tracking":
            (here / "mlflow.db").write_bytes(b"no longer a database" * 1000)

    config = load_config((), tracked.quick, [str(tracked.data)], tracking={"uri": uri, "experiment": "first"})
    with refused("out is written and can be used, but tracking it in MLflow failed"):
        evaluate(tracked.first.model, config, Path("out"), progress=wreck)
    assert json.loads(Path("out/metrics.json").read_text())["posts"] == 80


def test_split_that_is_not_there(here, tracked, refused):
    shutil.copytree(tracked.data, here / "data")
    (here / "data" / "test.jsonl").unlink()
    with refused("train, validation, but no test split; choose one with --split"):
        call("--model", tracked.out, "--data", "data")
    with refused("--split test: the data has no such split; choose one of train, validation"):
        call("--model", tracked.out, "--data", "data", "--split", "test")
    assert not Path("runs").exists()


def test_labels_of_the_data_are_not_the_models(here, tracked, refused):
    Path("posts.jsonl").write_text(json.dumps({"id": "1", "text": "he stared", "labels": ["ogling"]}))
    with refused("row 1: column 'labels' holds a text of 6 characters, which is not a label", "the labels are workplace_harassment"):
        call("--model", tracked.out, "--data", "posts.jsonl")


def test_posts_without_labels_are_for_score_py(here, tracked, refused):
    Path("posts.csv").write_text("text\na quiet day\n")
    with refused("no column 'labels'; found 'text'", "only posts with labels can be evaluated; score posts without labels with score.py"):
        call("--model", tracked.out, "--data", "posts.csv")


@pytest.mark.parametrize("arguments", [["--config", SAFECITY], ["--set", f"labels={ROOT}/configs/labels/safecity.yaml"]])
def test_labels_of_the_config_are_not_the_models(here, tracked, arguments, refused):
    with refused("the model has the labels workplace_harassment, ", ", but the config has commenting, ogling, groping"):
        call("--model", tracked.out, "--data", tracked.data, *arguments)


def test_a_label_set_that_is_asked_for_counts_even_if_it_is_the_default(here, tracked, other_labels, refused):
    default = ROOT / "configs" / "labels" / "default.yaml"
    assert load_config((), [f"labels={default}"]).labels == load_config().labels
    Path("asked.yaml").write_text(f"labels: {default}")
    arguments = ["--model", other_labels, "--data", tracked.data]
    with refused("which are not labels", "; the labels are alpha, beta, gamma"):
        call(*arguments)  # not asked: the model's own
    for asked in (["--set", f"labels={default}"], ["--config", "asked.yaml"]):
        with refused("the model has the labels alpha, beta, but the config has workplace_harassment, "):
            call(*arguments, *asked)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "weights.safetensors").write_bytes(b"others"), "weights.safetensors: was changed or damaged"),
        (lambda folder: (folder / "vocabulary.json").unlink(), "vocabulary.json: cannot be read"),
        (lambda folder: (folder / "model.json").write_text("{"), "model.json: is damaged"),
        (
            lambda folder: (folder / "model.json").write_text(
                (folder / "model.json").read_text().replace('"format_version": ', '"format_version": 9')
            ),
            "format version 9",
        ),
    ],
)
def test_model_that_cannot_be_used(here, tracked, damage, said, refused):
    shutil.copytree(tracked.out, here / "model")
    damage(here / "model")
    with refused(said):
        call("--model", "model", "--data", tracked.data)
    assert [path.name for path in here.iterdir()] == ["model"]


def test_folder_with_something_else_is_left_alone(here, tracked, refused):
    (here / "out").mkdir()
    (here / "out" / "notes.txt").write_text("mine")
    with refused("is not an earlier output"):
        call("--model", tracked.out, "--data", tracked.data, "--out", "out")
    assert [path.name for path in (here / "out").iterdir()] == ["notes.txt"]


def test_an_error_is_one_line_and_exit_code_2(script, here, tracked):
    code, printed, said = script(main, "--model", tracked.out, "--data", "none.jsonl")
    assert (code, printed, said.splitlines()[-1]) == (2, "", "error: none.jsonl: no such file; check the path")
    assert "Traceback" not in said
    assert list(here.iterdir()) == []


def write_safecity(folder: Path) -> None:
    """Write invented reports in the published format; half of the test texts are in train, too."""
    places = ["market", "station", "bridge", "park", "school gate", "bus stop", "temple", "canteen"]
    acts = [
        ("He whistled at her near the {}", 1, 0, 0),
        ("A man kept staring at us by the {}", 0, 1, 0),
        ("Somebody touched me at the {} and ran", 0, 0, 1),
        ("He stared and passed comments at the {}", 1, 1, 0),
        ("The {} has no street light", 0, 0, 0),
    ]
    rows = {"train": places[:6], "dev": places[6:7], "test": [*places[:1], *places[7:]]}
    for split, chosen in rows.items():
        with (folder / f"{split}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["Description", "Commenting", "Ogling/Facial Expressions/Staring", "Touching /Groping"])
            writer.writerows([text.format(place), *labels] for place in chosen for text, *labels in acts)


def test_safecity_files_are_measured_with_and_without_repeated_texts(here, tracked):
    write_safecity(here)
    wanted = ["calibration.folds=2", "features.char_min_df=1", f"tracking.uri={tracked.uri}", "tracking.experiment=safecity"]
    trained = train(load_config([SAFECITY], wanted, [str(here)]), here / "model")
    assert trained.evaluation.title == "test"
    printed = call("--model", "model", "--config", SAFECITY, "--data", ".", "--out", "out", *settings(tracked.quick))
    metrics = json.loads(Path("out/metrics.json").read_text())
    assert (metrics["posts"], metrics["new_texts_only"]["posts"]) == (10, 5)
    assert metrics["new_texts_only"]["baselines"]["all_zero"]["exact_match"] == pytest.approx(1 / 5)
    assert list(metrics["labels"]) == ["commenting", "ogling", "groping"]
    assert "texts in no other split" in printed
    assert metrics["exact_match"] == trained.evaluation.metrics.exact_match
    assert Classifier.load(here / "model").labels == ["commenting", "ogling", "groping"]
