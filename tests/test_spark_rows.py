"""What Spark's executors and the driver do without a session: rows, codecs, names of files and the output that a killed job left."""

import json
import os
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import DamagedError, LockedError
from pipeline.records import ignore
from pipeline.scoring import spark_output
from pipeline.scoring.options import Options
from pipeline.scoring.posts import as_string
from pipeline.scoring.spark import _frame_rows, row_batch
from pipeline.scoring.spark_files import _cause, _is_lines, _names, _parse, _read_pieces
from pipeline.scoring.spark_output import check_table, unfinished_output

UNREADABLE = "not UTF-8, or a date out of range"
KINDS = {
    "day": (pa.date32(), date(2017, 10, 15), "2017-10-15"),
    "local time": (pa.timestamp("us"), datetime(2017, 10, 15, 20, 21, 49), "2017-10-15T20:21:49"),
    "time": (pa.timestamp("us", "America/New_York"), datetime(2017, 10, 15, 20, 21, 49, 5, UTC), "2017-10-15T20:21:49.000005+00:00"),
    "duration": (pa.duration("us"), timedelta(1), '"1 day, 0:00:00"'),
    "decimal": (pa.decimal128(5, 2), Decimal("1.50"), "1.50"),
    "binary": (pa.binary(), b"caf\xc3\xa9", "caf\u00e9"),
    "list": (pa.list_(pa.date32()), [date(2017, 10, 15), None], '["2017-10-15", null]'),
    "struct": (pa.struct([("a", pa.int32())]), {"a": 1}, '{"a": 1}'),
    "map": (pa.map_(pa.string(), pa.int32()), [("a", 1)], '[["a", 1]]'),
    "flag": (pa.bool_(), True, "true"),
    "number": (pa.float64(), 9.2e17, "9.2e+17"),
    "nothing": (pa.null(), None, None),
}


def frame_rows(columns: dict[str, pa.Array], *keep: str) -> list[dict]:
    batch = pa.RecordBatch.from_arrays([*columns.values()], names=[str(number) for number in range(len(columns))])
    (found,) = _frame_rows([batch], list(columns), Options(keep=keep))
    return found.to_pylist()


@pytest.mark.parametrize("name", KINDS)
def test_kept_columns_of_a_frame_are_written_as_the_local_engine_writes_them(name):
    kind, value, wanted = KINDS[name]
    columns = {"id": pa.array([1, 2]), "text": pa.array(["a", "b"]), name: pa.array([value, None], kind)}
    assert frame_rows(columns, name, "id") == [
        {"id": "1", "text": "a", "error": None, "keep_0": wanted, "keep_1": "1"},
        {"id": "2", "text": "b", "error": None, "keep_0": None, "keep_1": "2"},
    ]
    assert as_string(pa.array([value], kind).to_pylist()[0] if name not in ("time", "binary") else wanted) == wanted


def test_value_that_cannot_be_read_rejects_its_row_alone_and_keeps_its_id():
    broken = pa.Array.from_buffers(pa.string(), 2, pa.array([b"\xff", b"b"], pa.binary()).buffers())
    far = pa.array([2**40, 0], pa.timestamp("s"))
    good = {"id": "b", "text": "t", "error": None, "keep_0": "1970-01-01T00:00:00"}
    for columns, text in (
        ({"id": pa.array(["a", "b"]), "text": broken, "k": pa.array([0, 0], pa.timestamp("s"))}, "b"),
        ({"id": pa.array(["a", "b"]), "text": pa.array(["t", "t"]), "k": far}, "t"),
    ):
        first, second = frame_rows(columns, "k")
        assert first == {"id": "a", "text": None, "error": UNREADABLE, "keep_0": None}
        assert second == good | {"text": text}
    (first, second) = frame_rows({"id": broken, "text": pa.array(["t", "t"]), "k": pa.array([0, 0], pa.timestamp("s"))}, "k")
    assert (first["id"], first["error"], second) == (None, UNREADABLE, good)


def test_column_nested_too_deeply_rejects_its_row_alone(monkeypatch):
    def too_deep(value: object) -> str | None:
        if value == "deep":
            raise RecursionError
        return as_string(value)

    monkeypatch.setattr("pipeline.scoring.spark.as_string", too_deep)
    lines = [json.dumps({"id": number, "text": "x", "k": k}).encode() for number, k in enumerate(["deep", "flat"])]
    (parsed,) = _parse([pa.RecordBatch.from_arrays([pa.array(lines, pa.binary())], ["value"])], Options(keep=("k",)))
    assert parsed.column(2).to_pylist() == ["a column to keep is nested too deeply", None]
    assert row_batch([], Options(keep=("k",))).num_rows == 0


def piece(path: Path, group: int = -1) -> pa.RecordBatch:
    name, origin = _names(path)
    kinds = (pa.binary(), pa.binary(), pa.int32(), pa.int64(), pa.binary())
    columns = [pa.array([value], kind) for value, kind in zip((name, origin, group, 1, None), kinds, strict=True)]
    return pa.RecordBatch.from_arrays(columns, ["path", "origin", "group", "first", "live"])


def with_codec_lzo(path: Path, column: str) -> None:
    """Write a Parquet file, and say in its footer that a column is compressed with LZO, which Arrow cannot read."""
    pq.write_table(pa.table({"id": ["1", "2"], "text": ["x" * 50, "y" * 50], "k": ["a", "b"]}), path, compression="snappy")
    said = b"\x18" + bytes([len(column)]) + column.encode() + b"\x15"
    before, _, after = path.read_bytes().rpartition(said + b"\x02")
    path.write_bytes(before + said + b"\x06" + after)


def test_codec_that_cannot_be_read_is_named_with_its_column(tmp_path):
    path = tmp_path / "posts.parquet"
    with_codec_lzo(path, "text")
    with pytest.raises(DamagedError) as caught:
        list(_read_pieces([piece(path, 0)], Options()))
    assert str(caught.value).startswith(f"{path}, row group 1: column 'text' (string, compressed with LZO) cannot be read")
    assert _cause(RuntimeError(f"pipeline.errors.DamagedError: {caught.value}\n at org.apache.spark.api")) == str(caught.value)
    with_codec_lzo(path, "k")  # which is not needed
    assert sum(batch.num_rows for batch in _read_pieces([piece(path, 0)], Options())) == 2


def test_file_that_is_damaged_as_a_whole_is_not_blamed_on_a_column(tmp_path):
    path = tmp_path / "posts.parquet"
    path.write_bytes(b"PAR1 and no more")
    with pytest.raises(DamagedError, match="truncated or damaged"):
        list(_read_pieces([piece(path, 0)], Options()))


@pytest.mark.parametrize(
    "name", [b"a\xff.jsonl", b"a:b.jsonl", b"a\\b.jsonl", b"[a]{b}*.jsonl", b"a\xff.csv", "\u00e9 %20#.jsonl".encode()]
)
def test_files_with_odd_names_are_read_by_our_readers(tmp_path, name):
    path = tmp_path / os.fsdecode(name)
    path.write_bytes(b"id,text\n1,x\n" if name.endswith(b"csv") else b'{"id": 1, "text": "x"}\n')
    assert not _is_lines(path, Options(), ignore)
    for options, wanted in ((Options(), "1"), (Options(id_column=None), f"{path}:1".encode("utf-8", "backslashreplace").decode())):
        (found,) = _read_pieces([piece(path)], options)
        assert found.to_pylist() == [{"id": wanted, "text": "x", "error": None}]


def test_spark_splits_plain_lines_and_our_readers_read_what_is_compressed(tmp_path):
    line = b'{"id": 1, "text": "x"}\n'
    for name, lines in (("a.jsonl", True), ("B 2-1.ndjson", True), ("a.jsonl.gz", False), ("a.jsonl.zst", False), ("a.jsonl.bz2", False)):
        with pa.output_stream(str(tmp_path / name), compression="detect") as file:
            file.write(line)
        assert _is_lines(tmp_path / name, Options(), ignore) == lines


@pytest.mark.parametrize(
    ("last", "told"),
    [(b"caf\xe9 \x93yes\x94", ["from some row on, read in Windows-1252"]), ("caf\u00e9 \u201cyes\u201d".encode(), []), (b"cafe", [])],
)
def test_spark_splits_no_file_whose_encoding_turns_out_later_to_be_another(tmp_path, last, told):
    said = []
    line = b'{"id": 1, "text": "plain words"}\n'
    (tmp_path / "a.jsonl").write_bytes(line * 4_000 + line.replace(b"plain words", last))
    assert _is_lines(tmp_path / "a.jsonl", Options(), lambda path, what: said.append(what)) == (not told)
    assert said == told


def test_failures_are_blamed_on_a_disk_only_if_something_says_so():
    assert "the disk full" in _cause(RuntimeError("java.io.IOException: x"))
    for name in ("URISyntaxException", "TypeError", "PySparkTypeError"):
        assert _cause(RuntimeError(f"{name}: a word of a post")).startswith(f"{name}; this is a mistake in our code, or an input that")


# ---- the output ----


def left(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def write_part(fresh: Path) -> None:
    fresh.mkdir()
    (fresh / "part-0").write_text("x")


KILLED = """
import os, sys
from pathlib import Path
from pipeline.scoring.spark_output import check_table, unfinished_output
with unfinished_output(Path(sys.argv[1])) as fresh:
    fresh.mkdir()
    (fresh / "part-0").write_text("half")
    os.kill(os.getpid(), 9)
"""


def test_what_a_killed_job_left_beside_the_output_is_removed_by_the_next(tmp_path):
    out = tmp_path / "deep" / "out"
    subprocess.run([sys.executable, "-c", KILLED, str(out)], check=False, cwd=Path(__file__).parent.parent)
    assert any(name.endswith("new/part-0") for name in left(tmp_path))
    with unfinished_output(out) as fresh:
        assert sum(name.endswith("part-0") for name in left(tmp_path)) == 0
        write_part(fresh)
    assert left(tmp_path) == ["deep", "deep/out", "deep/out/part-0"]


def test_failed_job_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="full"), unfinished_output(tmp_path / "out") as fresh:
        write_part(fresh)
        raise ValueError("full")
    assert left(tmp_path) == []


def test_output_that_another_job_writes_is_left_alone(tmp_path):
    with unfinished_output(tmp_path / "out") as fresh:
        write_part(fresh)
        with pytest.raises(LockedError, match="out: is being written by another job"), unfinished_output(tmp_path / "out"):
            pass
        assert (fresh / "part-0").exists()
    assert left(tmp_path) == ["out", "out/part-0"]


@pytest.mark.parametrize("kind", ["file", "link to a job", "linked"])
def test_folder_beside_the_output_that_is_not_ours_is_left_alone(tmp_path, refused, kind):
    with unfinished_output(tmp_path / "out") as fresh:
        beside, theirs = fresh.parent.parent, tmp_path / "theirs"
        fresh.mkdir()
    (tmp_path / "out").rmdir()
    (theirs / "job-1").mkdir(parents=True)
    (theirs / "job-1" / "letter").write_text("dear")
    if kind == "linked":
        beside.symlink_to(theirs)
    else:
        beside.mkdir()
        (beside / "job-1").symlink_to(theirs / "job-1") if kind == "link to a job" else (beside / "notes").write_text("n")
    before = left(tmp_path)
    with refused("holds something other than an unfinished output", "choose another --out"), unfinished_output(tmp_path / "out"):
        pass
    assert left(tmp_path) == before


def test_output_in_a_folder_that_spark_cannot_name_is_refused(tmp_path, refused):
    for name, said in ((b"a\xff", "not UTF-8"), (b"a:[b]", "a colon")):
        with refused(said, "choose another --out"), unfinished_output(tmp_path / os.fsdecode(name) / "out"):
            pass
    assert left(tmp_path) == []
    with unfinished_output(tmp_path / os.fsdecode(b"a\xff:[b]")) as fresh:
        assert str(fresh).encode().isascii()
        write_part(fresh)


def test_an_output_that_cannot_be_a_delta_table_is_refused_before_any_work(tmp_path, refused, monkeypatch):
    check_table(tmp_path / "out", ["id", "prob_a-b"])
    with refused("column 'a b': a Delta table cannot have a column of this name"):
        check_table(tmp_path / "out", ["id", "a b"])
    with refused("50%: has a % in its path, where Delta tables cannot be written"):
        check_table(tmp_path / "50%", ["id"])
    monkeypatch.setattr(spark_output, "find_spec", lambda name: None)
    with refused("--format delta needs deltalake, which is not installed; install it with pip install -e '.[delta]'"):
        check_table(tmp_path / "out", ["id"])
