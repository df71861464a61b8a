"""Score files with Spark, using its session, its readers and its writers."""

import io
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial, reduce
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from models import Classifier
from models.errors import InputError
from models.folders import new_folder
from models.storage import RELEASED
from pipeline.records import (
    UNCLOSED,
    BrokenRow,
    Row,
    csv_header,
    csv_spans,
    csv_text,
    jsonl_rows,
    kind_of,
    open_text,
    read_lines,
    read_rows,
)
from pipeline.scoring.inputs import find_inputs
from pipeline.scoring.options import DEFAULT_OUT, Options
from pipeline.scoring.posts import as_string, refusal
from pipeline.scoring.spark import load_model, row_names, scored_rows, ship_code, string_schema, to_rows
from pipeline.scoring.summary import Summary

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_JAVA = 17
_MASTERS = ("local", "spark://", "k8s://", "yarn")
_CSV: dict[str, bool | str] = {
    "header": True,
    "escape": '"',
    "multiLine": True,
    "ignoreLeadingWhiteSpace": False,
    "ignoreTrailingWhiteSpace": False,
}
_BROKEN = "_broken"  # the column in which Spark puts a CSV row that does not match its header
# Log nothing, because failures would print their stack traces on standard error. At another level, Spark would announce the level.
_LOGGING = """\
appender.none.type = Null
appender.none.name = none
rootLogger.level = warn
rootLogger.appenderRef.none.ref = none
"""


def _parsed(row: Row | BrokenRow, options: Options) -> dict[str, str | None]:
    if isinstance(row, BrokenRow):
        return {"error": row.reason}
    identifier, text, *kept = (row.fields.get(column) for column in (options.id_column, options.text_column, *options.keep))
    parsed = {name: as_string(value) for name, value in zip(row_names(options)[3:], kept, strict=True)}
    if error := refusal(identifier, text, options):
        usable = refusal(identifier, "any", options) is None
        return parsed | {"id": str(identifier) if usable else None, "error": error}
    return parsed | {"id": str(identifier), "text": text}


def _parse(batches: Iterable[pa.RecordBatch], options: Options) -> Iterator[pa.RecordBatch]:
    """Parse lines of JSONL into ids, texts, errors and the columns to keep."""
    schema = pa.schema([(name, pa.string()) for name in row_names(options)])
    for batch in batches:
        rows = [row for line in batch.column(0).to_pylist() for row in jsonl_rows(io.BytesIO(line))]
        yield pa.RecordBatch.from_pylist([_parsed(row, options) for row in rows], schema)


def _uri(path: Path) -> str:
    """Return a path for Spark, with the characters escaped that it would read as patterns."""
    return "file://" + re.sub(r"([\\*?\[\]{}])", r"\\\1", str(path.resolve()))


def _shape(path: Path, options: Options) -> tuple[str, ...]:
    """Check a file and return what files must have in common to be read together: kind, and header or types of the columns to read."""
    import pyarrow.parquet as pq

    if path.name.startswith(("_", ".")):
        raise InputError(f"{path}: Spark skips files whose names begin with _ or a dot; rename the file")
    next(
        read_rows(path, [options.id_column, options.text_column], may_be_empty=True), None
    )  # errors in the first rows are reported before the job starts
    kind = kind_of(path)
    if kind == ".jsonl":
        return (kind,)
    if kind == ".csv":
        with open_text(path) as file, csv_text(file.content) as text:
            spans = csv_spans(read_lines(text, "\n"))
            names = shape = csv_header(spans, path)[1]
            # Spark would read the rest of the file as the text of one post.
            if any(values == UNCLOSED for _, values in spans):
                raise InputError(f"{path}: {UNCLOSED}; correct the file")
    else:
        schema = pq.read_schema(path)
        names, shape = schema.names, [str(schema.field(column).type) for column in options.columns if column in schema.names]
    if missing := [column for column in options.columns if column not in names]:
        raise InputError(f"{path}: there is no column {missing[0]!r}; correct the column's name")
    return (kind, *shape)


def _read_csv(spark: "SparkSession", paths: list[str], header: Sequence[str], options: Options) -> "DataFrame":
    from pyspark.sql import functions as sql

    cells = [f"cell_{number}" for number in range(len(header))]  # names in a header may be empty
    # Without columnPruning=False, Spark would not notice that a row has too many cells.
    reader = spark.read.options(**_CSV, columnNameOfCorruptRecord=_BROKEN, columnPruning=False)
    frame = reader.schema(string_schema([*cells, _BROKEN])).csv(paths)
    broken = sql.when(sql.col(_BROKEN).isNotNull(), f"not the {len(header)} cells of the header")
    # Spark's reader turns an empty cell into null.
    wanted = [sql.coalesce(sql.col(cells[header.index(column)]), sql.lit("")).alias(column) for column in options.columns]
    return to_rows(frame.select(*wanted, broken.alias(_BROKEN)), options, sql.col(_BROKEN))


def _read(spark: "SparkSession", inputs: Sequence[Path], options: Options) -> "DataFrame":
    """Read the rows of all inputs; files of the same shape are read together."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for path in inputs:
        alike.setdefault(_shape(path, options), []).append(_uri(path))
    frames = []
    for (kind, *shape), paths in alike.items():
        if kind == ".csv":
            frames.append(_read_csv(spark, paths, shape, options))
        elif kind == ".parquet":
            frames.append(to_rows(spark.read.parquet(*paths), options))
        else:
            lines = spark.read.text(paths, lineSep="\n").selectExpr("cast(value as binary)")
            frames.append(lines.mapInArrow(partial(_parse, options=options), string_schema(row_names(options))))
    return reduce(lambda one, other: one.unionByName(other), frames)


def _write(scored: "DataFrame", folder: str, kind: str) -> "DataFrame":
    """Write predictions, and return a data frame that reads them back."""
    from pyspark.sql import functions as sql
    from pyspark.sql.types import ArrayType

    reader = scored.sparkSession.read
    if kind == "parquet":
        scored.write.parquet(folder, compression="zstd")
        return reader.parquet(folder)
    if kind == "jsonl":
        scored.write.json(folder, ignoreNullFields=False)
        return reader.schema(scored.schema).json(folder)
    lists = {field.name for field in scored.schema if isinstance(field.dataType, ArrayType)}
    flat = scored.withColumns({name: sql.concat_ws(";", name) for name in lists})  # CSV has no lists
    flat.write.options(**_CSV).csv(folder)
    return reader.options(**_CSV).schema(flat.schema).csv(folder).withColumns({name: sql.split(name, ";") for name in lists})


def _summary(written: "DataFrame", model: Classifier, options: Options) -> Summary:
    from pyspark.sql import functions as sql

    summary = Summary.of(model.digest_, model.labels, options)
    given = [sql.count_if(sql.array_contains("labels", label)) for label in model.labels]
    review = sql.count_if(sql.size("review") > 0) if options.abstain is not None else sql.lit(0)
    for error, posts, marked, *labels in written.groupBy("error").agg(sql.count("*"), review, *given).collect():
        summary.read += posts
        if error is not None:
            summary.rejected += posts
            summary.reasons[error] = posts
            continue
        summary.scored, summary.review = posts, marked
        summary.labels.update(dict(zip(model.labels, labels, strict=True)))
    return summary


def _check_java() -> None:
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home) / "bin" / "java") if home else "java"
    try:
        shown = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr  # noqa: S603
    except OSError:
        shown = ""
    version = re.search(r'version "(\d+)', shown)
    if version is None or int(version[1]) < _JAVA:
        found = f"Java {version[1]}" if version else "no Java"
        raise InputError(f"Spark needs Java {_JAVA}, but found {found} ({java}); install it, or set JAVA_HOME")


@contextmanager
def spark_session(master: str) -> Iterator["SparkSession"]:
    """Yield the active Spark session or, if there is none, a new one at `master` that ends with the block.

    Raises
    ------
    InputError
        When PySpark or Java is missing, or Spark does not start at `master`.
    """
    try:
        from py4j.protocol import Py4JError  # type: ignore[import-untyped]
        from pyspark.errors import PySparkException
        from pyspark.sql import SparkSession
    except ImportError:
        raise InputError("--engine spark needs PySpark, which is not installed; install it with pip install -e '.[spark]'") from None
    if active := SparkSession.getActiveSession():
        yield active
        return
    if not master.startswith(_MASTERS):
        raise InputError(f"master must begin with one of {', '.join(_MASTERS)}, such as local[2], but got {master!r}")
    _check_java()
    builder = SparkSession.builder.master(master).appName("disclosure-pipeline").config("spark.ui.showConsoleProgress", False)
    with tempfile.TemporaryDirectory() as folder:
        if master.startswith("local"):  # this session runs only on this machine and in this Python, and needs no log
            logging = Path(folder) / "log4j2.properties"
            logging.write_text(_LOGGING, encoding="utf-8")
            os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
            os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
            builder = builder.config("spark.ui.enabled", False)
            builder = builder.config("spark.driver.extraJavaOptions", f"-Dlog4j2.configurationFile={logging}")
        try:
            session = builder.getOrCreate()
        except (PySparkException, Py4JError, OSError) as error:
            raise InputError(f"{master}: Spark cannot be started there ({type(error).__name__}); check --master") from None
    try:
        yield session
    finally:
        session.stop()


def _cause(error: Exception) -> str:
    """Return why a job failed: our error or a missing package; otherwise only the innermost error's name, as messages may quote posts."""
    if told := re.search(r"(?:(?:models|pipeline)\.errors\.\w+|ModuleNotFoundError): (.*)", str(error)):
        return told[1]
    names = re.findall(r"\b\w+(?:Exception|Error)\b", str(error))
    return f"{names[-1] if names else type(error).__name__}; a file may be damaged, the disk full or an executor lost"


def score_with_spark(
    inputs: Sequence[str | Path],
    model: str | Path = RELEASED,
    out: str | Path = DEFAULT_OUT,
    options: Options | None = None,
    *,
    master: str = "local[*]",
) -> Summary:
    """Score files with Spark, which also reads and writes them; see `pipeline.scoring.spark` for data frames.

    Parameters
    ----------
    inputs : sequence of str or Path
        JSONL, CSV and Parquet files, folders of them and globs. In CSV files, bytes that are not UTF-8 become U+FFFD; a broken line or
        row gets an error.
    model : str or Path
        Model directory; by default, the model released with this version.
    out : str or Path
        New folder for the output, which has one row per post, in any order, as `score_frame` returns them. It is written completely or
        not at all. In CSV, labels are separated by semicolons.
    options : Options, optional
        As for `score_files`, but ``explain`` is an error.
    master : str
        Spark master, such as ``local[4]``; if a session is active, that session is used.

    Returns
    -------
    Summary
        Its files, shards and times are not filled in.

    Raises
    ------
    InputError
        When PySpark or Java is missing, a file or the model cannot be used, `out` exists, or the job fails.
    """
    files, folder, out = find_inputs(inputs), Path(model), Path(out)
    options = options or Options()
    if out.exists():
        raise InputError(f"{out}: already exists, but Spark needs a new folder; choose another --out, or remove the folder")
    classifier = load_model(folder, options)
    with spark_session(master) as session, new_folder(out, []) as fresh:
        from py4j.protocol import Py4JError
        from pyspark.errors import PySparkException

        spark = session.newSession()  # a session with its own settings
        spark.conf.set("spark.sql.caseSensitive", True)
        spark.conf.set("spark.sql.legacy.parquet.nanosAsLong", True)  # Spark would otherwise reject times written by pandas
        ship_code(spark.sparkContext)  # must happen before anything refers to the code
        try:
            rows = _read(spark, files, options)
            fresh.rmdir()  # Spark makes this folder itself
            scored = scored_rows(rows, classifier, folder, options)
            return _summary(_write(scored, _uri(fresh), options.format), classifier, options)
        except (PySparkException, Py4JError) as error:
            raise InputError(f"the Spark job failed: {_cause(error)}") from None
