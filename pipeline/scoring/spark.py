"""Spark data frames of posts to data frames of predictions.

Executors get the model as an archive and the code of this project as zips; the packages that both import (those of
``requirements/default.txt``) must be installed for the executors' Python, and the driver needs a classic Spark session.
Spark reads and writes local files, or files of a disk that every executor mounts at the same place.
"""

import shutil
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache, partial, reduce
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

import models
import pipeline
from models import Classifier
from models.errors import InputError
from pipeline.package_copy import copy_code
from pipeline.predictions import prediction_schema, prediction_table
from pipeline.scoring.distinct import DistinctScorer
from pipeline.scoring.options import Options
from pipeline.scoring.posts import refusal

if TYPE_CHECKING:
    from pyspark import SparkContext
    from pyspark.sql import Column, DataFrame

_TYPES = {pa.string(): "string", pa.float32(): "float", pa.list_(pa.string()): "array<string>"}


# ---- on the executors ----


@lru_cache(maxsize=1)  # worker processes outlive a job: one model at a time
def _scorer(archive: str) -> DistinctScorer:
    from pyspark import SparkFiles

    return DistinctScorer(Classifier.load(Path(SparkFiles.get(archive))))


def _predictions(scorer: DistinctScorer, texts: Sequence[str], options: Options) -> pa.Table:
    model, probabilities = scorer.model, scorer.score(texts)
    review = options.for_review(probabilities)
    decided = options.decide(model, probabilities)
    return prediction_table([""] * len(texts), probabilities, decided, model.labels, model.digest_, review=review)


def _score_batch(batch: pa.RecordBatch, scorer: DistinctScorer, options: Options) -> pa.RecordBatch:
    """Score ids, texts, errors and kept columns."""
    identifiers, texts, errors = (column.to_pylist() for column in batch.columns[:3])
    errors = [error or refusal(i, text, options) for i, text, error in zip(identifiers, texts, errors, strict=True)]
    good = [text[: options.max_chars] for text, error in zip(texts, errors, strict=True) if error is None]
    schema = _output_schema(scorer.model, batch.schema.names[3:], options)
    table = _predictions(scorer, good, options) if good else schema.empty_table()
    # A good post's prediction is that of its rank among the good ones; taking null gives null.
    rejected = np.array([error is not None for error in errors], bool)
    table = table.take(pa.array(np.cumsum(~rejected) - 1, mask=rejected))
    columns = {name: table[name].combine_chunks() for name in table.column_names}
    columns |= dict(zip(batch.schema.names[3:], batch.columns[3:], strict=True))
    columns |= {"id": batch.column(0), "model": pa.repeat(scorer.model.digest_, len(texts)), "error": pa.array(errors, pa.string())}
    return pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)


def _score(batches: Iterable[pa.RecordBatch], archive: str, options: Options) -> Iterator[pa.RecordBatch]:
    scorer = _scorer(archive)
    for batch in batches:
        yield _score_batch(batch, scorer, options)


def row_names(options: Options) -> list[str]:
    """Columns of `to_rows`."""
    return ["id", "text", "error", *(f"keep_{number}" for number in range(len(options.keep)))]


def _output_schema(model: Classifier, keep: Sequence[str], options: Options) -> pa.Schema:
    return prediction_schema(model.labels, keep, review=options.abstain is not None).append(pa.field("error", pa.string()))


# ---- on the driver ----


def _quoted(column: str) -> str:
    return "`" + column.replace("`", "``") + "`"


def string_schema(names: Iterable[str]) -> str:
    """Columns of strings, as Spark takes a schema."""
    return ", ".join(f"{_quoted(name)} string" for name in names)


def to_rows(frame: "DataFrame", options: Options, broken: "Column | None" = None) -> "DataFrame":
    """Ids, texts, reasons not to score them, and kept columns: all strings."""
    from pyspark.sql import functions as sql
    from pyspark.sql import types

    wanted = (options.id_column, options.text_column, *options.keep)
    kinds = {field.name: field.dataType for field in frame.schema.fields}
    for column in wanted:
        if column not in kinds:
            raise InputError(f"the data frame has no column {column!r} among its {len(kinds)}; name the right column")
    nothing = sql.lit(None).cast("string")
    identifier, text, *kept = (sql.col(_quoted(column)) for column in wanted)
    kind, has_text = kinds[options.id_column], isinstance(kinds[options.text_column], types.StringType)
    # Unsigned 64-bit integers of Parquet files come as decimals.
    if not (isinstance(kind, types.StringType | types.IntegralType) or (isinstance(kind, types.DecimalType) and kind.scale == 0)):
        identifier = nothing
    strings = [column.cast("string") for column in (identifier, text if has_text else nothing, *kept)]
    error = sql.coalesce(
        nothing if broken is None else broken,
        sql.when(reduce(or_, (~sql.is_valid_utf8(column) for column in strings)), "not UTF-8"),
        sql.when(sql.lit(not has_text) & text.isNotNull() & (strings[0] != ""), "text is no string"),
    )
    identifier, text, *kept = (sql.make_valid_utf8(column) for column in strings)
    return frame.select(*(column.alias(name) for column, name in zip((identifier, text, error, *kept), row_names(options), strict=True)))


def load_model(folder: Path, options: Options) -> Classifier:
    """Load the model here too: a wrong model, or an option that is not for it, fails before any job."""
    if options.explain:
        raise InputError("explain: Spark does not explain; score without it there, or these posts without Spark")
    model = Classifier.load(folder)
    options.check_labels(model.labels)
    return model


def _scratch(context: "SparkContext") -> Path:
    """A folder that lasts as long as the context, which serves files from it to executors."""
    folder = tempfile.mkdtemp(prefix="disclosure-pipeline-")
    weakref.finalize(context, shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def ship_code(context: "SparkContext") -> None:
    """Send executors our packages, once per context."""
    for package in (models, pipeline):
        name, place = package.__name__, Path(package.__path__[0])
        known = any(file.endswith(f"/{name}.zip") for file in context.listFiles)
        if place.is_dir() and not known:  # executors themselves import them from a zip
            copy = copy_code(place, _scratch(context))
            context.addPyFile(shutil.make_archive(str(copy), "zip", copy.parent, name))


def _ship_model(context: "SparkContext", folder: Path, digest: str) -> str:
    """Send executors a model directory, once per context; gives the archive's name there."""
    name = f"model-{digest}"
    if not any(archive.endswith(f"/{name}.zip") for archive in context.listArchives):
        context.addArchive(shutil.make_archive(str(_scratch(context) / name), "zip", folder))
    return f"{name}.zip"


def scored_rows(rows: "DataFrame", model: Classifier, folder: Path, options: Options) -> "DataFrame":
    """Score what `to_rows` gave; see `score_frame`."""
    names = _output_schema(model, options.keep, options).names
    if repeated := [name for name in options.keep if names.count(name) > 1]:
        raise InputError(f"keep {repeated[0]!r}: the output has a column of that name; rename it in the input")
    context = rows.sparkSession.sparkContext
    ship_code(context)
    score = partial(_score, archive=_ship_model(context, folder, model.digest_), options=options)
    schema = _output_schema(model, rows.columns[3:], options)
    return rows.mapInArrow(score, ", ".join(f"{_quoted(field.name)} {_TYPES[field.type]}" for field in schema)).toDF(*names)


def score_frame(frame: "DataFrame", folder: Path, options: Options | None = None) -> "DataFrame":
    """Score a data frame; a post that cannot be scored keeps its row and says why.

    Parameters
    ----------
    frame : DataFrame
        With an id column of strings or integers and a text column of strings.
    folder : Path
        Model directory on the driver; it is sent to executors when this is called, and not read afterwards.
    options : Options, optional
        Its ``format`` means nothing here, and ``explain`` is refused.

    Returns
    -------
    DataFrame
        Columns of `prediction_schema` and ``error``: null, or why this post has no probabilities and labels. Lazy, as all
        data frames.

    Raises
    ------
    InputError
        For a model or options that cannot be used, or columns that are missing or stand twice.
    """
    options = options or Options()
    model = load_model(folder, options)
    return scored_rows(to_rows(frame, options), model, folder, options)
