"""What a scoring job leaves for programs: its log as JSON, and a file of figures for Prometheus' node exporter."""

import json
import stat
import time

import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from models import Classifier
from pipeline import log_lines, terminal
from pipeline.commands import score
from pipeline.errors import IncompleteError
from pipeline.scoring.output import Output

SECRET = "zugzwang"
POSTS = [{"id": 1, "text": f"zaxa {SECRET}"}, {"id": 2, "text": None}, {"id": 3, "text": "lu"}, {"id": 4, "text": " "}]


@pytest.fixture(scope="module")
def saved(model: Classifier, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("model")
    model.save(folder / "model")
    return folder / "model"


@pytest.fixture
def cli(script, saved, tmp_path):
    def run(*arguments):
        return script(score.main, *arguments, "--model", saved, "--workers", 1, "--out", tmp_path / "out")

    return run


def lines_of(done) -> list[dict]:
    lines = [json.loads(line) for line in done.err.splitlines()]
    assert all(next(iter(line)) == "time" and {"event", "level"} <= line.keys() for line in lines)
    assert all(time.strptime(line["time"][:19], "%Y-%m-%dT%H:%M:%S") for line in lines)
    return lines


def test_each_line_of_the_log_is_a_json_object_without_text(cli, jsonl, tmp_path, monkeypatch):
    monkeypatch.setattr(terminal, "LOG_EVERY", 0)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text(f"id;text\n7;{SECRET}\n")
    jsonl("in/b.jsonl", POSTS)
    done = cli(tmp_path / "in", "--log-format", "json")
    lines = lines_of(done)
    assert [line["event"] for line in lines] == ["note", "progress", "progress", "finished", "ended"]
    assert (lines[0]["file"], lines[0]["message"]) == (str(tmp_path / "in" / "a.csv"), "read separated by ';'")
    assert lines[1].keys() == {"time", "event", "level", "posts", "share", "posts_per_second", "seconds_left"}
    counts = {"read": 5, "scored": 3, "rejected": 2, "reasons": {"text is null": 1, "text is empty": 1}}
    assert lines[-2].items() >= counts.items()
    assert len(lines[-2]["model"]) == 64
    assert (done.code, lines[-1]["exit_code"], lines[-1]["level"]) == (0, 0, "info")
    assert "read 5 posts" in done.out
    assert SECRET not in done.err + done.out


@pytest.mark.parametrize(
    ("arguments", "code", "events", "said"),
    [
        (["missing.jsonl"], 2, ["error", "ended"], "missing.jsonl"),
        (["missing\n.jsonl"], 2, ["error", "ended"], "missing\\n.jsonl"),
        (["posts.jsonl", "--max-chars", "no"], 2, ["error", "ended"], "--max-chars"),
        (["posts.jsonl", "--max-reject-rate", "0.1"], 3, ["finished", "error", "ended"], "50.0%"),
    ],
)
def test_errors_are_json_too(cli, jsonl, tmp_path, monkeypatch, arguments, code, events, said):
    monkeypatch.chdir(tmp_path)
    jsonl("posts.jsonl", POSTS)
    done = cli(*arguments, "--log-format=json")
    lines = lines_of(done)
    assert (done.code, [line["event"] for line in lines if line["event"] != "model"]) == (code, events)
    (error,) = [line for line in lines if line["event"] == "error"]
    assert error["level"] == "error"
    assert said in error["message"]
    assert lines[-1]["exit_code"] == code


def test_mistake_of_ours_shows_where_but_not_what(script):
    def fail(log_format: str = "text") -> None:
        raise ValueError(SECRET)

    done = script(fail, "--log-format", "json")
    bug, ended = lines_of(done)
    assert (done.code, ended["exit_code"], bug["level"], bug["error"]) == (1, 1, "critical", "ValueError")
    assert "test_job_logs.py" in bug["place"]
    assert SECRET not in done.err


def test_lines_are_cut_where_they_end_however_they_are_written(capsys):
    with log_lines.as_wanted(["--log-format", "json"]):
        import sys

        for part in ("error: a", " b\n\nwarn", "ing: c\nstopped; run again\nanything {else}\n{", '"posts": 1}\n{no JSON'):
            sys.stderr.write(part)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    found = [(line["event"], line["level"], line.get("message")) for line in lines]
    assert found == [
        ("error", "error", "a b"),
        ("warning", "warning", "c"),
        ("stopped", "warning", "stopped; run again"),
        ("log", "info", "anything {else}"),
        ("progress", "info", None),
        ("log", "info", "{no JSON"),
    ]


def figures(path) -> dict[str, float]:
    text = path.read_text()
    families = list(text_string_to_metric_families(text))  # as node exporter reads it
    assert [family.samples for family in openmetrics.text_string_to_metric_families(text)] == [family.samples for family in families]
    samples = [sample for family in families for sample in family.samples]
    assert {sample.labels["task"] for sample in samples} == {path.stem}
    more = [[value for name, value in sample.labels.items() if name != "task"] for sample in samples]
    names = [" ".join([sample.name.removeprefix("disclosure_job_"), *values]) for sample, values in zip(samples, more, strict=True)]
    return dict(zip(names, [sample.value for sample in samples], strict=True))


def test_figures_of_a_job_are_written_at_its_end(cli, jsonl, tmp_path):
    path = tmp_path / "night.prom"
    done = cli(jsonl("posts.jsonl", POSTS), "--metrics-file", path)
    found = figures(path)
    digest = json.loads((tmp_path / "out" / "manifest.json").read_text())["model"]
    assert time.time() - 600 < found.pop("completion_timestamp_seconds") <= time.time()
    assert 0 < found.pop("duration_seconds") < 600
    counts = {"posts_read": 4, "posts_scored": 2, "posts_rejected text is null": 1, "posts_rejected text is empty": 1}
    assert found == {**counts, f"model_info {digest}": 1, "exit_code": done.code}
    assert stat.S_IMODE(path.stat().st_mode) == 0o644  # node exporter runs as somebody else
    assert SECRET not in path.read_text()
    assert [other.name for other in tmp_path.iterdir() if other.suffix == ".unfinished"] == []


@pytest.mark.parametrize(
    ("error", "code"), [(None, 3), (IncompleteError("half"), 4), (KeyboardInterrupt(), 130), (SystemExit(143), 143), (KeyError(), 1)]
)
def test_figures_tell_how_a_job_ended_that_did_not_end_well(cli, jsonl, tmp_path, monkeypatch, error, code):
    def fail(*_: object, **__: object) -> None:
        raise error

    if error:
        monkeypatch.setattr("pipeline.scoring.score_files", fail)
    path = tmp_path / "night.prom"
    done = cli(jsonl("posts.jsonl", POSTS), "--metrics-file", path, "--max-reject-rate", 0.1, "--log-format", "json")
    found = figures(path)
    assert (done.code, found["exit_code"]) == (code, code)
    assert ("posts_read" in found) == (code == 3)


def test_job_that_finds_another_at_work_leaves_its_figures_alone(cli, jsonl, tmp_path):
    path = tmp_path / "night.prom"
    posts = jsonl("posts.jsonl", POSTS)
    assert cli(posts, "--metrics-file", path).code == 0
    before = path.read_bytes()
    with Output(tmp_path / "out").locked():
        assert cli(posts, "--metrics-file", path).code == 6
    assert path.read_bytes() == before


def test_file_of_figures_that_cannot_be_written_is_refused_before_any_work(cli, jsonl, tmp_path):
    posts = jsonl("posts.jsonl", POSTS)
    (tmp_path / "folder.prom").mkdir()
    for name, said in (("night.txt", "must end with .prom"), ("missing/night.prom", "not a folder"), ("folder.prom", "not a file")):
        done = cli(posts, "--metrics-file", tmp_path / name)
        assert (done.code, done.err.count("\n"), said in done.err) == (2, 1, True)
    assert not (tmp_path / "out").exists()
    assert cli("--text", "x", "--metrics-file", tmp_path / "night.prom").code == 2


def test_file_of_figures_that_is_lost_makes_a_good_job_incomplete(cli, jsonl, tmp_path, monkeypatch):
    posts, path = jsonl("posts.jsonl", POSTS), tmp_path / "night.prom"
    monkeypatch.setattr("pipeline.scoring.job_metrics.JobMetrics._text", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
    done = cli(posts, "--metrics-file", path)
    assert (done.code, path.exists()) == (4, False)
    assert done.err.endswith("cannot be written (No space left); the scores are complete\n")
    assert (tmp_path / "out" / "manifest.json").exists()
