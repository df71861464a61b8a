"""A real local Spark session gives the same answers as the classifier itself, and loses no row."""

import csv
import gzip
import io
import json
import os
import shutil
import sys
import warnings
import zipfile
from collections import Counter
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from delta_log import FEATURES, add, commit, field, metadata, protocol
from deltalake import DeltaTable

from models import Classifier
from models.config import ROOT
from pipeline.routing.rules import Routing
from pipeline.scoring import score_files
from pipeline.scoring.distinct import DistinctScorer
from pipeline.scoring.options import Options
from pipeline.scoring.spark import _score_batch, _scorer, score_frame
from pipeline.scoring.spark_files import _parse, score_with_spark, spark_session

pytestmark = pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas:FutureWarning")

BAD_ID = "id is missing, or is neither a string nor an integer"
SECRET = "zyzzyva"


@pytest.fixture(scope="module")
def spark(tmp_path_factory):
    if "JAVA_HOME" not in os.environ and shutil.which("java") is None:
        pytest.skip("Spark needs Java 17, and there is no Java here")
    with pytest.MonkeyPatch.context() as patch:
        # Executors start in this folder, so they find our code only in what is sent to them.
        patch.chdir(tmp_path_factory.mktemp("elsewhere"))
        patch.setenv("PYTHONPATH", "")
        # Jobs as small as these are fastest without compiling.
        patch.setenv("SPARK_SUBMIT_OPTS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")
        settings = ["shuffle.partitions=2", "codegen.wholeStage=false", "codegen.factoryMode=NO_CODEGEN"]
        patch.setenv("PYSPARK_SUBMIT_ARGS", " ".join([*(f"--conf spark.sql.{setting}" for setting in settings), "pyspark-shell"]))
        with spark_session("local[2]") as session:
            yield session


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory) -> Path:
    """The directory of a saved model."""
    place = tmp_path_factory.mktemp("model") / "m"
    model.save(place)
    return place


def expected(model: Classifier, ids: list[str], texts: list[str]) -> dict[str, tuple[list[float], list[str]]]:
    """The probabilities and labels that the classifier itself gives, by id."""
    probabilities = model.predict_proba(texts)
    decided = model.decide(probabilities)
    names = np.array(model.labels)
    return {i: (p.tolist(), names[d].tolist()) for i, p, d in zip(ids, probabilities, decided, strict=True)}


def assert_scored(rows: list[dict], wanted: dict[str, tuple[list[float], list[str]]]) -> None:
    """Check that rows have the ids and labels that the classifier gives, and its probabilities to 1e-6."""
    assert sorted(row["id"] for row in rows) == sorted(wanted)
    for row in rows:
        probabilities, labels = wanted[row["id"]]
        assert [row["prob_alpha"], row["prob_beta"]] == pytest.approx(probabilities, abs=1e-6)
        assert (row["labels"], row["error"]) == (labels, None)


def collected(frame) -> list[dict]:
    return [row.asDict() for row in frame.collect()]


def write_csv(path: Path, rows: list[list[str]], rest: str = "") -> None:
    file = io.StringIO()
    csv.writer(file).writerows(rows)
    with pa.output_stream(str(path), compression="detect") as raw:
        raw.write((file.getvalue() + rest).encode())


def write_inputs(folder: Path, texts: list[str]) -> tuple[list[Path], list[str]]:
    """Write five files of different kinds, each with two of the texts; the first also has rows that cannot be read."""
    parts = [[(f"{part}-{n}", text) for n, text in enumerate(texts[2 * part : 2 * part + 2])] for part in range(5)]
    lines = [[json.dumps({"id": i, "text": text, "likes": [1]}) for i, text in rows] for rows in parts]
    paths = [folder / name for name in ("[a]{b}*.jsonl", "b.jsonl.gz", "c.csv", "d.csv.zst", "e.parquet")]
    broken = ['{"id": "x", "text": "' + SECRET, "[1]", '{"id": "n", "text": null}', '{"id": 1.5, "text": "x"}', '{"id": 7, "text": 7}', ""]
    paths[0].write_bytes("\n".join(["\ufeff" + lines[0][0], *broken, lines[0][1]]).encode() + b"\n\xff\xfe\n")
    paths[1].write_bytes(gzip.compress("\n".join(lines[1]).encode()))
    odd = ' "5",\n '
    write_csv(
        paths[2], [["", "id", "text", "likes"], *(["", i, text, odd] for i, text in parts[2])], f"1,y,{SECRET}\r\n,,text,\r\n3,z,,\r\n"
    )
    write_csv(paths[3], [["text", "id", "likes"], *([text, i, odd] for i, text in parts[3])])
    table = pa.table({"id": [i for i, _ in parts[4]], "text": [t for _, t in parts[4]], "likes": [5, None]})
    pq.write_table(table.append_column("at", pa.array([0, 1], pa.timestamp("ns"))), paths[4])
    return paths, [i for rows in parts for i, _ in rows]


def same(rows: list[dict]) -> list[str]:
    """Put rows in an order that does not depend on who wrote them."""
    return sorted(json.dumps(row, sort_keys=True) for row in rows)


READERS = {
    "parquet": lambda folder: pq.read_table(folder).to_pylist(),
    "jsonl": lambda folder: [json.loads(line) for path in folder.glob("*.json") for line in path.read_text().splitlines()],
    "csv": lambda folder: [row for path in folder.glob("*.csv") for row in csv.DictReader(path.read_text().splitlines(True))],
}


@pytest.mark.slow
def test_a_delta_table_becomes_a_delta_table_of_scores_without_the_deleted_rows(spark, folder, tmp_path, refused):
    table, rows = tmp_path / "table", {"c1": [str(n) for n in range(9)], "c2": [f"zaxa {n}" for n in range(9)]}
    fields = [field("id", "c1"), field("text", "c2"), field("day", "c3")]
    commit(
        table,
        protocol(*FEATURES),
        metadata(fields, ["day"], columnMapping_mode="name"),
        add(table, "a b.parquet", rows, {"c3": "x"}, [0, 4, 5, 8]),
    )
    wanted, out = score_files([table], folder, tmp_path / "local", Options(id_column=None, keep=("day",))), tmp_path / "out"
    found = score_with_spark([table], folder, out, Options(id_column=None, keep=("day",)), delta=True)
    assert (found.scored, found.tables) == (wanted.scored, wanted.tables) == (5, {str(table): 0})
    (local,) = (tmp_path / "local").glob("part-*")
    assert "minValues" not in (out / "_delta_log/00000000000000000000.json").read_text()
    assert same(pa.table(DeltaTable(out).scan()).drop("error").to_pylist()) == same(pq.read_table(local).to_pylist())


@pytest.mark.slow
def test_posts_are_in_the_same_queues_as_without_spark(spark, folder, posts, tmp_path):
    rules = [{"when": {"alpha": 0.05}, "queue": "few"}, {"when": {"beta": [0.0, 0.5]}, "queue": "rest"}]
    route = Routing.model_validate({"queues": {name: {"task": "read", "capacity": 9} for name in ("few", "rest")}, "rules": rules})
    for part in range(3):
        rows = [{"id": f"{part}-{n}", "text": text} for n, text in enumerate(["", *posts.texts[30 * part : 30 * part + 30]])]
        (tmp_path / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = [tmp_path / f"{part}.jsonl" for part in range(3)]
    wanted = score_files(files, folder, tmp_path / "local", Options(route=route, unfamiliar=True, format="jsonl"))
    found = score_with_spark(files, folder, tmp_path / "out", Options(route=route, unfamiliar=True))
    assert found.stream == pytest.approx(wanted.stream)
    assert (found.queues, found.turned_away, found.left_out) == (wanted.queues, wanted.turned_away, wanted.left_out)
    assert found.queues == {"few": 9, "rest": 9}
    lines = [line for path in (tmp_path / "local").glob("part-*") for line in path.read_text().splitlines()]
    local = {row["id"]: row["queue"] for row in map(json.loads, lines)}
    assert {row["id"]: row["queue"] for row in pq.read_table(tmp_path / "out").to_pylist() if row["error"] is None} == local


@pytest.mark.slow
@pytest.mark.parametrize("kind", READERS)
def test_mixed_files_give_one_folder_and_the_counts_of_it(spark, model, folder, posts, tmp_path, kind, capfd):
    texts = [f'{text}, "{text}"\n{text}' for text in posts.texts[:10]]
    paths, ids = write_inputs(tmp_path, texts)
    wanted = expected(model, ids, texts)
    out = tmp_path / "deep" / "out"
    options = Options(keep=("likes",), format=kind)
    counts = score_with_spark(paths, folder, out, master="local[2]", options=options)
    reasons = {
        BAD_ID: 2,
        "not UTF-8": 1,
        "not a JSON object": 1,
        "3 cells where the header has 4": 1,
        "not valid JSON": 1,
        "text is empty": 1,
        "text is not a string": 1,
        "text is null": 1,
    }
    assert (counts.read, counts.scored, counts.rejected, counts.reasons) == (19, 10, 9, reasons)
    given = Counter(label for _, labels in wanted.values() for label in labels)
    assert (counts.labels, counts.model) == ({label: given[label] for label in model.labels}, model.digest_)
    found = READERS[kind](out)
    assert len(found) == 19
    if kind == "csv":
        found = [
            {name: float(cell) if cell and name.startswith("prob") else cell or None for name, cell in row.items()}
            | {"labels": row["labels"].split(";") if row["labels"] else []}
            for row in found
        ]
    scored = [row for row in found if row["error"] is None]
    assert_scored(scored, wanted)
    likes = {row["id"]: row["likes"] for row in scored}
    assert [likes[i] for i in ("0-1", "1-0", "2-1", "3-0", "4-0", "4-1")] == ["[1]", "[1]", ' "5",\n ', ' "5",\n ', "5", None]
    assert sorted(path.name for path in out.parent.iterdir()) == ["out"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_frame_is_scored_as_by_the_classifier_from_the_archive_alone(spark, model, folder, posts, tmp_path):
    texts = posts.texts[:60] + posts.texts[:20]
    rows = [(number, text, number % 3 == 0, f"u{number}") for number, text in enumerate(texts)]
    frame = spark.createDataFrame(rows, "number long, `a post` string, flag boolean, `dotted.name` string").repartition(3)
    shutil.copytree(folder, tmp_path / "copy")
    options = Options(id_column="number", text_column="a post", keep=("flag", "dotted.name", "number"))
    scored = score_frame(frame, tmp_path / "copy", options)
    shutil.rmtree(tmp_path / "copy")
    assert scored.columns == ["id", "flag", "dotted.name", "number", "prob_alpha", "prob_beta", "labels", "model", "error"]
    assert dict(scored.dtypes)["prob_alpha"] == "float"
    found = collected(scored)
    assert_scored(found, expected(model, list(map(str, range(80))), texts))
    assert {row["model"] for row in found} == {model.digest_}
    assert {row["id"]: (row["flag"], row["dotted.name"], row["number"]) for row in found} == {
        str(number): (str(number % 3 == 0).lower(), f"u{number}", str(number)) for number in range(80)
    }


@pytest.mark.slow
def test_executors_run_the_code_that_they_were_sent(spark, folder):
    score_frame(spark.createDataFrame([("1", "x")], "id string, text string"), folder)
    files = spark.sparkContext.parallelize([0], 1).map(lambda _: [__import__(name).__file__ for name in ("pipeline", "models")])
    pipeline, models = files.collect()[0]
    assert "pipeline.zip" in pipeline
    assert "models.zip" in models


@pytest.mark.slow
def test_executors_are_not_sent_the_released_model(spark, folder):
    from pyspark import SparkFiles

    score_frame(spark.createDataFrame([("1", "x")], "id string, text string"), folder)
    names = zipfile.ZipFile(SparkFiles.get("models.zip")).namelist()
    assert "models/classifier.py" in names
    assert not [name for name in names if "released" in name or "__pycache__" in name]


@pytest.mark.slow
def test_what_cannot_be_scored_keeps_its_row_and_says_why(spark, model, folder, posts):
    good = posts.texts[0]
    rows = {
        "fine": (good, None),
        "null": (None, "text is null"),
        "empty": ("", "text is empty"),
        "blank": (" \n\u2003", "text is empty"),
        "long": ("x" * 1001, "text is longer than 1000 characters"),
    }
    frame = spark.createDataFrame([(name, text) for name, (text, _) in rows.items()] + [(None, good), ("", good)], "id string, text string")
    frame = frame.union(spark.sql("select 'bytes', cast(x'61ff' as string)"))
    found = collected(score_frame(frame, folder, Options(max_chars=1000)))
    assert {row["id"]: row["error"] for row in found if row["id"]} == {name: error for name, (_, error) in rows.items()} | {
        "bytes": "not UTF-8, or a date out of range"
    }
    assert [row["error"] for row in found if not row["id"]] == [BAD_ID, BAD_ID]
    assert len(found) == 8
    for row in found:
        assert (row["prob_alpha"] is None, row["labels"] is None) == (row["error"] is not None,) * 2
    assert_scored([row for row in found if row["id"] == "fine"], expected(model, ["fine"], [good]))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("schema", "value", "found"),
    [
        ("id decimal(20,0), text string", (Decimal(2**64 - 1), "x"), (str(2**64 - 1), None)),
        ("id double, text string", (1.0, "x"), (None, BAD_ID)),
        ("id boolean, text string", (True, "x"), (None, BAD_ID)),
        ("id string, text int", ("a", 7), ("a", "text is not a string")),
        ("id string, text int", ("a", None), ("a", "text is null")),
    ],
)
def test_columns_of_other_types_do_not_fail_the_job(spark, folder, schema, value, found):
    (row,) = collected(score_frame(spark.createDataFrame([value], schema), folder))
    assert (row["id"], row["error"]) == found


@pytest.mark.slow
def test_columns_to_keep_of_a_frame_are_strings_as_in_files_and_types_of_spark_alone_are_named(spark, folder, refused):
    spark.conf.set("spark.sql.session.timeZone", "America/New_York")
    given = spark.sql(
        "select '1' id, 'x' text, timestamp_ltz '2017-10-15 20:21:49+00:00' at, timestamp_ntz '2017-10-15 20:21:49' local,"
        " date '2017-10-15' day, named_struct('a', array(1)) nested, make_interval(1) span"
    )
    (row,) = collected(score_frame(given, folder, Options(keep=("at", "local", "day", "nested"))))
    assert [row[name] for name in ("at", "local", "day", "nested")] == [
        "2017-10-15T20:21:49+00:00",
        "2017-10-15T20:21:49",
        "2017-10-15",
        '{"a": [1]}',
    ]
    with refused("column 'span' has the type interval", "cast it to string"):
        score_frame(given, folder, Options(keep=("span",)))


@pytest.mark.slow
@pytest.mark.parametrize("kind", READERS)
def test_odd_names_of_files_and_outputs(spark, folder, tmp_path, kind):
    (tmp_path / "in").mkdir()
    for number, name in enumerate((b"a:b.jsonl", b"a\xff.jsonl", b"plain.jsonl")):
        (tmp_path / "in" / os.fsdecode(name)).write_text(f'{{"id": {number}, "text": "zaxa"}}\n')
    out = tmp_path / "a:b [c]{d}*? %20#"
    assert score_with_spark([tmp_path / "in"], folder, out, Options(format=kind), master="local[2]").scored == 3
    assert sorted(row["id"] for row in READERS[kind](out)) == ["0", "1", "2"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [out.name, "in"]


@pytest.mark.slow
def test_long_texts_are_cut_and_uncertain_labels_marked_when_asked(spark, model, folder, posts):
    text = posts.texts[0]
    frame = spark.createDataFrame([("1", text + " wiku" * 50)], "id string, text string")
    options = Options(max_chars=len(text), over_long="truncate", abstain=(0.0, 1.0))
    found = collected(score_frame(frame, folder, options))
    assert_scored(found, expected(model, ["1"], [text]))
    assert found[0]["review"] == ["alpha", "beta"]


@pytest.mark.slow
def test_thresholds_asked_for_decide(spark, folder, posts):
    frame = spark.createDataFrame([("1", posts.texts[0])], "id string, text string")
    for thresholds, labels in (({"alpha": 0.0, "beta": 1.0}, ["alpha"]), ({"alpha": 1.0, "beta": 0.0}, ["beta"])):
        (row,) = collected(score_frame(frame, folder, Options(thresholds=thresholds)))
        assert row["labels"] == labels


@pytest.mark.slow
def test_operating_point_decides(spark, model, folder, posts):
    texts = posts.texts[:20]
    frame = spark.createDataFrame([(str(k), text) for k, text in enumerate(texts)], "id string, text string")
    for point in ("cautious", "sensitive"):
        found = collected(score_frame(frame, folder, Options(operating_point=point)))
        wanted = [[label for label in row.split(", ") if label] for row in model.label(texts, point)["labels"]]
        assert [row["labels"] for row in sorted(found, key=lambda row: int(row["id"]))] == wanted


def test_explanations_and_thresholds_for_unknown_labels_are_refused_before_any_job(folder, jsonl, refused, tmp_path):
    source, out = jsonl("in.jsonl", [{"id": 1, "text": "x"}]), tmp_path / "out"
    for options, part in ((Options(explain=True), "explain cannot be used with Spark"), (Options(thresholds={"gamma": 0.5}), "'gamma'")):
        with refused(part):
            score_with_spark([source], folder, out, master="nowhere", options=options)
        with refused(part):
            score_frame(None, folder, options)
    with refused("have no order, so they cannot be numbered"):
        score_frame(None, folder, Options(id_column=None))
    with refused("-: Spark cannot read standard input"):
        score_with_spark(["-"], folder, out, master="nowhere")
    assert not out.exists()


@pytest.mark.slow
def test_damaged_model_is_refused_before_any_job(spark, folder, refused, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    weights = tmp_path / "copy" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    with refused(weights, "digest differs"):
        score_frame(spark.range(1), tmp_path / "copy")


@pytest.mark.slow
def test_columns_that_are_missing_or_stand_twice_are_refused(spark, folder, refused):
    frame = spark.createDataFrame([("1", "x", "y")], "id string, text string, prob_alpha string")
    with refused("'body'"):
        score_frame(frame, folder, Options(text_column="body"))
    with refused("'prob_alpha'", "rename"):
        score_frame(frame, folder, Options(keep=("prob_alpha",)))


def batch(*rows: tuple[str | None, str | None, str | None]) -> pa.RecordBatch:
    names = ["id", "text", "error"]
    return pa.RecordBatch.from_pylist(
        [dict(zip(names, row, strict=True)) for row in rows], pa.schema([(name, pa.string()) for name in names])
    )


def test_each_text_of_a_batch_is_scored_once_and_batches_without_a_good_one_pass(model, folder, posts):
    scorer = DistinctScorer(model)
    first, second = posts.texts[:2]
    scored = _score_batch(batch(("1", first, None), ("2", None, None), ("3", second, None), ("4", first, None)), scorer, Options())
    found = scored.to_pylist()
    assert scorer.computed == 2
    assert found[1]["error"] == "text is null"
    assert_scored([found[0], *found[2:]], expected(model, ["1", "3", "4"], [first, second, first]))
    for rows in ([], [(None, None, None)], [("1", "x", "not valid JSON")]):
        rejected = _score_batch(batch(*rows), scorer, Options())
        assert (rejected.num_rows, rejected.schema) == (len(rows), scored.schema)
        assert rejected["labels"].null_count == len(rows)


def test_lines_become_posts_or_errors():
    lines = [
        b'{"id": 2, "text": "half \\ud83d", "to keep": true}',
        b"\r",
        b'{"text": "x", "to keep": null}',
        b"\xff",
        b'{"id": "a", "text": []}',
    ]
    source = pa.RecordBatch.from_arrays([pa.array(lines, pa.binary())], ["value"])
    (parsed,) = _parse([source], Options(keep=("to keep",)))
    rows = [
        ("2", "half \ufffd", None, "true"),
        (None, None, BAD_ID, None),
        (None, None, "not UTF-8", None),
        ("a", None, "text is not a string", None),
    ]
    assert list(zip(*(column.to_pylist() for column in parsed.columns), strict=True)) == rows


@pytest.mark.slow
def test_kept_column_that_a_file_lacks_is_refused(spark, folder, refused, tmp_path):
    (tmp_path / "in.csv").write_text("id,text\n1,x\n")
    with refused("--keep lang: the inputs have no such column"):
        score_with_spark([tmp_path / "in.csv"], folder, tmp_path / "out", master="local[2]", options=Options(keep=("lang",)))


def as_people_have_them(folder: Path) -> list[Path]:
    """Write files that are not what their names suggest, or that have the column types of databases."""
    files = {
        "delete_first.jsonl": b'{"delete": {"status": {"id": 1}}}\n{"id": 1, "text": "zaxa"}\n'
        b'{"id": 2, "text": "wiku", "month": {"a": [1]}}\n',
        "UP.CSV": 'id;text\n3;"zaxa; wiku"\n4;caf\u00e9\n'.encode("cp1252"),
        "_array.json": b'[{"id": "5", "text": "lumane"}, {"id": "6"}]',
        "cut.csv": b'id,text\r7,"za\nxa"\r8,wi\nku\r9,bade\r',
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    place = folder / "month=2017-10"
    place.mkdir()
    columns = {
        "id": pa.array([Decimal(10), Decimal(11)], pa.decimal128(38, 0)),
        "text": pa.array([b"zaxa", b"\xff"], pa.binary()),
        "dec": pa.array([Decimal("1.50"), None], pa.decimal128(3, 2)),
        "day": pa.array([date(2017, 10, 15), None]),
        "at": pa.array([datetime(2017, 10, 15, 20, 21, 49), None]),
        "tags": pa.array([["a", "b"], None], pa.list_(pa.dictionary(pa.int32(), pa.string()))),
        "big": pa.array([9.2e17, None]),
    }
    pq.write_table(pa.table(columns), place / "typed.parquet", row_group_size=1)
    return [*(folder / name for name in files), place / "typed.parquet"]


@pytest.mark.slow
@pytest.mark.parametrize("id_column", ["id", None])
def test_files_are_the_same_rows_by_both_engines(spark, folder, tmp_path, id_column):
    (tmp_path / "in").mkdir()
    files = as_people_have_them(tmp_path / "in")
    options = Options(id_column, keep=("text", "month", "dec", "day", "at", "tags", "big"), format="jsonl")
    told = [[], []]
    by_us = score_files(files, folder, tmp_path / "ours", options, tell=lambda path, what: told[0].append((path.name, what)))
    by_spark = score_with_spark(files, folder, tmp_path / "theirs", options, tell=lambda path, what: told[1].append((path.name, what)))
    assert (
        told[0]
        == told[1]
        == [
            ("UP.CSV", "read in Windows-1252, separated by ';'"),
            ("_array.json", "read as a JSON array or JSON over several lines"),
            ("cut.csv", "read with lines that end in a lone CR"),
        ]
    )
    assert (by_us.scored, by_us.rejected, by_us.reasons) == (by_spark.scored, by_spark.rejected, by_spark.reasons)
    assert (by_us.scored, by_us.reasons["is a notice (delete), not a post"], by_us.reasons["not UTF-8, or a date out of range"]) == (
        8,
        1,
        1,
    )
    ours = [json.loads(line) for path in (tmp_path / "ours").glob("part-*") for line in path.read_text().splitlines()]
    theirs = [row for row in READERS["jsonl"](tmp_path / "theirs") if row.pop("error") is None]

    def stripped(rows):
        return sorted(json.dumps({k: v for k, v in row.items() if not k.startswith("prob")}, sort_keys=True) for row in rows)

    assert stripped(ours) == stripped(theirs)
    typed = next(row for row in ours if row["dec"])
    wanted = ("2017-10", "1.50", "2017-10-15", "2017-10-15T20:21:49", '["a", "b"]', "9.2e+17")
    assert tuple(typed[name] for name in ("month", "dec", "day", "at", "tags", "big")) == wanted
    assert typed["id"] == ("10" if id_column else f"{files[-1]}:1")


def test_existing_output_is_refused_and_stays(folder, jsonl, refused, tmp_path):
    (tmp_path / "out").mkdir()
    with refused(tmp_path / "out", "exists"):
        score_with_spark([jsonl("in.jsonl", [])], folder, tmp_path / "out", master="local[2]")
    assert list((tmp_path / "out").iterdir()) == []


def test_output_inside_the_input_is_refused(folder, jsonl, refused, tmp_path):
    source = jsonl("in/posts.jsonl", [{"id": 1, "text": "x"}]).parent
    with refused(source / "out", f"is in the input {source}"):
        score_with_spark([source], folder, source / "out", master="nowhere")


@pytest.mark.slow
def test_failing_job_is_one_line_without_posts_and_leaves_nothing(spark, folder, refused, tmp_path, capfd):
    whole = gzip.compress("".join(json.dumps({"id": n, "text": f"{SECRET} {n * n * n}"}) + "\n" for n in range(20_000)).encode())
    (tmp_path / "in.jsonl.gz").write_bytes(whole[:-100])
    with refused("the Spark job failed", "in.jsonl.gz", "is damaged or truncated"):
        score_with_spark([tmp_path / "in.jsonl.gz"], folder, tmp_path / "out", master="local[2]")
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl.gz"]
    assert capfd.readouterr() == ("", "")


def test_missing_pyspark_is_one_line(folder, jsonl, refused, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyspark.sql", None)
    with refused("PySpark", "[spark]"):
        score_with_spark([jsonl("in.jsonl", [])], folder, tmp_path / "out", master="local[2]")


@pytest.mark.parametrize(("version", "found"), [(None, "no Java"), ("1.8.0_412", "Java 1"), ("11.0.2", "Java 11")])
def test_missing_or_old_java_is_one_line(refused, tmp_path, monkeypatch, version, found):
    from pyspark.sql import SparkSession

    if version:
        (tmp_path / "bin").mkdir()
        java = tmp_path / "bin" / "java"
        java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
        java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setattr(SparkSession, "getActiveSession", classmethod(lambda cls: None))
    with refused("Java 17", f"found {found}"), spark_session("local[2]"):
        pass
    with refused("'locl[2]'", "local", "yarn"), spark_session("locl[2]"):
        pass


@pytest.mark.slow
def test_csv_with_a_quote_left_open_fails_the_job(spark, folder, refused, tmp_path):
    (tmp_path / "open.csv").write_text("id,text\n1,x\n2,\"hers\n3,and somebody else's\n")
    with refused("open.csv: a quote is never closed"):
        score_with_spark([tmp_path / "open.csv"], folder, tmp_path / "out", master="local[2]")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:::mlflow", "ignore::FutureWarning", "ignore::ResourceWarning")
def test_null_in_mlflows_own_udf_is_a_null_row_and_not_the_end_of_the_job(spark, model, folder, tmp_path, monkeypatch, empty_store):
    import mlflow

    from pipeline import tracking
    from pipeline.config import Tracking

    monkeypatch.chdir(tmp_path)
    tracking.connect(Tracking(uri=f"sqlite:///{shutil.copy(empty_store, tmp_path)}"))
    with tracking.run("udf", folder):
        uri = f"models:/{tracking.log_model(folder, model.labels, 'digest')}"
    frame = spark.createDataFrame([("zaxa ba lu",), (None,), ("wiku",)], "text string").coalesce(1)
    scored = mlflow.pyfunc.spark_udf(spark, uri)("text").alias("scored")
    (good, null, _) = [row["scored"].asDict() for row in frame.select(scored).collect()]
    wanted = model.predict_proba(["zaxa ba lu"])[0].tolist()
    assert [good["prob_alpha"], good["prob_beta"]] == pytest.approx(wanted, abs=1e-6)
    assert (null["prob_alpha"], null["prob_beta"], null["labels"]) == (None, None, [])
    assert null["error"] == "text must be a non-empty string"
    numbers = mlflow.pyfunc.spark_udf(spark, uri, result_type="array<double>")
    (good, null, _) = [row["scored"] for row in frame.select(numbers("text").alias("scored")).collect()]
    assert good == pytest.approx(wanted, abs=1e-6)
    assert len(null) == 2
    assert all(value is None or np.isnan(value) for value in null)


def test_executors_do_not_say_again_that_a_model_is_old(monkeypatch):
    pytest.importorskip("pyspark")
    monkeypatch.setattr("pyspark.SparkFiles.get", lambda name: str(ROOT / "tests" / "saved" / "data" / name))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert _scorer.__wrapped__("model", unfamiliar=False).model.labels
    assert said == []
