"""A scoring job: it turns files of posts into a folder of predictions, in pieces that survive an interruption."""

import errno
import json
import time
from collections.abc import Callable, Iterator, Sequence, Set
from functools import cached_property, partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

from models.errors import InputError
from models.folders import owner_only
from models.storage import RELEASED
from pipeline.cores import cores
from pipeline.errors import IncompleteError, NoPostsError
from pipeline.files import OutputError, whole_file
from pipeline.records import Tell, ignore, is_stream, live_of
from pipeline.scoring.bad_files import BadFiles, OnBadFile
from pipeline.scoring.completion import Completion
from pipeline.scoring.earlier import what_differs
from pipeline.scoring.inputs import check_inputs, find_inputs
from pipeline.scoring.options import DEFAULT_OUT, Options
from pipeline.scoring.output import MANIFEST, REJECTS, Output
from pipeline.scoring.parts import ModelFolder, PartWriter
from pipeline.scoring.processes import Failure, Outcome, attempt, in_processes
from pipeline.scoring.shards import Shard, cut
from pipeline.scoring.summary import FileSummary, Summary
from pipeline.scoring.unchanged import Unchanged, stamp
from pipeline.stores import path_of

LISTED_OF_FILE = 100_000  # maximum number of rejects of a file that ``rejects.jsonl`` lists


class Progress(NamedTuple):
    """How far a job has got.

    Attributes
    ----------
    posts : int
        Number of posts that this run has scored or rejected.
    done, total : int
        Bytes of the input files that are done, including those of earlier runs, and their total; total is 0 for standard input.
    """

    posts: int
    done: int
    total: int


def _forgotten_in(file: str) -> InputError:
    why = "has changed, or would be scored again, where posts were forgotten"
    return InputError(f"{file}: {why}; name them with --forget IDS, or give --forget an empty file if it no longer holds them")


class Job:
    """The state of a job: which shards there are, which were already done, and what went wrong."""

    def __init__(self, source: ModelFolder, files: Sequence[Path], output: Output, options: Options, tell: Tell, bad: BadFiles) -> None:
        self.source, self.files, self.output, self.options, self.tell, self.bad = source, files, output, options, tell, bad
        self.names: list[str] = []
        self.forget: Set[str] | None = None
        self.forgotten: dict[str, int] = {}  # for each file, its last shard from which posts were forgotten
        self.stamps: dict[Path, tuple[int, int] | None] = {}
        self.kept = 0
        self.failures = bad.reasons
        self.allowed: int | None = 1  # processes; None for one per core
        self.workers = 1
        self.posts = 0
        self.done = 0

    @cached_property
    def total(self) -> int:
        """Total size of the files in bytes, needed only while scoring; 0 if one is a stream."""
        return 0 if any(map(is_stream, self.files)) else sum(path.stat().st_size for path in self.files if path.exists())

    def check_mixing(self) -> None:
        """Raise an error if the folder holds scores by another model, or of other files; say so if they are of other options.

        Note where posts were forgotten, too.
        """
        given, before = set(map(str, self.files)), set[str]()
        versions = {str(place): live.version for path in self.files if (live := live_of(path)) for place in (path, live.table)}
        if self.output.forgetting.exists():
            self.tell(self.output.folder, "not all posts have been removed that were to be forgotten; run disclosure forget again")
        for found in self.output.completions():
            before.add(found.options)
            if found.model != self.source.digest:
                held, wanted = found.model[:12], self.source.digest[:12]
                reason = f"holds scores by the model {held}, not by {wanted}"
            elif (now := versions.get(found.file, versions.get(found.table, found.version))) != found.version:
                reason = f"holds scores of {found.table or found.file}"
                if found.version is None:
                    reason += " from when it was no Delta table"
                else:
                    how = f"add --table-version {found.version} to continue there, which scores rows that were deleted since"
                    reason += f" at version {found.version}, and not at version {now} ({how})"
            elif found.file not in given:
                reason = f"holds scores of {found.file}, which is not among the inputs"
            else:
                if found.forgotten:
                    self.forgotten[found.file] = max(found.number, self.forgotten.get(found.file, 0))
                continue
            raise InputError(f"{self.output.folder}: {reason}; choose another --out, or replace them with --start-over")
        if before and self.options.digest not in before:
            self.tell(self.output.folder, f"{what_differs(self.output.folder, self.options)}; all parts are written again")

    def _wanted(self, shard: Shard) -> Completion:
        """Return the record that a shard is to have."""
        return Completion.of(shard, self.source.digest, self.options.digest, self.options.format)

    def _found(self, wanted: Completion) -> Completion | None:
        """Return the record that a shard has; raise an error if it is of another file, or stream, of this name, as that would be lost."""
        found = self.output.completion(wanted.name)
        if found and found.sha256 and found.is_of_another(wanted):
            where = f", which was {found.place}" if found.place else ""
            reason = f"holds scores of another {found.file}{where}"
            raise InputError(f"{self.output.folder}: {reason}; choose another --out, or replace them with --start-over")
        return found

    def _is_done(self, wanted: Completion, found: Completion | None, *, retry_rejects: bool) -> bool:
        """Return whether a shard, for which a record was found, need not be scored again."""
        if not found or not self.output.has(wanted, found) or found.labels.keys() != set(self.source.labels):
            return False
        return not (retry_rejects and found.rejects)

    def _brings_back(self, path: Path, last: int, *, retry_rejects: bool) -> bool:
        """Return whether a shard from which posts were forgotten is gone, or is not done; `last` is the number of the last such shard.

        If rows were removed further up, these posts are in an earlier shard now, and it does not know that they were forgotten.
        """
        try:
            shards = [self._wanted(shard) for shard in islice(self._cut(path, ignore), last + 1)]
        except InputError as error:  # what can be read of the file may hold these posts, so that none of it is scored
            self.bad.add(path, error)
            return False
        for wanted in shards:
            found = self._found(wanted)
            if found and found.forgotten and not self._is_done(wanted, found, retry_rejects=retry_rejects):
                return True
        return len(shards) <= last

    def check_forgotten(self, unchanged: Unchanged | None, *, retry_rejects: bool) -> None:
        """Raise an error, before anything is scored, if that could bring back posts that were forgotten."""
        for path in self.files:
            last = self.forgotten.get(str(path))
            if last is None or path in self.bad.paths or is_stream(path) or (unchanged and unchanged.shards(path) is not None):
                continue
            if self._brings_back(path, last, retry_rejects=retry_rejects):
                raise _forgotten_in(str(path))

    def _unread(self, unchanged: Unchanged | None) -> Iterator[Path]:
        """Yield the files that must be read; the shards of the others count as done."""
        for path in self.files:
            names = unchanged.shards(path) if unchanged else None
            if unchanged and names is not None:
                self.names += names
                self.kept += len(names)
                self.stamps[path] = before = unchanged.files[path].stamp
                self.done += before[0] if before else 0
            else:
                yield path

    def pending(self, unchanged: Unchanged | None = None, *, start_over: bool, retry_rejects: bool) -> Iterator[Shard]:
        """Yield the shards that are not done yet, file by file."""
        for shard in chain.from_iterable(map(self._shards, self._unread(unchanged))):
            self.names.append(shard.name)
            wanted = self._wanted(shard)
            found = None if start_over else self._found(wanted)
            if self._is_done(wanted, found, retry_rejects=retry_rejects):
                self.kept += 1
                self.done += shard.size
            else:
                if found and found.forgotten and self.forget is None:  # of a stream, which `check_forgotten` cannot read
                    raise _forgotten_in(shard.file)
                yield shard

    def _shards(self, path: Path) -> Iterator[Shard]:
        """Yield the shards of a file, as far as it can be read."""
        if path in self.bad.paths:
            return
        try:
            before = stamp(path)
            for shard in self._cut(path, self.tell):
                if not (shard.kind == ".jsonl" and shard.content.isspace()):  # blank lines are no rows
                    yield shard
            self.stamps[path] = before
        except InputError as error:
            self.bad.add(path, error)

    def _cut(self, path: Path, tell: Tell) -> Iterator[Shard]:
        size = self.options.shard_mb and self.options.shard_mb * 2**20
        return cut(path, self.options.columns, tell, size, self.options.input_format)

    def run(self, unchanged: Unchanged | None, *, start_over: bool, retry_rejects: bool) -> Iterator[None]:
        """Score the shards that are not done yet, yielding after each."""
        if self.forget is None:
            self.check_forgotten(unchanged, retry_rejects=retry_rejects)
        start = partial(PartWriter, self.source, self.options, self.output.folder)
        shards = self.pending(unchanged, start_over=start_over, retry_rejects=retry_rejects)
        few = list(islice(shards, 2))
        if not self.names and not self.failures:
            empty = "and all other inputs are empty" if len(self.files) > 1 else "is empty"
            raise NoPostsError(f"{self.files[0]} {empty} (no rows); give a file with posts")
        self.workers = self.allowed or (cores() if len(few) > 1 else 1)
        work = start() if few and (self.workers == 1 or len(few) == 1) else None
        if start_over:
            if not work:
                start()  # check that the model loads before removing earlier output
            self._clear()
        shards = chain(few, shards)
        outcomes: Iterator[tuple[Shard, Outcome]]
        outcomes = ((shard, attempt(work, shard)) for shard in shards) if work else in_processes(start, shards, self.workers)
        for shard, outcome in outcomes:
            if isinstance(outcome, Failure):
                self.failures.append(outcome.reason)
            else:
                self.posts += outcome.read
            self.done += shard.size
            self.output.check_lock()
            yield

    def _clear(self) -> None:
        """Remove all earlier output."""
        if self.forget is None and any(done.forgotten for done in self.output.completions()):
            self.tell(self.output.folder, "posts were forgotten here; those that the inputs still hold are scored again; see --forget")
        self.output.remove_all_but(set())

    def check_complete(self) -> None:
        """Raise an error if something could not be read or scored."""
        if self.failures:
            more = f", and {len(self.failures) - 1} more" if len(self.failures) > 1 else ""
            message = f"{self.output.folder}: incomplete: {self.failures[0]}{more}. Finished shards are kept; fix the cause and run again"
            raise IncompleteError(message, self.failures)

    def _settle(self, summary: Summary) -> None:
        """Do what can only be done once all parts are there."""
        if self.forget:
            from pipeline.scoring.forgetting import Forgetter

            forgetter = Forgetter(self.output, summary.thresholds, self.options, self.forget)
            for concerned in forgetter.concerned(self.output.read(self.names)):
                forgetter.forget(concerned)
        if self.options.route:
            from pipeline.scoring.capacity import keep_capacities

            keep_capacities(self.output, self.names, self.source, self.options, self.options.route, summary, self.allowed or cores())

    def finish(self, summary: Summary, started: float) -> None:
        """Fill in the summary, write the rejects in the order of the inputs, and write the manifest last."""
        seconds, sampled = 0.0, set[int]()
        self.output.check_lock()
        for found in self.output.completions():
            if found.name not in self.names and is_stream(Path(found.file)):
                raise InputError(f"{self.output.folder}: holds scores of more rows than {found.file} now has; choose another --out")
        self.output.remove_all_but(set(self.names))
        self.output.check_nothing_else()
        summary.workers = self.workers
        self._settle(summary)
        with whole_file(self.output.folder / REJECTS) as rejects:
            for name, done in zip(self.names, self.output.read(self.names), strict=True):
                if done is None:
                    raise OutputError(f"{self.output.folder}: the record of shard {name} has disappeared")
                summary.add(done, sampled)
                seconds += done.seconds
                counts = summary.files[done.file]
                for reject in done.rejects[: max(LISTED_OF_FILE - counts.listed, 0)]:
                    line = {"file": done.file, **dict(zip(("row", "reason", "id"), reject, strict=False))}
                    rejects.write(json.dumps(line).encode() + b"\n")
                    counts.listed += 1
        summary.kept_shards = self.kept
        summary.posts_per_second = round(summary.scored / seconds, 1) if seconds else 0.0
        summary.seconds = round(time.perf_counter() - started, 3)
        self.output.check_lock()
        with whole_file(self.output.folder / MANIFEST) as file:
            file.write(summary.to_json().encode() + b"\n")


@owner_only()
def score_files(
    inputs: Sequence[str | Path],
    model: str | Path = RELEASED,
    out: str | Path = DEFAULT_OUT,
    options: Options | None = None,
    *,
    workers: int | None = 1,
    start_over: bool = False,
    retry_rejects: bool = False,
    on_bad_file: OnBadFile = "fail",
    forget: Set[str] | None = None,
    table_version: int | None = None,
    progress: Callable[[Progress], Any] = lambda state: None,
    tell: Tell = ignore,
) -> Summary:
    """Score files in bounded memory; after an interruption, the same call continues where it stopped.

    Parameters
    ----------
    inputs : sequence of str or Path
        Files that ``pipeline/records`` reads, folders of them and globs (see `find_inputs`).
    model : str or Path
        Model directory; by default, the model released with this version.
    out : str or Path
        Output folder. It will hold ``part-*`` files (see `prediction_schema`), ``rejects.jsonl`` (file, row and reason for each row that
        cannot be scored), the record of each part in ``_shards``, and at the end ``manifest.json`` (the summary). Shards that an
        earlier run over the same files finished with the same model and options are not scored again.
    options : Options, optional
        Columns, output format, how to treat long texts, and what to decide and explain.
    workers : int or None
        Maximum number of processes; None stands for one per core. With more than one, a script must call this under
        ``if __name__ == "__main__":``.
    start_over : bool
        Whether to remove an earlier job's output from `out` first.
    retry_rejects : bool
        Whether to score again the shards of an earlier job that hold rejects.
    on_bad_file : {"fail", "skip"}
        What to do if a file cannot be used: raise an error before anything is done, or score all others and raise an `IncompleteError`
        at the end. A file that is damaged is scored up to the damage in both cases, and then reported in the same way.
    forget : set of str, optional
        Ids of posts that must not be in the output, even if the inputs hold them (see `pipeline.scoring.forgetting.forget`). Without it,
        a part from which posts were forgotten is not scored again.
    table_version : int, optional
        The version of the Delta table that is among the inputs; by default, its newest. A job can only be continued at the version at
        which it was begun.
    progress : callable, optional
        Called with a `Progress` after each shard.
    tell : callable
        Called with a path and a line about it: how a file was read, if that is unusual, or a doubt about the columns to keep.

    Returns
    -------
    Summary
        What ``manifest.json`` holds.

    Raises
    ------
    InputError
        When the model, a file or the folder cannot be used, or the folder holds other scores. Nothing was done in this case.
    IncompleteError
        When something could not be read or scored, or the disk is full. The rest was done. A manifest is never left beside parts that
        it does not describe.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as out:
    ...     summary = score_files(["data/starter/test.jsonl"], out=out)
    >>> summary.scored
    426
    """
    source, folder, options = ModelFolder.read(Path(model)), path_of(out), options or Options()
    started = time.perf_counter()
    if workers is not None and workers < 1:
        raise InputError(f"workers must be 1 or more, or None, but got {workers}")
    if forget and options.id_column is None:
        raise InputError("forget cannot be combined with id_column=None: once a row is removed, the next one has its number")
    thresholds = options.thresholds_of(source.labels, source.points)
    options.schema(source.labels)
    bad = BadFiles(on_bad_file)
    files = find_inputs(inputs, folder, tell, bad, options.input_format, table_version)
    output = Output(folder)
    unchanged = None if start_over or retry_rejects else Unchanged(output, files, source.digest, options)
    check_inputs(files, options, folder, tell, bad, unchanged.files if unchanged else ())
    if bad.paths.issuperset(files):
        also = f" (and {len(files) - 1} more file{'s' if len(files) > 2 else ''} cannot be used)" if len(files) > 1 else ""
        raise InputError(bad.reasons[0] + also)
    with output.locked():
        job = Job(source, files, output, options, tell, bad)
        job.forget, job.allowed = forget, workers
        summary = Summary.of(source.digest, thresholds, options)
        summary.files.update({str(path): FileSummary() for path in files})
        try:
            if not start_over:
                job.check_mixing()
            for _ in job.run(unchanged, start_over=start_over, retry_rejects=retry_rejects):
                progress(Progress(job.posts, job.done, job.total))
            job.check_complete()
            for path, stamp_then in job.stamps.items():
                summary.files[str(path)].stamp = stamp_then
            job.finish(summary, started)
        except OSError as error:  # an error of the machine, such as too few file descriptors for the workers
            remedy = "raise the limit (ulimit -n), or use fewer --workers," if error.errno == errno.EMFILE else "correct this"
            raise IncompleteError(f"{error.strerror or error}; finished shards are kept; {remedy} and run again") from None
        except OutputError as error:
            raise IncompleteError(f"{error}. Finished shards are kept; fix the cause (is the disk full?) and run again") from None
        except InputError as error:
            if not job.posts:
                raise
            raise IncompleteError(f"{error} (finished shards are kept)") from None
    return summary
