"""Ends our scripts quietly when they are interrupted or lack a package, from the first import on; scripts import this module first."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import NoReturn

STOPPED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM
_SCRIPTS = {"score", "train", "evaluate", "disclosure"}
_OURS = {"models", "pipeline"}


def _stop_at_once(number: int, _: object) -> NoReturn:
    """End before there is anything to clean up: an exception would interrupt an import, with a traceback."""
    if sys.stderr:
        os.write(2, b"stopped\n")
    os._exit(128 + number)


def _stop(number: int, _: object) -> NoReturn:
    raise SystemExit(128 + number)


def while_starting() -> None:
    """End at once on Ctrl-C and SIGTERM, outside of `handled`."""
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        if signal.getsignal(number) == usual:
            signal.signal(number, _stop_at_once)


def _say_what_is_missing(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Say in one line that a package is not installed, which means that our environment is not in use; leave other errors to Python."""
    package = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if not package or package in _OURS | sys.stdlib_module_names:
        sys.__excepthook__(kind, error, trace)
        return
    again = "disclosure" if Path(sys.argv[0]).stem == "disclosure" else f"python {sys.argv[0]}"
    remedy = f"run `make install` and then `.venv/bin/{again}`, or activate .venv"
    print(f"error: this Python ({sys.executable}) has no package {package!r}; {remedy}", file=sys.stderr)
    sys.exit(2)


@contextmanager
def handled() -> Iterator[None]:
    """Raise `KeyboardInterrupt` on Ctrl-C, and `SystemExit` on SIGTERM, which the kernel withholds from PID 1 unless it is handled."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    in_main = threading.current_thread() is threading.main_thread()  # only the main thread may handle signals
    if in_main and before[signal.SIGINT] == _stop_at_once:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if in_main and before[signal.SIGTERM] in (_stop_at_once, signal.SIG_DFL):
        signal.signal(signal.SIGTERM, _stop)
    try:
        yield
    finally:
        for number, handler in before.items() if in_main else ():
            signal.signal(number, handler)


if Path(sys.argv[0] if sys.argv else "").stem in _SCRIPTS:  # not in a program that imports us
    while_starting()
    sys.excepthook = _say_what_is_missing
