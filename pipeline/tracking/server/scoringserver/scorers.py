"""Scoring processes, each of which does one thing at a time, and the turns that requests take at them.

A process that dies, or is killed because one thing takes too long, takes with it only the request that it was working on.
"""

import asyncio
import gc
import logging
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing import get_context, parent_process, resource_tracker
from threading import Thread
from typing import Any, NamedTuple

from . import logs, model

_AGAIN = 5.0  # seconds until a process that did not start is started again
_GC_THRESHOLD = 50_000  # scoring makes no reference cycles

_LEFT_TO_PARENT = {signal.SIGINT, signal.SIGTERM}  # a terminal or systemd sends these signals to all processes
_KILL = getattr(signal, "SIGKILL", signal.SIGTERM)  # SIGTERM kills at once on Windows

_model: model.Model | None = None  # the model of this process, if it is a scoring process


class Started(NamedTuple):
    """What a scoring process says of itself when it is ready: its number, and the version of MLflow."""

    pid: int | None
    mlflow: str


def _die_with_parent() -> None:
    parent = parent_process()
    assert parent is not None  # noqa: S101
    parent.join()
    os._exit(1)


@model.without_message
def start(folder: str, rows: int, form: logs.LogFormat, queues: dict[str, Any] | None) -> Started:
    """Load the model in a scoring process, which lives as long as its parent and leaves signals to it.

    Parameters
    ----------
    folder : str
        The logged model.
    rows : int
        How many posts a request may hold.
    form : {"text", "json"}
        Format of the log.
    queues : dict or None
        As for `model.load`.
    """
    global _model  # noqa: PLW0603  # a process has one model
    for number in _LEFT_TO_PARENT:
        signal.signal(number, signal.SIG_IGN)
    Thread(target=_die_with_parent, daemon=True).start()
    gc.set_threshold(_GC_THRESHOLD)
    logs.set_up(form, logging.WARNING)
    _model = model.load(folder, rows, queues)
    return Started(os.getpid(), _model.start())


@model.without_message
def work(name: str, *given: Any) -> Any:
    """Call a method of the model in a scoring process."""
    return getattr(_model, name)(*given)


@contextmanager
def _signals_left_to_parent() -> Iterator[None]:
    """Block signals for processes that are started in the block, until they ignore them."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # starting it later would unblock the signals
    signal.pthread_sigmask(signal.SIG_BLOCK, _LEFT_TO_PARENT)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _LEFT_TO_PARENT)


def new_process() -> Executor:
    """Return an executor whose one process starts with its first task."""
    return ProcessPoolExecutor(1, get_context("spawn"))


class _Scorer:
    """A scoring process and, when it has died, the next one in its place."""

    def __init__(self, new: Callable[[], Executor]) -> None:
        self._new = new
        self.executor = new()
        self.pid: int | None = None

    def renew(self) -> None:
        self.executor.shutdown(wait=False, cancel_futures=True)
        self.executor, self.pid = self._new(), None

    def kill(self) -> None:
        if self.pid:
            with suppress(ProcessLookupError):
                os.kill(self.pid, _KILL)


class Scorers:
    """Several scoring processes.

    Parameters
    ----------
    starting : callable
        What a new process does first; it returns a `Started`.
    number : int
        How many there are.
    longest : float
        Seconds after which a process that is still at the same thing is killed.
    new : callable
        Returns an executor with one process.
    working : callable
        Called in a process with the name of a method of `Model` and its arguments.

    Attributes
    ----------
    ready : int
        How many processes have loaded the model.
    deaths : int
        How many have died, or were killed.
    mlflow : str
        Version of MLflow, once a process is ready.
    """

    def __init__(
        self,
        starting: Callable[[], Started],
        number: int,
        longest: float,
        new: Callable[[], Executor] = new_process,
        working: Callable[..., Any] = work,
    ) -> None:
        self._starting, self._longest, self._working = starting, longest, working
        self._new, self._number = new, number
        self._all: list[_Scorer] = []
        self._free: list[_Scorer] = []
        self._turns = asyncio.Semaphore(0)  # first come, first served
        self._renewals = set[asyncio.Task[None]]()
        self.ready = self.deaths = 0
        self.mlflow = ""

    async def start(self) -> None:
        """Wait until all processes have loaded the model; raise the error of the first that cannot."""
        self._turns = asyncio.Semaphore(0)
        self._all = [_Scorer(self._new) for _ in range(self._number)]
        await asyncio.gather(*map(self._begin, self._all))

    def stop(self) -> None:
        """Kill all processes."""
        for task in self._renewals:
            task.cancel()
        for scorer in self._all:
            scorer.kill()
            scorer.executor.shutdown(cancel_futures=True)
        self._free.clear()
        self.ready = 0

    async def call(self, name: str, *given: Any) -> Any:
        """Call a method of `Model` in a process, when it is this caller's turn.

        Parameters
        ----------
        name : str
            Name of the method.
        *given : object
            Its arguments.

        Raises
        ------
        Refused, Mistake
            If the method does.
        BrokenExecutor
            If the process died, or was killed because this took too long.
        """
        while True:
            await self._turns.acquire()
            scorer = self._free.pop(0)
            try:
                running = asyncio.wrap_future(scorer.executor.submit(self._working, name, *given))
            except BrokenExecutor:  # the process died while it had nothing to do
                self._bury(scorer)
                continue
            timer = asyncio.get_running_loop().call_later(self._longest, scorer.kill)
            running.add_done_callback(partial(self._done, scorer, timer))
            return await asyncio.shield(running)  # it goes on even if nobody waits any more, and the process is free only when it ends

    async def _begin(self, scorer: _Scorer) -> None:
        with _signals_left_to_parent():
            started = asyncio.get_running_loop().run_in_executor(scorer.executor, self._starting)
        scorer.pid, self.mlflow = await started
        self.ready += 1
        self._release(scorer)

    def _release(self, scorer: _Scorer) -> None:
        self._free.append(scorer)
        self._turns.release()

    def _done(self, scorer: _Scorer, timer: asyncio.TimerHandle, running: "asyncio.Future[Any]") -> None:
        timer.cancel()
        if running.cancelled():  # the server is ending
            return
        if isinstance(running.exception(), BrokenExecutor):
            self._bury(scorer)
        else:
            self._release(scorer)

    def _bury(self, scorer: _Scorer) -> None:
        self.ready -= 1
        self.deaths += 1
        logs.say("scoring process died", logging.WARNING, pid=scorer.pid)
        task = asyncio.get_running_loop().create_task(self._replace(scorer))
        self._renewals.add(task)
        task.add_done_callback(self._renewals.discard)

    async def _replace(self, scorer: _Scorer) -> None:
        while True:
            scorer.renew()
            try:
                await self._begin(scorer)
            except (BrokenExecutor, model.Mistake, OSError) as error:
                logs.say("scoring process did not start", logging.ERROR, error)
                await asyncio.sleep(_AGAIN)
            else:
                logs.say("scoring process started", pid=scorer.pid)
                return
