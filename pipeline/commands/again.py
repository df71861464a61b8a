"""``disclosure rescore`` and ``disclosure redecide``: go on with the output of an earlier scoring job."""

import gc
from pathlib import Path
from typing import Annotated

import typer

from models.calibration import PointName
from models.errors import InputError
from pipeline import log_lines, terminal
from pipeline.commands.score import Notes, band_in, folder_of, forgotten_in, routing_in, show, thresholds_in
from pipeline.scoring.processes import GC_THRESHOLD
from pipeline.stores import path_of

_Model = Annotated[str, typer.Option(metavar="MODEL", help="The model that computed the scores, given as for score.")]


def rescore(
    scores: Annotated[str, typer.Argument(metavar="SCORES", help="Output folder of a complete job.")],
    rejects: Annotated[bool, typer.Option("--rejects", help="Score the rejected posts again.")] = False,
    model: _Model = "released",
    forget: Annotated[str | None, typer.Option(metavar="IDS", help="Leave out the posts with the ids in this file.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Maximum number of processes.", show_default="one per core")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest and progress as JSON.")] = False,
) -> None:
    """Score rejected posts again, with the options of the earlier job.

    Use this when you have fixed what made the job reject them. It reads the same inputs from the same folder. Parts in which nothing was
    rejected, and whose input is unchanged, stay as they are.
    """
    from pipeline.records import is_stream
    from pipeline.scoring import score_files
    from pipeline.scoring.earlier import Earlier

    if not rejects:
        raise InputError("say what to score again: --rejects; to score everything again, use score.py with --start-over")
    earlier = Earlier.read(place := path_of(scores))
    if streams := [name for name in earlier.files if is_stream(Path(name))]:
        raise InputError(f"{scores}: the input {streams[0]} cannot be read again; pipe it to score.py with --start-over")
    if earlier.tables:
        table = next(iter(earlier.tables))
        what = f"the input {table} is a Delta table, whose rejects cannot be scored again alone"
        raise InputError(f"{scores}: {what}; run score.py on it with --start-over")
    gone = forgotten_in(forget, earlier.options)
    folder = folder_of(model, quiet=as_json)
    gc.set_threshold(GC_THRESHOLD)
    with terminal.job_progress(as_json=as_json) as progress:
        how = {"workers": workers, "retry_rejects": True, "forget": gone}
        summary = score_files(list(earlier.files), folder, place, earlier.options, **how, progress=progress)  # type: ignore[arg-type]
    if as_json:
        print(summary.to_json())
    else:
        show(summary, place, f"{scores}/rejects.jsonl")


def redecide(
    scores: Annotated[str, typer.Argument(metavar="SCORES", help="Output folder of a complete job.")],
    out: Annotated[str, typer.Option(metavar="FOLDER", help="Folder to write to, here or in an object store.")],
    model: _Model = "released",
    operating_point: Annotated[PointName | None, typer.Option(help="Which of the model's thresholds to use.")] = None,
    threshold: Annotated[list[str], typer.Option(metavar="LABEL=PROBABILITY", help="Use this threshold for a label. Repeatable.")] = [],  # noqa: B006
    abstain: Annotated[
        str | None, typer.Option(metavar="LOW:HIGH", help="Mark labels with a probability in this range for review.")
    ] = None,
    route: Annotated[Path | None, typer.Option(metavar="FILE", help="Send posts to the queues of these rules.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False,
) -> None:
    """Decide again with other thresholds, from the probabilities of an earlier job, without scoring anything.

    Options that you leave out stay as in the earlier job. The folder of that job is not changed.
    """
    from pipeline.scoring.redecide import redecide as decide_again

    summary = decide_again(
        scores,
        out,
        folder_of(model, quiet=as_json),
        operating_point=operating_point,
        thresholds=thresholds_in(threshold),
        abstain=band_in(abstain),
        route=routing_in(route),
        tell=Notes(as_json=as_json or log_lines.are_json()),
    )
    if as_json:
        print(summary.to_json())
    else:
        show(summary, path_of(out), f"{out}/rejects.jsonl", decided_only=True)
