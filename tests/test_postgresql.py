"""MLflow on a real PostgreSQL: trainings that start together on an empty database, and the way of a model to its promotion."""

import itertools
import multiprocessing
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import mlflow
import pandas as pd
import pytest

from models.config import ROOT
from pipeline import tracking
from pipeline.config import Tracking
from pipeline.config_files import load_config
from pipeline.tracking import creation
from pipeline.tracking.artifacts import artifact_digest, digests_of, verified_copy
from pipeline.tracking.registry import model_to_serve
from pipeline.tracking.store import open_store
from pipeline.training import train

pytestmark = pytest.mark.filterwarnings("ignore:::mlflow")

# Debian's package leaves the programs outside of the PATH.
PROGRAMS = shutil.which("initdb") or next(map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)), None)
PASSWORD = "invented"


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def database():
    """Start a server with an empty database, and yield its URI."""
    if PROGRAMS is None:
        pytest.skip("no PostgreSQL here; install it (apt-get install postgresql)")
    rights = {}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        try:
            user = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
        rights = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    programs = Path(PROGRAMS).resolve().parent
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as name:  # not below pytest's folder, which only its owner may enter
        folder = Path(name)
        (folder / "password").write_text(PASSWORD)
        if rights:
            for path in (folder, folder / "password"):
                os.chown(path, rights["user"], rights["group"])
        how = ["--auth=scram-sha-256", f"--pwfile={folder}/password", "--username=mlflow", "--no-sync", "--no-instructions"]
        subprocess.run([programs / "initdb", *how, folder / "data"], check=True, cwd="/", stdout=subprocess.DEVNULL, **rights)
        settings = ["listen_addresses=127.0.0.1", f"port={port}", "unix_socket_directories=", "fsync=off"]
        options = [part for setting in settings for part in ("-c", setting)]
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen([programs / "postgres", "-D", folder / "data", *options], cwd="/", stderr=log, **rights)
        try:
            deadline = time.monotonic() + 60
            while not _accepts(port) and server.poll() is None and time.monotonic() < deadline:
                time.sleep(0.05)
            assert server.poll() is None, (folder / "log").read_text()
            yield f"postgresql://mlflow:{PASSWORD}@127.0.0.1:{port}/postgres"
        finally:
            server.send_signal(signal.SIGINT)  # which ends its connections, too
            server.wait(30)


def _train(number: int, uri: str, data: Path) -> None:
    settings = ["calibration.folds=2", "features.char_ngrams=null", "model.type=logistic", "evaluation.rounds=100"]
    train(load_config((), settings, [str(data)], seed=number, tracking={"uri": uri}), data.parent / f"model-{number}", register="together")


@pytest.mark.slow
def test_two_trainings_at_once_on_an_empty_database_and_a_promotion(database, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    for split, posts in (("train", 150), ("validation", 50), ("test", 50)):
        with (ROOT / "data" / "starter" / f"{split}.jsonl").open() as lines:
            (tmp_path / "data" / f"{split}.jsonl").write_text("".join(itertools.islice(lines, posts)))
    fork = multiprocessing.get_context("fork")  # so that nothing is imported anew
    trainings = [fork.Process(target=_train, args=(number, database, tmp_path / "data")) for number in range(2)]
    for training in trainings:
        training.start()
    for training in trainings:
        training.join(300)
    assert [training.exitcode for training in trainings] == [0, 0]

    tracking.connect(Tracking(uri=database))
    runs = mlflow.search_runs(experiment_names=["disclosure"], output_format="list")
    assert [run.info.status for run in runs] == ["FINISHED", "FINISHED"]
    assert PASSWORD not in str([run.to_dictionary() for run in runs])
    assert {version.version for version in mlflow.MlflowClient().search_model_versions("name = 'together'")} == {1, 2}
    assert tracking.find_champion("together") == "1"
    tracking.set_champion("together", "2", runs[0].info.run_id, "1")
    answer = mlflow.pyfunc.load_model("models:/together@champion").predict(pd.DataFrame({"text": ["I believe you.", None]}))
    assert answer["error"].tolist() == [None, "text must be a non-empty string"]
    assert (tracking.fetch_model("models:/together@champion", Tracking(uri=database)) / "model.json").exists()
    assert digests_of(model_to_serve())["artifact"] == artifact_digest(verified_copy(model_to_serve()))


@pytest.mark.slow
def test_database_whose_tables_another_process_makes_is_waited_for_but_not_for_ever(database, refused, monkeypatch):
    from sqlalchemy import text

    monkeypatch.setattr(creation, "_PATIENCE", 1.0)
    with creation.database(database) as other:
        other.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": creation._LOCK})
        with refused("MLflow store postgresql://mlflow:***@127.0.0.1", "lock timeout"):
            tracking.connect(Tracking(uri=database))
    with refused("password authentication failed") as _:
        open_store(Tracking(uri=database.replace(PASSWORD, "wrong")))


@pytest.mark.parametrize("use", [tracking.connect, open_store])
def test_database_that_does_not_answer_is_an_error_at_once_and_its_password_is_not_shown(use, refused):
    began = time.monotonic()
    uri = "postgresql://127.0.0.1:9/mlflow?user=ana&password=invented"  # nothing listens there
    with refused("MLflow store postgresql://127.0.0.1:9/mlflow?user=ana&password=***: cannot be used", "refused", "MLFLOW_TRACKING_URI"):
        use(Tracking(uri=uri))
    assert time.monotonic() - began < 20


def test_missing_driver_is_named(refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with refused("MLflow store postgresql://ana:***@db/mlflow", "requirements/server.txt"):
        open_store(Tracking(uri="postgresql://ana:invented@db/mlflow"))
