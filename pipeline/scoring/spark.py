"""Score Spark data frames of posts.

Executors receive the model as an archive and this project's code as zips. The packages that the code imports (those in
``requirements/default.txt``) must be installed for the executors' Python, and the driver needs a classic Spark session.
Spark reads and writes local files, or files on a disk that every executor mounts at the same path.
"""

import shutil
import tempfile
import warnings
import weakref
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute

import models
import pipeline
from models import Classifier
from models.errors import InputError, NormaliserWarning
from models.storage import copy_model
from pipeline.package_copy import copy_code
from pipeline.predictions import prediction_table
from pipeline.records import BrokenRow, Row, batch_rows, shown_columns
from pipeline.scoring.distinct import DistinctScorer
from pipeline.scoring.options import Options
from pipeline.scoring.posts import as_string, identifier_of, notice, refusal
from pipeline.scoring.predict import scorer_of

if TYPE_CHECKING:
    from pyspark import SparkContext
    from pyspark.sql import DataFrame
    from pyspark.sql.types import DataType

_TYPES = {pa.string(): "string", pa.float32(): "float", pa.list_(pa.string()): "array<string>", pa.int32(): "int", pa.bool_(): "boolean"}


# ---- on the executors ----


def _parsed(row: Row | BrokenRow, options: Options, origin: str) -> dict[str, str | None]:
    if isinstance(row, BrokenRow):
        return {"error": row.reason}
    identifier, text = identifier_of(row, options, origin), row.fields.get(options.text_column)
    known: dict[str, str | None] = {"id": str(identifier)} if refusal(identifier, "any", options) is None else {}
    try:
        known |= {name: as_string(row.fields.get(column)) for name, column in zip(row_names(options)[3:], options.keep, strict=True)}
    except RecursionError:
        return known | {"error": "a column to keep is nested too deeply"}
    if error := refusal(identifier, text, options):
        return known | {"error": notice(row) or error}
    return known | {"text": text}


def row_batch(rows: Iterable[Row | BrokenRow], options: Options, origin: str = "") -> pa.RecordBatch:
    """Return the ids, texts and errors of rows, and their columns to keep, as strings; see `row_names`.

    Parameters
    ----------
    rows : iterable of Row or BrokenRow
        The rows.
    options : Options
        Names the columns.
    origin : str
        The rows' file, as it was given.
    """
    schema = pa.schema([(name, pa.string()) for name in row_names(options)])
    return pa.RecordBatch.from_pylist([_parsed(row, options, origin) for row in rows], schema)


def _in_utc(column: pa.Array) -> pa.Array:
    """Convert times, which Spark gives in the session's time zone, to UTC, as its Parquet files hold them."""
    kind = column.type
    return column.cast(pa.timestamp(kind.unit, "UTC")) if pa.types.is_timestamp(kind) and kind.tz is not None else column


def _frame_rows(batches: Iterable[pa.RecordBatch], names: Sequence[str], options: Options) -> Iterator[pa.RecordBatch]:
    """Read the rows of a data frame, whose columns have these names, as those of a Parquet file are read."""
    for batch in batches:
        named = pa.RecordBatch.from_arrays([_in_utc(column) for column in batch.columns], names=list(names))
        found = row_batch(batch_rows([named]), options)
        # A row with a value that cannot be read has lost its id.
        identified = row_batch(batch_rows([named.select([options.id_column])]), options)
        ids = pa.compute.coalesce(found.column(0), identified.column(0))
        yield pa.RecordBatch.from_arrays([ids, *found.columns[1:]], schema=found.schema)


@lru_cache(maxsize=1)  # worker processes outlive a job, so we keep only one model in memory
def _scorer(archive: str, unfamiliar: bool) -> DistinctScorer:
    from pyspark import SparkFiles

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NormaliserWarning)  # `checked_model` has warned already
        return scorer_of(Classifier.load(Path(SparkFiles.get(archive))), unfamiliar=unfamiliar)


def _predictions(scorer: DistinctScorer, texts: Sequence[str], options: Options) -> pa.Table:
    model, (probabilities, measured) = scorer.model, scorer.measured(texts)
    review = options.for_review(probabilities)
    decided = options.decide(model, probabilities)
    known = measured if options.unfamiliar else None
    queue = options.queue_names(options.queued(model.labels, probabilities, decided))
    ids = [""] * len(texts)
    return prediction_table(ids, probabilities, decided, model.labels, model.digest_, review=review, familiarity=known, queue=queue)


def _score_batch(batch: pa.RecordBatch, scorer: DistinctScorer, options: Options) -> pa.RecordBatch:
    """Score a batch whose columns are ids, texts, errors and the columns to keep."""
    identifiers, texts, errors = (column.to_pylist() for column in batch.columns[:3])
    errors = [error or refusal(i, text, options) for i, text, error in zip(identifiers, texts, errors, strict=True)]
    good = [text[: options.max_chars] for text, error in zip(texts, errors, strict=True) if error is None]
    schema = _output_schema(scorer.model, batch.schema.names[3:], options)
    table = _predictions(scorer, good, options) if good else schema.empty_table()
    # The n-th good post gets the n-th prediction; for a rejected post, `take` gets a null index and returns null.
    rejected = np.array([error is not None for error in errors], bool)
    table = table.take(pa.array(np.cumsum(~rejected) - 1, mask=rejected))
    columns = {name: table[name].combine_chunks() for name in table.column_names}
    columns |= dict(zip(batch.schema.names[3:], batch.columns[3:], strict=True))
    columns |= {"id": batch.column(0), "model": pa.repeat(scorer.model.digest_, len(texts)), "error": pa.array(errors, pa.string())}
    return pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)


def _score(batches: Iterable[pa.RecordBatch], archive: str, options: Options) -> Iterator[pa.RecordBatch]:
    scorer = _scorer(archive, options.unfamiliar)
    for batch in batches:
        yield _score_batch(batch, scorer, options)


def row_names(options: Options) -> list[str]:
    """Return the names of the columns of `to_rows`."""
    return ["id", "text", "error", *(f"keep_{number}" for number in range(len(options.keep)))]


def _output_schema(model: Classifier, keep: Sequence[str], options: Options) -> pa.Schema:
    return replace(options, keep=tuple(keep)).schema(model.labels, ["error"])


# ---- on the driver ----


def _quoted(column: str) -> str:
    return "`" + column.replace("`", "``") + "`"


def string_schema(names: Iterable[str]) -> str:
    """Return a Spark schema of string columns.

    Examples
    --------
    >>> string_schema(["id", "text"])
    '`id` string, `text` string'
    """
    return ", ".join(f"{_quoted(name)} string" for name in names)


def _check_type(column: str, kind: "DataType") -> None:
    from pyspark.errors import PySparkException
    from pyspark.sql.pandas.types import to_arrow_type

    try:
        to_arrow_type(kind, timezone="UTC")
    except PySparkException:
        message = f"column {column!r} has the type {kind.simpleString()}, which cannot be read; cast it to string first, or leave it out"
        raise InputError(message) from None


def to_rows(frame: "DataFrame", options: Options) -> "DataFrame":
    """Select ids, texts, the reasons not to score them, and the columns to keep, all as strings.

    Parameters
    ----------
    frame : DataFrame
        The posts.
    options : Options
        Names the columns.

    Raises
    ------
    InputError
        When a column is missing, or has a type that only Spark knows.
    """
    from pyspark.sql import functions as sql

    if options.id_column is None:
        raise InputError("the rows of a data frame have no order, so they cannot be numbered; name a column of ids")
    wanted = (options.id_column, options.text_column, *options.keep)
    kinds = {field.name: field.dataType for field in frame.schema.fields}
    for column in wanted:
        if column not in kinds:
            raise InputError(f"the data frame has no column {column!r}; found {shown_columns(sorted(kinds))}; correct the column's name")
    columns = list(dict.fromkeys(wanted))
    for column in columns:
        _check_type(column, kinds[column])
    # Numbers instead of names, because any name may occur in a data frame, and two may differ only in case.
    selected = frame.select(*(sql.col(_quoted(column)).alias(str(number)) for number, column in enumerate(columns)))
    return selected.mapInArrow(partial(_frame_rows, names=columns, options=options), string_schema(row_names(options)))


def checked_model(folder: Path, options: Options) -> Classifier:
    """Load the model on the driver, so that a wrong model or option is reported before any job starts.

    Parameters
    ----------
    folder : Path
        A model directory.
    options : Options
        The options of the job.

    Raises
    ------
    InputError
        When the model or an option cannot be used, such as ``explain``, which is not available on Spark.
    """
    if options.explain:
        raise InputError("explain cannot be used with Spark; omit --explain, or use --engine local")
    model = Classifier.load(folder)
    options.thresholds_of(model.labels, model.operating_points_)
    scorer_of(model, unfamiliar=options.unfamiliar)
    return model


def _scratch(context: "SparkContext") -> Path:
    """Make a folder that exists as long as the context, which serves files from it to executors."""
    folder = tempfile.mkdtemp(prefix="disclosure-pipeline-")
    weakref.finalize(context, shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def ship_code(context: "SparkContext") -> None:
    """Send our packages to the executors, once per context."""
    for package in (models, pipeline):
        name, place = package.__name__, Path(package.__path__[0])
        known = any(file.endswith(f"/{name}.zip") for file in context.listFiles)
        if place.is_dir() and not known:  # executors import the packages from a zip themselves
            copy = copy_code(place, _scratch(context))
            context.addPyFile(shutil.make_archive(str(copy), "zip", copy.parent, name))


def _ship_model(context: "SparkContext", folder: Path, digest: str) -> str:
    """Send a model directory to the executors, once per context, and return the name of the archive there."""
    name = f"model-{digest}"
    if not any(archive.endswith(f"/{name}.zip") for archive in context.listArchives):
        scratch = _scratch(context)
        context.addArchive(shutil.make_archive(str(scratch / name), "zip", copy_model(folder, scratch / "model")))
    return f"{name}.zip"


def scored_rows(rows: "DataFrame", model: Classifier, folder: Path, options: Options) -> "DataFrame":
    """Score the result of `to_rows`; see `score_frame`.

    Parameters
    ----------
    rows : DataFrame
        The result of `to_rows`.
    model : Classifier
        The model, loaded from `folder`.
    folder : Path
        The model directory, which is sent to the executors.
    options : Options
        The options of the job.

    Raises
    ------
    InputError
        When a column to keep has the name of an output column.
    """
    names = _output_schema(model, options.keep, options).names
    context = rows.sparkSession.sparkContext
    ship_code(context)
    score = partial(_score, archive=_ship_model(context, folder, model.digest_), options=options)
    schema = _output_schema(model, rows.columns[3:], options)
    return rows.mapInArrow(score, ", ".join(f"{_quoted(field.name)} {_TYPES[field.type]}" for field in schema)).toDF(*names)


def score_frame(frame: "DataFrame", folder: Path, options: Options | None = None) -> "DataFrame":
    """Score a data frame; a post that cannot be scored keeps its row, with the reason in the column ``error``.

    Parameters
    ----------
    frame : DataFrame
        Posts with an id column of strings or integers and a text column of strings.
    folder : Path
        Model directory on the driver. It is sent to the executors when this function is called, and not read afterwards.
    options : Options, optional
        The options of the job; ``format`` has no effect here, and ``explain`` is an error.

    Returns
    -------
    DataFrame
        The columns of `prediction_schema`, and ``error``: null, or the reason why the post has no probabilities and labels. Like all
        Spark data frames, it is computed lazily, so queues are filled as if they had no capacities.

    Raises
    ------
    InputError
        When the model or the options cannot be used, or a column is missing or would occur twice.
    """
    options = options or Options()
    model = checked_model(folder, options)
    return scored_rows(to_rows(frame, options), model, folder, options)
