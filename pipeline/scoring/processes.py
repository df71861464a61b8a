"""Score shards in several processes, any of which may die."""

import gc
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from threading import Thread
from typing import Any

from models.errors import InputError
from pipeline.errors import IncompleteError
from pipeline.files import OutputError
from pipeline.scoring.completion import Completion
from pipeline.scoring.shards import Shard

Work = Callable[[Shard, Callable[[int], Any]], Completion]

GC_THRESHOLD = 50_000  # scoring makes no reference cycles, and Python's default search for them would take a tenth of the time
FALSE_STARTS = 4  # how often in a row a worker may die as it starts before the job gives up
TRIES = 20  # attempts at a shard: two, and then two for each post that kills its process when it is scored alone
SILENCE = 300.0  # seconds after which a worker that has scored no batch of posts is killed, and counts as dead
STARTING = 300.0  # seconds after which a worker that is not ready is killed, and counts as dead
_TICK = 1.0


@dataclass(frozen=True)
class Failure:
    """The reason why a shard, or the rest of a file, could not be scored."""

    reason: str


Outcome = Completion | Failure


def attempt(work: Work, shard: Shard, at: Callable[[int], Any] = lambda row: None) -> Outcome:
    """Process a shard; an error in the shard is returned as a `Failure`, but a disk error is raised.

    Parameters
    ----------
    work : callable
        Takes a shard and `at`, scores the shard and returns its `Completion`.
    shard : Shard
        The shard to process.
    at : callable
        Called from time to time with the number of the row that is scored alone, or with 0.

    Raises
    ------
    OutputError
        When the output cannot be written.
    """
    try:
        return work(shard, at)
    except OutputError:
        raise
    except InputError as error:
        return Failure(str(error))
    except Exception as error:  # we do not show its message, which could quote a post
        return Failure(f"{shard.file}, from row {shard.first_row}: {type(error).__name__} while scoring; please report this bug")


def _die_with_parent() -> None:
    parent = parent_process()
    assert parent is not None  # noqa: S101
    parent.join()
    os._exit(1)


def _serve(connection: Connection, start: Callable[[], Work]) -> None:
    """Send None when ready, then receive shards and send how far they are and their outcomes until the connection is closed."""
    Thread(target=_die_with_parent, daemon=True).start()
    gc.set_threshold(GC_THRESHOLD)
    try:
        work = start()
        connection.send(None)
        while True:
            connection.send(attempt(work, connection.recv(), connection.send))
    except (InputError, OutputError) as error:
        connection.send(error)
    except EOFError:
        return


def _start(process: BaseProcess) -> None:
    """Start a process that ignores Ctrl-C, because only the parent process handles it."""
    if hasattr(signal, "pthread_sigmask"):  # Windows has no such masks
        from multiprocessing import resource_tracker

        resource_tracker.ensure_running()  # starting it later would unblock interrupts
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    process.start()


class _Worker:
    """A process and the shard that it is working on."""

    def __init__(self, start: Callable[[], Work]) -> None:
        self._start = start
        self.shard: Shard | None = None
        self._tries = 0
        self._false_starts = 0
        self._row = self._suspect = 0  # the row that is scored alone, and the one at which the process died last
        self._silent = 0.0
        self._begin()

    def _begin(self) -> None:
        context = get_context("spawn")  # forking a process with threads, such as Arrow's, can hang
        self.connection, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(target=_serve, args=(theirs, self._start), daemon=True)
        with ThreadPoolExecutor(1) as thread:  # Ctrl-C is raised in the main thread, and must not interrupt the start of a process
            thread.submit(_start, self.process).result()
        theirs.close()
        self._ready = False
        self._sender = Thread()

    def give(self, shard: Shard) -> None:
        """Send a shard to the process, now or as soon as it is ready."""
        self.shard, self._tries, self._row, self._silent = shard, self._tries + 1, 0, 0.0
        if self._ready:
            self._send()

    def _send(self) -> None:
        def send() -> None:
            with suppress(OSError):  # the process has just died, which `receive` will notice
                self.connection.send(self.shard)

        self._sender = Thread(target=send, daemon=True)  # sending to a process that was stopped may block
        self._sender.start()

    def receive(self) -> Outcome | None:
        """Return the outcome of the shard; None if the process, perhaps a new one, is still working on it."""
        assert self.shard is not None  # noqa: S101
        try:
            message = self.connection.recv()
        except (EOFError, OSError):
            return self._died(self.shard)
        self._silent = 0.0
        if isinstance(message, Exception):
            raise message
        if isinstance(message, int):
            self._row = message
            return None
        if message is None:
            self._ready, self._false_starts = True, 0
            self._send()
        else:
            self._done()
        return message  # type: ignore[no-any-return]

    def _died(self, shard: Shard) -> Outcome | None:
        self._false_starts += not self._ready
        if self._false_starts == FALSE_STARTS:
            hint = 'too little memory for this many workers, or a script that scores without `if __name__ == "__main__":`'
            raise IncompleteError(f"worker processes die as they start ({hint}); finished shards are kept; fix the cause and run again")
        self.stop()
        self._begin()
        if following := self._following(shard):
            self.give(following)
            return None
        self._done()
        return Failure(f"{shard.file}, from row {shard.first_row}: the processes that scored these rows died (out of memory?)")

    def _following(self, shard: Shard) -> Shard | None:
        """Return what to try next: the shard, its posts one by one, or its posts without one that killed two processes; None to give up."""
        if not shard.alone:
            return shard if self._tries == 1 else replace(shard, alone=True)
        if not self._row or self._tries >= TRIES:
            return None
        if self._row != self._suspect:
            self._suspect = self._row
            return shard
        return replace(shard, without=shard.without | {self._row})

    def _done(self) -> None:
        self.shard, self._tries, self._suspect = None, 0, 0

    def wait_longer(self, seconds: float) -> None:
        """Count the time in which the process has said nothing, and kill it if that is too long; `receive` then finds it dead."""
        self._silent += seconds
        if self._silent > (SILENCE if self._ready else STARTING):
            self.process.kill()

    def stop(self) -> None:
        """Kill the process, whatever it is doing."""
        self.process.kill()
        self.process.join()
        if self._sender.is_alive():
            self._sender.join()
        self.connection.close()


def in_processes(start: Callable[[], Work], shards: Iterator[Shard], workers: int) -> Iterator[tuple[Shard, Outcome]]:
    """Process shards in several processes, and yield outcomes as they arrive.

    Parameters
    ----------
    start : callable
        Called once in each process; it returns the function that processes a shard. It must be picklable.
    shards : iterator of Shard
        The shards to process; one is read ahead.
    workers : int
        Maximum number of processes.

    Raises
    ------
    InputError, OutputError, IncompleteError
        When no process can work, for example because the disk is full.
    """
    crew: list[_Worker] = []
    upcoming = next(shards, None)
    try:
        while upcoming or any(worker.shard for worker in crew):
            idle = next((worker for worker in crew if not worker.shard), None)
            if upcoming and (idle or len(crew) < workers):
                if idle is None:
                    crew.append(idle := _Worker(start))
                idle.give(upcoming)
                upcoming = next(shards, None)
                continue
            busy = {worker.connection: worker for worker in crew if worker.shard}
            began = time.monotonic()
            ended = wait(list(busy), _TICK)
            waited = min(time.monotonic() - began, _TICK)  # one tick at most, because this process may have been stopped, too
            for connection, worker in busy.items():
                shard = worker.shard
                if connection not in ended:
                    worker.wait_longer(waited)
                elif shard and (outcome := worker.receive()):
                    yield shard, outcome
    finally:
        for worker in crew:
            worker.stop()
