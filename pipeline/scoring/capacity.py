"""Keep the capacities of queues: once all posts are scored, the likeliest get the places, and the others go where their rules lead next.

While posts are scored, each part gets the queues that its posts would have if all queues had room. It is not known which posts get a place
until all parts are there. This depends on nothing but the ids and probabilities in them, so it is the same after any interruption. A part
is written again only if one of its posts has to move.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.calibration import decide
from pipeline.files import OutputError
from pipeline.predictions import numbered
from pipeline.routing.contest import Contest, Places, seat, winners
from pipeline.routing.rules import Routing
from pipeline.scoring.completion import Completion
from pipeline.scoring.finished import count_queues, floats, part_content, part_table, with_queues
from pipeline.scoring.options import Options
from pipeline.scoring.output import Output
from pipeline.scoring.parts import ModelFolder
from pipeline.scoring.summary import Summary

_ROWS = 2**32  # more rows than a part has


class _Scores(NamedTuple):
    table: pa.Table
    probabilities: NDArray[np.float32]
    met: NDArray[np.bool_]


class _Usher:
    """Shows the posts of an output to their queues."""

    def __init__(self, output: Output, names: Sequence[str], source: ModelFolder, options: Options, routing: Routing) -> None:
        self.output, self.names, self.labels, self.routing = output, names, source.labels, routing
        self.thresholds = list(options.thresholds_of(source.labels, source.points).values())
        self.limited = {name: queue.capacity for name, queue in routing.queues.items() if queue.capacity is not None}

    def records(self) -> Iterator[tuple[int, Completion]]:
        """Yield the records in the order of the inputs, with their numbers."""
        for number, done in enumerate(self.output.read(self.names)):
            if done:
                yield number, done

    def is_stale(self, done: Completion) -> bool:
        """Return whether a part has the queues of other rules."""
        return done.route != self.routing.digest

    def is_contested(self, done: Completion) -> bool:
        """Return whether the capacity of a queue may affect a part."""
        return self.is_stale(done) or any(done.met.get(name) for name in self.limited)

    def overfull(self) -> bool:
        """Return whether there may be more posts than places."""
        wanted = dict.fromkeys(self.limited, 0)
        for _, done in self.records():
            if self.is_stale(done):
                return True
            for name in wanted:
                wanted[name] += done.met.get(name, 0)
        return any(wanted[name] > capacity for name, capacity in self.limited.items())

    def scores(self, done: Completion, content: bytes, *further: str) -> _Scores:
        """Return what a part says about its posts, and which rules they meet; if no further columns are named, all of them are read."""
        probable = [f"prob_{label}" for label in self.labels]
        table = part_table(content, Path(done.part).suffix, [*further, *probable] if further else None)
        probabilities = np.array([floats(table[name]) for name in probable]).T
        met = self.routing.met(self.labels, probabilities, decide(probabilities, self.thresholds))
        return _Scores(table, probabilities, met)

    def contest(self) -> dict[int, Places]:
        """Return, by number of the rule, the posts to which it gives a place, sorted."""
        contest = Contest(self.routing, self.labels)
        for number, done in self.records():
            if self.is_contested(done):
                found = self.scores(done, part_content(self.output.folder / done.part, done), "id")
                rows = contest.open_to(found.probabilities, found.met)
                ids = found.table["id"].take(pa.Array.from_buffers(pa.int64(), len(rows), [None, pa.py_buffer(rows)])).to_pylist()
                contest.add(ids, found.probabilities[rows], found.met[rows], number * _ROWS + rows)
        return {rule: np.sort(places) for rule, places in winners(self.routing, contest.contenders()).items()}

    def show(self, number: int, won: dict[int, Places]) -> tuple[list[int], int]:
        """Send the posts of a part to their queues; return how many each queue turned away, and how many are left out."""
        done = self.output.completion(self.names[number])
        if done is None:
            raise OutputError(f"{self.output.folder}: the record of shard {self.names[number]} has disappeared")
        content, kind, names = part_content(self.output.folder / done.part, done), Path(done.part).suffix, self.routing.names
        found = self.scores(done, content, *(["queue"] if kind != ".parquet" else []))
        here = {rule: places[slice(*np.searchsorted(places, [number * _ROWS, (number + 1) * _ROWS]))] for rule, places in won.items()}
        seats = seat(self.routing, found.met, {rule: places - number * _ROWS for rule, places in here.items()})
        wanted = replace(done, met={}, queues={}, moved=int(seats.turned_away.any(axis=1).sum()))
        count_queues(wanted, self.routing, self.routing.first(found.met), seats.queue)
        moved = seats.queue != numbered(names, found.table["queue"])
        if wanted != done or moved.any():
            self.output.replace(done, wanted, with_queues(content, kind, found.table, names, seats.queue, moved))
        return seats.turned_away.sum(axis=0).tolist(), int(seats.left_out.sum())


def keep_capacities(
    output: Output, names: Sequence[str], source: ModelFolder, options: Options, routing: Routing, summary: Summary, threads: int = 1
) -> None:
    """Send the posts of finished parts to the queues for which there is room.

    After an interruption, the same call does the rest, and parts in which every post is in its queue stay as they are.

    Parameters
    ----------
    output : Output
        The parts; the folder is locked by the caller.
    names : sequence of str
        Names of the shards, in the order of the inputs.
    source : ModelFolder
        The model that scored them.
    options : Options
        The options of the job.
    routing : Routing
        Their `route`.
    summary : Summary
        Receives the numbers of posts that were turned away.
    threads : int
        How many parts to change at the same time.

    Raises
    ------
    IncompleteError
        When a part was changed after it was written.
    OutputError
        When the folder cannot be written.
    """
    usher = _Usher(output, names, source, options, routing)
    overfull = usher.overfull()
    won = usher.contest() if overfull else {}
    concerned = [
        number for number, done in usher.records() if usher.is_stale(done) or done.moved or (overfull and usher.is_contested(done))
    ]
    with ThreadPoolExecutor(threads) as pool:
        for turned_away, left_out in pool.map(partial(usher.show, won=won), concerned):
            summary.turned_away.update(dict(zip(routing.names, turned_away, strict=True)))
            summary.left_out += left_out
