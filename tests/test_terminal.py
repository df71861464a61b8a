"""What all command lines share: signals from the first moment on, streams that are closed, full or without a reader, errors in one line."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args, get_type_hints
from unittest.mock import Mock

import pytest

from models.errors import InputError
from pipeline import interrupts, terminal
from pipeline.commands import agreement, disclosure, evaluate, label_next, score, train
from pipeline.records import read_rows

ROOT = Path(__file__).parent.parent
COMMAND = """
import sys
from pipeline import interrupts, terminal
def main() -> None:
    {body}
if __name__ == "__main__":
    terminal.run(main, stopped="stopped; run again")
"""


def run(body: str, shell: str) -> subprocess.CompletedProcess[str]:
    """Run a command line, which does what `body` says, in a shell that replaces COMMAND by it."""
    command = shell.replace("COMMAND", '"$0" -c "$1"')
    given = ["bash", "-o", "pipefail", "-c", command, sys.executable, COMMAND.format(body=body)]
    return subprocess.run(given, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(
    ("shell", "code", "told"),
    [
        ("COMMAND | true", 0, ""),
        ("COMMAND > /dev/full", 4, "error: standard output: cannot be written (No space left on device); the work is done, but "),
        ("COMMAND <&- >&- 2>&-", 0, ""),
    ],
)
def test_output_that_nobody_can_read_makes_no_complete_job_a_failure_unless_it_is_lost(shell, code, told):
    done = run("[print('x' * 9_000) for _ in range(9)]", shell)
    assert (done.returncode, done.stderr[: len(told) or None]) == (code, told)
    assert done.stderr.count("\n") == bool(told)


def test_sigterm_is_handled_as_pid_1_needs_and_ends_with_one_line():
    done = run("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", "COMMAND")
    assert (done.returncode, done.stdout, done.stderr) == (143, "", "stopped; run again\n")


def test_deleted_working_folder_is_one_line(tmp_path):
    shell = f"export PYTHONPATH=$PWD; mkdir {tmp_path}/gone; cd {tmp_path}/gone; rmdir {tmp_path}/gone; COMMAND"
    done = run("print('never')", shell)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("error: the working folder cannot be used")


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_during_the_first_imports_ends_at_once_without_traceback(name):
    usual = (
        "import sys, signal; sys.argv[0] = 'score.py'; signal.signal(signal.SIGINT, signal.default_int_handler); "  # not if in background
    )
    code = f"{usual}from pipeline import interrupts; signal.raise_signal(signal.{name})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (128 + getattr(signal, name), "stopped\n")


def test_scripts_heed_signals_before_they_import_anything_else():
    for script in ("score.py", "train.py", "evaluate.py", "pipeline/commands/disclosure.py"):
        lines = (ROOT / script).read_text().splitlines()
        assert next(line for line in lines if line.startswith(("from", "import"))).startswith("from pipeline import interrupts, ")


def test_handlers_are_those_of_before_once_a_command_ends():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with interrupts.handled(), pytest.raises(SystemExit) as caught:
        signal.raise_signal(signal.SIGTERM)
    assert caught.value.code == interrupts.TERMINATED
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(24, "Too many open files"), "error: Too many open files; correct this, and run the same command again\n"),
        (RuntimeError("Symlink loop from 'a'"), "error: Symlink loop from 'a'; correct this, and run the same command again\n"),
        (FileNotFoundError(2, "No such file", "a\nb"), "error: a\\nb: No such file; correct this, and run the same command again\n"),
    ],
)
def test_error_of_the_operating_system_is_one_line(monkeypatch, capsys, error, told):
    def main() -> None:
        raise error

    monkeypatch.setattr(sys, "argv", ["x"])
    with pytest.raises(SystemExit) as caught:
        terminal.run(main)
    assert (caught.value.code, capsys.readouterr().err) == (2, told)


def test_line_breaks_and_what_is_no_utf8_are_escaped(capsys):
    name = "x\ny" + os.fsdecode(b"\xff") + "é.jsonl"
    terminal.say(f"error: d/{name}: no")
    assert capsys.readouterr().err == "error: d/x\\ny\\udcffé.jsonl: no\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("score x --operating-point careful", "--operating-point: got 'careful'; choose one of balanced, cautious, sensitive"),
        ("redecide x --out y --operating-point careful", "--operating-point: got 'careful'; choose one of balanced, cautious, sensitive"),
        ("score x --format xlsx", "--format: got 'xlsx'; choose one of parquet, jsonl, csv, delta (with --engine spark)"),
        ("score x --shard-mb -1", "--shard-mb: got -1; give a whole number from 1 to 256"),
        ("score x --max-reject-rate 2", "--max-reject-rate: got 2; give a number from 0 to 1"),
        ("score x --workers two", "--workers: got 'two'; give a whole number of at least 1"),
        ("score x --worker 2", "no such option: --worker; did you mean --workers?"),
        ("score x --set a.b=1", "no such option: --set; see PROGRAM score --help"),
        ("score x --no-such", "no such option: --no-such; see PROGRAM score --help"),
        ("score x --model", "option '--model' requires an argument; see --help"),
        ("card --model x", "missing option '--evaluation'; see PROGRAM card --help"),
        ("ui extra", "got unexpected extra argument(s) (extra); see PROGRAM ui --help"),
        ("serve --port 99999", "--port: got 99999; give a whole number from 1 to 65535"),
        ("scor", "no such command 'scor'; did you mean 'score', 'rescore'?"),
        ("", "missing command; see PROGRAM --help"),
    ],
)
def test_what_is_wrong_with_options_is_said_in_one_line(script, arguments, told):
    code, printed, said = script(disclosure.COMMANDS, *arguments.split())
    assert (code, printed, re.sub(r"see (?:\S.*)?script(\.py)?", "see PROGRAM", said)) == (2, "", f"error: {told}\n")


@pytest.mark.parametrize(
    ("run", "code", "told"),
    [
        *(
            (f"{name}.py", 2, rf"error: .* has no package 'typer'; run `make install` and then `\.venv/bin/python {name}\.py`, or .*\n")
            for name in ("score", "train", "evaluate")
        ),
        (
            "-c import sys; sys.argv[0] = 'score.py'; from pipeline import interrupts; import models.nothing",
            1,
            "Traceback(?s:.*)nothing'\n",
        ),
    ],
)
def test_packages_that_are_not_installed_are_one_line_but_not_modules_of_ours(run, code, told):
    done = subprocess.run([sys.executable, "-ES", *run.split(" ", 1)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (code, "")
    assert re.fullmatch(told, done.stderr)


def paths_of(command: terminal.Command, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield a command line for each option and argument of a command, and of its subcommands, that takes a path."""
    if isinstance(command, dict):
        for name, function in command.items():
            yield from paths_of(function, (*words, name))
        return
    for name, kind in get_type_hints(command).items():
        if Path in (kind, *get_args(kind)):
            yield (*words, name)


def test_no_command_takes_an_address_for_a_path(monkeypatch):
    monkeypatch.setattr(terminal, "check_local", checked := Mock(side_effect=InputError("refused")))
    taken = list(paths_of(disclosure.COMMANDS))
    assert {("train", "out"), ("evaluate", "out"), ("evaluate", "scores"), ("train", "config"), ("agreement", "out")} <= set(taken)
    for *words, parameter in taken:
        command = disclosure.COMMANDS
        for word in words:
            command = command[word]
        address = Path("s3://bucket/folder")
        with pytest.raises(InputError, match="refused"):
            terminal.command_line(command).registered_commands[0].callback(**{parameter: address})
        checked.assert_called_with(address)


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (train.main, ["--out", "s3://bucket/posts"]),
        (train.main, ["--data", "data/starter", "--config", "gs://bucket/posts"]),
        (evaluate.main, ["--model", "s3://bucket/posts"]),
        (evaluate.main, ["--model", "released", "--out", "S3://bucket/posts"]),
        (label_next.main, ["s3://bucket/posts"]),
        (agreement.main, ["s3://bucket/posts"]),
        (score.main, ["--engine", "spark", "data/starter/test.jsonl", "--out", "s3://bucket/posts"]),
    ],
)
def test_an_address_is_refused_and_nothing_is_made_of_it(script, monkeypatch, tmp_path, command, arguments):
    monkeypatch.chdir(tmp_path)
    code, _, err = script(command, *arguments)
    assert code == 2
    assert err.splitlines()[-1].endswith(
        "://bucket/posts: is an address, but this must be a path on this machine; copy what is there, and give the copy"
    )
    assert not list(tmp_path.iterdir())


def test_labelled_posts_at_an_address_are_refused(refused):
    with refused("s3://bucket/train.jsonl: is an address"):
        next(read_rows(Path("s3://bucket/train.jsonl"), ["text"]))
