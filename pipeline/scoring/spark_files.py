"""Score files with Spark, using its session, its readers and its writers."""

import io
import os
import pickle
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial, reduce
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from models import Classifier
from models.errors import InputError
from models.folders import check_local, owner_only
from models.storage import RELEASED
from pipeline.errors import DamagedError
from pipeline.predictions import FAMILIARITY
from pipeline.records import (
    STDIN,
    UNCLOSED,
    BrokenRow,
    Row,
    Tell,
    batch_rows,
    file_rows,
    ignore,
    jsonl_rows,
    kind_of,
    live_of,
    open_text,
    parquet_batches,
    parquet_groups,
    partitions_of,
    with_live,
    with_partitions,
)
from pipeline.scoring.inputs import check_inputs, find_inputs
from pipeline.scoring.options import DEFAULT_OUT, Options
from pipeline.scoring.spark import checked_model, row_batch, row_names, scored_rows, ship_code, string_schema
from pipeline.scoring.spark_output import check_table, make_table, unfinished_output
from pipeline.scoring.spark_queues import scratch_copy, seated
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
# Names of files that Spark reads line by line: it takes others for patterns or for hidden files, and knows fewer codecs than our readers.
_SPLIT = re.compile(r"[^\W_][\w. =+-]*\.(?:jsonl|ndjson|json)")
_BATCH = 512  # rows
# Log nothing, because failures would print their stack traces on standard error. At another level, Spark would announce the level.
_LOGGING = """\
appender.none.type = Null
appender.none.name = none
rootLogger.level = warn
rootLogger.appenderRef.none.ref = none
"""


def _parse(batches: Iterable[pa.RecordBatch], options: Options) -> Iterator[pa.RecordBatch]:
    """Parse lines of JSONL into ids, texts, errors and the columns to keep."""
    for batch in batches:
        yield row_batch((row for line in batch.column(0).to_pylist() for row in jsonl_rows(io.BytesIO(line))), options)


def _whole(rows: Iterable[Row | BrokenRow], path: Path) -> Iterator[Row | BrokenRow]:
    for row in rows:
        if isinstance(row, BrokenRow) and row.reason == UNCLOSED:
            raise InputError(f"{path}: {UNCLOSED}; correct the file")
        yield row


def _group_rows(path: Path, columns: Sequence[str], group: int, first: int) -> Iterator[Row | BrokenRow]:
    """Yield the rows of a row group; an error names the column that cannot be read, with its type and codec."""
    try:
        yield from batch_rows(parquet_batches(path, columns, [group]), first)
    except DamagedError as error:
        raise DamagedError(f"{path}, row group {group + 1}: {odd}" if (odd := _odd_column(path, columns, group)) else str(error)) from None


def _odd_column(path: Path, columns: Sequence[str], group: int) -> str | None:
    """Say which column of a row group cannot be read; None if the file cannot be read at all."""
    import pyarrow.parquet as pq

    name = ""
    try:
        with pq.ParquetFile(path) as file:
            chunks = [file.metadata.row_group(group).column(number) for number in range(file.metadata.num_columns)]
            for name in [name for name in file.schema_arrow.names if name in columns]:
                for _ in file.iter_batches(_BATCH, row_groups=[group], columns=[name], use_threads=False):
                    pass
    except (pa.ArrowException, OSError):
        codecs = {chunk.compression for chunk in chunks if chunk.path_in_schema.partition(".")[0] == name} if name else set()
        what = f"{file.schema_arrow.field(name).type}, compressed with {', '.join(sorted(codecs))}" if codecs else ""
        return f"column {name!r} ({what}) cannot be read; write the file again, with zstd or snappy" if what else None
    return None


def _read_pieces(batches: Iterable[pa.RecordBatch], options: Options) -> Iterator[pa.RecordBatch]:
    """Read pieces of files.

    Each is given by its path, that path as the user wrote it, a row group (-1: the whole file), its first row, and what the log of its
    table says of the file.
    """
    for batch in batches:
        for name, shown, group, first, live in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            path, origin = Path(os.fsdecode(name)), os.fsdecode(shown)
            path = with_live(path, pickle.loads(live)) if live else path  # noqa: S301  # from our own driver
            if group < 0:
                rows = iter(_whole(file_rows(path, options.columns, given=options.input_format), path))
            else:
                rows = iter(with_partitions(_group_rows(path, options.columns, group, first), path))
            while few := list(islice(rows, _BATCH)):
                yield row_batch(few, options, origin)


def _uri(path: Path) -> str:
    """Return a path for Spark, with the characters escaped that it would read as patterns."""
    return "file://" + re.sub(r"([\\*?\[\]{}])", r"\\\1", str(path.resolve()))


def _names(path: Path) -> tuple[bytes, bytes]:
    return os.fsencode(path.absolute()), os.fsencode(path)


def _is_lines(path: Path, options: Options, tell: Tell) -> bool:
    """Return whether Spark can read a file line by line, in as many pieces as it likes; if not, we read it as we do without Spark."""
    said: list[str] = []
    with open_text(path, options.columns, lambda path, what: said.append(what), options.input_format) as file:
        plain = file.kind == ".jsonl" and not said and _SPLIT.fullmatch(path.name) is not None
        while plain and (chunk := file.content.read(2**16)) and chunk.isascii():
            pass  # what the encoding is shows at the first character that is not ASCII, and `said` has it then
    for what in said:
        tell(path, what)
    place = str(path.resolve())
    plain = plain and not said and not set(":*?[]{}\\") & set(place) and place.encode("utf-8", "replace").decode() == place
    return plain and options.id_column is not None and not partitions_of(path).keys() & set(options.columns)


def _read(spark: "SparkSession", inputs: Sequence[Path], options: Options, tell: Tell) -> "DataFrame":
    """Read the rows of all inputs: large files of lines in pieces, Parquet by row groups, other files each as a whole."""
    lines: list[str] = []
    pieces: list[tuple[bytes, bytes, int, int, bytes | None]] = []  # names as bytes, because they may not be UTF-8
    for path in inputs:
        if kind_of(path, options.input_format) == ".parquet":
            live = pickle.dumps(found) if (found := live_of(path)) else None
            pieces += [(*_names(path), group, first, live) for group, first in enumerate(parquet_groups(path))]
        elif _is_lines(path, options, tell):
            lines.append(_uri(path))
        else:
            pieces.append((*_names(path), -1, 1, None))
    frames = []
    schema = string_schema(row_names(options))
    if lines:
        frame = spark.read.text(lines, lineSep="\n").selectExpr("cast(value as binary)")
        frames.append(frame.mapInArrow(partial(_parse, options=options), schema))
    if pieces or not lines:
        spread = spark.sparkContext.parallelize(pieces, max(len(pieces), 1))
        frame = spark.createDataFrame(spread, "path binary, origin binary, group int, first long, live binary")
        frames.append(frame.mapInArrow(partial(_read_pieces, options=options), schema))
    return reduce(lambda one, other: one.unionByName(other), frames)


def _write(scored: "DataFrame", fresh: Path, kind: str) -> "DataFrame":
    """Write predictions, and return a data frame that reads them back."""
    from pyspark.sql import functions as sql
    from pyspark.sql.types import ArrayType

    reader, folder, pattern = scored.sparkSession.read, f"file://{fresh}", _uri(fresh)  # only reading takes a path for a pattern
    if kind == "parquet":
        scored.write.parquet(folder, compression="zstd")
        return reader.parquet(pattern)
    if kind == "jsonl":
        scored.write.json(folder, ignoreNullFields=False)
        return reader.schema(scored.schema).json(pattern)
    lists = {field.name for field in scored.schema if isinstance(field.dataType, ArrayType)}
    flat = scored.withColumns({name: sql.concat_ws(";", name) for name in lists})  # CSV has no lists
    flat.write.options(**_CSV).csv(folder)
    return reader.options(**_CSV).schema(flat.schema).csv(pattern).withColumns({name: sql.split(name, ";") for name in lists})


def _summarise(written: "DataFrame", model: Classifier, options: Options, summary: Summary) -> None:
    from pyspark.sql import functions as sql

    given = [sql.count_if(sql.array_contains("labels", label)) for label in model.labels]
    review = sql.count_if(sql.size("review") > 0) if options.abstain is not None else sql.lit(0)
    queued = [sql.count_if(sql.col("queue") == name) for name in summary.queues]
    known = [sql.sum(sql.col(name).cast("double")) for name in FAMILIARITY] if options.unfamiliar else []
    for error, posts, marked, *counts in written.groupBy("error").agg(sql.count("*"), review, *given, *queued, *known).collect():
        summary.read += posts
        if error is not None:
            summary.rejected += posts
            summary.reasons[error] = posts
            continue
        summary.scored, summary.review = posts, marked
        summary.labels.update(dict(zip(model.labels, counts, strict=False)))
        summary.queues.update(dict(zip(summary.queues, counts[len(model.labels) :], strict=False)))
        summary.stream.update(dict(zip(FAMILIARITY, counts[len(given) + len(queued) :], strict=False)))


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
            raise InputError(f"Spark cannot be started with --master {master} ({type(error).__name__}); correct it") from None
    try:
        yield session
    finally:
        session.stop()


def _cause(error: Exception) -> str:
    """Return why a job failed: our error or a missing package; otherwise only the innermost error's name, as messages may quote posts."""
    if told := re.search(r"(?:(?:models|pipeline)\.errors\.\w+|ModuleNotFoundError): (.*)", str(error)):
        return told[1]
    names = re.findall(r"\b\w+(?:Exception|Error)\b", str(error))
    name = names[-1] if names else type(error).__name__
    if re.fullmatch(r".*(?:IO|EOF|OS|FileSystem|Executor\w*|Connection\w*)(?:Exception|Error)|SparkException|OSError", name):
        return f"{name}; a file may be damaged, the disk full or an executor lost"
    return f"{name}; this is a mistake in our code, or an input that Spark cannot take: try --engine local, which names it"


@owner_only()
def score_with_spark(
    inputs: Sequence[str | Path],
    model: str | Path = RELEASED,
    out: str | Path = DEFAULT_OUT,
    options: Options | None = None,
    *,
    master: str = "local[*]",
    table_version: int | None = None,
    delta: bool = False,
    tell: Tell = ignore,
) -> Summary:
    """Score files with Spark, which also reads and writes them; see `pipeline.scoring.spark` for data frames.

    Parameters
    ----------
    inputs : sequence of str or Path
        As for `score_files`, but not standard input. A broken row gets an error.
    model : str or Path
        Model directory; by default, the model released with this version.
    out : str or Path
        New folder for the output, which has one row per post, in any order, as `score_frame` returns them. It is written completely or
        not at all. In CSV, labels are separated by semicolons.
    options : Options, optional
        As for `score_files`, but ``explain`` is an error.
    master : str
        Spark master, such as ``local[4]``; if a session is active, that session is used.
    table_version : int, optional
        As for `score_files`.
    delta : bool
        Whether the Parquet files become a Delta table.
    tell : callable
        As for `score_files`.

    Returns
    -------
    Summary
        Its files, shards and times are not filled in.

    Raises
    ------
    InputError
        When PySpark or Java is missing, a file or the model cannot be used, `out` exists, or the job fails.
    """
    folder, out, options = Path(model), Path(out), options or Options()
    check_local(out)
    files = find_inputs(inputs, out, tell, given=options.input_format, table_version=table_version)
    for path in files:
        check_local(path)
    if out.exists():
        raise InputError(f"{out}: already exists, but Spark needs a new folder; choose another --out, or remove the folder")
    if STDIN in files:
        raise InputError("-: Spark cannot read standard input; write it to a file first, or use --engine local")
    classifier = checked_model(folder, options)
    if delta:
        check_table(out, options.schema(classifier.labels).names)
    check_inputs(files, options, out, tell)
    summary = Summary.of(classifier.digest_, options.thresholds_of(classifier.labels, classifier.operating_points_), options)
    summary.tables = {live.table: live.version for live in map(live_of, files) if live}
    with spark_session(master) as session, unfinished_output(out) as fresh:
        from py4j.protocol import Py4JError
        from pyspark.errors import PySparkException

        spark = session.newSession()  # a session with its own settings
        spark.conf.set("spark.sql.caseSensitive", True)
        ship_code(spark.sparkContext)  # must happen before anything refers to the code
        try:
            rows = _read(spark, files, options, tell)
            scored = scored_rows(rows, classifier, folder, options)
            if options.route:
                scratch = fresh.with_name("scored")
                copy = scratch_copy(scored, f"file://{scratch}", _uri(scratch))
                scored = seated(copy, scored.columns, classifier, options, summary)
            _summarise(_write(scored, fresh, options.format), classifier, options, summary)
            if delta:
                make_table(fresh)
            return summary
        except (PySparkException, Py4JError) as error:
            raise InputError(f"the Spark job failed: {_cause(error)}") from None
