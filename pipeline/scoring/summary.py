"""What a scoring job adds up to."""

import json
import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from pipeline import __version__
from pipeline.scoring.options import Options
from pipeline.scoring.output import Completion

_SOFTWARE = ("numpy", "pyarrow", "scipy", "spacy")


@dataclass
class FileSummary:
    """What became of a file's posts: rows read, posts scored, rows rejected, and the output files in the order of its rows."""

    read: int = 0
    scored: int = 0
    rejected: int = 0
    parts: dict[str, str] = field(default_factory=dict)  # SHA-256 by name


@dataclass
class Summary:
    """What became of the posts of a job; ``manifest.json`` is this as JSON.

    Attributes
    ----------
    model : str
        Digest.
    options : dict
        See `Options`.
    software : dict of str to str
        Versions.
    read, scored, rejected : int
        Rows and posts; read = scored + rejected.
    reused : int
        Posts scored without the model, as repetitions.
    review : int
        Posts with a label for review.
    reasons : dict of str to int
        Rejects by reason.
    labels : dict of str to int
        Scored posts that were given the label.
    files : dict of str to FileSummary
        By input.
    shards, kept_shards : int
        All, and those that stood already when this run began.
    workers : int
        Processes of this run, at most.
    seconds : float
        Wall time of this run.
    posts_per_second : float
        Of one worker, over all shards, whichever run did them.
    """

    model: str
    options: dict[str, Any]
    software: dict[str, str]
    read: int = 0
    scored: int = 0
    rejected: int = 0
    reused: int = 0
    review: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    files: dict[str, FileSummary] = field(default_factory=dict)
    shards: int = 0
    kept_shards: int = 0
    workers: int = 1
    seconds: float = 0.0
    posts_per_second: float = 0.0

    @classmethod
    def of(cls, digest: str, labels: Sequence[str], options: Options) -> "Summary":
        """Begin with nothing read."""
        software = {"disclosure-pipeline": __version__, "python": platform.python_version()}
        software |= {name: version(name) for name in _SOFTWARE}
        return cls(digest, options.to_dict(), software, labels=Counter(dict.fromkeys(labels, 0)))

    @property
    def rates(self) -> dict[str, float]:
        """Share of the scored posts that were given each label."""
        return {label: round(count / max(self.scored, 1), 6) for label, count in self.labels.items()}

    def to_json(self) -> str:
        """All of it as one JSON object."""
        return json.dumps(vars(self) | {"rates": self.rates}, default=vars, indent=1)

    def add(self, done: Completion) -> None:
        """Count a shard in."""
        self.shards += 1
        self.reasons.update(reason for _, reason in done.rejects)
        self.labels.update(done.labels)
        for counts in (self, self.files[done.file]):
            counts.read += done.read
            counts.scored += done.scored
            counts.rejected += len(done.rejects)
        self.reused += done.reused
        self.review += done.review
        self.files[done.file].parts[done.part] = done.sha256
