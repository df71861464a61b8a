"""What the command lines share: consoles, progress, and errors as one line with an exit code."""

import logging
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import typer
from rich.console import Console

from pipeline.errors import InputError

USAGE_ERROR = 2


def output() -> Console:
    """Console for results; wide enough for a table where standard output is no terminal."""
    return Console(soft_wrap=False) if sys.stdout.isatty() else Console(width=140, soft_wrap=False)


def runnable(program: str) -> str:
    """How to start a program of this environment from here: by name where that finds it, else by path."""
    path = Path(sys.executable).with_name(program)
    found = shutil.which(program)
    if found and Path(found).parent == path.parent:
        return program
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


@contextmanager
def steps() -> Iterator[Callable[[str], None]]:
    """Announce steps on standard error: a spinner on a terminal, one line each in a log."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda step: print(step, file=sys.stderr)
        return
    with console.status("starting") as status:
        yield lambda step: status.update(f"{step} …")


@contextmanager
def counter(title: str) -> Iterator[Callable[[int], None]]:
    """Count posts on standard error: a rate on a terminal, nothing in a log."""
    from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn(title), MofNCompleteColumn(), TextColumn("posts"), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda posts: bar.advance(task, posts)


def command_line(command: Callable[..., None]) -> typer.Typer:
    """Make a command line of a function."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command()(command)
    return app


def run(command: Callable[..., None]) -> None:
    """Run a function's command line; an `InputError` is one line on standard error and exit code 2."""
    warnings.simplefilter("ignore")  # for users; the tests run with warnings as errors
    logging.getLogger().setLevel(logging.ERROR)
    try:
        command_line(command)()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(USAGE_ERROR)
