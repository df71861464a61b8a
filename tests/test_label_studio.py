"""The way to a real Label Studio and back: import, label through its API, export, compare, and train (``make label-studio``)."""

import json
import os
import socket
import subprocess
import time
from pathlib import Path

import pytest
import requests
from typer.testing import CliRunner

from pipeline import terminal
from pipeline.commands import disclosure
from pipeline.config_files import load_config
from pipeline.corpora import load_corpus
from pipeline.review.batch import QUESTION

STUDIO = os.environ.get("LABEL_STUDIO", "")
TOKEN, PASSWORD = "0123456789abcdef0123456789abcdef01234567", "for-this-test-only"
PEOPLE = ("ann@example.org", "ben@example.org")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not STUDIO, reason="needs Label Studio: make label-studio"),
]


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    """Start Label Studio on SQLite in an empty folder; ``studio(method, path, **options)`` calls its API."""
    folder = tmp_path_factory.mktemp("studio")
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    command = [str(Path(STUDIO).absolute()), "start", "--no-browser", "--internal-host", "127.0.0.1", "--port", str(port)]
    command += ["--data-dir", str(folder), "--username", PEOPLE[0], "--password", PASSWORD, "--user-token", TOKEN]
    quiet = {"LABEL_STUDIO_LATEST_VERSION_CHECK": "false", "LABEL_STUDIO_COLLECT_ANALYTICS": "false", "COLLECT_ANALYTICS": "false"}
    settings = {"LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true", "LABEL_STUDIO_BASE_DATA_DIR": str(folder), "SENTRY_DSN": ""}
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment | quiet | settings, stdout=log, stderr=log)

    def call(method, path, **options):
        answer = requests.request(
            method, f"http://127.0.0.1:{port}{path}", headers={"Authorization": f"Token {TOKEN}"}, timeout=120, **options
        )
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text[:500]}"
        return answer.json()

    try:
        deadline = time.monotonic() + 400
        while True:
            assert process.poll() is None, (folder / "log.txt").read_text()[-2000:]
            try:
                if requests.get(f"http://127.0.0.1:{port}/health", timeout=5).ok:
                    break
            except requests.RequestException:
                assert time.monotonic() < deadline, "Label Studio did not start"
            time.sleep(1)
        yield call
    finally:
        process.terminate()
        process.wait(60)


def run(*arguments):
    done = CliRunner().invoke(terminal.command_line(disclosure.COMMANDS), [str(argument) for argument in arguments])
    assert done.exit_code == 0, (done.output, done.exception)
    return done


def test_there_and_back(studio, tmp_path):
    run("label-next", "data/starter/test.jsonl", "--size", 12, "--out", tmp_path / "batch", "--with-texts")
    interface, tasks = (tmp_path / "batch/interface.xml").read_text(), json.loads((tmp_path / "batch/tasks.json").read_text())
    project = studio("POST", "/api/projects", json={"title": "Batch 1", "label_config": interface, "show_collab_predictions": True})["id"]
    done = studio("POST", f"/api/projects/{project}/import?return_task_ids=true", json=tasks)
    assert (done["task_count"], done["prediction_count"]) == (12, sum(bool(task["predictions"]) for task in tasks))

    second = studio("POST", "/api/users", json={"email": PEOPLE[1], "username": "ben", "first_name": "Ben", "last_name": "B"})["id"]
    first = studio("GET", "/api/current-user/whoami")["id"]
    for place, number in enumerate(done["task_ids"]):
        for who in (first, second):
            choices = ["assault"] if who == first or place % 3 else ["none"]
            result = [{"from_name": QUESTION, "to_name": "text", "type": "choices", "value": {"choices": choices}}]
            studio("POST", f"/api/tasks/{number}/annotations", json={"result": result, "completed_by": who})
    exported = studio("GET", f"/api/projects/{project}/export?exportType=JSON&download_all_tasks=true")
    (tmp_path / "export.json").write_text(json.dumps(exported))

    run("agreement", tmp_path / "export.json", "--batch", tmp_path / "batch", "--out", tmp_path / "agreement", "--with-texts")
    found = json.loads((tmp_path / "agreement/agreement.json").read_text())
    assert found["annotators"] == {str(first): 12, str(second): 12}
    assert found["labels"]["assault"]["disputed"] == 4
    assert len((tmp_path / "agreement/disagreements.csv").read_text().splitlines()) == 5
    assert found["anchoring"]["posts_shown"] + found["anchoring"]["posts_blind"] == sum(
        task["data"]["stratum"] != "random" for task in tasks
    )
    for name in ("export.json", "agreement/labelled.jsonl"):
        config = load_config(sources=[f"train={tmp_path / name}"])
        corpus = load_corpus(config.data, config.labels, seed=0)
        assert corpus.splits["train"].num_rows == 12
        assert sum(labels == ["assault"] for labels in corpus.splits["train"]["labels"]) == 8
