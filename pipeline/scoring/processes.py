"""Score shards in several processes, any of which may die."""

import gc
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from threading import Thread

from models.errors import InputError
from pipeline.errors import IncompleteError
from pipeline.files import OutputError
from pipeline.scoring.completion import Completion
from pipeline.scoring.shards import Shard

Work = Callable[[Shard], Completion]

GC_THRESHOLD = 50_000  # scoring makes no reference cycles, and Python's default search for them would take a tenth of the time
FALSE_STARTS = 4  # how often in a row a worker may die as it starts before the job gives up


@dataclass(frozen=True)
class Failure:
    """The reason why a shard, or the rest of a file, could not be scored."""

    reason: str


Outcome = Completion | Failure


def attempt(work: Work, shard: Shard) -> Outcome:
    """Process a shard; an error in the shard is returned as a `Failure`, but a disk error is raised.

    Parameters
    ----------
    work : callable
        Takes a shard, scores it and returns its `Completion`.
    shard : Shard
        The shard to process.

    Raises
    ------
    OutputError
        When the output cannot be written.
    """
    try:
        return work(shard)
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
    """Send None when ready, then receive shards and send their outcomes until the connection is closed."""
    Thread(target=_die_with_parent, daemon=True).start()
    gc.set_threshold(GC_THRESHOLD)
    try:
        work = start()
        connection.send(None)
        while True:
            connection.send(attempt(work, connection.recv()))
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
        self._begin()

    def _begin(self) -> None:
        context = get_context("spawn")  # forking a process with threads, such as Arrow's, can hang
        self.connection, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(target=_serve, args=(theirs, self._start), daemon=True)
        with ThreadPoolExecutor(1) as thread:  # Ctrl-C is raised in the main thread, and must not interrupt the start of a process
            thread.submit(_start, self.process).result()
        theirs.close()
        self._ready = False

    def give(self, shard: Shard) -> None:
        """Send a shard to the process, now or as soon as it is ready."""
        self.shard, self._tries = shard, self._tries + 1
        if self._ready:
            self._send()

    def _send(self) -> None:
        with suppress(OSError):  # the process has just died, which `receive` will notice
            self.connection.send(self.shard)

    def receive(self) -> Outcome | None:
        """Return the outcome of the shard; None if the process, perhaps a new one, is still working on it."""
        assert self.shard is not None  # noqa: S101
        try:
            message = self.connection.recv()
        except (EOFError, OSError):
            return self._died(self.shard)
        if isinstance(message, Exception):
            raise message
        if message is None:
            self._ready, self._false_starts = True, 0
            self._send()
        else:
            self.shard, self._tries = None, 0
        return message  # type: ignore[no-any-return]

    def _died(self, shard: Shard) -> Outcome | None:
        self._false_starts += not self._ready
        if self._false_starts == FALSE_STARTS:
            hint = 'too little memory for this many workers, or a script that scores without `if __name__ == "__main__":`'
            raise IncompleteError(f"worker processes die as they start ({hint}); finished shards are kept; fix the cause and run again")
        self.stop()
        self._begin()
        if self._tries == 1:
            self.give(shard)
            return None
        self.shard, self._tries = None, 0
        return Failure(f"{shard.file}, from row {shard.first_row}: the process that scored these rows died twice (out of memory?)")

    def stop(self) -> None:
        """Kill the process, whatever it is doing."""
        self.process.kill()
        self.process.join()
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
            for connection in wait(list(busy)):
                worker = busy[connection]  # type: ignore[index]
                shard = worker.shard
                if shard and (outcome := worker.receive()):
                    yield shard, outcome
    finally:
        for worker in crew:
            worker.stop()
