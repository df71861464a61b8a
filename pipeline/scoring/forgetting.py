"""Remove posts from the output of a job, for example because their authors ask for it."""

import hashlib
import sys
import time
from collections.abc import Collection, Iterable, Mapping, Set
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from models.calibration import decide
from models.errors import InputError
from models.folders import owner_only
from pipeline.errors import IncompleteError
from pipeline.files import OutputError, whole_file
from pipeline.predictions import FAMILIARITY
from pipeline.records import STDIN, BrokenRow, file_rows, ignore, missing_column, name_of, text_columns
from pipeline.scoring.bad_files import BadFiles
from pipeline.scoring.completion import Completion
from pipeline.scoring.earlier import Earlier
from pipeline.scoring.finished import part_columns, part_content, without_rows
from pipeline.scoring.ids import Ids
from pipeline.scoring.job import Job
from pipeline.scoring.options import Options
from pipeline.scoring.output import MANIFEST, RECORDS, Output
from pipeline.scoring.parts import ModelFolder
from pipeline.scoring.posts import refusal
from pipeline.scoring.summary import FileSummary, Summary
from pipeline.scoring.unchanged import is_settled
from pipeline.stores import path_of

_TEXT = (".txt", "")  # ends of the names of files with one id per line


@dataclass
class Forgotten:
    """What was removed.

    Attributes
    ----------
    posts, rejects : int
        Number of rows of posts, and of rejects.
    ids, unknown : int
        Number of different ids that were given, and of those that no post or reject had.
    resumed : bool
        Whether an earlier call was interrupted; it may have removed some of the posts already.
    """

    posts: int = 0
    rejects: int = 0
    ids: int = 0
    unknown: int = 0
    resumed: bool = False


def _lines(path: Path) -> list[object]:
    try:
        content = path.read_bytes() if path != STDIN else sys.stdin.buffer.read() if sys.stdin else b""
        lines = [line.removesuffix("\r") for line in content.decode("utf-8-sig").split("\n")]  # ids may hold any other space
        return [line for line in lines if line]
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not in UTF-8; save it as UTF-8, with one id per line") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give a file with one id per line, or a table") from None


def _column(path: Path, column: str, remedy: str) -> list[object]:
    found, remedy = list[object](), f"{remedy}, or write one id per line to a file that ends in .txt"
    for row in file_rows(path, [column]):
        if isinstance(row, BrokenRow):
            raise InputError(f"{path}, row {row.number}: {row.reason}; correct it, so that no id is passed over")
        if column not in row.fields:
            raise missing_column(path, dict.fromkeys(row.fields, row.number), [column], remedy)
        found.append(row.fields[column])
    kind = name_of(path)
    if not found and kind and kind[1] == ".csv" and column not in (names := text_columns(path, [column])):
        raise missing_column(path, dict.fromkeys(names, 1), [column], remedy)
    return found


def read_ids(path: Path, column: str = "id", remedy: str = "name the column with --id-column") -> set[str]:
    """Read ids from a file with one id per line (``.txt``, no ending, or ``-``), or from a column of a table.

    Parameters
    ----------
    path : Path
        The file.
    column : str
        The column.
    remedy : str
        What to do if the table has no such column.

    Raises
    ------
    InputError
        When the file cannot be read, lacks the column, or holds something that cannot be the id of a post.
    """
    if not name_of(path) and path.suffix not in _TEXT and path != STDIN:
        raise InputError(f"{path}: must end in .txt (one id per line), .csv or another ending of a table; rename it")
    given = _column(path, column, remedy) if name_of(path) else _lines(path)
    if wrong := [number for number, value in enumerate(given, 1) if refusal(value, "any", Options())]:
        raise InputError(f"{path}, row {wrong[0]}: the id is missing, or is neither a string nor an integer; correct it")
    return set(map(str, given))


class Forgetter:
    """Removes posts from the parts of an output.

    Parameters
    ----------
    output : Output
        The parts; the folder is locked by the caller.
    thresholds : mapping of str to float
        The thresholds that decided, by label.
    options : Options
        The options of the job.
    ids : set of str
        The ids of the posts.
    """

    def __init__(self, output: Output, thresholds: Mapping[str, float], options: Options, ids: Set[str]) -> None:
        self.output, self.thresholds, self.options, self.ids = output, thresholds, options, ids
        self.posts = self.rejects = 0
        self.known = set[str]()

    def concerned(self, records: Iterable[Completion | None]) -> list[Completion]:
        """Return the records of the parts from which something must be removed; all parts are checked."""
        return [done for done in records if done and self._concerns(done)]

    def _concerns(self, done: Completion) -> bool:
        """Return whether a part or its record holds one of the posts, or a part was replaced without the record that belongs to it."""
        part = self.output.folder / done.part
        content = part_content(part, done)
        ids = part_columns(content, part.suffix, ["id"])["id"]
        late = done.replacing and hashlib.sha256(content).hexdigest() == done.replacing["sha256"]
        return bool(late) or not self.ids.isdisjoint(ids) or not self.ids.isdisjoint(self._listed(done))

    def _listed(self, done: Completion) -> list[str]:
        return [reject[2] for reject in done.rejects if len(reject) > 2]

    def forget(self, done: Completion) -> None:
        """Remove the posts from a part and from its record."""
        part = self.output.folder / done.part
        content = part_content(part, done)
        probable, measured = [f"prob_{label}" for label in self.thresholds], FAMILIARITY if self.options.unfamiliar else {}
        columns = part_columns(content, part.suffix, ["id", *probable, *measured], measured)
        gone = np.array([each in self.ids for each in columns["id"]], bool)
        self.known.update(self.ids & {*columns["id"], *self._listed(done)})
        self.posts += int(gone.sum())
        wanted = self._recounted(done, [each for each in columns["id"] if each not in self.ids])
        probabilities = np.array([columns[name] for name in probable], np.float32).T[~gone]
        decided, review = decide(probabilities, list(self.thresholds.values())), self.options.for_review(probabilities)
        wanted.labels = dict(zip(self.thresholds, decided.sum(axis=0).tolist(), strict=True))
        wanted.review = 0 if review is None else int(review.any(axis=1).sum())
        wanted.stream = {name: float(np.asarray(columns[name], np.float64)[~gone].sum()) for name in measured}
        self.output.replace(done, wanted, without_rows(content, part.suffix, gone))

    def _recounted(self, done: Completion, left: Collection[str]) -> Completion:
        """Return the record of a part in which posts with these ids are left; labels, review and stream are not counted yet."""
        rejects = [reject for reject in done.rejects if len(reject) < 3 or reject[2] not in self.ids]
        reasons = dict(done.reasons)
        for reject in done.rejects:
            reasons[reject[1]] -= len(reject) > 2 and reject[2] in self.ids
        self.rejects += done.rejected - sum(reasons.values())
        ids = Ids()
        ids.add(left)
        wanted = replace(done, scored=len(left), rejects=rejects, reasons={reason: count for reason, count in reasons.items() if count})
        wanted = replace(wanted, read=wanted.scored + wanted.rejected, reused=min(done.reused, wanted.scored))
        wanted = replace(wanted, repeated=ids.repeated, rounded=ids.rounded, sample=ids.sample)
        day = datetime.now(UTC).date().isoformat()
        wanted.forgotten = done.forgotten | {day: done.forgotten.get(day, 0) + done.read - wanted.read}
        return replace(wanted, met={}, queues={}, moved=0, route="")  # the end of the job counts these


@owner_only()
def forget(scores: str | Path, ids: Set[str]) -> Forgotten:
    """Remove posts from the output of a complete job; its rows, rejects and counts are then those of the other posts alone.

    After an interruption, the same call does the rest. Until then, there is no manifest.

    Parameters
    ----------
    scores : str or Path
        Output folder of a complete job.
    ids : set of str
        The ids of the posts, as they are in the output.

    Returns
    -------
    Forgotten
        What was removed.

    Raises
    ------
    InputError
        When the job is not complete, or another one is writing to the folder.
    IncompleteError
        When a part was changed, or the disk is full.
    """
    started, folder = time.perf_counter(), path_of(scores)
    try:
        output = Output(folder)
    except InputError as error:
        reason = str(error).removesuffix("; choose another --out")
        remedy = "give the folder of a complete job; if this is a table, filter it with the program that wrote it, or compact again"
        raise InputError(f"{reason}; {remedy}") from None
    if not (folder / RECORDS).exists():
        Earlier.read(folder)  # refuses, before the folder is locked, and perhaps made
    with output.locked():
        resumed = output.forgetting.exists()
        manifest = output.forgetting if resumed and not (folder / MANIFEST).exists() else folder / MANIFEST
        earlier = Earlier.read(folder, manifest)
        written = 0 if resumed else manifest.stat().st_mtime_ns
        for scored in earlier.files.values():
            scored.stamp = scored.stamp if is_settled(scored.stamp, written, earlier.seconds) else None
        forgetter = Forgetter(output, earlier.thresholds, earlier.options, ids)
        try:
            records = earlier.records(output, changed=resumed)
            concerned = forgetter.concerned(records)
            if concerned or resumed:
                if manifest != output.forgetting:
                    with whole_file(output.forgetting) as file:
                        file.write(manifest.read_bytes())
                for done in concerned:
                    forgetter.forget(done)
                _finish(output, earlier, records, len(records) - len(concerned), started)
                output.forgetting.unlink(missing_ok=True)
        except (OutputError, OSError) as error:
            raise IncompleteError(f"{error}. Run the same command again to do the rest") from None
    unknown = len(ids) - len(forgetter.known)
    return Forgotten(forgetter.posts, forgetter.rejects, len(ids), unknown, resumed)


def _finish(output: Output, earlier: Earlier, records: Collection[Completion], kept: int, started: float) -> None:
    """End the job again, as it would have ended without the posts that are gone."""
    labels = list(earlier.thresholds)
    source = ModelFolder(Path(), earlier.model, labels, {earlier.options.operating_point: list(earlier.thresholds.values())})
    job = Job(source, [path_of(name) for name in earlier.files], output, earlier.options, ignore, BadFiles())
    job.names, job.kept = [done.name for done in records], kept
    summary = Summary.of(earlier.model, earlier.thresholds, earlier.options)
    summary.software = earlier.software
    summary.files.update({name: FileSummary(stamp=file.stamp) for name, file in earlier.files.items()})
    job.finish(summary, started)
