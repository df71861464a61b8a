"""The record that a shard is finished."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from pipeline.records import BrokenRow, is_stream
from pipeline.scoring.shards import SHARD_LINES, Shard
from pipeline.stores import path_of

LISTED = 1_000  # maximum number of rejects to list, because the list may be much larger than a file of short broken lines


@dataclass
class Completion:
    """The record of a finished shard.

    Attributes
    ----------
    file, number, first_row, digest : str, int, int, str
        See `Shard`.
    model, options : str
        Digests of the model and of the options.
    part : str
        Name of the output file.
    sha256 : str
        SHA-256 of the output file.
    read, scored : int
        Number of rows read and of posts scored; read = scored + rejected.
    reused : int
        Number of scored posts that repeat a text, so that the model was not needed.
    labels : dict of str to int
        Number of scored posts that were given each label.
    review : int
        Number of scored posts with a label for review.
    rejects : list of (int, str) or (int, str, str)
        Row number, reason and, where there is one, id of the first `LISTED` rejects.
    reasons : dict of str to int
        Number of all rejects by reason.
    place : str
        Where the file was, as an absolute path; empty if that is not known, or for a stream.
    size, unreadable : int
        Number of bytes of the shard, and of those in rows that could not be read.
    seconds : float
        Wall time.
    repeated, rounded : int
        Number of scored posts with such ids; see `Ids`.
    sample : list of int
        `Ids.sample`.
    stream : dict of str to float
        `Predictions.stream`, summed.
    met, queues : dict of str to int
        Number of posts that each queue would have if all queues had room, and that it has in the part.
    moved : int
        Number of posts for which the queue of the first rule that they meet had no room.
    route : str
        `Routing.digest`; empty if the part has no column ``queue``.
    forgotten : dict of str to int
        Number of rows that were removed since, by day; all other counts are those of the rows that are left.
    replacing : dict
        The record that belongs to the content that the part is being given. The part has this content or the one before. Empty once the
        part has it.
    table, version : str, int or None
        See `Shard`.
    """

    file: str
    number: int
    first_row: int
    digest: str
    model: str
    options: str
    part: str
    sha256: str = ""
    read: int = 0
    scored: int = 0
    reused: int = 0
    labels: dict[str, int] = field(default_factory=dict)
    review: int = 0
    rejects: list[tuple[int, str] | tuple[int, str, str]] = field(default_factory=list)
    reasons: dict[str, int] = field(default_factory=dict)
    place: str = ""
    size: int = 0
    unreadable: int = 0
    seconds: float = 0.0
    repeated: int = 0
    rounded: int = 0
    sample: list[int] = field(default_factory=list)
    stream: dict[str, float] = field(default_factory=dict)
    met: dict[str, int] = field(default_factory=dict)
    queues: dict[str, int] = field(default_factory=dict)
    moved: int = 0
    route: str = ""
    forgotten: dict[str, int] = field(default_factory=dict)
    replacing: dict[str, Any] = field(default_factory=dict)
    table: str = ""
    version: int | None = None

    def __post_init__(self) -> None:
        if not self.reasons:  # an earlier release listed all rejects and did not count them
            self.reasons = dict(Counter(reject[1] for reject in self.rejects))

    @property
    def is_plausible(self) -> bool:
        """Whether the counts are consistent; if not, somebody has changed the record."""
        of_scored = [self.reused, self.review, self.repeated, self.rounded, self.moved, *self.labels.values()]
        of_scored += [*self.met.values(), *self.queues.values()]
        counts = [self.number, self.first_row, self.size, self.unreadable, *self.reasons.values(), *(reject[0] for reject in self.rejects)]
        counts += self.forgotten.values()
        return (
            self.read == self.scored + self.rejected
            and 0 <= self.scored <= self.read <= 2 * SHARD_LINES
            and all(0 <= count <= self.scored for count in of_scored)
            and min(counts) >= 0
            and 0 <= self.seconds < math.inf
        )

    @property
    def rejected(self) -> int:
        """Number of rejects."""
        return sum(self.reasons.values())

    def reject(self, broken: Iterable[BrokenRow]) -> None:
        """Count rejects, and list the first of them.

        Parameters
        ----------
        broken : iterable of BrokenRow
            Rows of the shard.
        """
        for row in broken:
            self.reasons[row.reason] = self.reasons.get(row.reason, 0) + 1
            self.unreadable += row.size
            if len(self.rejects) < LISTED:
                self.rejects.append((row.number, row.reason) if row.id is None else (row.number, row.reason, row.id))

    @property
    def name(self) -> str:
        """Name of the shard."""
        return Path(self.part).stem.removeprefix("part-")

    @classmethod
    def of(cls, shard: Shard, model: str, options: str, kind: str) -> Self:
        """Begin the record of a shard.

        Parameters
        ----------
        shard : Shard
            The shard to score.
        model, options : str
            Digests of the model and of the options.
        kind : str
            Format of the output, which is the file's extension.
        """
        part, place = f"part-{shard.name}.{kind}", place_of(path_of(shard.file))
        begun = cls(shard.file, shard.number, shard.first_row, shard.digest, model, options, part, place=place)
        begun.table, begun.version = shard.table, shard.version
        return begun

    def is_of_another(self, other: Self) -> bool:
        """Return whether two records are of different files that happen to have the same name, as all streams do.

        Parameters
        ----------
        other : Completion
            The record of a shard of the same name and number.
        """
        elsewhere = self.place != other.place or is_stream(Path(self.file))
        return elsewhere and (self.first_row, self.digest) != (other.first_row, other.digest)


def place_of(path: Path) -> str:
    """Return where a file is, whatever the working directory; empty for a stream."""
    return "" if is_stream(path) else str(path.absolute())
