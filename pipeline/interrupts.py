"""Ends our scripts quietly when they are interrupted, from the first import on; scripts import this module before anything else."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

STOPPED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM
_SCRIPTS = {"score", "train", "evaluate", "disclosure"}


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
