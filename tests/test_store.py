"""The MLflow store: it is created once even if many runs start together, and MLflow's environment variables are followed."""

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mlflow
import pytest

from models.config import ROOT
from pipeline import tracking
from pipeline.config import Tracking
from pipeline.tracking.store import open_store

pytest_plugins = ["tracked_run"]
pytestmark = pytest.mark.filterwarnings("ignore:::mlflow")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID", "MLFLOW_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def store(tracked, here):
    """A copy of the store with the two models, for one test."""
    return tracked.store_copy(here)


def start_together(folder: Path, commands: list[list[str]]) -> list[subprocess.CompletedProcess]:
    options = {"cwd": folder, "env": {**os.environ, "PYTHONPATH": str(ROOT)}, "capture_output": True, "text": True, "timeout": 300}
    with ThreadPoolExecutor(len(commands)) as threads:
        return list(threads.map(lambda command: subprocess.run(command, check=False, **options), commands))


@pytest.mark.slow
def test_trainings_that_start_together_on_a_fresh_store_all_track_and_are_quiet_and_whole(tracked, here):
    trainings = 2  # more processes would take longer and show nothing new
    settings = ["calibration.folds=2", "features.char_ngrams=null", "model.type=logistic"]
    options = ["--data", str(tracked.data), *(part for setting in settings for part in ("--set", setting)), "--register", "together"]
    commands = [[sys.executable, str(ROOT / "train.py"), *options, "--out", f"model-{k}", "--seed", str(k)] for k in range(trainings)]
    for number, done in enumerate(start_together(here, commands)):
        assert done.returncode == 0, done.stderr
        steps = done.stderr.splitlines()
        assert steps[:2] == ["starting", "reading the data"]
        assert steps[-1] == "tracking"
        assert len(steps) <= 12, "steps and nothing else"
        assert re.search(r"registered as together version [12]\b", done.stdout)
        assert f"disclosure evaluate --model model-{number} --data {tracked.data}\n" in done.stdout
        assert "Traceback" not in done.stdout
    assert {path.name for path in here.iterdir()} == {"mlflow.db", "mlruns", "model-0", "model-1"}, "no lock, no half-made store"
    tracking.connect(Tracking(uri=f"sqlite:///{here}/mlflow.db"))
    runs = mlflow.search_runs(experiment_names=["disclosure"], output_format="list")
    assert [run.info.status for run in runs] == ["FINISHED"] * trainings
    versions = mlflow.MlflowClient().search_model_versions("name = 'together'")
    assert sorted(int(version.version) for version in versions) == list(range(1, trainings + 1))


def test_store_that_was_being_made_when_its_maker_was_killed_is_made_again(here):
    (here / "mlflow.db.new").write_bytes(b"half")
    tracking.connect(Tracking(uri=f"sqlite:///{here}/mlflow.db"))
    assert not (here / "mlflow.db.new").exists()
    assert mlflow.get_experiment_by_name("disclosure") is not None


@pytest.mark.parametrize("content", [b"no database" * 500, None])
def test_broken_store_says_how_to_mend_it(here, refused, content):
    if content is None:  # as MLflow leaves it if two processes make its tables at the same time
        import sqlite3

        with sqlite3.connect("mlflow.db") as database:
            database.execute("create table experiments (experiment_id integer)")
            database.execute("create table _alembic_tmp_runs (run_uuid text)")
    else:
        (here / "mlflow.db").write_bytes(content)
    uri = f"sqlite:///{here}/mlflow.db"  # in full, because MLflow keeps what it opened under a URI
    with refused(f"MLflow store {uri}", "incomplete or damaged", f"mv {here}/mlflow.db {here}/mlflow.db.broken"):
        tracking.connect(Tracking(uri=uri))


def test_store_of_an_older_mlflow_is_not_called_broken(store, refused):
    import sqlite3

    with sqlite3.connect("mlflow.db") as database:
        database.execute("update alembic_version set version_num = '2b4d017a5e9b'")
    with refused("back it up", f"mlflow db upgrade {store}"):
        tracking.connect(Tracking(uri=store))


def test_reading_from_a_store_that_does_not_exist_makes_none(here, refused):
    with refused("sqlite:///mlflow.db: no such file", "MLFLOW_TRACKING_URI"):
        open_store(Tracking())
    assert not list(here.iterdir())


def active_experiment() -> str:
    with tracking.run("name", Path("model")) as run_id:
        return tracking.experiment_of(run_id)


def test_experiment_is_the_configs_then_the_environments_then_disclosure(store, monkeypatch):
    tracking.connect(Tracking(uri=store))
    assert active_experiment() == "disclosure"
    assert "MLFLOW_EXPERIMENT_ID" not in os.environ, "what MLflow sets for its children is not taken for the user's wish"
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "of the team")
    tracking.connect(Tracking(uri=store))
    assert active_experiment() == "of the team"
    tracking.connect(Tracking(uri=store, experiment="mine"))
    assert active_experiment() == "mine"
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", mlflow.get_experiment_by_name("first").experiment_id)
    tracking.connect(Tracking(uri=store))
    assert active_experiment() == "first"


def test_an_experiment_that_was_deleted_can_be_restored_or_replaced(store, refused):
    client = mlflow.MlflowClient(store)
    client.delete_experiment(client.create_experiment("gone"))
    with refused("gone", "restore the experiment", "--experiment NAME"):
        tracking.connect(Tracking(uri=store, experiment="gone"))


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"MLFLOW_EXPERIMENT_ID": "987654"}, "MLFLOW_EXPERIMENT_ID=987654"),
        ({"MLFLOW_EXPERIMENT_ID": "0", "MLFLOW_EXPERIMENT_NAME": "other"}, "MLFLOW_EXPERIMENT_NAME=other"),
        ({"MLFLOW_RUN_ID": "0" * 32}, f"MLFLOW_RUN_ID={'0' * 32}"),
        ({"MLFLOW_RUN_ID": "nonsense"}, "MLFLOW_RUN_ID=nonsense"),
    ],
)
def test_variable_that_names_nothing_is_refused_in_one_line(store, monkeypatch, refused, variables, said):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with refused(said, "unset"):
        tracking.connect(Tracking(uri=store))


def test_run_that_the_environment_names_is_continued(store, monkeypatch):
    tracking.connect(Tracking(uri=store))
    opened = mlflow.MlflowClient().create_run(mlflow.get_experiment_by_name("disclosure").experiment_id).info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", opened)
    tracking.connect(Tracking(uri=store))
    with tracking.run("name", Path("model")) as run_id:
        pass
    assert run_id == opened


def test_run_with_results_or_of_another_experiment_or_deleted_is_not_continued(tracked, store, monkeypatch, refused):
    monkeypatch.setenv("MLFLOW_RUN_ID", tracked.first.run_id)
    with refused(f"MLFLOW_RUN_ID={tracked.first.run_id}", "already holds results", "unset"):
        tracking.connect(Tracking(uri=store, experiment="first"))
    with refused("experiment 'first'", "--experiment first"):
        tracking.connect(Tracking(uri=store))
    mlflow.delete_run(tracked.first.run_id)
    with refused("deleted"):
        tracking.connect(Tracking(uri=store, experiment="first"))
