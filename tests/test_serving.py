"""The logged model as its users load it: a fresh process without the repository, and MLflow's own server."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import requests

from models import Classifier
from models.serving import ServedClassifier
from pipeline import tracking

pytest_plugins = ["tracked_run"]
pytestmark = pytest.mark.filterwarnings("ignore:::mlflow")

TEXTS = ["A man groped me on the bus last night.", "I believe you, all of you. #MeToo", "Lovely weather today 🌞"]
ERROR = "text is no non-empty string"

FRESH_PROCESS = """
import json, sys
sys.modules["datasets"] = None  # in no requirement of the model
import mlflow, pandas
model = mlflow.pyfunc.load_model(sys.argv[1])
print(json.dumps([model.predict(pandas.DataFrame({"text": texts})).to_dict("list") for texts in json.loads(sys.argv[2])], allow_nan=False))
"""


@pytest.fixture(scope="session")
def artifact(tracked, tmp_path_factory) -> Path:
    tracking.connect(tracked.config.tracking)
    folder = tmp_path_factory.mktemp("artifact")
    return Path(mlflow.artifacts.download_artifacts("models:/disclosure@champion", dst_path=str(folder)))


@pytest.fixture(scope="session")
def served(tracked) -> ServedClassifier:
    return ServedClassifier(Classifier.load(tracked.out))


def strict(text: str):
    """JSON as the standard has it: NaN is an error."""
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def probabilities(columns, labels) -> np.ndarray:
    return np.array([columns[f"prob_{label}"] for label in labels]).T


def test_loads_in_a_fresh_process_without_the_repository(tracked, artifact, tmp_path):
    batches = [TEXTS, [TEXTS[0], None, "", " \n", 5, ["x"], TEXTS[1]], [None, None]]
    command = [sys.executable, "-I", "-c", FRESH_PROCESS, str(artifact), json.dumps(batches)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=120)
    good, mixed, bad = strict(done.stdout.splitlines()[-1])
    model = Classifier.load(tracked.out)
    wanted = model.score(TEXTS)
    decided = [[label for label, given in zip(model.labels, row, strict=True) if given] for row in model.decide(wanted)]
    assert probabilities(good, model.labels) == pytest.approx(wanted, abs=1e-6)
    assert good["labels"] == decided
    assert good["error"] == [None, None, None]
    assert mixed["error"] == [None, *[ERROR] * 5, None]
    assert probabilities(mixed, model.labels)[[0, -1]].astype(float) == pytest.approx(wanted[:2], abs=1e-6)
    assert probabilities(mixed, model.labels)[1:-1].tolist() == [[None] * len(model.labels)] * 5
    assert mixed["labels"] == [decided[0], [], [], [], [], [], decided[1]]
    assert bad["error"] == [ERROR, ERROR]


@pytest.fixture
def server(artifact, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mlflow_command = str(Path(sys.executable).parent / "mlflow")
    options = ["--env-manager", "local", "--port", str(port), "--workers", "1"]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": ""}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [mlflow_command, "models", "serve", "-m", str(artifact), *options],
            cwd=tmp_path,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            try:
                requests.get(f"http://127.0.0.1:{port}/ping", timeout=60)
                break
            except OSError:
                time.sleep(0.2)
        else:
            pytest.fail((tmp_path / "log").read_text())
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def test_mlflow_serves_a_batch_with_a_null(tracked, server):
    def post(body: dict) -> list[dict]:
        return strict(requests.post(server, json=body, timeout=60).text)["predictions"]

    model = Classifier.load(tracked.out)
    wanted = model.score([TEXTS[0], TEXTS[2]])
    nothing = dict.fromkeys([f"prob_{label}" for label in model.labels]) | {"labels": [], "error": ERROR}
    first, null, last = post({"dataframe_records": [{"text": TEXTS[0]}, {"text": None}, {"text": TEXTS[2]}]})
    assert null == nothing
    assert (first["error"], last["error"]) == (None, None)
    for answer, row in ((first, wanted[0]), (last, wanted[1])):
        assert [answer[f"prob_{label}"] for label in model.labels] == pytest.approx(row, abs=1e-6)
    assert post({"dataframe_split": {"columns": ["text"], "data": [[None]]}}) == [nothing]


def test_good_batch_has_float32_columns_and_keeps_the_index(served):
    frame = served.predict(pd.DataFrame({"text": TEXTS, "more": 1}, index=[7, 3, 5]))
    assert list(frame.index) == [7, 3, 5]
    assert {str(frame[f"prob_{label}"].dtype) for label in served.classifier.labels} == {"float32"}
    assert frame["error"].tolist() == [None, None, None]


@pytest.mark.parametrize("bad", [None, float("nan"), pd.NA, "", " \t\n", 5, 1.5, b"bytes", ["list"], {"a": "map"}])
def test_unusable_text_fails_alone(served, bad):
    frame = served.predict(pd.DataFrame({"text": [TEXTS[0], bad, TEXTS[1]]}))
    assert frame["error"].tolist() == [None, ERROR, None]
    assert frame.loc[1, [f"prob_{label}" for label in served.classifier.labels]].tolist() == [None] * len(served.classifier.labels)
    assert frame.loc[1, "labels"] == []
    good = served.predict(pd.DataFrame({"text": TEXTS[:2]}))
    assert frame.drop(index=1)["labels"].tolist() == good["labels"].tolist()


@pytest.mark.parametrize("texts", [[], [None], ["", None]])
def test_batch_without_a_usable_text(served, texts):
    frame = served.predict(pd.DataFrame({"text": pd.Series(texts, dtype=object)}))
    assert frame["error"].tolist() == [ERROR] * len(texts)
    assert list(frame.columns) == [*(f"prob_{label}" for label in served.classifier.labels), "labels", "error"]


def test_index_with_repeats(served):
    frame = served.predict(pd.DataFrame({"text": [TEXTS[0], None, TEXTS[1]]}, index=[0, 0, 0]))
    assert frame["error"].tolist() == [None, ERROR, None]
    assert frame[f"prob_{served.classifier.labels[0]}"].isna().tolist() == [False, True, False]
