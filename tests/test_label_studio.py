"""The way to a real Label Studio and back: import, label through its API and in a browser, export, compare, and train.

It is tested where ``make label-studio`` has installed Label Studio.
"""

import json
import os
import socket
import subprocess
import time
from dataclasses import dataclass

import pytest
import requests
from typer.testing import CliRunner

from models.config import ROOT
from pipeline import terminal
from pipeline.commands import disclosure
from pipeline.config_files import load_config
from pipeline.corpora import load_corpus
from pipeline.review.batch import QUESTION

STUDIO = ROOT / ".label-studio/bin/label-studio"
TOKEN, PASSWORD = "0123456789abcdef0123456789abcdef01234567", "for-this-test-only"
PEOPLE = ("ann@example.org", "ben@example.org")
# Label Studio asks nobody for newer releases, and tells nobody how it is used.
SETTINGS = {
    "COLLECT_ANALYTICS": "false",
    "LABEL_STUDIO_COLLECT_ANALYTICS": "false",
    "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
    "LABEL_STUDIO_LATEST_VERSION_CHECK": "false",
    "SENTRY_DSN": "",
}
START, WAIT = 1200, 120  # seconds; making the database takes minutes on a busy machine

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not STUDIO.is_file(), reason="needs Label Studio: make label-studio")]


@dataclass
class Studio:
    """A Label Studio that runs; ``studio(method, path, **options)`` calls its API as the first of `PEOPLE`."""

    address: str

    def __call__(self, method, path, **options):
        headers = {"Authorization": f"Token {TOKEN}"}
        answer = requests.request(method, f"{self.address}{path}", headers=headers, timeout=WAIT, **options)
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text[:500]}"
        return answer.json()

    def project(self, batch):
        """Make a project of a batch, as the how-to says, and return its number and what was imported."""
        settings = {"title": batch.name, "label_config": (batch / "interface.xml").read_text(), "show_collab_predictions": True}
        number = self("POST", "/api/projects", json=settings)["id"]
        tasks = json.loads((batch / "tasks.json").read_text())
        return number, self("POST", f"/api/projects/{number}/import?return_task_ids=true", json=tasks)

    def export(self, project, path):
        path.write_text(json.dumps(self("GET", f"/api/projects/{project}/export?exportType=JSON")))


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    """Start Label Studio on SQLite in an empty folder."""
    folder = tmp_path_factory.mktemp("studio")
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    command = [str(STUDIO), "start", "--no-browser", "--internal-host", "127.0.0.1", "--port", str(port)]
    command += ["--data-dir", str(folder), "--username", PEOPLE[0], "--password", PASSWORD, "--user-token", TOKEN]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    environment |= SETTINGS | {"LABEL_STUDIO_BASE_DATA_DIR": str(folder)}
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        address, deadline = f"http://127.0.0.1:{port}", time.monotonic() + START
        while True:
            assert process.poll() is None, (folder / "log.txt").read_text()[-2000:]
            try:
                if requests.get(f"{address}/health", timeout=5).ok:
                    break
            except requests.RequestException:
                assert time.monotonic() < deadline, f"Label Studio did not start: {(folder / 'log.txt').read_text()[-2000:]}"
            time.sleep(1)
        yield Studio(address)
    finally:
        process.terminate()
        process.wait(WAIT)


def run(*arguments):
    done = CliRunner().invoke(terminal.command_line(disclosure.COMMANDS), [str(argument) for argument in arguments])
    assert done.exit_code == 0, (done.output, done.exception)
    return done


@pytest.fixture(scope="module")
def batch(tmp_path_factory):
    """Choose a batch of twelve posts with the released model."""
    folder = tmp_path_factory.mktemp("chosen") / "batch"
    run("label-next", ROOT / "data/starter/test.jsonl", "--size", 12, "--out", folder, "--with-texts")
    return folder


def test_there_and_back(studio, batch, tmp_path):
    """Two annotators, each with a project of their own, do not agree on every third post."""
    tasks = json.loads((batch / "tasks.json").read_text())
    second = studio("POST", "/api/users", json={"email": PEOPLE[1], "username": "ben", "first_name": "Ben", "last_name": "B"})["id"]
    people = [studio("GET", "/api/current-user/whoami")["id"], second]
    for who in people:
        project, done = studio.project(batch)
        assert (done["task_count"], done["prediction_count"]) == (12, sum(bool(task["predictions"]) for task in tasks))
        assert studio("GET", f"/api/projects/{project}/next")["data"] == tasks[0]["data"]
        for place, number in enumerate(done["task_ids"]):
            choices = ["assault"] if who == second or place % 3 else ["none"]
            result = [{"from_name": QUESTION, "to_name": "text", "type": "choices", "value": {"choices": choices}}]
            studio("POST", f"/api/tasks/{number}/annotations", json={"result": result, "completed_by": who})
        studio.export(project, tmp_path / f"{who}.json")

    exports = [tmp_path / f"{who}.json" for who in people]
    run("agreement", *exports, "--batch", batch, "--out", tmp_path / "agreement", "--with-texts")
    found = json.loads((tmp_path / "agreement/agreement.json").read_text())
    assert found["annotators"] == {str(who): 12 for who in people}
    assert found["labels"]["assault"]["disputed"] == 4
    assert len((tmp_path / "agreement/disagreements.csv").read_text().splitlines()) == 5
    compared = found["anchoring"]["posts_shown"] + found["anchoring"]["posts_blind"]
    assert compared == sum(task["data"]["stratum"] != "random" for task in tasks)
    for path, times in ((exports[1], 12), (tmp_path / "agreement/labelled.jsonl", 8)):
        config = load_config(sources=[f"train={path}"])
        corpus = load_corpus(config.data, config.labels, seed=0)
        assert corpus.splits["train"].num_rows == 12
        assert sum(labels == ["assault"] for labels in corpus.splits["train"]["labels"]) == times


def test_posts_are_blurred_until_one_points_at_them(studio, batch, browser, tmp_path):
    project, _ = studio.project(batch)
    page = browser.new_page()
    page.set_default_timeout(1000 * WAIT)
    page.goto(f"{studio.address}/user/login/")
    page.fill("input[name=email]", PEOPLE[0])
    page.fill("input[name=password]", PASSWORD)
    page.click("button[type=submit]")
    page.wait_for_url(lambda url: "login" not in url)
    page.goto(f"{studio.address}/projects/{project}/data?labeling=1")  # what "Label All Tasks" opens
    page.wait_for_selector(".post")
    page.wait_for_function("getComputedStyle(document.querySelector('.post')).filter.startsWith('blur')")
    page.hover(".post")
    page.wait_for_function("getComputedStyle(document.querySelector('.post')).filter === 'none'")
    page.get_by_text("Definitions").click()
    page.get_by_text("assault: A disclosure of sexual contact").wait_for()
    for choice in page.get_by_role("checkbox", checked=True).all():  # of the prediction
        choice.uncheck()
    page.get_by_role("checkbox", name="none").check()
    page.get_by_test_id("bottombar-submit-button").click()
    deadline = time.monotonic() + WAIT
    while not studio("GET", f"/api/projects/{project}")["num_tasks_with_annotations"]:
        assert time.monotonic() < deadline
        time.sleep(1)
    studio.export(project, tmp_path / "export.json")
    config = load_config(sources=[f"train={tmp_path / 'export.json'}"])
    assert load_corpus(config.data, config.labels, seed=0).splits["train"]["labels"] == [[]]
    page.close()
