"""What the command lines share: consoles, progress, and one-line errors with exit codes."""

import errno
import json
import logging
import os
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from models.errors import InputError, NormaliserWarning
from models.folders import check_local, owner_only
from pipeline import interrupts, log_lines, streams
from pipeline.errors import IncompleteError, LockedError, NoPostsError
from pipeline.interrupts import STOPPED, TERMINATED

if TYPE_CHECKING:
    from pipeline.scoring import Progress as JobProgress

Command = Callable[..., None] | Mapping[str, "Command"]

USAGE_ERROR, TOO_MANY_REJECTS, NOT_PROMOTED, DRIFTED, INCOMPLETE, NO_POSTS, LOCKED = 2, 3, 3, 3, 4, 5, 6
_CODES = {NoPostsError: NO_POSTS, LockedError: LOCKED, InputError: USAGE_ERROR, IncompleteError: INCOMPLETE}  # the first that fits decides
LOG_EVERY = 30.0  # seconds

_held, _said = list[str](), set[str]()  # warnings
_at_end = list[Callable[[int], int]]()


def output() -> Console:
    """Return a console for results; if standard output is not a terminal, it is wide enough for tables."""
    return Console(soft_wrap=False) if sys.stdout.isatty() else Console(width=140, soft_wrap=False)


def runnable(program: str) -> str:
    """Return how to start a program of this environment: its name if PATH finds it, otherwise its path."""
    path = Path(sys.executable).with_name(program)
    found = shutil.which(program)
    if found and Path(found).parent == path.parent:
        return program
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


@contextmanager
def steps() -> Iterator[Callable[[str], None]]:
    """Announce steps on standard error: with a spinner on a terminal, otherwise one line per step."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda step: print(step, file=sys.stderr)
        return
    with console.status("starting") as status:
        yield lambda step: status.update(f"{step} …")


class _Rate:
    """The speed of a job."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.first: tuple[float, int] | None = None  # when this run's first shard was done, and how many bytes were done by then

    def state(self, progress: "JobProgress") -> dict[str, float | None]:
        """Return posts, share done, posts per second and seconds left; None for values that are not known."""
        now = time.monotonic()
        self.first = self.first or (now, progress.done)
        seconds, done = now - self.first[0], progress.done - self.first[1]
        left = (progress.total - progress.done) * seconds / done if progress.total and done else None
        share = progress.done / progress.total if progress.total else None
        return {"posts": progress.posts, "share": share, "posts_per_second": progress.posts / (now - self.started), "seconds_left": left}


def _hold_warning(message: Warning | str, *_: object, **__: object) -> None:
    """Keep a warning until work has begun, so that it does not come before an error in what the user gave."""
    _held.append(str(message))


def _say_warnings() -> None:
    """Print each warning as one line, the first time."""
    for message in _held:
        if message not in _said:
            _said.add(message)
            print(f"warning: {message}", file=sys.stderr)
    _held.clear()


def _left(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds / 60:,.0f} min left" if seconds >= 90 else f"{seconds:.0f} s left"


def _log_line(state: dict[str, float | None]) -> str:
    share = "" if state["share"] is None else f"{state['share']:.1%}"
    posts, rate = f"{state['posts']:,.0f} posts", f"{state['posts_per_second']:,.0f} posts/s"
    return ", ".join(filter(None, [share, posts, rate, _left(state["seconds_left"])]))


@contextmanager
def job_progress(*, as_json: bool) -> Iterator[Callable[["JobProgress"], None]]:
    """Show a job's progress on standard error: a bar on a terminal, or else a line every half minute, as JSON if `as_json`."""
    from rich.progress import BarColumn, Progress, TextColumn

    as_json = as_json or log_lines.are_json()
    rate = _Rate()
    console = Console(stderr=True)
    if as_json or not console.is_terminal:
        told = rate.started

        def tell(progress: "JobProgress") -> None:
            nonlocal told
            _say_warnings()
            state = rate.state(progress)
            if time.monotonic() - told >= LOG_EVERY:
                told = time.monotonic()
                print(json.dumps(state) if as_json else _log_line(state), file=sys.stderr, flush=True)

        yield tell
        return
    with Progress(TextColumn("scoring"), BarColumn(), TextColumn("{task.fields[line]}"), console=console, transient=True) as bar:
        task = bar.add_task("scoring", total=None, line="starting")

        def show(progress: "JobProgress") -> None:
            _say_warnings()
            bar.update(task, completed=progress.done, total=progress.total or None, line=_log_line(rate.state(progress)))

        yield show


def _local(function: Callable[..., None]) -> Callable[..., None]:
    """Make a command refuse addresses where it takes paths."""

    @wraps(function)
    def checked(**given: object) -> None:
        for value in given.values():
            for path in value if isinstance(value, list) else [value]:
                if isinstance(path, Path):
                    check_local(path)
        function(**given)

    return checked


def command_line(command: Command) -> typer.Typer:
    """Make a command line from one function, or one with subcommands from several functions by name."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    for name, function in command.items() if isinstance(command, Mapping) else [(None, command)]:
        if isinstance(function, Mapping):
            app.add_typer(command_line(function), name=name, help=f"Run {' or '.join(function)}.")
        else:
            app.command(name)(_local(function))
    return app


def one_line(message: str) -> str:
    r"""Return a message as one line: what a file's name may hold, such as newlines, is escaped.

    Examples
    --------
    >>> one_line("a\nb.jsonl: no such file")
    'a\\nb.jsonl: no such file'
    """
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in message)


def say(line: str) -> None:
    """Print one line on standard error, even if a file's name in it holds newlines.

    Parameters
    ----------
    line : str
        What to say.
    """
    print(one_line(line), file=sys.stderr)


def _prepare() -> None:
    try:
        Path.cwd()
    except OSError as error:
        raise InputError(f"the working folder cannot be used ({error.strerror}); change to another") from None
    warnings.simplefilter("ignore")  # users see only one kind of warning; the tests treat them as errors
    warnings.simplefilter("always", NormaliserWarning)
    warnings.showwarning = _hold_warning
    _held.clear()
    logging.getLogger().setLevel(logging.ERROR)
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")  # our own steps say what goes on


def _failed(error: Exception) -> int:
    """Say what is wrong, and return the exit code."""
    if isinstance(error, OSError):  # an error of the machine: too few file descriptors, a folder that was deleted
        place = f"{error.filename}: " if error.filename else ""
        say(f"error: {place}{error.strerror or type(error).__name__}; correct this, and run the same command again")
        return USAGE_ERROR
    if isinstance(error, IncompleteError):
        _say_warnings()
    for reason in error.reasons[1:] if isinstance(error, IncompleteError) else ():
        say(f"also: {reason}")
    say(f"error: {error}")
    return next(code for kind, code in _CODES.items() if isinstance(error, kind))


def _ended(code: int) -> int:
    """Return the exit code of a command that came to an end; if what it printed is lost, say so."""
    if code != USAGE_ERROR:
        _say_warnings()
    if not code and (why := streams.lost_output()):
        say(f"error: standard output: cannot be written ({why}); the work is done, but what was to be printed is lost")
        return INCOMPLETE
    return code


def at_end(function: Callable[[int], int]) -> None:
    """Have a function called when the command has ended; it takes the exit code and returns that code or, if it fails itself, another."""
    _at_end.append(function)


def _code_of(command: Command, stopped: str) -> int:
    """Run a command line, say what is wrong if anything is, and return the exit code."""
    try:
        with interrupts.handled(), owner_only():
            _prepare()
            code = command_line(command)(standalone_mode=False) or 0
    except typer.TyperException as error:
        from pipeline.usage import explain

        code = _failed(InputError(explain(error)))
    except (InputError, IncompleteError, OSError) as error:
        code = _failed(error)
    except RuntimeError as error:
        if not str(error).startswith("Symlink loop"):  # `Path.resolve` raises this
            raise
        code = _failed(OSError(errno.ELOOP, str(error)))
    except KeyboardInterrupt:  # outside of typer, which turns Ctrl-C into an exit code without a message
        code = STOPPED
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    if code in (STOPPED, TERMINATED):
        print(stopped, file=sys.stderr)
    return _ended(code)


def run(command: Command, stopped: str = "stopped") -> None:
    """Run a command line, and print errors as one line on standard error.

    The exit code is 2 for an `InputError`, except that it is 5 if there is nothing to score, and 6 if another job holds the folder. It is
    also 2 for an error of the operating system. It is 4 for an `IncompleteError`, and if standard output cannot be written. It is 130 for
    Ctrl-C and 143 for SIGTERM.

    Parameters
    ----------
    command : callable or mapping of str to callable
        As for `command_line`.
    stopped : str
        What to print after Ctrl-C or SIGTERM.
    """
    code, started = 1, time.monotonic()  # 1 is a bug
    streams.prepare()
    with log_lines.as_wanted(sys.argv[1:]):
        try:
            code = _code_of(command, stopped)
        except Exception as error:
            if not log_lines.are_json():
                raise
            log_lines.bug(error)
        finally:
            while _at_end:
                code = _at_end.pop()(code)
            log_lines.event("ended", exit_code=code, seconds=round(time.monotonic() - started, 3))
    sys.exit(code)
