"""The summary of a scoring job."""

import json
import platform
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from pipeline import __version__
from pipeline.scoring.completion import Completion
from pipeline.scoring.options import Options

_SOFTWARE = ("numpy", "pyarrow", "scipy", "spacy")


@dataclass
class FileSummary:
    """The summary of an input file.

    Attributes
    ----------
    read, scored, rejected : int
        Rows read, posts scored, rows rejected.
    listed : int
        How many of the rejects ``rejects.jsonl`` lists.
    size, unreadable : int
        Number of bytes, decompressed, and of those in rows that could not be read.
    parts : dict of str to str
        Its output files, in the order of their rows, with their SHA-256.
    stamp : (int, int) or None
        Its size on the disk or in the store, and its modification time in nanoseconds, when it was read; None for a stream.
    """

    read: int = 0
    scored: int = 0
    rejected: int = 0
    listed: int = 0
    size: int = 0
    unreadable: int = 0
    parts: dict[str, str] = field(default_factory=dict)
    stamp: tuple[int, int] | None = None

    @property
    def rejected_share(self) -> float:
        """Share of the rows that were rejected, or of the bytes, if that is more: a row that cannot be read may be a whole file."""
        return max(self.rejected / max(self.read, 1), self.unreadable / max(self.size, 1))


@dataclass
class Summary:
    """The summary of a job, which ``manifest.json`` holds as JSON.

    Attributes
    ----------
    model : str
        The model's digest.
    options : dict
        The options; see `Options`.
    thresholds : dict of str to float
        The thresholds that decided, by label.
    software : dict of str to str
        Versions of packages, by name.
    read, scored, rejected : int
        Number of rows read, posts scored and rows rejected; read = scored + rejected.
    reused : int
        Number of posts that repeat a text, and so were scored without the model.
    review : int
        Number of posts with a label for review.
    reasons : dict of str to int
        Number of rejects by reason.
    labels : dict of str to int
        Number of scored posts that were given each label.
    stream : dict of str to float
        Sums over the posts of the numbers that say how much of them the model knows; empty without ``unfamiliar``.
    files : dict of str to FileSummary
        Summary of each input file.
    tables : dict of str to int
        The version of each Delta table among the inputs.
    repeated_ids : int
        Number of posts that share an id with an earlier one. It is a lower limit: within a shard all are counted, but between shards only a
        sample is compared.
    rounded_ids : int
        Number of posts whose id looks like a number that a spreadsheet has rounded.
    shards, kept_shards : int
        Number of all shards, and of those that were already done when this run began.
    queues : dict of str to int
        Number of posts in each queue.
    turned_away : dict of str to int
        Number of posts that met a rule of each queue when it was full.
    left_out : int
        Number of posts that met a rule but are in no queue, because every queue for them was full.
    forgotten : dict of str to int
        Number of rows that ``disclosure forget`` removed, by day; all other numbers are about the rows that are left.
    workers : int
        Maximum number of processes of this run: by default 1 if it had one part at most to score, or else one per core.
    seconds : float
        Wall time of this run.
    posts_per_second : float
        Speed of one worker, over all shards, whichever run scored them.
    """

    model: str
    options: dict[str, Any]
    thresholds: dict[str, float]
    software: dict[str, str]
    read: int = 0
    scored: int = 0
    rejected: int = 0
    reused: int = 0
    review: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    stream: Counter[str] = field(default_factory=Counter)  # its values need not be whole
    files: dict[str, FileSummary] = field(default_factory=dict)
    tables: dict[str, int] = field(default_factory=dict)
    repeated_ids: int = 0
    rounded_ids: int = 0
    shards: int = 0
    kept_shards: int = 0
    queues: Counter[str] = field(default_factory=Counter)
    turned_away: Counter[str] = field(default_factory=Counter)
    left_out: int = 0
    forgotten: Counter[str] = field(default_factory=Counter)
    workers: int = 1
    seconds: float = 0.0
    posts_per_second: float = 0.0

    @classmethod
    def of(cls, digest: str, thresholds: Mapping[str, float], options: Options) -> "Summary":
        """Begin a summary with nothing read.

        Parameters
        ----------
        digest : str
            The model's digest.
        thresholds : mapping of str to float
            The thresholds that decide, by label.
        options : Options
            The options of the job.
        """
        software = {"disclosure-pipeline": __version__, "python": platform.python_version()}
        software |= {name: version(name) for name in _SOFTWARE}
        none = dict.fromkeys(options.route.names, 0) if options.route else {}
        labels = dict.fromkeys(thresholds, 0)
        summary = cls(digest, options.to_dict(), dict(thresholds), software, labels=Counter(labels))
        summary.queues, summary.turned_away = Counter(none), Counter(none)
        return summary

    @property
    def rates(self) -> dict[str, float]:
        """Share of the scored posts that were given each label, rounded to six digits."""
        return {label: round(count / max(self.scored, 1), 6) for label, count in self.labels.items()}

    def to_json(self) -> str:
        """Return the summary as a JSON object, with `rates`, and with means of `stream` instead of sums."""
        means = {name: round(total / max(self.scored, 1), 6) for name, total in self.stream.items()}
        return json.dumps(vars(self) | {"rates": self.rates, "stream": means}, default=vars, indent=1)

    def add(self, done: Completion, sampled: set[int]) -> None:
        """Add the counts of a finished shard.

        Parameters
        ----------
        done : Completion
            The record of the shard.
        sampled : set of int
            The samples of ids from earlier shards; this shard's sample is added to them.
        """
        self.shards += 1
        self.reasons.update(done.reasons)
        self.labels.update(done.labels)
        self.stream.update(done.stream)
        for counts in (self, self.files[done.file]):
            counts.read += done.read
            counts.scored += done.scored
            counts.rejected += done.rejected
        self.repeated_ids += done.repeated + sum(number in sampled for number in done.sample)
        sampled.update(done.sample)
        self.rounded_ids += done.rounded
        self.reused += done.reused
        self.review += done.review
        self.queues.update(done.queues)
        self.forgotten.update(done.forgotten)
        if done.version is not None:
            self.tables[done.table] = done.version
        file = self.files[done.file]
        file.size += done.size
        file.unreadable += done.unreadable
        file.parts[done.part] = done.sha256
