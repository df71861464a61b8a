"""Figures of a finished job as a text file, which Prometheus' node exporter collects."""

import os
import time
from pathlib import Path

from models.errors import InputError
from pipeline.files import whole_file
from pipeline.scoring.summary import Summary

_SUFFIX = ".prom"  # node exporter ignores other names
_REASONS = 20  # maximum number of reasons for rejecting posts that are counted separately


class JobMetrics:
    """What is written about a job when it has ended, whether it succeeded or not.

    Every figure has the label ``task``, which is the name of the file without its suffix. Node exporter takes all files of its folder
    together, and each figure may be there only once.

    Parameters
    ----------
    path : Path
        The file, ``*.prom``.

    Attributes
    ----------
    summary : Summary or None
        The summary of the job. It is None if the job did not get to its end, and the file then holds nothing about posts and the model.

    Raises
    ------
    InputError
        When the file could not be written.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._began = path, time.monotonic()
        self.summary: Summary | None = None
        if path.suffix != _SUFFIX:
            raise InputError(f"--metrics-file {path}: must end with {_SUFFIX}, or node exporter ignores it; rename it")
        if path.exists() and not path.is_file():
            raise InputError(f"--metrics-file {path}: is not a file; choose another name")
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise InputError(f"--metrics-file {path}: {path.parent} is not a folder that you may write to; choose another")

    def write(self, code: int) -> None:
        """Write the file, whole or not at all, and readable by everybody, because it holds nothing but counts.

        Parameters
        ----------
        code : int
            Exit code of the job.

        Raises
        ------
        OutputError
            When it cannot be written.
        """
        with whole_file(self._path) as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(self._text(code))

    def _text(self, code: int) -> bytes:
        from prometheus_client import CollectorRegistry, Gauge
        from prometheus_client.openmetrics.exposition import generate_latest

        registry = CollectorRegistry()

        def gauge(name: str, what: str, *labels: str) -> Gauge:
            return Gauge(f"disclosure_job_{name}", what, ["task", *labels], registry=registry)

        task = self._path.stem
        gauge("exit_code", "Exit code of the job.").labels(task).set(code)
        gauge("completion_timestamp_seconds", "When the job ended, in seconds since 1970.").labels(task).set(time.time())
        gauge("duration_seconds", "How long the job took.").labels(task).set(time.monotonic() - self._began)
        if self.summary is not None:
            gauge("posts_read", "Rows that were read.").labels(task).set(self.summary.read)
            gauge("posts_scored", "Posts that were scored.").labels(task).set(self.summary.scored)
            rejected = gauge("posts_rejected", "Rows that were rejected, by reason.", "reason")
            reasons = self.summary.reasons.most_common()
            for reason, posts in reasons[:_REASONS]:
                rejected.labels(task, reason).set(posts)
            if others := sum(posts for _, posts in reasons[_REASONS:]):
                rejected.labels(task, "other").set(others)
            gauge("model_info", "The model that scored the posts; always 1.", "digest").labels(task, self.summary.model).set(1)
        return bytes(generate_latest(registry))  # type: ignore[no-untyped-call]
