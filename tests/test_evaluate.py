"""evaluate.py: what it writes, what it tracks, and what it refuses."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import evaluate
import train
from models import Classifier
from pipeline import tracking
from pipeline.config import ROOT, Tracking, load_config
from pipeline.evaluation import Evaluation
from pipeline.terminal import command_line

pytest_plugins = ["tracked_run"]
pytestmark = pytest.mark.filterwarnings("ignore:::mlflow")

LABELS = ["workplace_harassment", "street_harassment", "assault", "solidarity_support"]
PER_LABEL = ["precision", "recall", "f1", "average_precision", "roc_auc", "brier", "ece", "threshold", "support"]
OVERALL = ["macro_f1", "micro_f1", "mean_average_precision", "exact_match", "one_minus_hamming_loss", "example_jaccard"]
SAFECITY = ROOT / "configs" / "experiments" / "safecity.yaml"


def call(*arguments) -> str:
    """Call the command in this process and return what it prints, however wide."""
    result = CliRunner().invoke(command_line(evaluate.main), [str(argument) for argument in arguments])
    if result.exception:
        raise result.exception
    return " ".join(result.stdout.split())


@pytest.fixture
def here(tmp_path, monkeypatch, tracked):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracked.uri)
    return tmp_path


@pytest.fixture(scope="module")
def evaluated(tracked, tmp_path_factory) -> tuple[Path, Evaluation]:
    out = tmp_path_factory.mktemp("evaluated") / "out"
    config = load_config((), (), [str(tracked.data)], tracking={"uri": tracked.uri, "experiment": "evaluations"})
    return out, evaluate.evaluate(tracked.first.model, config, out)


def test_metrics_file_has_every_metric(evaluated, tracked):
    metrics = json.loads((evaluated[0] / "metrics.json").read_text())
    assert (metrics["evaluated"], metrics["posts"], metrics["model"]) == ("test", 80, tracked.first.model.digest_)
    for results in (metrics, metrics["baselines"]["all_zero"], metrics["baselines"]["prior"]):
        assert list(results["labels"]) == LABELS
        assert all(set(PER_LABEL) <= set(values) for values in results["labels"].values())
        assert set(OVERALL) <= set(results)
    test_posts = [json.loads(line) for line in (tracked.data / "test.jsonl").read_text().splitlines()]
    assert metrics["labels"]["assault"]["support"] == sum("assault" in post["labels"] for post in test_posts)
    assert metrics["baselines"]["all_zero"]["exact_match"] == np.mean([not set(post["labels"]) & set(LABELS) for post in test_posts])


def test_predictions_are_a_row_for_each_post_without_text(evaluated, tracked):
    table = pq.read_table(evaluated[0] / "predictions.parquet")
    assert table.column_names == ["id", *(f"prob_{label}" for label in LABELS), "labels", "model", "true_labels"]
    posts = [json.loads(line) for line in (tracked.data / "test.jsonl").read_text().splitlines()]
    assert table["id"].to_pylist() == [post["id"] for post in posts]
    assert table["true_labels"].to_pylist() == [[label for label in LABELS if label in post["labels"]] for post in posts]
    wanted = tracked.first.model.score([post["text"] for post in posts])
    assert np.stack([table[f"prob_{label}"].to_numpy() for label in LABELS], axis=1) == pytest.approx(wanted, abs=1e-6)
    assert set(table["model"].to_pylist()) == {tracked.first.model.digest_}


def test_run_is_tied_to_the_model_of_another_experiment(evaluated, tracked):
    tracking.connect(Tracking(uri=tracked.uri, experiment="evaluations"))
    (run,) = mlflow.search_runs(experiment_names=["evaluations"], output_format="list")
    assert run.data.tags["model_digest"] == tracked.first.model.digest_
    assert run.data.tags["evaluated"] == "test"
    assert run.data.metrics["macro_f1"] == pytest.approx(evaluated[1].metrics["macro_f1"])
    model = mlflow.get_logged_model(tracking.find_model(tracked.first.model.digest_))
    tied = {metric.key: metric.value for metric in model.metrics if metric.run_id == run.info.run_id}
    assert tied["macro_f1"] == pytest.approx(evaluated[1].metrics["macro_f1"])
    files = {path.path for path in mlflow.MlflowClient().list_artifacts(run.info.run_id, "evaluation")}
    assert files == {"evaluation/metrics.json", "evaluation/predictions.parquet"}


def test_run_has_the_parameters_that_the_model_was_made_with(evaluated, tracked):
    tracking.connect(Tracking(uri=tracked.uri, experiment="evaluations"))
    (run,) = mlflow.search_runs(experiment_names=["evaluations"], output_format="list")
    assert load_config().calibration.folds != 3
    assert run.data.params["calibration.folds"] == "3"


@pytest.mark.parametrize("location", ["models:/disclosure@champion", "models:/disclosure/2", "runs:/{run}/model", "{out}"])
def test_model_is_found_wherever_it_is(here, tracked, location):
    model = location.format(run=tracked.again.run_id, out=tracked.out)
    printed = call("--model", model, "--data", tracked.data, "--out", "out")
    assert "test, 80 posts" in printed
    assert json.loads(Path("out/metrics.json").read_text())["model"] == tracked.first.model.digest_


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("models:/nobody@champion", "models:/nobody@champion: not found in MLflow store"),
        ("models:/disclosure@nobody", "models:/disclosure@nobody: not found in MLflow store"),
        ("runs:/0123/model", "runs:/0123/model: not found in MLflow store"),
        ("nowhere", "nowhere: no model directory"),
    ],
)
def test_model_that_is_nowhere(here, tracked, location, said, refused):
    with refused(said):
        call("--model", location, "--data", tracked.data)
    assert list(here.iterdir()) == []


def test_store_out_of_reach(here, tracked, monkeypatch, refused):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with refused("MLflow store http://127"):
        call("--model", tracked.out, "--data", tracked.data, "--set", "tracking.uri=http://127.0.0.1:9")
    assert list(here.iterdir()) == []


def test_store_that_goes_away_costs_no_results(here, tracked, refused):
    uri = tracked.store_copy(here)

    def wreck(step: str) -> None:
        if step == "tracking":
            (here / "mlflow.db").write_bytes(b"no longer a database" * 1000)

    config = load_config((), (), [str(tracked.data)], tracking={"uri": uri, "experiment": "first"})
    with refused("out is written and can be used, but tracking it in MLflow failed"):
        evaluate.evaluate(tracked.first.model, config, Path("out"), progress=wreck)
    assert json.loads(Path("out/metrics.json").read_text())["posts"] == 80


def test_split_is_chosen(here, tracked):
    assert "validation, 80 posts" in call("--model", tracked.out, "--data", tracked.data, "--split", "validation")


def test_file_without_splits_is_evaluated_whole(here, tracked):
    assert "all posts, 80 posts" in call("--model", tracked.out, "--data", tracked.data / "test.jsonl")


def test_split_that_is_not_there(here, tracked, refused):
    shutil.copytree(tracked.data, here / "data")
    (here / "data" / "test.jsonl").unlink()
    with refused("train, validation and no test; choose one with --split"):
        call("--model", tracked.out, "--data", "data")
    with refused("--split test: the data has train, validation"):
        call("--model", tracked.out, "--data", "data", "--split", "test")
    assert not Path("runs").exists()


def test_labels_of_the_data_are_not_the_models(here, tracked, refused):
    Path("posts.jsonl").write_text(json.dumps({"id": "1", "text": "he stared", "labels": ["ogling"]}))
    with refused("row 1: unknown label 'ogling'; allowed are workplace_harassment"):
        call("--model", tracked.out, "--data", "posts.jsonl")


@pytest.mark.parametrize("arguments", [["--config", SAFECITY], ["--set", f"labels={ROOT}/configs/labels/safecity.yaml"]])
def test_labels_of_the_config_are_not_the_models(here, tracked, arguments, refused):
    with refused("the model has the labels workplace_harassment, ", "; the config has commenting, ogling, groping"):
        call("--model", tracked.out, "--data", tracked.data, *arguments)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "weights.safetensors").write_bytes(b"others"), "weights.safetensors: digest differs"),
        (lambda folder: (folder / "vocabulary.json").unlink(), "vocabulary.json: cannot be read"),
        (lambda folder: (folder / "model.json").write_text("{"), "model.json: damaged"),
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
    with refused("holds something else"):
        call("--model", tracked.out, "--data", tracked.data, "--out", "out")
    assert [path.name for path in (here / "out").iterdir()] == ["notes.txt"]


def test_errors_of_a_real_process(tracked, tmp_path):
    command = [sys.executable, str(ROOT / "evaluate.py"), "--model", str(tracked.out), "--data", "none.jsonl"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "error: none.jsonl: no such file; check the path"
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def write_safecity(folder: Path) -> None:
    """Invented reports in the published format; half of the test texts stand in train too."""
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
    settings = ["calibration.folds=2", "features.char_min_df=1", f"tracking.uri={tracked.uri}", "tracking.experiment=safecity"]
    trained = train.train(load_config([SAFECITY], settings, [str(here)]), here / "model")
    assert trained.evaluation.title == "test"
    printed = call("--model", "model", "--config", SAFECITY, "--data", ".", "--out", "out")
    metrics = json.loads(Path("out/metrics.json").read_text())
    assert (metrics["posts"], metrics["new_texts_only"]["posts"]) == (10, 5)
    assert metrics["new_texts_only"]["baselines"]["all_zero"]["exact_match"] == pytest.approx(1 / 5)
    assert list(metrics["labels"]) == ["commenting", "ogling", "groping"]
    assert "texts in no other split" in printed
    assert metrics["exact_match"] == trained.evaluation.metrics["exact_match"]
    assert Classifier.load(here / "model").labels == ["commenting", "ogling", "groping"]
