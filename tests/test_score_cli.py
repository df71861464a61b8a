"""`score.py` as its users run it: a process, its exit code and what it prints."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).parent.parent
OUTPUT = ["manifest.json", "part-00000.parquet", "rejects.jsonl"]


def run(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, ROOT / "score.py", *map(str, arguments)], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory) -> Path:
    """A saved model beside posts."""
    folder = tmp_path_factory.mktemp("cli")
    model.save(folder / "runs" / "model")
    rows = [{"id": 1, "text": "zaxa bade"}, {"id": 2, "text": None}, {"id": 3, "text": "wiku lumane"}, {"id": 4, "text": ""}]
    (folder / "posts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def scored(folder) -> subprocess.CompletedProcess[str]:
    return run("posts.jsonl", cwd=folder)


def test_scores_prints_a_summary_and_is_quiet_in_a_log(scored, folder, model):
    assert (scored.returncode, scored.stderr) == (0, "")
    summary, *counts, where = scored.stdout.splitlines()
    assert re.fullmatch(r"read 4 posts, scored 2, rejected 2, [\d,]+ posts/s", summary)
    assert counts[:2] == ["  rejected, text is empty: 1", "  rejected, text is null: 1"]
    assert [re.fullmatch(r"  (\w+): [012] \([\d.]+%\)", line)[1] for line in counts[2:]] == model.labels
    assert where == "scores   scores"
    assert sorted(path.name for path in (folder / "scores").iterdir()) == OUTPUT
    assert pq.read_table(folder / "scores" / "part-00000.parquet")["id"].to_pylist() == ["1", "3"]


def test_options_name_model_folder_and_columns(folder, tmp_path):
    (tmp_path / "in.csv").write_text("key,body\n7,wiku\n")
    options = ["--model", folder / "runs" / "model", "--out", "there", "--id-column", "key", "--text-column", "body"]
    assert run("in.csv", *options, cwd=tmp_path).returncode == 0
    assert pq.read_table(tmp_path / "there" / "part-00000.parquet")["id"].to_pylist() == ["7"]


def test_help_names_each_option(tmp_path):
    done = run("--help", cwd=tmp_path)
    assert done.returncode == 0
    for option in ("INPUT...", "--model DIR", "--out", "--id-column", "--text-column"):
        assert option in done.stdout


def damaged(folder: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "damaged"
    copy.mkdir()
    for path in (folder / "runs" / "model").iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    weights = copy / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    return copy


@pytest.mark.parametrize("mistake", ["input", "model", "out"])
def test_mistake_is_one_line_exit_code_2_and_nothing_written(folder, tmp_path, mistake):
    arguments = [folder / "posts.jsonl", "--model", folder / "runs" / "model", "--out", tmp_path / "out"]
    if mistake == "input":
        named = arguments[0] = tmp_path / "nowhere.jsonl"
    elif mistake == "model":
        named = arguments[2] = damaged(folder, tmp_path)
    else:
        named = arguments[4] = folder  # holds the model and the posts
    before = sorted(tmp_path.rglob("*")), sorted(folder.rglob("*"))
    done = run(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"error: .+\n", done.stderr)
    assert str(named) in done.stderr
    assert (sorted(tmp_path.rglob("*")), sorted(folder.rglob("*"))) == before


@pytest.mark.parametrize("arguments", [[], ["in.jsonl", "--modle", "x"]])
def test_wrong_usage_is_exit_code_2_without_traceback(tmp_path, arguments):
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "--help" in done.stderr


LOADED = """
import runpy, sys
sys.argv = sys.argv[1:]
sys.path.insert(0, sys.argv[0].rpartition("/")[0])
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    print("LOADED", *sorted({name.partition(".")[0] for name in sys.modules}))
"""


def loaded(*arguments: object, cwd: Path) -> set[str]:
    """Packages that a run of score.py imports."""
    command = [sys.executable, "-c", LOADED, ROOT / "score.py", *arguments]
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, check=True)
    return set(done.stdout.rpartition("LOADED")[2].split())


def test_a_run_over_its_own_output_repeats_it_and_imports_nothing_that_only_training_needs(scored, folder):
    first = (folder / "scores" / "part-00000.parquet").read_bytes()
    packages = loaded("posts.jsonl", cwd=folder)
    assert {"spacy", "pyarrow"} <= packages
    assert not packages & {"mlflow", "datasets", "matplotlib", "torch"}
    assert (folder / "scores" / "part-00000.parquet").read_bytes() == first
    assert sorted(path.name for path in (folder / "scores").iterdir()) == OUTPUT
    assert sorted(path.name for path in folder.iterdir()) == ["posts.jsonl", "runs", "scores"]


def test_help_imports_next_to_nothing(tmp_path):
    packages = loaded("--help", cwd=tmp_path)
    assert "typer" in packages
    assert not packages & {"numpy", "spacy", "sklearn", "pyarrow", "models"}


COUNT = "from pipeline import terminal\nwith terminal.counter('scoring') as count: count(4096)"
STEP = "from pipeline import terminal\nwith terminal.steps() as step: step('reading the data')"


def test_a_log_gets_plain_lines_for_steps_and_none_for_counts():
    for code, expected in ((COUNT, ""), (STEP, "reading the data\n")):
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
        assert (done.stdout, done.stderr) == ("", expected)


@pytest.mark.parametrize(("code", "shown"), [(COUNT, ["scoring", "4096", "posts"]), (STEP, ["reading the data …"])])
def test_a_terminal_shows_progress(code, shown):
    master, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, stderr=terminal, check=True)
    os.close(terminal)
    seen = os.read(master, 100_000).decode()
    os.close(master)
    assert all(part in seen for part in shown)
