"""The logged model as its users load it: in a fresh process without the repository, and in MLflow's server by `make serve`."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import requests

from models import Classifier
from models.config import ROOT
from models.serving import ServedClassifier
from models.text import MAX_CHARS
from pipeline import tracking
from pipeline.config import Tracking

pytest_plugins = ["tracked_run"]
pytestmark = pytest.mark.filterwarnings("ignore:::mlflow")

TEXTS = ["A man groped me on the bus last night.", "I believe you, all of you. #MeToo", "Lovely weather today 🌞"]
POINTS = ("balanced", "cautious", "sensitive")
ERROR = "text must be a non-empty string"
TOO_LONG = "text is longer than 100000 characters"
HARD = [
    "😀😭🔥👩🏽\u200d🚀💔" * 2_000,  # 10,000 emoji
    "abcdefghij" * 10_000,  # 100 kB in one word
    "I believe her. " * 6_666 + "I believe.",  # and in many
]

FRESH_PROCESS = """
import json, sys
sys.modules["datasets"] = sys.modules["pipeline"] = None  # in no requirement of the model, and not needed by what is served
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
    """Parse JSON strictly, so that NaN is an error."""
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def probabilities(columns, labels) -> np.ndarray:
    return np.array([columns[f"prob_{label}"] for label in labels]).T


@pytest.mark.slow
def test_loads_in_a_fresh_process_without_the_repository(tracked, artifact, tmp_path):
    batches = [TEXTS, [TEXTS[0], None, "", " \n", 5, ["x"], TEXTS[1]], [None, None]]
    command = [sys.executable, "-I", "-c", FRESH_PROCESS, str(artifact), json.dumps(batches)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=120)
    good, mixed, bad = strict(done.stdout.splitlines()[-1])
    model = Classifier.load(tracked.out)
    wanted = model.predict_proba(TEXTS)
    decided = [[label for label, given in zip(model.labels, row, strict=True) if given] for row in model.decide(wanted)]
    assert probabilities(good, model.labels) == pytest.approx(wanted, abs=1e-6)
    assert good["labels"] == decided
    assert good["error"] == [None, None, None]
    assert mixed["error"] == [None, *[ERROR] * 5, None]
    assert probabilities(mixed, model.labels)[[0, -1]].astype(float) == pytest.approx(wanted[:2], abs=1e-6)
    assert probabilities(mixed, model.labels)[1:-1].tolist() == [[None] * len(model.labels)] * 5
    assert mixed["labels"] == [decided[0], [], [], [], [], [], decided[1]]
    assert bad["error"] == [ERROR, ERROR]


def test_a_record_whose_text_is_a_list_has_one_error(model):
    for lists in ([["a", "b"]], [["a"]], [[]], [["a", "b"], ["c"]]):
        answer = ServedClassifier(model).predict(pd.DataFrame({"text": lists}))
        assert answer["error"].tolist() == [ERROR] * len(lists)


@dataclass(frozen=True)
class Server:
    """A running `make serve` that answers requests."""

    url: str
    log: Path
    group: int

    def send(self, body: object, content_type: str = "application/json") -> requests.Response:
        sent = body if isinstance(body, str | bytes) else json.dumps(body)
        return requests.post(f"{self.url}/invocations", sent, headers={"Content-Type": content_type}, timeout=60)

    def post(self, body: object) -> list[dict]:
        answer = self.send(body)
        assert answer.status_code == 200, answer.text
        return strict(answer.text)["predictions"]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def make_serve(port: int, rules: Path) -> list[str]:
    """Return the command for `make serve` with this environment's programs, without installing anything."""
    programs = f"BIN={Path(sys.executable).parent}"
    return ["make", "--old-file=.venv/.default", programs, f"PORT={port}", f"ARGS=--workers 2 --log-format json --route {rules}", "serve"]


def is_running(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def wait_for(condition, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return met


@pytest.fixture(scope="module")
def bound(tracked) -> float:
    """Return the probability of the first label from which on the server names a queue: some texts have more, and some less."""
    found = Classifier.load(tracked.out).predict_proba(TEXTS)[:, 0]
    return float(found.min() + found.max()) / 2


@pytest.fixture(scope="module")
def server(tracked, bound, tmp_path_factory):
    port, log = free_port(), tmp_path_factory.mktemp("server") / "log"
    rules = log.with_name("routing.yaml")
    label = tracked.first.model.labels[0]
    rules.write_text(f"queues: {{reading: {{task: read, capacity: 1}}}}\nrules: [{{when: {{{label}: {bound}}}, queue: reading}}]\n")
    environment = {**os.environ, "MLFLOW_TRACKING_URI": tracked.uri}
    with log.open("wb") as output:
        made = subprocess.Popen(make_serve(port, rules), cwd=ROOT, env=environment, stdout=output, stderr=output, start_new_session=True)

    def answers() -> bool:
        assert made.poll() is None, log.read_text()
        try:
            return requests.get(f"http://127.0.0.1:{port}/ping", timeout=60).ok
        except OSError:
            return False

    try:
        assert wait_for(answers, 120), log.read_text()
        yield Server(f"http://127.0.0.1:{port}", log, made.pid)
    finally:
        os.killpg(made.pid, signal.SIGTERM)
        made.wait(30)
        stopped = wait_for(lambda: not is_running(made.pid), 30)
        if not stopped:
            os.killpg(made.pid, signal.SIGKILL)
    assert stopped, "processes stay behind"


@pytest.fixture(scope="module")
def answered(tracked, bound):
    """Return the answer that the server should give to a text, computed without the server."""
    model = Classifier.load(tracked.out)

    def expect(text: str) -> dict:
        (row,) = scores = model.predict_proba([text])
        (decided,) = model.decide(scores)
        probabilities = {f"prob_{label}": pytest.approx(p, abs=1e-6) for label, p in zip(model.labels, row, strict=True)}
        labels = [label for label, given in zip(model.labels, decided, strict=True) if given]
        return {**probabilities, "labels": labels, "error": None, "queue": "reading" if row[0] >= bound else None}

    return expect


@pytest.fixture(scope="module")
def refusal(tracked):
    """Return the answer that the server should give to a text that cannot be scored."""
    nothing = dict.fromkeys([f"prob_{label}" for label in tracked.first.model.labels])
    return lambda reason=ERROR: {**nothing, "labels": [], "error": reason, "queue": None}


def log_lines(server: Server) -> list[dict]:
    """Return the lines of the log after those of make, which are several if the tests themselves run in make."""
    lines = server.log.read_text().splitlines()
    return [json.loads(line) for line in lines[next(number for number, line in enumerate(lines) if line.startswith("{")) :]]


@pytest.mark.slow
def test_make_serve_serves_the_champion_and_says_so(server, tracked):
    (ready,) = [line for line in log_lines(server) if line["event"] == "ready"]
    assert (ready["uri"], ready["workers"]) == ("models:/disclosure@champion", 2)
    health = requests.get(f"{server.url}/health", timeout=60)
    assert (health.status_code, health.json()["scoring_processes_ready"]) == (200, 2)
    assert health.json()["digest"] == ready["digest"] == Classifier.load(tracked.out).digest_
    assert requests.get(f"{server.url}/version", timeout=60).text == mlflow.__version__


def scoring_processes(server: Server) -> list[int]:
    found = [path for path in Path("/proc").iterdir() if path.name.isdigit()]
    commands = {int(path.name): (path / "cmdline").read_bytes() for path in found if (path / "cmdline").exists()}
    return [pid for pid, command in commands.items() if b"spawn_main" in command and os.getpgid(pid) == server.group]


@pytest.mark.slow
def test_a_scoring_process_that_dies_is_replaced(server, answered):
    first, second = scoring_processes(server)
    os.kill(first, signal.SIGKILL)
    bodies = {"dataframe_records": [{"text": TEXTS[0]}]}
    found = [server.send(bodies).status_code for _ in range(3)]
    assert found.count(200) >= 2  # the first is lost if it comes before anybody has noticed
    assert server.post(bodies) == [answered(TEXTS[0])]
    replaced = wait_for(lambda: requests.get(f"{server.url}/health", timeout=60).json()["scoring_processes_ready"] == 2, 60)
    assert replaced
    assert second in scoring_processes(server)
    figures = requests.get(f"{server.url}/metrics", timeout=60).text
    assert "\ndisclosure_scoring_process_deaths_total 1.0\n" in figures


@pytest.mark.slow
def test_every_row_gets_its_own_answer(server, answered, refusal):
    good = [TEXTS[0], *HARD, "x" * MAX_CHARS, TEXTS[1]]
    bad = [None, "", " \n", 5, 1.5, True, ["x"], {"a": "map"}]
    texts = [*good, *bad, "x" * (MAX_CHARS + 1), TEXTS[2]]
    wanted = [*map(answered, good), *[refusal()] * len(bad), refusal(TOO_LONG), answered(TEXTS[2])]
    assert {row["queue"] for row in wanted} == {"reading", None}
    assert server.post({"dataframe_records": [{"text": text} for text in texts]}) == wanted
    assert server.post({"dataframe_split": {"columns": ["id", "text"], "data": [[7, text] for text in texts]}}) == wanted


@pytest.mark.slow
def test_server_logs_no_text(server):
    secret = "zugzwang"
    server.post({"dataframe_records": [{"text": secret}, {"text": secret * 20_000}]})
    for body in ({"dataframe_records": [{"txt": secret}]}, secret):
        answer = server.send(body)
        assert answer.status_code == 400
        assert secret not in answer.text
    assert requests.get(f"{server.url}/invocations/{secret}?{secret}", timeout=60).status_code == 404
    assert secret not in server.log.read_text()
    requested = [(line["status"], line.get("reason", "")) for line in log_lines(server) if line["event"] == "request"]
    assert requested[-4:] == [("200", ""), ("400", "form"), ("400", "json"), ("404", "path")]


def test_good_batch_has_float32_columns_and_keeps_the_index(served):
    frame = served.predict(pd.DataFrame({"text": TEXTS, "more": 1}, index=[7, 3, 5]))
    assert list(frame.index) == [7, 3, 5]
    assert {str(frame[f"prob_{label}"].dtype) for label in served.classifier.labels} == {"float32"}
    assert frame["error"].tolist() == [None, None, None]


@pytest.mark.parametrize("bad", [None, float("nan"), pd.NA, "", " \t\n", 5, 1.5, b"bytes", ["list"], {"a": "map"}])
def test_unusable_text_fails_alone(served, bad):
    frame = served.predict(pd.DataFrame({"text": [TEXTS[0], bad, TEXTS[1]]}))
    assert frame["error"].tolist() == [None, ERROR, None]
    assert frame.loc[1, [f"prob_{label}" for label in served.classifier.labels]].isna().all()
    assert frame[f"prob_{served.classifier.labels[0]}"].to_numpy(dtype=float, na_value=np.nan)[[0, 2]] == pytest.approx(
        served.classifier.predict_proba(TEXTS[:2])[:, 0], abs=1e-6
    )
    assert strict(json.dumps(frame.to_dict("records")))[1][f"prob_{served.classifier.labels[0]}"] is None
    assert frame.loc[1, "labels"] == []
    good = served.predict(pd.DataFrame({"text": TEXTS[:2]}))
    assert frame.drop(index=1)["labels"].tolist() == good["labels"].tolist()


@pytest.fixture
def logged(model, tmp_path, empty_store):
    """A model with all operating points, logged as training logs it and loaded by MLflow."""
    digest = model.save(tmp_path / "model")
    tracking.connect(Tracking(uri=f"sqlite:///{shutil.copy(empty_store, tmp_path)}", experiment="points"))
    return mlflow.pyfunc.load_model(f"models:/{tracking.log_model(tmp_path / 'model', model.labels, digest)}")


def test_operating_point_is_a_parameter_of_the_request(logged, model, posts):
    from pipeline.tracking.server.scoringserver.model import Model, Refused

    texts = posts.texts[:60]
    wanted = {point: [[label for label in row.split(", ") if label] for row in model.label(texts, point)["labels"]] for point in POINTS}
    for point in POINTS:
        assert logged.predict(pd.DataFrame({"text": texts}), params={"operating_point": point})["labels"].tolist() == wanted[point]
    assert wanted["cautious"] != wanted["sensitive"]
    inside, body = Model(logged, 100), {"dataframe_records": [{"text": text} for text in texts]}
    for point, params in (("balanced", {}), ("sensitive", {"params": {"operating_point": "sensitive"}})):
        answer = strict(inside.begin(json.dumps(body | params).encode()).content)
        assert [row["labels"] for row in answer["predictions"]] == wanted[point]
    with pytest.raises(
        Refused, match="operating point 'eager': the model has only balanced, cautious, sensitive; choose one of"
    ) as refused:
        inside.begin(json.dumps({**body, "params": {"operating_point": "eager"}}).encode())
    assert (refused.value.status, texts[0] in str(refused.value)) == (400, False)


@pytest.mark.parametrize("texts", [[], [None], ["", None]])
def test_batch_without_a_usable_text(served, texts):
    frame = served.predict(pd.DataFrame({"text": pd.Series(texts, dtype=object)}))
    assert frame["error"].tolist() == [ERROR] * len(texts)
    assert list(frame.columns) == [*(f"prob_{label}" for label in served.classifier.labels), "labels", "error"]


def test_index_with_repeats(served):
    frame = served.predict(pd.DataFrame({"text": [TEXTS[0], None, TEXTS[1]]}, index=[0, 0, 0]))
    assert frame["error"].tolist() == [None, ERROR, None]
    assert frame[f"prob_{served.classifier.labels[0]}"].isna().tolist() == [False, True, False]
