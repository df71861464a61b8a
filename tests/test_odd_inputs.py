"""`score.py` on odd inputs and at odd moments: what each ends with, in one line."""

import gzip
import io
import json
import os
import resource
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Done

from models.errors import InputError
from pipeline.commands import again
from pipeline.commands.score import main
from pipeline.scoring import Options
from pipeline.scoring.earlier import Earlier
from pipeline.scoring.spark_files import _is_lines, _names, _read_pieces

LINES = b'{"id": 1, "text": "zaxa bade"}\n{"id": 2, "text": "wiku"}\n'
CELLS = b"id,text\n1,zaxa bade\n2,wiku\n"


def table() -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({"id": ["1", "2"], "text": ["zaxa bade", "wiku"]}), file)
    return file.getvalue()


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory) -> Path:
    """The folder of a saved model."""
    folder = tmp_path_factory.mktemp("odd") / "model"
    model.save(folder)
    return folder


@pytest.fixture
def score(saved, script, tmp_path, monkeypatch):
    """``score("a.jsonl", "--format", "csv")`` runs score.py in the test's folder, with the saved model and one worker."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: script(main, "--model", saved, "--workers", 1, "--out", "out", *arguments)


def write(name: str, content: bytes) -> str:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_bytes(content)
    return name


def summary_of(done: Done) -> str:
    return done.out.partition("\n")[0]


BOTH = "read 2 posts, scored 2, rejected 0"


@pytest.mark.parametrize(
    ("name", "content", "given"),
    [
        ("RS_2017-10.zst", pa.compress(LINES, codec="zstd", asbytes=True), "jsonl"),
        ("part-00000", LINES, "jsonl"),
        ("part-00000.gz", gzip.compress(LINES, mtime=0), "jsonl"),
        ("posts.txt", CELLS.replace(b",", b"\t"), "csv"),
        ("posts.parquet", LINES, "jsonl"),
        ("posts.json", CELLS, "csv"),
        ("posts.jsonl", table(), "parquet"),
        ("table", table(), "parquet"),
    ],
)
def test_files_whose_names_say_nothing_or_the_wrong_thing_are_read_if_the_user_says_what_they_hold(score, name, content, given):
    done = score(write(name, content), "--input-format", given)
    assert (done.code, summary_of(done)) == (0, BOTH)


def test_what_a_folder_holds_is_said_for_all_its_files_and_known_to_a_later_rescore(score):
    for name, content in {"part-0": LINES, "part-1": LINES, "_SUCCESS": b"", ".part-0.crc": b"x"}.items():
        write(f"in/{name}", content)
    assert score("in").code == 2
    done = score("in", "--input-format", "jsonl")
    assert (done.code, summary_of(done)) == (0, "read 4 posts, scored 4, rejected 0")
    assert Earlier.read(Path("out")).options == Options(input_format="jsonl")


@pytest.mark.parametrize(
    ("content", "given"),
    [(CELLS, "csv"), (gzip.compress(CELLS, mtime=0), "csv"), (LINES, None), (pa.compress(LINES, codec="zstd", asbytes=True), None)],
)
def test_standard_input_may_hold_csv_and_be_compressed(score, monkeypatch, content, given):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(content))))
    done = score("-", *(["--input-format", given] if given else []))
    assert (done.code, summary_of(done)) == (0, BOTH)


@pytest.mark.parametrize(
    ("name", "content", "arguments", "code", "message"),
    [
        ("RS.zst", LINES, [], 2, "RS.zst: must be one of .jsonl"),
        ("RS.zst", LINES, [], 2, "but got .zst; convert the file, or tell score.py what all files hold, as in --input-format jsonl"),
        ("in/RS.zst", LINES, [], 2, "or tell score.py what all files hold"),
        ("a.bin", table(), ["--input-format", "jsonl"], 2, "a.bin: is a Parquet file; correct --input-format jsonl"),
        (
            "a.jsonl",
            LINES,
            ["--input-format", "parquet"],
            2,
            "a.jsonl: is not a Parquet file; correct its name, or name its format with score.py --input-format",
        ),
        ("a.parquet", LINES, [], 2, "a.parquet: is not a Parquet file"),
        ("a.parquet", b"<!DOCTYPE html><title>404</title>", [], 2, "a.parquet: is a web page or XML"),
        ("a.parquet", gzip.compress(table(), mtime=0), [], 2, "a.parquet: is packed; unpack it"),
        ("a.parquet", table()[:300], [], 4, "a.parquet, row 1: cannot be read as Parquet (truncated or damaged)"),
        ("a.parquet", bytes(100) + table()[100:], [], 4, "a.parquet"),
        ("a.jsonl.zst", b"\x28\xb5\x2f\xfd\3" + bytes(40), [], 2, "a.jsonl.zst: was compressed with a dictionary; decompress it, as in"),
        ("a.xlsx", CELLS, [], 2, "a.xlsx: is not a workbook"),
        ("a.xlsx", b"\xd0\xcf\x11\xe0" + bytes(99), [], 2, "a.xlsx: is an old Excel file, or one with a password"),
        ("a.xlsx", b"PK\3\4 and no more", [], 4, "a.xlsx: cannot be read as a workbook"),
    ],
)
def test_files_of_another_kind_end_with_one_line(score, name, content, arguments, code, message):
    done = score(Path(write(name, content)).parts[0], *arguments)
    assert (done.code, done.out, done.err.count("\n"), message in done.err) == (code, "", 1, True), done.err


def test_parquet_and_workbooks_cannot_be_streams(score, monkeypatch):
    os.mkfifo("a.parquet")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(table())))
    for arguments in (["a.parquet"], ["-", "--input-format", "parquet"], ["-", "--input-format", "xlsx"]):
        done = score(*arguments)
        assert (done.code, done.err.count("\n"), "is a stream" in done.err) == (2, 1, True), done.err


@pytest.mark.parametrize("option", ["--keep", "--id-column", "--text-column"])
def test_column_without_a_name_or_in_no_utf8_is_refused(score, option):
    done = score(write("in.csv", b",id,text\n0,1,zaxa\n"), option, "")
    assert (done.code, done.err.count("\n"), "must not be empty" in done.err) == (2, 1, True)
    done = score("in.csv", option, os.fsdecode(b"caf\xe9"))
    assert (done.code, done.err.count("\n"), "its name is not UTF-8" in done.err) == (2, 1, True)


@pytest.mark.parametrize("content", [b"\n" * 9, b"  \n\t\n ", b"\xef\xbb\xbf\r\n"])
def test_file_of_blank_lines_has_no_posts(score, content):
    done = score(write("blank.jsonl", content))
    assert (done.code, done.err.count("\n"), "blank.jsonl is empty (no rows)" in done.err) == (5, 1, True)
    done = score("blank.jsonl", write("posts.jsonl", content + LINES))
    assert (done.code, summary_of(done)) == (0, BOTH)


def test_option_that_a_later_release_wrote_is_not_passed_over(score, script):
    score(write("in.jsonl", LINES))
    manifest = json.loads(Path("out/manifest.json").read_text())
    manifest["options"]["over_shor"] = "reject"
    Path("out/manifest.json").write_text(json.dumps(manifest))
    for arguments in (["rescore", "out", "--rejects"], ["redecide", "out", "--out", "again"]):
        done = script(getattr(again, arguments[0]), *arguments[1:])
        told = "error: out/manifest.json: has the option 'over_shor', which this release does not know; use the release that wrote it\n"
        assert (done.code, done.err.endswith(told), Path("again").exists()) == (2, True, False)


@pytest.mark.parametrize("name", ["blank.jsonl", "blank.csv"])
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_millions_of_blank_lines_cost_little_and_shift_no_number(score, name, newline):
    """A post before them and a broken row after them; a blank line on its own takes half a microsecond or more."""
    first, last = (b'{"id": "1", "text": "one"}', b'{"id": 2') if name.endswith("jsonl") else (b'id,text\n1,one\n2,"a\n\n\nb"', b"3")
    blank = newline * 3_000_000
    write(name, blank + first + blank + last + newline)
    started = time.process_time()
    done = score(name, "--max-reject-rate", "1")
    assert time.process_time() - started < 6
    assert done.code == 0
    (reject,) = map(json.loads, Path("out/rejects.jsonl").read_text().splitlines())
    assert reject["row"] == (6_000_001 if name.endswith("jsonl") else 3)


def test_device_without_end_is_refused_whatever_its_name(score):
    Path("zero.jsonl").symlink_to("/dev/zero")
    for arguments in (["zero.jsonl"], ["/dev/zero", "--input-format", "csv"]):
        done = score(*arguments)
        assert (done.code, done.err.count("\n"), "is a device, which may have no end" in done.err) == (2, 1, True)
    assert score("/dev/null", "--input-format", "jsonl").code == 5


def test_misspelt_folder_is_not_taken_for_a_file_without_an_ending(score):
    for arguments in (["octobr"], ["octobr/posts"], ["octobr", "--input-format", "csv"]):
        done = score(*arguments)
        assert (done.code, done.err) == (2, f"error: {arguments[0]}: no such file or folder; check the path\n")


def test_output_is_no_stream(score):
    done = score(write("in.jsonl", LINES), "--out", "-")
    assert (done.code, done.err.count("\n"), "not to standard output" in done.err, Path("-").exists()) == (2, 1, True, False)


def test_too_few_file_descriptors_for_the_workers_are_one_line_and_the_same_command_goes_on(score):
    inputs = [write(f"{name}.jsonl", LINES) for name in "ab"]
    assert score("a.jsonl").code == 0  # with all that is imported on the way
    used = set(map(int, os.listdir("/proc/self/fd")))  # noqa: PTH208
    free = [number for number in range(len(used) + 6) if number not in used]
    usual = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free[4], usual[1]))  # four are free
    try:
        done = score(*inputs, "--workers", 2, "--format", "csv")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, usual)
    said = [line for line in done.err.splitlines() if not line.startswith("note ")]
    assert (done.code, len(said)) == (4, 1), done.err
    assert "Too many open files; finished shards are kept; raise the limit (ulimit -n), or use fewer --workers, and run again" in done.err
    assert score(*inputs, "--format", "csv").code == 0


def test_spark_reads_what_the_user_says_that_files_hold(tmp_path):
    path, options = tmp_path / "RS_2017-10.zst", Options(input_format="jsonl")
    path.write_bytes(pa.compress(LINES, codec="zstd", asbytes=True))
    assert not _is_lines(path, options, lambda path, what: None)
    piece = pa.RecordBatch.from_pylist([dict(zip(("path", "origin", "group", "first", "live"), (*_names(path), -1, 1, None), strict=True))])
    assert [row["id"] for batch in _read_pieces([piece], options) for row in batch.to_pylist()] == ["1", "2"]
    with pytest.raises(InputError, match="input_format must be one of None, jsonl, csv"):
        Options(input_format="json")
    assert json.dumps(Options().to_dict()) == json.dumps(Options(input_format=None).to_dict())
    assert "input_format" not in Options().to_dict()
