"""A scoring job: files of posts in, a folder of predictions out, in pieces that survive whatever ends the job."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

from models.errors import InputError
from models.storage import RELEASED
from pipeline.errors import DamagedError, IncompleteError
from pipeline.predictions import prediction_schema
from pipeline.records import STDIN
from pipeline.scoring.inputs import check_inputs, find_inputs
from pipeline.scoring.options import DEFAULT_OUT, Options
from pipeline.scoring.output import MANIFEST, REJECTS, Completion, Output, OutputError, whole_file
from pipeline.scoring.parts import ModelFolder, PartWriter
from pipeline.scoring.processes import Failure, Outcome, attempt, in_processes
from pipeline.scoring.shards import Shard, cut
from pipeline.scoring.summary import FileSummary, Summary


class Progress(NamedTuple):
    """How far a job is.

    Attributes
    ----------
    posts : int
        Read and scored or rejected by this run.
    done, total : int
        Bytes of the input files, what earlier runs did included; total is 0 for standard input.
    """

    posts: int
    done: int
    total: int


class _Job:
    """The state of a job: which shards there are, which stood already, what went wrong."""

    def __init__(self, source: ModelFolder, files: Sequence[Path], output: Output, options: Options) -> None:
        self.source, self.files, self.output, self.options = source, files, output, options
        self.names: list[str] = []
        self.kept = 0
        self.failures: list[str] = []
        self.posts = 0
        self.done = 0
        self.total = 0 if STDIN in files else sum(path.stat().st_size for path in files if path.exists())

    def check_mixing(self) -> None:
        """Fail if the folder holds scores by another model, or of files that are not among these."""
        given = set(map(str, self.files))
        for found in self.output.completions():
            if found.model != self.source.digest:
                held, wanted = found.model[:12], self.source.digest[:12]
                reason = f"holds scores by the model {held}, not {wanted}"
            elif found.file not in given:
                reason = f"holds scores of {found.file}, which is not among the inputs"
            else:
                continue
            raise InputError(f"{self.output.folder}: {reason}; choose another --out, or --start-over to replace them")

    def pending(self, *, start_over: bool) -> Iterator[Shard]:
        """Shards that are to be done, file after file."""
        for path in self.files:
            try:
                for shard in cut(path, self.options.columns):
                    self.names.append(shard.name)
                    wanted = Completion.of(shard, self.source.digest, self.options.digest, self.options.format)
                    if not start_over and self.output.has(wanted):
                        self.kept += 1
                        self.done += shard.size
                    else:
                        yield shard
            except DamagedError as error:
                self.failures.append(str(error))

    def run(self, workers: int, *, start_over: bool) -> Iterator[None]:
        """Do what is to be done."""
        start = partial(PartWriter, self.source, self.options, self.output.folder)
        shards = self.pending(start_over=start_over)
        few = list(islice(shards, 2))
        if not self.names and not self.failures:
            others = " and all others" if len(self.files) > 1 else ""
            raise InputError(f"{self.files[0]}{others}: empty, no rows; give a file with posts")
        if start_over:
            from models import Classifier

            Classifier.load(self.source.folder)  # a model that cannot be loaded must not cost the earlier output
            self.output.remove_all_but(set())
        shards = chain(few, shards)
        outcomes: Iterator[tuple[Shard, Outcome]]
        if workers > 1 and len(few) > 1:
            outcomes = in_processes(start, shards, workers)
        else:
            work = start() if few else None
            outcomes = ((shard, attempt(work, shard)) for shard in shards if work)
        for shard, outcome in outcomes:
            if isinstance(outcome, Failure):
                self.failures.append(outcome.reason)
            else:
                self.posts += outcome.read
            self.done += shard.size
            yield

    def finish(self, summary: Summary) -> None:
        """Sum up, in the order of the inputs, and write that; the manifest last."""
        seconds = 0.0
        self.output.remove_all_but(set(self.names))
        with whole_file(self.output.folder / REJECTS) as rejects:
            for name in self.names:
                done = self.output.completion(name)
                if done is None:
                    raise OutputError(f"{self.output.folder}: the record of shard {name} is gone")
                summary.add(done)
                seconds += done.seconds
                for row, reason in done.rejects:
                    rejects.write(json.dumps({"file": done.file, "row": row, "reason": reason}).encode() + b"\n")
        summary.kept_shards = self.kept
        summary.posts_per_second = round(summary.scored / seconds, 1) if seconds else 0.0


def score_files(
    inputs: Sequence[str | Path],
    model: str | Path = RELEASED,
    out: str | Path = DEFAULT_OUT,
    options: Options | None = None,
    *,
    workers: int = 1,
    start_over: bool = False,
    progress: Callable[[Progress], Any] = lambda state: None,
) -> Summary:
    """Score files in bounded memory; run again, it goes on where it was stopped.

    Parameters
    ----------
    inputs : sequence of str or Path
        JSONL, CSV and Parquet files, folders of them and globs (see `find_inputs`).
    model : str or Path
        Model directory; by default the one released with this version.
    out : str or Path
        Output folder. It gets ``part-*`` files (see `prediction_schema`), ``rejects.jsonl`` (file, row and reason of what
        cannot be scored), the record of each part in ``_shards``, and at the end ``manifest.json`` (the summary). Shards that
        an earlier run over the same files finished, with the same model and options, are not scored again.
    options : Options, optional
        Columns, format, what to do with odd texts, what to decide and explain.
    workers : int
        Processes, at most. With more than one, a script that calls this must do so under ``if __name__ == "__main__":``.
    start_over : bool
        Remove first what an earlier job wrote to `out`.
    progress : callable, optional
        Told how far the job is after each shard.

    Returns
    -------
    Summary

    Raises
    ------
    InputError
        When the model, a file or the folder cannot be used, or the folder holds other scores; nothing was done then.
    IncompleteError
        When something could not be read or scored, or the disk is full; the rest was done. No manifest stands
        beside parts that it does not tell of.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as out:
    ...     summary = score_files(["data/starter/test.jsonl"], out=out)
    >>> summary.scored
    426
    """
    source, folder, options = ModelFolder.read(Path(model)), Path(out), options or Options()
    started = time.perf_counter()
    if workers < 1:
        raise InputError(f"workers {workers}: must be 1 or more")
    options.check_labels(source.labels)
    ours = prediction_schema(source.labels, review=options.abstain is not None, explanation=options.explain).names
    if taken := [name for name in options.keep if name in ours]:
        raise InputError(f"keep {taken[0]!r}: the output has a column of that name; rename it in the input")
    files = find_inputs(inputs)
    output = Output(folder)
    check_inputs(files, options, folder)
    with output.locked():
        job = _Job(source, files, output, options)
        if not start_over:
            job.check_mixing()
        summary = Summary.of(source.digest, source.labels, options)
        summary.workers = workers
        summary.files.update({str(path): FileSummary() for path in files})
        try:
            for _ in job.run(workers, start_over=start_over):
                progress(Progress(job.posts, job.done, job.total))
            if job.failures:
                more = f", and {len(job.failures) - 1} more" if len(job.failures) > 1 else ""
                message = f"{folder}: incomplete. {job.failures[0]}{more}. What is done is kept: mend that and run again"
                raise IncompleteError(message, job.failures)
            job.finish(summary)
            summary.seconds = round(time.perf_counter() - started, 3)
            with whole_file(folder / MANIFEST) as file:
                file.write(summary.to_json().encode() + b"\n")
        except OutputError as error:
            raise IncompleteError(f"{error}. What is done is kept: mend that, make room, say, and run again") from None
        except InputError as error:
            if not job.posts:
                raise
            raise IncompleteError(f"{error} (what is done is kept)") from None
    return summary
