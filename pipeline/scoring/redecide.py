"""Decide again about posts that were scored, from the probabilities in the parts."""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.calibration import PointName, decide
from models.errors import InputError
from models.folders import owner_only
from models.storage import RELEASED
from pipeline.errors import IncompleteError
from pipeline.files import OutputError
from pipeline.predictions import FAMILIARITY, prediction_table, prediction_writer
from pipeline.records import Tell, ignore
from pipeline.scoring.bad_files import BadFiles
from pipeline.scoring.completion import Completion
from pipeline.scoring.earlier import Earlier
from pipeline.scoring.finished import count_queues, part_columns, part_content
from pipeline.scoring.job import Job
from pipeline.scoring.options import Options
from pipeline.scoring.output import Output
from pipeline.scoring.parts import ModelFolder
from pipeline.scoring.summary import FileSummary, Summary
from pipeline.stores import path_of

if TYPE_CHECKING:
    from pipeline.routing.rules import Routing


class _Decider:
    """Writes the parts of a job again for other options."""

    def __init__(self, scores: Path, output: Output, source: ModelFolder, options: Options) -> None:
        self.scores, self.output, self.source, self.options = scores, output, source, options
        self.thresholds = list(options.thresholds_of(source.labels, source.points).values())
        self.schema = options.schema(source.labels)

    def wanted(self, done: Completion) -> Completion:
        """Return the record of a part that is to be written."""
        return replace(done, options=self.options.digest, labels={}, review=0, met={}, queues={}, moved=0, route="")

    def write(self, done: Completion, wanted: Completion) -> None:
        """Write a part again, with the probabilities that it had in the earlier job."""
        probable = [f"prob_{label}" for label in self.source.labels]
        measured = FAMILIARITY if self.options.unfamiliar else {}
        part = self.scores / done.part
        types = dict.fromkeys(self.options.keep, pa.string()) | measured  # the name of a kept column may begin with prob_, too
        columns = part_columns(part_content(part, done), part.suffix, ["id", *self.options.keep, *probable, *measured], types)
        probabilities = np.array([columns[name] for name in probable], np.float32).T
        decided, review = decide(probabilities, self.thresholds), self.options.for_review(probabilities)
        self._count(wanted, decided, review)
        queued = self.options.queued(self.source.labels, probabilities, decided)
        if self.options.route and queued is not None:
            count_queues(wanted, self.options.route, queued)
        table = prediction_table(
            columns["id"],
            probabilities,
            decided,
            self.source.labels,
            self.source.digest,
            kept={name: columns[name] for name in self.options.keep},
            review=review,
            familiarity=np.array([columns[name] for name in measured], np.float32).T if measured else None,
            queue=self.options.queue_names(queued),
        )
        with self.output.part(wanted) as file, prediction_writer(file, self.options.format, self.schema) as write:
            if table.num_rows:
                write(table)

    def _count(self, wanted: Completion, decided: NDArray[np.bool_], review: NDArray[np.bool_] | None) -> None:
        wanted.labels = dict(zip(self.source.labels, decided.sum(axis=0).tolist(), strict=True))
        wanted.review = 0 if review is None else int(review.any(axis=1).sum())


def _is_made_from(found: Completion, done: Completion) -> bool:
    """Return whether a part was made from the earlier one as that is now: with no post that was forgotten there since, and all rejects."""
    same = (found.read, found.scored, found.reasons) == (done.read, done.scored, done.reasons)
    return not done.forgotten and (same or bool(found.forgotten))  # making it again would bring back what was forgotten in it alone


def _changed(
    earlier: Options,
    operating_point: PointName | None,
    thresholds: Mapping[str, float],
    abstain: tuple[float, float] | None,
    route: "Routing | None",
) -> Options:
    if earlier.explain:
        raise InputError("scores with --explain cannot be decided again: they explain the labels that were given; score the posts again")
    options = replace(earlier, abstain=abstain or earlier.abstain, route=route or earlier.route)
    if operating_point is None and not thresholds:
        return options
    return replace(options, operating_point=operating_point or earlier.operating_point, thresholds=dict(thresholds))


@owner_only()
def redecide(
    scores: str | Path,
    out: str | Path,
    model: str | Path = RELEASED,
    *,
    operating_point: PointName | None = None,
    thresholds: Mapping[str, float] | None = None,
    abstain: tuple[float, float] | None = None,
    route: "Routing | None" = None,
    tell: Tell = ignore,
) -> Summary:
    """Write the output that a job would have written with other thresholds, without scoring anything.

    After an interruption, the same call continues where it stopped.

    Parameters
    ----------
    scores : str or Path
        Output folder of a complete job, which is not changed.
    out : str or Path
        Output folder, as for `score_files`.
    model : str or Path
        Directory of the model that computed the scores.
    operating_point : {"balanced", "cautious", "sensitive"}, optional
        Which of the model's sets of thresholds to use; by default, that of the job.
    thresholds : mapping of str to float, optional
        Thresholds to use instead of the operating point's, by label. If neither is given, the job's thresholds stay.
    abstain : (float, float), optional
        As in `Options`; by default, as in the job.
    route : Routing, optional
        As in `Options`; by default, as in the job.
    tell : callable
        Called with `out` and a line about it, if it holds parts that are written again because they were decided in another way.

    Returns
    -------
    Summary
        What ``manifest.json`` holds.

    Raises
    ------
    InputError
        When the job is not complete, was done by another model or with explanations, or `out` cannot be used.
    IncompleteError
        When the scores were changed in the meantime, or the disk is full.
    """
    started, scores, folder = time.perf_counter(), path_of(scores), path_of(out)
    earlier, source = Earlier.read(scores), ModelFolder.read(Path(model))
    if earlier.model != source.digest:
        held = f"holds scores by the model {earlier.model[:12]}, not by {source.digest[:12]}"
        raise InputError(f"{scores}: {held}; give the first model's directory to --model")
    if scores.resolve() == folder.resolve() or scores.resolve() in folder.resolve().parents:
        raise InputError(f"{folder}: must not be the folder of the earlier scores, or inside it; choose another --out")
    options = _changed(earlier.options, operating_point, thresholds or {}, abstain, route)
    output = Output(folder)
    decider = _Decider(scores, output, source, options)
    summary = Summary.of(source.digest, options.thresholds_of(source.labels, source.points), options)
    summary.files.update({name: FileSummary(stamp=file.stamp) for name, file in earlier.files.items()})
    read = Output(scores)
    records = earlier.records(read)
    with output.locked():
        job = Job(source, [path_of(name) for name in earlier.files], output, options, tell, BadFiles())
        try:
            job.check_mixing()
            for done in records:
                job.names.append(done.name)
                wanted, found = decider.wanted(done), output.completion(done.name)
                if found and output.has(wanted, found) and _is_made_from(found, done):
                    job.kept += 1
                else:
                    decider.write(done, wanted)
            read.check_unchanged(earlier.content)
            job.finish(summary, started)
        except OutputError as error:
            raise IncompleteError(f"{error}. Finished parts are kept; fix the cause (is the disk full?) and run again") from None
    return summary
