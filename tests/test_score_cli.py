"""`score.py` as its users run it: what it prints, its exit codes, and that no failure damages an earlier output."""

import gzip
import io
import json
import os
import pty
import random
import re
import resource
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Done, Script

from models import Classifier
from models.storage import RELEASED, read_description
from pipeline import terminal
from pipeline.commands.again import redecide
from pipeline.commands.score import main
from pipeline.config import Tracking
from pipeline.model_location import model_folder
from pipeline.scoring import Progress, score_files
from pipeline.scoring.output import Output

ROOT = Path(__file__).parent.parent
POSTS = [{"id": 1, "text": "zaxa bade"}, {"id": 2, "text": None}, {"id": 3, "text": "wiku lumane"}, {"id": 4, "text": ""}]


def peak(*arguments: object, cwd: Path) -> tuple[Done, int]:
    """Run score.py in a process of its own, and return the result and its peak memory in bytes."""
    code = "import os, sys\n_, end = os.wait4(os.spawnv(os.P_NOWAIT, sys.executable, sys.argv[1:]), 0)[:2]\nimport resource\n"
    code += "print('PEAK', resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)\nsys.exit(os.waitstatus_to_exitcode(end))"
    command = [sys.executable, "-c", code, sys.executable, ROOT / "score.py", *arguments]
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, check=False)
    printed, _, size = done.stdout.rpartition("PEAK")
    return Done(done.returncode, printed, done.stderr), int(size)


@pytest.fixture
def cli(folder, script) -> Script:
    """``cli("in.jsonl", "--json")`` runs score.py in this process with the saved model, or with the released one if `model` is None."""

    def call(*arguments: object, model: Path | None = folder / "runs" / "model") -> Done:
        return script(main, *(["--model", model] if model else []), "--workers", 1, *arguments)

    return call


def write(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def ids(out: Path) -> list[str]:
    """Return the ids of all scored posts, in the order of the manifest."""
    files = json.loads((out / "manifest.json").read_text())["files"]
    return [found for file in files.values() for part in file["parts"] for found in pq.read_table(out / part)["id"].to_pylist()]


def contents(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory) -> Path:
    """A folder with a saved model and posts."""
    folder = tmp_path_factory.mktemp("cli")
    model.save(folder / "runs" / "model")
    write(folder / "posts.jsonl", POSTS)
    return folder


@pytest.fixture(scope="module")
def usual(folder) -> tuple[Done, int]:
    """A run of score.py in a process of its own, and its peak memory."""
    return peak("posts.jsonl", "--model", "runs/model", cwd=folder)


@pytest.fixture(scope="module")
def scored(usual) -> Done:
    return usual[0]


def test_scores_prints_a_summary_and_is_quiet_in_a_log(scored, folder, model):
    assert (scored.code, scored.err) == (0, "")
    summary, *counts, where = scored.out.splitlines()
    assert summary == "read 4 posts, scored 2, rejected 2", "so few posts say nothing about the speed"
    assert counts[:3] == ["  rejected, text is empty: 1", "  rejected, text is null: 1", "  see scores/rejects.jsonl"]
    assert [re.fullmatch(r"  (\w+): [012] \([\d.]+%\)", line)[1] for line in counts[3:]] == model.labels
    assert where == "scores   scores"
    assert ids(folder / "scores") == ["1", "3"]
    assert sorted(path.name for path in folder.iterdir()) == ["posts.jsonl", "runs", "scores"]


def test_library_does_the_same(scored, folder, tmp_path):
    told = []
    summary = score_files([folder / "posts.jsonl"], folder / "runs" / "model", tmp_path / "out", progress=told.append)
    assert (summary.read, summary.rejected, told[-1].posts) == (4, 2, 4)
    (part,), (other,) = (list(out.glob("part-*")) for out in (tmp_path / "out", folder / "scores"))
    assert part.read_bytes() == other.read_bytes()


USES = r"model    released with version [\d.]+ \({}\), trained on English tweets and invented posts; see {}/README\.md\n"


@pytest.mark.slow
def test_without_a_model_named_it_is_the_released_one_and_that_is_said_once(tmp_path):
    inputs = [write(tmp_path / f"{name}.jsonl", [post | {"id": f"{name}{post['id']}"} for post in POSTS]) for name in "ab"]
    done, _ = peak(*inputs, "--workers", 2, cwd=tmp_path)  # far from the code
    digest, description = read_description(RELEASED)
    assert done.code == 0
    assert re.fullmatch(USES.format(digest[:12], RELEASED), done.err)
    assert json.loads((tmp_path / "scores" / "manifest.json").read_text())["model"] == digest
    table = pq.read_table(next((tmp_path / "scores").glob("part-*")))
    assert set(table["model"].to_pylist()) == {digest}
    assert [f"prob_{label['name']}" for label in description["config"]["labels"]["labels"]] == table.column_names[1:-2]


def test_released_model_is_named_as_seen_from_here_and_in_json_by_the_manifest_alone(folder, cli, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    digest, _ = read_description(RELEASED)
    assert re.fullmatch(USES.format(digest[:12], "models/released"), cli(folder / "posts.jsonl", "--out", tmp_path / "out", model=None).err)
    done = cli(folder / "posts.jsonl", "--json", "--out", tmp_path / "more", model=None)
    assert (done.code, done.err, json.loads(done.out)["model"]) == (0, "", digest)


@pytest.mark.parametrize("named", [True, False])
def test_released_is_a_name_unless_a_model_is_called_so(folder, cli, tmp_path, monkeypatch, model, named):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "released").mkdir()
    if named:
        model.save(tmp_path / "released")
    done = cli(folder / "posts.jsonl", "--json", model="released")
    assert (done.code, json.loads(done.out)["model"] == read_description(RELEASED)[0]) == (0, not named)


@pytest.mark.parametrize("arguments", [["--text", "a", "--threshold", "x=0.3"], ["posts.jsonl", "--threshold", "x=0.3"], ["posts.jsonl"]])
def test_an_old_model_is_warned_of_once_work_begins_and_not_before_an_error_of_usage(folder, cli, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(folder)
    monkeypatch.setattr("models.text.NORMALISER", 99)
    monkeypatch.setattr(terminal, "_said", set())
    done = cli(*arguments, *([] if "--text" in arguments else ["--out", tmp_path / "out"]))
    if len(arguments) == 1:
        assert (done.code, re.fullmatch(r"warning: .*version 99.*\n", done.err) is not None) == (0, True)
    else:
        assert_one_line(done, 2, "the model has no such label")


def test_library_takes_the_released_model_too(folder, tmp_path, capsys):
    assert score_files([folder / "posts.jsonl"], out=tmp_path / "out").model == read_description(RELEASED)[0]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_missing_released_model_is_exit_code_2_and_nothing_is_done(folder, cli, tmp_path, monkeypatch, form):
    monkeypatch.setattr("models.storage.RELEASED", tmp_path / "released")
    done = cli(folder / "posts.jsonl", "--out", tmp_path / "out", *form, model=None)
    assert_one_line(done, 2, f"{tmp_path}/released: the released model is missing", "--model DIR")
    assert not (tmp_path / "out").exists()


def test_second_run_says_what_stood_already(folder, cli, tmp_path):
    assert "already done" not in cli(folder / "posts.jsonl", "--out", tmp_path / "out").out
    assert "  1 of 1 shards were already done\n" in cli(folder / "posts.jsonl", "--out", tmp_path / "out").out


def test_the_speed_is_said_only_if_this_run_scored_posts(folder, cli, script, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.commands.score._TIMED", 1)
    first, second = (cli(folder / "posts.jsonl", "--out", tmp_path / "out").out.splitlines()[0] for _ in range(2))
    assert re.fullmatch(r"read 4 posts, scored 2, rejected 2, [\d,]+ posts/s per worker", first)
    assert second == "read 4 posts, scored 2, rejected 2"
    again = script(redecide, tmp_path / "out", "--out", tmp_path / "other", "--model", folder / "runs/model", "--abstain", "0.3:0.7")
    assert again.out.splitlines()[0] == second


def test_other_options_are_said_before_the_parts_are_replaced(folder, model, cli, script, tmp_path):
    posts, out = folder / "posts.jsonl", tmp_path / "out"
    other = ["--format", "csv", "--threshold", f"{model.labels[0]}=0.3"]
    assert [cli(posts, "--out", out).err for _ in range(2)] == ["", ""]
    told = f"note     {out}: the options differ from the last time (format, thresholds); all parts are written again\n"
    assert [cli(posts, "--out", out, *other).err for _ in range(2)] == [told, ""]
    assert [path.suffix for path in out.glob("part-*")] == [".csv"]
    note = json.loads(cli(posts, "--out", out, "--explain", "--json").err.splitlines()[0])
    assert note == {"file": str(out), "note": told.partition(": ")[2].strip().replace("(format", "(explain, format")}
    assert cli(posts, "--out", out, *other, "--start-over").err == ""
    (out / "manifest.json").unlink()  # as if that run had been interrupted
    assert cli(posts, "--out", out).err == told.replace(" (format, thresholds)", "")


def test_decisions_that_replace_others_are_said(folder, cli, script, tmp_path):
    assert cli(folder / "posts.jsonl", "--out", tmp_path / "out").code == 0
    arguments = [tmp_path / "out", "--out", tmp_path / "new", "--model", folder / "runs/model", "--abstain"]
    assert [script(redecide, *arguments, "0.3:0.7").err for _ in range(2)] == ["", ""]
    told = f"note     {tmp_path / 'new'}: the options differ from the last time (abstain); all parts are written again\n"
    assert script(redecide, *arguments, "0.2:0.7").err == told


def test_options_name_columns_and_what_goes_along(cli, tmp_path):
    (tmp_path / "in.csv").write_text("key,body,lang,place\n7,wiku\n8,wiku,en,here\n9,wiku baba zaxa,en,there\n")
    options = ["--id-column", "key", "--text-column", "body", "--keep", "place", "--keep", "lang", "--format", "jsonl"]
    options += ["--max-chars", 4, "--over-long", "truncate", "--abstain", "0:1", "--out", tmp_path / "out"]
    done = cli(tmp_path / "in.csv", *options)
    assert (done.code, done.err) == (0, "")
    assert "  for review: 2 (100.0%)\n" in done.out
    (part,) = (tmp_path / "out").glob("part-*.jsonl")
    first, second = map(json.loads, part.read_text().splitlines())
    assert list(first) == ["id", "place", "lang", "prob_alpha", "prob_beta", "labels", "review", "model"]
    assert (first["id"], first["place"], first["lang"], first["review"]) == ("8", "here", "en", ["alpha", "beta"])
    assert (second["id"], second["prob_alpha"]) == ("9", first["prob_alpha"])  # cut to the same text


@pytest.mark.slow
def test_operating_point_decides_about_files_and_about_a_sentence(folder, cli, model, posts, tmp_path):
    source = write(tmp_path / "posts.jsonl", [{"id": k, "text": text} for k, text in enumerate(posts.texts[:40])])
    given = {}
    for point in ("balanced", "cautious", "sensitive"):
        done = cli(source, "--operating-point", point, "--out", tmp_path / "out", "--json")
        manifest = json.loads(done.out)
        assert manifest["labels"] == dict(zip(model.labels, model.predict(posts.texts[:40], point).sum(axis=0).tolist(), strict=True))
        given[point] = sum(manifest["labels"].values())
        answer = json.loads(cli("--text", posts.texts[0], "--operating-point", point, "--json").out)
        assert answer["labels"] == [label for label in model.label([posts.texts[0]], point)["labels"][0].split(", ") if label]
    assert given["cautious"] <= given["balanced"] < given["sensitive"]


def test_operating_point_that_the_model_lacks_is_exit_code_2(folder, cli, tmp_path):
    for arguments in (["--text", "x"], [folder / "posts.jsonl", "--out", tmp_path / "out"]):
        done = cli(*arguments, "--operating-point", "eager")
        assert done.code == 2
        assert "choose one of balanced, cautious, sensitive" in done.err
    old, description = tmp_path / "old", read_description(folder / "runs" / "model")[1]
    without = {name: value for name, value in description.items() if name != "operating_points"}
    loaded = Classifier.load(folder / "runs" / "model")
    loaded.measured_points_, loaded.description_ = {}, without
    del loaded.digest_
    loaded.save(old)
    for arguments in (["--text", "x"], [folder / "posts.jsonl", "--out", tmp_path / "out"]):
        done = cli(*arguments, "--operating-point", "cautious", model=old)
        assert (done.code, done.out) == (2, "")
        assert done.err == "error: operating point 'cautious': the model has only balanced; choose one of these, or train it again\n"
    assert not (tmp_path / "out").exists()
    assert cli(folder / "posts.jsonl", "--out", tmp_path / "out", "--operating-point", "balanced", model=old).code == 0


def test_workers_explain_and_decide_by_the_thresholds_given(folder, cli, tmp_path, monkeypatch):
    monkeypatch.setattr(terminal, "LOG_EVERY", 600)  # however slow this machine is now
    inputs = [write(tmp_path / f"{name}.jsonl", POSTS) for name in "ab"]
    options = ["--explain", "--threshold", "alpha=0", "--threshold", "beta=1", "--format", "jsonl", "--workers", 2]
    done = cli(*inputs, *options, "--out", tmp_path / "out", "--json")
    assert (done.code, done.err) == (0, "")
    manifest = json.loads(done.out)
    assert (manifest["options"]["explain"], manifest["options"]["thresholds"]) == (True, {"alpha": 0.0, "beta": 1.0})
    assert manifest["labels"] == {"alpha": 4, "beta": 0}
    for part in (tmp_path / "out").glob("part-*"):
        first, second = map(json.loads, part.read_text().splitlines())
        assert first["explanation"][0].items() >= {"label": "alpha", "word": "zaxa"}.items()
        assert {reason["label"] for reason in first["explanation"] + second["explanation"]} == {"alpha"}


def test_standard_input_is_jsonl(folder, cli, tmp_path, monkeypatch):
    piped, into = os.pipe()
    with os.fdopen(into, "wb") as pipe:
        pipe.write((folder / "posts.jsonl").read_bytes())
    with os.fdopen(piped) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        done = cli("-", "--out", tmp_path / "piped")
    assert (done.code, done.err) == (0, "")
    assert ids(tmp_path / "piped") == ["1", "3"]


def test_json_is_the_manifest_alone(folder, cli, tmp_path):
    done = cli(folder / "posts.jsonl", "--json", "--out", tmp_path / "out")
    assert (done.code, done.err) == (0, "")
    assert done.out == (tmp_path / "out" / "manifest.json").read_text()
    manifest = json.loads(done.out)
    assert (manifest["read"], manifest["scored"], manifest["reasons"]) == (4, 2, {"text is null": 1, "text is empty": 1})


def test_what_files_were_taken_for_is_said_once_for_all_alike(folder, cli, tmp_path):
    names = [tmp_path / "in" / f"{number}.csv" for number in range(5)]
    names[0].parent.mkdir()
    for number, name in enumerate(names):
        name.write_text(f"id;text\n{number};x\n")
    (tmp_path / "in" / "latin.csv").write_text("id,text\n9.20E+17,caf\xe9\n", encoding="cp1252")
    done = cli(tmp_path / "in", "--out", tmp_path / "out")
    assert (done.code, done.err.splitlines()) == (
        0,
        [
            *(f"note     {name}: read separated by ';'" for name in names[:3]),
            f"note     {tmp_path}/in/latin.csv: read in Windows-1252",
            "note     and 2 more: read separated by ';'",
            "note     posts whose id a spreadsheet seems to have rounded, such as 9.20E+17: 1; export ids as text",
        ],
    )
    done = cli(tmp_path / "in", "--json", "--out", tmp_path / "out")
    assert json.loads(done.err.splitlines()[0]) == {"file": str(names[0]), "note": "read separated by ';'"}
    assert json.loads(done.out)["rounded_ids"] == 1


def test_a_stream_may_begin_with_a_notice_and_be_an_array(folder, cli, tmp_path, monkeypatch):
    for number, content in enumerate([b'{"delete": {}}\n{"id": 1, "text": "x"}\n', b'[{"id": 1, "text": "x"},\n{"delete": {}}]']):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        done = cli("-", "--out", tmp_path / f"{number}", "--keep", "lang")
        assert (done.code, done.out.splitlines()[1]) == (0, "  rejected, is a notice (delete), not a post: 1")


@pytest.mark.slow
def test_a_terminal_without_the_letters_of_a_path_gets_no_traceback(folder, tmp_path):
    for arguments, code in (["posts.jsonl", "--out", tmp_path / "out_\xe9"], 0), (["caf\xe9.jsonl"], 2):
        command = [sys.executable, ROOT / "score.py", "--model", "runs/model", *arguments]
        environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, "Traceback" in done.stderr, "\\xe9" in done.stdout + done.stderr) == (code, False, True)


def test_a_log_gets_a_line_now_and_then(folder, cli, tmp_path, monkeypatch):
    inputs = [write(tmp_path / f"{name}.jsonl", POSTS) for name in "ab"]
    monkeypatch.setattr(terminal, "LOG_EVERY", 0)
    lines = cli(*inputs, "--out", tmp_path / "out").err.splitlines()
    assert lines.pop() == "note     posts that share an id with an earlier one: at least 2"
    assert len(lines) == 2
    assert re.fullmatch(r"50\.0%, 4 posts, [\d,]+ posts/s", lines[0])
    assert re.fullmatch(r"100\.0%, 8 posts, [\d,]+ posts/s, 0 s left", lines[1])
    done = cli(*inputs, "--json", "--out", tmp_path / "more")
    first, second = map(json.loads, done.err.splitlines())
    assert set(first) == {"posts", "share", "posts_per_second", "seconds_left"}
    assert (first["posts"], first["share"], second["posts"], second["share"], second["seconds_left"]) == (4, 0.5, 8, 1, 0)
    json.loads(done.out)


def test_time_left_counts_only_what_this_run_did(monkeypatch, capsys):
    clock = SimpleNamespace(now=100.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(terminal, "time", clock)
    monkeypatch.setattr(terminal, "LOG_EVERY", 15)
    with terminal.job_progress(as_json=False) as tell:
        for seconds, state in (
            (10, (0, 500, 1000)),
            (10, (400, 600, 1000)),
            (10, (600, 600, 1000)),
            (10, (800, 610, 4000)),
            (20, (1200, 9, 0)),
        ):
            clock.now += seconds
            tell(Progress(*state))
    expected = ["60.0%, 400 posts, 20 posts/s, 40 s left", "15.2%, 800 posts, 20 posts/s, 15 min left", "1,200 posts, 20 posts/s"]
    assert capsys.readouterr().err.splitlines() == expected


def show_progress() -> None:
    with terminal.job_progress(as_json=False) as tell:
        tell(Progress(4096, 30, 40))


def show_step() -> None:
    with terminal.steps() as step:
        step("reading the data")


@pytest.mark.parametrize(("show", "expected"), [(show_progress, ""), (show_step, "reading the data\n")])
def test_a_log_gets_plain_lines_for_steps_and_none_for_a_short_job(capsys, show, expected):
    show()
    assert capsys.readouterr() == ("", expected)


@pytest.mark.parametrize(("show", "shown"), [(show_progress, ["scoring", "75.0%, 4,096 posts"]), (show_step, ["reading the data …"])])
def test_a_terminal_shows_progress(monkeypatch, show, shown):
    screen, inner = pty.openpty()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    with os.fdopen(inner, "w") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        show()
    seen = b""
    with suppress(OSError):  # EIO, as nobody can write to it any more
        while piece := os.read(screen, 100_000):  # it may come in pieces
            seen += piece
    os.close(screen)
    assert all(part in seen.decode() for part in shown)


# Exit codes


def test_help_names_each_option(cli):
    done = cli("--help", model=None)
    assert done.code == 0
    shown = " ".join(done.out.split())
    for option in (
        *("INPUT...", "--model MODEL", "--out", "--id-column", "--text-column", "--keep COLUMN", "--format", "--abstain LOW:HIGH"),
        *("--threshold LABEL=PROBABILITY", "--explain"),
        *("--max-chars", "--over-long", "--max-reject-rate", "--workers", "--start-over", "--json", "--forget IDS", "Exit codes: 0"),
    ):
        assert option in shown
    assert "writes words of posts" in shown
    assert "[default: released]" in shown


@pytest.mark.parametrize("arguments", [[], ["in.jsonl", "--modle", "x"], ["in.jsonl", "--format", "xml"], ["in.jsonl", "--workers", "0"]])
def test_wrong_usage_is_exit_code_2_without_traceback(cli, arguments):
    done = cli(*arguments, model=None)
    assert (done.code, done.out) == (2, "")
    assert re.fullmatch("error: .+\n", done.err)


@pytest.mark.parametrize(("rate", "code"), [(0.49, 3), (0.5, 0), (0, 3), (1, 0)])
def test_too_many_rejects_are_exit_code_3_and_the_output_stands(folder, cli, tmp_path, rate, code):
    done = cli(folder / "posts.jsonl", "--out", tmp_path / "out", "--max-reject-rate", rate)
    assert done.code == code
    expected = f"error: 50.0% of the posts were rejected, more than --max-reject-rate {float(rate)}: see {tmp_path}/out/rejects.jsonl\n"
    assert done.err == (expected if code else "")
    assert done.out.startswith("read 4 posts, scored 2, rejected 2")
    assert ids(tmp_path / "out") == ["1", "3"]


GOOD = b'{"id": "1", "text": "zaxa bade"}\n'
NOT_WHAT_IT_SAYS = {
    "array of arrays": b"[[" + GOOD * 2 + b"]]",
    "objects without newlines": GOOD.strip() * 30,
    "strings": b'["zaxa", "bade"]',
    "other lines": b'id: 1, text: "zaxa"\n' * 4,
    "lone CRs after the first line": GOOD * 2 + GOOD.replace(b"\n", b"\r") * 30 + b"\n" + GOOD * 2,
}


@pytest.mark.parametrize("content", NOT_WHAT_IT_SAYS.values(), ids=NOT_WHAT_IT_SAYS)
def test_file_that_is_mostly_rejected_is_exit_code_3_however_many_others_there_are(cli, tmp_path, content):
    (tmp_path / "odd.jsonl").write_bytes(content)
    (tmp_path / "good.jsonl").write_bytes(GOOD * 300)
    done = cli(tmp_path / "good.jsonl", tmp_path / "odd.jsonl", "--out", tmp_path / "out")
    assert done.code == 3
    told = rf"error: {tmp_path}/odd.jsonl: \d+\.\d% of it was rejected, more than --max-reject-rate 0.5: see .*"
    assert re.fullmatch(told, done.err.splitlines()[-1])
    assert len(ids(tmp_path / "out")) >= 300
    assert cli(tmp_path / "good.jsonl", tmp_path / "odd.jsonl", "--out", tmp_path / "out", "--max-reject-rate", 1).code == 0


def test_each_file_with_too_many_rejects_is_told(cli, tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.jsonl").write_bytes(b"oops\n")
    done = cli(tmp_path / "a.jsonl", tmp_path / "b.jsonl", "--out", tmp_path / "out")
    assert done.code == 3
    assert [line.partition(" of ")[0] for line in done.err.splitlines()] == [
        f"also: {tmp_path}/a.jsonl: 100.0%",
        f"also: {tmp_path}/b.jsonl: 100.0%",
        "error: 100.0%",
    ]


@pytest.fixture
def earlier(cli, tmp_path) -> Path:
    """The complete output for good.jsonl."""
    assert cli(write(tmp_path / "good.jsonl", POSTS), "--out", tmp_path / "out").code == 0
    return tmp_path / "out"


def assert_one_line(done: Done, code: int, *parts: object) -> None:
    assert (done.code, done.out) == (code, "")
    assert re.fullmatch(r"error: .+\n", done.err)
    for part in parts:
        assert str(part) in done.err


def without_notes(done: Done) -> Done:
    return done._replace(err="".join(line for line in done.err.splitlines(keepends=True) if not line.startswith("note ")))


UNUSABLE = {
    "nowhere.jsonl": None,
    "column.csv": b"id,body\n1,x\n",
    "column.jsonl": b'{"id": 1, "words": "x"}\n',
    "header.csv": b"id,text,id\n1,x,2\n",
    "foreign.jsonl": '{"id": 1, "text": "слова"}\n'.encode("cp1251"),
    "packed.csv": b"PK\x03\x04",
    "notes.txt": b"x",
    "*.zst": None,
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_input_that_cannot_be_used_is_exit_code_2_and_nothing_is_done(earlier, cli, tmp_path, name):
    before = contents(earlier)
    if UNUSABLE[name] is not None:
        (tmp_path / name).write_bytes(UNUSABLE[name])
    assert_one_line(cli(tmp_path / "good.jsonl", tmp_path / name, "--out", earlier, "--format", "csv", "--start-over"), 2, name)
    assert contents(earlier) == before


@pytest.mark.parametrize(
    "mistake", ["--model", "--abstain", "--keep", "below a file", "a file", "too long", "something else", "other inputs"]
)
def test_other_mistakes_are_exit_code_2_and_nothing_is_done(earlier, cli, tmp_path, mistake):
    before = contents(earlier)
    arguments = {
        "--model": ["--model", tmp_path / "nowhere"],
        "--abstain": ["--abstain", "0.7"],
        "--keep": ["--keep", "labels"],
        "below a file": ["--out", tmp_path / "good.jsonl" / "out"],
        "a file": ["--out", tmp_path / "good.jsonl"],
        "too long": ["--out", tmp_path / ("x" * 300)],
        "something else": ["--out", tmp_path],
        "other inputs": [write(tmp_path / "other.jsonl", POSTS)],
    }[mistake]
    inputs = [] if mistake == "other inputs" else [tmp_path / "good.jsonl"]
    named = earlier if mistake == "other inputs" else arguments[1]
    assert_one_line(cli(*inputs, "--out", earlier, *arguments), 2, named)
    assert contents(earlier) == before


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--threshold", "alpha"], "--threshold alpha: must be LABEL=PROBABILITY"),
        (["--threshold", "=0.3"], "--threshold =0.3: must be"),
        (["--threshold", "alpha=x"], "--threshold alpha=x: must be"),
        (["--threshold", "alpha=1.5"], "--threshold alpha=1.5: must be LABEL=PROBABILITY, with a probability from 0 to 1"),
        (["--abstain", "0.7:0.3"], "--abstain 0.7:0.3: must be LOW:HIGH with 0 <= LOW"),
        (["--abstain", "x"], "--abstain x: must be LOW:HIGH"),
        (["--threshold", "gamma=0.3"], "'gamma': the model has no such label; choose one of alpha, beta"),
        (["--threshold", "alpha=0.3", "--threshold", "alpha=0.3"], "--threshold alpha=0.3: 'alpha' already has a threshold"),
        (["--explain", "--engine", "spark"], "explain cannot be used with Spark"),
    ],
)
def test_wrong_thresholds_and_explaining_on_spark_are_exit_code_2_and_nothing_is_done(folder, cli, tmp_path, arguments, told):
    assert_one_line(cli(folder / "posts.jsonl", "--out", tmp_path / "out", *arguments), 2, told)
    assert not (tmp_path / "out").exists()


def test_folder_that_another_job_holds_is_exit_code_6(earlier, cli, tmp_path):
    with Output(earlier).locked():
        assert_one_line(cli(tmp_path / "good.jsonl", "--out", earlier), 6, "another job is writing to it")


def test_empty_input_is_exit_code_5(earlier, cli, tmp_path):
    before = contents(earlier)
    (tmp_path / "good.jsonl").write_text("")
    assert_one_line(cli(tmp_path / "good.jsonl", "--out", earlier), 5, "good.jsonl", "no rows")
    assert contents(earlier) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_folder_that_may_not_be_written_is_exit_code_2(cli, tmp_path):
    (tmp_path / "shut").mkdir(mode=0o500)
    assert_one_line(cli(write(tmp_path / "in.jsonl", POSTS), "--out", tmp_path / "shut"), 2, "shut")


def test_damaged_model_is_exit_code_2(earlier, cli, folder, tmp_path):
    before = contents(earlier)
    copy = tmp_path / "damaged"
    copy.mkdir()
    for path in (folder / "runs" / "model").iterdir():
        (copy / path.name).write_bytes(path.read_bytes()[: -1 if path.suffix == ".safetensors" else None])
    done = cli(tmp_path / "good.jsonl", "--out", earlier, "--model", copy, "--format", "csv")
    assert_one_line(without_notes(done), 2, copy / "weights.safetensors")
    assert contents(earlier) == before


def damaged_parquet(path: Path) -> Path:
    """Write a Parquet file that is damaged in the middle and has an intact footer."""
    pq.write_table(pa.table({"id": list(map(str, range(20_000))), "text": [f"post {n}" for n in range(20_000)]}), path, compression="none")
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"\xff" * 2000)
    return path


GOOD_LINES = "".join(f'{{"id": {number}, "text": "{random.Random(number).randbytes(40).hex()}"}}\n' for number in range(1000)).encode()
DAMAGED = {
    "cut.jsonl.gz": gzip.compress(GOOD_LINES)[:-9],
    "cut.csv.gz": gzip.compress(b"id,text\n" + GOOD_LINES.translate(None, b'{"').replace(b"}", b""))[:30_000],
    "no.jsonl.gz": b"no gzip",
    "no.jsonl.zst": b"no zstd",
    "quote.csv": b'id,text\n1,x\n2,"never closed\n3,y\n4,z\n',
    "cut.parquet": b"PAR1 and no more",
    "midway.parquet": None,
}


def test_bad_files_of_every_kind_are_skipped_if_asked_for_each_with_a_line_and_exit_code_4(cli, tmp_path):
    given = {name: content for name, content in {**UNUSABLE, **DAMAGED}.items() if "*" not in name and name != "midway.parquet"}
    for name, content in given.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
    good = write(tmp_path / "good.jsonl", POSTS)
    inputs = [*(tmp_path / name for name in given), good]
    done = cli(*inputs, "--out", tmp_path / "out", "--on-bad-file", "skip")
    lines = done.err.splitlines()
    assert (done.code, done.out, len(lines)) == (4, "", len(given))
    assert all(line.startswith("also: ") for line in lines[:-1])
    assert lines[-1].startswith("error: ")
    assert "found ;" not in done.err
    for name in given:
        assert f"{tmp_path / name}" in done.err
    assert not (tmp_path / "out" / "manifest.json").exists()
    assert str(good) in {json.loads(path.read_text())["file"] for path in (tmp_path / "out" / "_shards").glob("*.json")}
    assert cli(good, *(tmp_path / name for name in ("cut.jsonl.gz", "nowhere.jsonl")), "--out", tmp_path / "other").code == 2
    assert not (tmp_path / "other").exists()


def test_unreadable_names_in_a_folder_are_skipped_but_a_job_without_any_usable_file_is_exit_code_2(cli, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("x")
    assert_one_line(cli(tmp_path / "in", "--out", tmp_path / "out", "--on-bad-file", "skip"), 2, "notes.txt", "must be one of")
    write(tmp_path / "in" / "good.jsonl", POSTS)
    assert_one_line(cli(tmp_path / "in", "--out", tmp_path / "out", "--on-bad-file", "skip"), 4, "notes.txt", "must be one of")
    assert_one_line(cli(tmp_path / "in", "--out", tmp_path / "new"), 2, "notes.txt", "must be one of")
    for number, told in enumerate(("1 more file cannot be used", "2 more files cannot be used"), 1):
        (tmp_path / "bad").mkdir(exist_ok=True)
        for other in range(number + 1):
            (tmp_path / "bad" / f"{other}.txt").touch()
        assert_one_line(cli(tmp_path / "bad", "--out", tmp_path / "new", "--on-bad-file", "skip"), 2, f"(and {told})")


def test_file_whose_name_is_no_utf8_is_scored_and_continued(cli, tmp_path):
    path = write(tmp_path / os.fsdecode(b"b\xff.jsonl"), POSTS)
    for _ in range(2):
        assert cli(path, "--out", tmp_path / "out").code == 0
    assert len(ids(tmp_path / "out")) == 2


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_input_is_exit_code_4_and_costs_no_other_file(earlier, cli, tmp_path, name):
    before = contents(earlier)
    if DAMAGED[name]:
        (tmp_path / name).write_bytes(DAMAGED[name])
    else:
        damaged_parquet(tmp_path / name)
    inputs = [tmp_path / "good.jsonl", tmp_path / name, write(tmp_path / "later.jsonl", POSTS)]
    done = cli(*inputs, "--out", earlier)
    assert_one_line(done, 4, name, "incomplete", "run again")
    assert "never closed\n" not in done.err
    after = contents(earlier)
    assert after.items() >= {path: content for path, content in before.items() if path != "manifest.json"}.items()
    assert "manifest.json" not in after
    records = [json.loads(content) for path, content in after.items() if path.endswith(".json")]
    assert str(inputs[2]) in {record["file"] for record in records}
    assert (str(inputs[1]) in {record["file"] for record in records}) == (name in ("cut.jsonl.gz", "cut.csv.gz", "quote.csv"))
    # After the file was repaired or removed:
    if ".parquet" in name:
        pq.write_table(pa.table({"id": ["1"], "text": ["x"]}), tmp_path / name)
    else:
        whole = b"id,text\n1,x\n" if ".csv" in name else GOOD_LINES
        with pa.output_stream(str(tmp_path / name)) as file:
            file.write(whole)
    assert cli(*inputs, "--out", earlier).code == 0
    assert cli(*inputs, "--out", tmp_path / "fresh").code == 0
    assert ids(earlier) == ids(tmp_path / "fresh")
    assert (earlier / "rejects.jsonl").read_bytes() == (tmp_path / "fresh" / "rejects.jsonl").read_bytes()


@contextmanager
def little_room() -> Iterator[None]:
    """Let no file grow beyond 600 bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_full_disk_is_exit_code_4_and_the_earlier_output_stands(earlier, cli, tmp_path, form):
    before = contents(earlier)
    posts = write(tmp_path / "good.jsonl", [{"id": f"new {number}", "text": f"x {number}"} for number in range(500)])
    with little_room():
        done = cli(posts, "--out", earlier, "--format", form)
    assert_one_line(without_notes(done), 4, earlier, "cannot be written (File too large)", "run again")
    after = contents(earlier)
    notes = [name for name in after if name not in before]
    assert after == before | dict.fromkeys(notes, b"")
    assert all(name.endswith(".intended") for name in notes), "an empty note says that an unfinished part is ours"
    assert cli(posts, "--out", earlier, "--format", form).code == 0
    assert not [name for name in contents(earlier) if name.endswith(".intended")]


# ---- huge records ----


@pytest.mark.slow
def test_a_line_of_any_length_is_one_reject_in_bounded_memory(folder, tmp_path, usual):
    squeeze = zlib.compressobj(1, wbits=31)
    zeros = bytes(5 * 2**20)
    line = b'{"id": %d, "text": "wiku"}\n'
    bomb = [squeeze.compress(piece) for piece in [line % 1, *[zeros] * 40, b"\n", line % 2]]
    (tmp_path / "bomb.jsonl.gz").write_bytes(b"".join(bomb) + squeeze.flush())
    assert (tmp_path / "bomb.jsonl.gz").stat().st_size < 4 * 2**20
    (tmp_path / "long.jsonl").write_bytes(line % 3 + b'{"id": 9, "text": "' + b"x" * 20 * 2**20 + b'"}\n' + line % 4)
    model = ["--model", folder / "runs" / "model", "--workers", 1]
    done, size = peak(tmp_path / "bomb.jsonl.gz", tmp_path / "long.jsonl", *model, "--out", "out", cwd=tmp_path)
    assert done.err.count("100.0% of it was rejected") == 2
    assert ids(tmp_path / "out") == ["1", "2", "3", "4"]
    found = [json.loads(line) for line in (tmp_path / "out" / "rejects.jsonl").read_text().splitlines()]
    reason = "record is longer than 16 MiB"
    assert found == [{"file": str(tmp_path / name), "row": 2, "reason": reason} for name in ("bomb.jsonl.gz", "long.jsonl")]
    assert size < usual[1] + 150 * 2**20, "200 MiB are not held"


# ---- what starting costs ----

LOADED = """
import json, runpy, sys
sys.path.insert(0, sys.argv[1])
for sys.argv in json.loads(sys.argv[2]):
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as end:
        assert end.code in (None, 0), sys.argv
print("LOADED", *sorted({name.partition(".")[0] for name in sys.modules}))
"""
ONLY_TO_TRAIN = {"mlflow", "datasets", "pandas", "matplotlib", "sklearn", "torch", "pyspark"}


def loaded(*runs: list[object], cwd: Path) -> set[str]:
    """Return the packages that runs of score.py, one after the other in one process, import."""
    commands = [list(map(str, [ROOT / "score.py", *arguments])) for arguments in runs]
    command = [sys.executable, "-c", LOADED, ROOT, json.dumps(commands)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=True)
    return set(done.stdout.rpartition("LOADED")[2].split())


@pytest.mark.slow
def test_scoring_a_post_imports_nothing_that_only_training_needs(folder, tmp_path):
    (tmp_path / "in.jsonl").write_bytes(b'{"id": "1", "text": "x"}\n')
    pq.write_table(pa.table({"id": ["1"], "text": ["x"]}), tmp_path / "in.parquet")
    (tmp_path / "in.csv.gz").write_bytes(gzip.compress(b"id,text\n1,x\n"))
    options = {"in.jsonl": [], "in.parquet": ["--abstain", "0:1"], "in.csv.gz": ["--format", "csv", "--explain"]}
    model = ["--model", folder / "runs" / "model"]
    runs = [[name, *given, "--out", f"of-{name}", *(model if given else [])] for name, given in options.items()]  # first the released one
    packages = loaded(*runs, cwd=tmp_path)
    assert {"spacy", "pyarrow", "numpy"} <= packages
    assert not packages & ONLY_TO_TRAIN
    assert [len(list((tmp_path / f"of-{name}").glob("part-*"))) for name in options] == [1, 1, 1]


def test_help_imports_next_to_nothing(tmp_path):
    packages = loaded(["--help"], cwd=tmp_path)
    assert "typer" in packages
    assert not packages & {"spacy", "scipy", "safetensors", "pydantic", *ONLY_TO_TRAIN}  # so it imports only light modules of `models`


def test_skipping_bad_files_is_not_for_spark(cli, tmp_path):
    assert_one_line(cli(write(tmp_path / "in.jsonl", POSTS), "--engine", "spark", "--on-bad-file", "skip"), 2, "all or nothing")


def test_starting_over_is_not_for_spark(cli, tmp_path):
    done = cli("in.jsonl", "--engine", "spark", "--start-over", "--out", tmp_path / "out")
    assert_one_line(done, 2, "--start-over", "remove the old folder")


# ---- one sentence ----


def test_one_sentence_is_answered_on_the_terminal(cli):
    done = cli("--text", "A man groped me on the bus.", model=None)
    assert done.code == 0
    assert done.err == ""
    rows = {line.split()[0]: line for line in done.out.splitlines()}
    assert "yes" in rows["assault"]
    assert "groped +" in rows["assault"]
    assert rows["solidarity_support"].split()[2:] == ["no"]


def test_one_sentence_is_answered_as_json(cli):
    answer = json.loads(cli("--text", "I believe you. Thank you for speaking up.", "--json", "--threshold", "assault=0", model=None).out)
    assert answer["labels"] == ["assault", "solidarity_support"]
    assert answer["words"].keys() == set(answer["labels"])
    assert answer["probabilities"]["solidarity_support"] > 0.5


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--text", "  "], ["--text must not be empty"]),
        (["--text", "He", "grabbed", "me"], ["--text cannot be combined with INPUT; leave one of them out"]),
        (["--text", "x", "--model", "relased"], ["relased: no such model directory; did you mean 'released'?"]),
        ([], ["neither INPUT nor --text was given; give files"]),
        (["--text", "x", "--keep", "lang"], ["--text", "--keep"]),
        (["--text", "x", "--format", "csv"], ["--text", "--format"]),
        (["--text", "x", "--forget", "ids.txt", "--table-version", 0], ["--forget, --table-version"]),
        (["--text", "x", "--out", "scores", "--engine", "spark", "--input-format", "csv"], ["--out, --input-format, --engine"]),
        (["-", "--forget", "-"], ["--forget -", "write the ids to a file"]),
        (["--text", "x", "--threshold", "other=0.5"], ["'other'"]),
    ],
)
def test_one_sentence_takes_no_options_for_files(cli, arguments, parts):
    assert_one_line(cli(*arguments, model=None), 2, *parts)


def test_a_folder_with_a_name_like_that_of_the_released_model_is_taken_as_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "relased").mkdir()
    assert model_folder("relased", Tracking()) == Path("relased")


def test_a_share_of_rejects_that_is_just_allowed_is_allowed(cli, tmp_path):
    posts = [{"id": str(number), "text": "sunny" if number >= 29 else None} for number in range(100)]
    assert cli(write(tmp_path / "posts.jsonl", posts), "--out", tmp_path / "out", "--max-reject-rate", 0.29).code == 0
