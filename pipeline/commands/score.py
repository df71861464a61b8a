"""The command line of ``score.py``: score files of posts and write files of predictions."""

import gc
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

from models.calibration import BALANCED, PointName
from models.errors import InputError
from models.text import MAX_CHARS
from pipeline import log_lines, terminal
from pipeline.files import OutputError
from pipeline.records import STDIN, InputFormat
from pipeline.scoring.bad_files import OnBadFile
from pipeline.scoring.options import DEFAULT_OUT, MAX_SHARD_MB, Options, OverLong
from pipeline.scoring.processes import GC_THRESHOLD
from pipeline.stores import path_of

if TYPE_CHECKING:
    from pipeline.routing.rules import Routing
    from pipeline.scoring import Summary
    from pipeline.scoring.job_metrics import JobMetrics

_TIMED = 100  # fewer posts say nothing about the speed: most of the time goes into loading the model
_NAMED = 3  # number of files that are named if one note is about many
# The options that go with --text:
_OF_TEXT = ("inputs", "text", "model", "operating_point", "threshold", "route", "workers", "as_json", "log_format")


def folder_of(model: str, *, quiet: bool) -> Path:
    """Return the directory of a model, which may be in MLflow, or of the released one.

    If it is the released model, say so. With `quiet`, do not, because the manifest that is printed names it anyway.
    """
    from models.storage import read_description
    from pipeline import __version__
    from pipeline.config import Tracking
    from pipeline.model_location import is_released, model_folder

    folder = model_folder(model, Tracking())
    if is_released(model) and not quiet:
        digest, _ = read_description(folder)
        about = f"released with version {__version__} ({digest[:12]}), trained on English tweets and invented posts"
        terminal.say(f"model    {about}; see {folder / 'README.md'}")
    return folder


def thresholds_in(settings: Sequence[str]) -> dict[str, float]:
    """Return the thresholds that were given as ``LABEL=PROBABILITY``; raise an `InputError` if they were not."""
    thresholds: dict[str, float] = {}
    for setting in settings:
        label, _, value = setting.rpartition("=")
        try:
            probability = float(value)
        except ValueError:
            label = ""
        if not label or not 0 <= probability <= 1:
            raise InputError(f"--threshold {setting}: must be LABEL=PROBABILITY, with a probability from 0 to 1, such as assault=0.3")
        if label in thresholds:
            raise InputError(f"--threshold {setting}: {label!r} already has a threshold; give each label only one")
        thresholds[label] = probability
    return thresholds


def forgotten_in(forget: str | None, options: Options) -> set[str] | None:
    """Return the ids in the file of ``--forget``, or None if it was not given; raise an `InputError` if the ids are numbers of rows."""
    if forget is None:
        return None
    if options.id_column is None:
        why = "cannot be combined with --id-column none: once a row is removed, the next one has its number"
        raise InputError(f"--forget {why}; remove the posts from the inputs, and use --start-over")
    from pipeline.scoring.forgetting import read_ids

    return read_ids(path_of(forget), options.id_column, f"call the column of ids {options.id_column!r}, as in the posts")


def band_in(text: str | None) -> tuple[float, float] | None:
    """Return the bounds that were given as ``LOW:HIGH``; raise an `InputError` if they were not."""
    if text is None:
        return None
    try:
        low, high = map(float, text.split(":"))
    except ValueError:
        low, high = 1, 0
    if not 0 <= low <= high <= 1:
        raise InputError(f"--abstain {text}: must be LOW:HIGH with 0 <= LOW <= HIGH <= 1, such as 0.3:0.7")
    return low, high


def routing_in(path: Path | None) -> "Routing | None":
    """Return the queues and rules in a file, checked; None if there is no file."""
    if path is None:
        return None
    from pipeline.routing.rules import load_routing

    return load_routing(path)


class Notes:
    """Say on standard error how files were read; if the same is said of many files, only the first few are named."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._times: Counter[str] = Counter()

    def __call__(self, path: Path, what: str) -> None:
        """Say something about a file or a folder."""
        self._times[what] += 1
        if self._as_json:
            print(json.dumps({"file": str(path), "note": what}), file=sys.stderr)
        elif self._times[what] <= _NAMED:
            terminal.say(f"note     {path}: {what}")

    def close(self, summary: "Summary") -> None:
        """Say how many further files each note is about, and how many ids look wrong."""
        if self._as_json:
            return
        for what, times in self._times.items():
            if times > _NAMED:
                terminal.say(f"note     and {times - _NAMED:,} more: {what}")
        if summary.repeated_ids:
            terminal.say(f"note     posts that share an id with an earlier one: at least {summary.repeated_ids:,}")
        if summary.rounded_ids:
            what = "posts whose id a spreadsheet seems to have rounded, such as 9.20E+17"
            terminal.say(f"note     {what}: {summary.rounded_ids:,}; export ids as text")


def show(summary: "Summary", out: Path, rejects: str, *, decided_only: bool = False) -> None:
    """Print a summary, with the folder of the scores and the file that lists the rejects; the speed only if this run scored posts."""
    timed = summary.scored >= _TIMED and summary.posts_per_second and summary.kept_shards < summary.shards and not decided_only
    rate = f", {summary.posts_per_second:,.0f} posts/s per worker" if timed else ""
    print(f"read {summary.read:,} post{'' if summary.read == 1 else 's'}, scored {summary.scored:,}, rejected {summary.rejected:,}{rate}")
    if summary.kept_shards:
        print(f"  {summary.kept_shards:,} of {summary.shards:,} shards were already done")
    for reason, count in sorted(summary.reasons.items()):
        print(f"  rejected, {reason}: {count:,}")
    if summary.rejected:
        listed = sum(file.listed for file in summary.files.values())
        print(f"  see {terminal.one_line(rejects)}" + (f", which lists {listed:,} of them" if 0 < listed < summary.rejected else ""))
    for label, count in summary.labels.items():
        print(f"  {label}: {count:,} ({summary.rates[label]:.1%})")
    if summary.stream:
        print(f"  unfamiliar: {summary.stream['unfamiliar']:,.0f} ({summary.stream['unfamiliar'] / max(summary.scored, 1):.1%})")
    if summary.options["abstain"] is not None:
        print(f"  for review: {summary.review:,} ({summary.review / max(summary.scored, 1):.1%})")
    for queue, count in summary.queues.items():
        more = summary.turned_away[queue]
        print(f"  queue {queue}: {count:,}" + (f"; it was full for {more:,} more" if more else ""))
    if summary.left_out:
        print(f"  in no queue, because every queue for them was full: {summary.left_out:,}")
    if forgotten := summary.forgotten.total():
        print(f"  forgotten, and counted nowhere else: {forgotten:,}")
    print(f"scores   {terminal.one_line(str(out))}")


def _check_for_text(context: typer.Context) -> None:
    """Raise an `InputError` if an option was given that is for files."""
    sources = {
        param.opts[0]: context.get_parameter_source(param.name or "") for param in context.command.params if param.name not in _OF_TEXT
    }
    if given := [option for option, source in sources.items() if source and source.name == "COMMANDLINE"]:
        raise InputError(f"--text prints its answer here; leave out what is for files: {', '.join(given)}")


def _score_text(text: str, folder: Path, options: Options, *, as_json: bool) -> None:
    """Show what the model says about one text, and the words that count most for the labels given."""
    from rich.table import Table

    from models import Classifier
    from models.explanation import explain
    from models.text import is_blank

    if is_blank(text):
        raise InputError("--text must not be empty; give a sentence in quotes")
    model = Classifier.load(folder)
    (probabilities,), (words,) = model.predict_proba([text]), explain(model, [text])
    (given,) = options.decide(model, probabilities[None])
    names = options.queue_names(options.queued(model.labels, probabilities[None], given[None]))
    queue = [] if names is None else names.to_pylist()
    if as_json:
        labels = [label for label, marked in zip(model.labels, given.tolist(), strict=True) if marked]
        reasons = {label: dict(words[label]) for label in labels}
        answer = {"probabilities": dict(zip(model.labels, probabilities.tolist(), strict=True)), "labels": labels, "words": reasons}
        print(json.dumps(answer | ({"queue": queue[0]} if queue else {})))
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("label", "probability", "given", "words in favour of it"):
        table.add_column(heading, justify="right" if heading == "probability" else "left")
    for label, probability, marked in zip(model.labels, probabilities.tolist(), given.tolist(), strict=True):
        spoke = ", ".join(f"{word} {contribution:+.1f}" for word, contribution in words[label] if contribution > 0)
        table.add_row(label, f"{probability:.3f}", "yes" if marked else "no", escape(spoke) if marked else "")
    terminal.output().print(table)
    if queue:
        print(f"queue    {queue[0] or 'none'}")


def _score_files(
    inputs: Sequence[str],
    model: str,
    out: Path,
    options: Options,
    spark: str | None,
    *,
    workers: int | None,
    start_over: bool,
    on_bad_file: OnBadFile,
    forget: str | None,
    table_version: int | None,
    delta: bool,
    as_json: bool,
) -> "Summary":
    """Score files here or, if `spark` names a master, on Spark, and say how they were read."""
    if spark and start_over:
        raise InputError("--start-over cannot be combined with --engine spark; remove the old folder or choose another --out")
    if spark and on_bad_file == "skip":
        raise InputError("--on-bad-file skip cannot be combined with --engine spark, which writes all or nothing; move bad files away")
    if spark and forget is not None:
        raise InputError("--forget cannot be combined with --engine spark; remove these posts from the inputs")
    if forget is not None and path_of(forget) == STDIN and STDIN in map(path_of, inputs):
        raise InputError("--forget -: standard input holds the posts already; write the ids to a file, and name it")
    ids = forgotten_in(forget, options)
    if delta and not spark:
        raise InputError("--format delta needs --engine spark, which writes a whole table at once; choose another --format")
    notes, folder = Notes(as_json=as_json or log_lines.are_json()), folder_of(model, quiet=as_json)
    if spark:
        from pipeline.scoring.spark_files import score_with_spark

        summary = score_with_spark(inputs, folder, out, options, master=spark, table_version=table_version, delta=delta, tell=notes)
    else:
        from pipeline.scoring import score_files

        gc.set_threshold(GC_THRESHOLD)
        with terminal.job_progress(as_json=as_json) as progress:
            how = {"workers": workers, "start_over": start_over, "on_bad_file": on_bad_file, "forget": ids, "table_version": table_version}
            summary = score_files(inputs, folder, out, options, **how, progress=progress, tell=notes)  # type: ignore[arg-type]
    notes.close(summary)
    counts = {name: getattr(summary, name) for name in ("read", "scored", "rejected", "reasons", "model")}
    log_lines.event("finished", **counts, out=str(out))
    return summary


def _metrics(path: Path | None) -> "JobMetrics | None":
    """Return the figures that will be written to this file when the command has ended; None without a file."""
    if path is None:
        return None
    from pipeline.scoring.job_metrics import JobMetrics

    metrics = JobMetrics(path)

    def write(code: int) -> int:
        if code == terminal.LOCKED:  # the figures are those of the job that is at work
            return code
        try:
            metrics.write(code)
        except OutputError as error:
            terminal.say(f"error: --metrics-file {path}: {error}" + ("" if code else "; the scores are complete"))
            return code or terminal.INCOMPLETE
        return code

    terminal.at_end(write)
    return metrics


def _check_rejects(summary: "Summary", most: float, reasons: str) -> None:
    """Exit with an error, which says where the `reasons` are, if a larger share than `most` was rejected, of all posts or of one file."""
    share = summary.rejected / max(summary.read, 1)
    files = {name: file.rejected_share for name, file in summary.files.items() if file.rejected_share > most}
    told = [f"{share:.1%} of the posts were rejected"] if share > most else []
    if not told or len(summary.files) > 1:
        told += [f"{name}: {of_file:.1%} of it was rejected" for name, of_file in files.items()]
    for message in told[1:]:
        terminal.say(f"also: {message}")
    if told:
        terminal.say(f"error: {told[0]}, more than --max-reject-rate {most}: see {reasons}")
        raise typer.Exit(terminal.TOO_MANY_REJECTS)


def main(
    context: typer.Context,
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...",
            help="Files, folders or globs, here or in an object store (s3://BUCKET/…); - is standard input (JSONL, or see --input-format).",
        ),
    ] = [],  # noqa: B006
    text: Annotated[str | None, typer.Option(metavar="SENTENCE", help="Score one sentence and show the result.")] = None,
    model: Annotated[str, typer.Option(metavar="MODEL", help="Directory, models:/NAME@ALIAS, or released.")] = "released",
    out: Annotated[str, typer.Option(metavar="FOLDER", help="Folder to write to, here or in an object store.")] = str(DEFAULT_OUT),
    id_column: Annotated[str, typer.Option(help="Column with the post's id; 'none' numbers the rows.")] = "id",
    text_column: Annotated[str, typer.Option(help="Column with the text.")] = "text",
    keep: Annotated[list[str], typer.Option(metavar="COLUMN", help="Copy this column to the output. Repeatable.")] = [],  # noqa: B006
    format_: Annotated[
        Literal["parquet", "jsonl", "csv", "delta"],
        typer.Option(
            "--format",
            help="Output format. CSV is for programs: cells that a spreadsheet would run as formulas are not changed. delta is for Spark.",
        ),
    ] = "parquet",
    input_format: Annotated[
        InputFormat | None,
        typer.Option(help="Format of all inputs, whatever their names are; compression is recognised.", show_default="by name"),
    ] = None,
    abstain: Annotated[
        str | None, typer.Option(metavar="LOW:HIGH", help="Mark labels with a probability in this range for review.")
    ] = None,
    operating_point: Annotated[PointName, typer.Option(help="Which of the model's thresholds to use.")] = BALANCED,
    threshold: Annotated[list[str], typer.Option(metavar="LABEL=PROBABILITY", help="Use this threshold for a label. Repeatable.")] = [],  # noqa: B006
    unfamiliar: Annotated[bool, typer.Option("--unfamiliar", help="Mark posts about which the model knows too little.")] = False,
    route: Annotated[Path | None, typer.Option(metavar="FILE", help="Send posts to the queues of these rules.")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Write the words that count most for each label.")] = False,
    max_chars: Annotated[int, typer.Option(min=1, help="Maximum number of characters in a text.")] = MAX_CHARS,
    over_long: Annotated[OverLong, typer.Option(help="What to do with texts longer than --max-chars.")] = "reject",
    max_reject_rate: Annotated[
        float, typer.Option(min=0, max=1, help="Exit with 3 if more than this share of all posts, or of a file, is rejected.")
    ] = 0.5,
    shard_mb: Annotated[
        int | None,
        typer.Option(min=1, max=MAX_SHARD_MB, help="Size of the input for each output part, in MiB once decompressed.", show_default="2"),
    ] = None,
    on_bad_file: Annotated[
        OnBadFile, typer.Option(help="What to do if a file cannot be used: stop before scoring, or score the others and exit with 4.")
    ] = "fail",
    forget: Annotated[str | None, typer.Option(metavar="IDS", help="Leave out the posts with the ids in this file.")] = None,
    table_version: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Version of the Delta table to read.", show_default="the newest")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Maximum number of processes.", show_default="one per core")] = None,
    start_over: Annotated[bool, typer.Option("--start-over", help="First remove earlier scores from --out.")] = False,
    engine: Annotated[Literal["local", "spark"], typer.Option(help="Where to run; spark needs Java 17.")] = "local",
    master: Annotated[str, typer.Option(metavar="URL", help="The Spark master.")] = "local[*]",
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest and progress, or the answer, as JSON.")] = False,
    log_format: Annotated[Literal["text", "json"], typer.Option(help="Format of the lines on standard error.")] = "text",  # noqa: ARG001
    metrics_file: Annotated[
        Path | None, typer.Option(metavar="FILE.prom", help="Write figures of the job here at its end, for Prometheus' node exporter.")
    ] = None,
) -> None:
    """Give each post a probability and a decision for each label.

    Inputs are JSON (one object per line, or an array), CSV, TSV, Parquet and .xlsx. JSON, CSV and TSV may be compressed (.gz, .bz2, .xz or
    .zst). Delimiters and encodings are recognised, and anything unusual is reported. The output holds ids, probabilities, labels and the
    model's digest, in part-* files, rejects.jsonl and manifest.json. It holds no text, unless --keep copies the text or the author, or
    --explain writes words of posts. After an interruption, the same command continues where it stopped. Exit codes: 0 done; 2 usage or
    input error, nothing done; 3 too many posts rejected; 4 incomplete, run again; 5 no posts; 6 another job holds --out; 130 stopped by
    Ctrl-C; 143 by SIGTERM.
    """
    if text is None and not inputs:
        raise InputError("neither INPUT nor --text was given; give files, folders or globs to score, or --text SENTENCE")
    if text is not None and inputs:
        raise InputError("--text cannot be combined with INPUT; leave one of them out, and put the whole sentence in quotes")
    if text is not None:
        _check_for_text(context)
        options = Options(thresholds=thresholds_in(threshold), operating_point=operating_point, route=routing_in(route))
        _score_text(text, folder_of(model, quiet=True), options, as_json=as_json)
        return
    metrics = _metrics(metrics_file)
    identifier = None if id_column.lower() == "none" else id_column
    decides = (band_in(abstain), explain, thresholds_in(threshold), operating_point)
    further = (shard_mb, unfamiliar, input_format, routing_in(route))
    delta = format_ == "delta"
    options = Options(
        identifier, text_column, tuple(keep), "parquet" if format_ == "delta" else format_, max_chars, over_long, *decides, *further
    )
    spark = master if engine == "spark" else None
    rejects = "the column 'error'" if spark else f"{out}/rejects.jsonl"
    how = {"workers": workers, "start_over": start_over, "forget": forget, "table_version": table_version, "delta": delta}
    summary = _score_files(inputs, model, path_of(out), options, spark, **how, on_bad_file=on_bad_file, as_json=as_json)  # type: ignore[arg-type]
    if metrics:
        metrics.summary = summary
    if as_json:
        print(summary.to_json())
    else:
        show(summary, path_of(out), rejects)
    _check_rejects(summary, max_reject_rate, rejects)
