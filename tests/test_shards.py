"""Files are cut into shards, and no row is lost."""

import gzip
import io
import os
import random
import sys
from contextlib import ExitStack

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.errors import DamagedError
from pipeline.records import STDIN, UNCLOSED, Row, parquet, read_rows
from pipeline.records import rows as limits
from pipeline.scoring import shards
from pipeline.scoring.shards import cut, read_shard

BOM = b"\xef\xbb\xbf"
JSON_LINES = [
    b'{"id": "1", "text": "x"}',
    '{"id": 2, "text": "é"}'.encode(),
    b"",
    b" ",
    b"oops",
    b"[]",
    b'{"id": "a broken \xff"}',
    b"\0",
    BOM + b"{}",
]
CSV_PIECES = [b"a", b",", b'"', b"\n", b"\r\n", b"\r", "é".encode(), b"\xc3", b"\0", b"1,x\n", b'2,"y\nz"\n', b'3,"a""b"\r\n', b"\n\n"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("shards")


def sizes(**changes):
    """Set `SHARD_BYTES`, `SHARD_LINES`, `MAX_RECORD` or `_PARQUET_BATCH` to another size for a while."""
    stack, places = ExitStack(), {"SHA": shards, "MAX": limits, "_PA": parquet}
    patch = stack.enter_context(pytest.MonkeyPatch.context())
    for name, size in changes.items():
        patch.setattr(places[name[:3]], name, size)
    return stack


def written(folder, name, content: bytes):
    path = folder / name
    path.write_bytes(content)
    return path


def whole(path):
    """Return the rows of a file that is read as a whole."""
    return list(read_rows(path, [], may_be_empty=True))


def pieces(path):
    """Return the shards of a file up to any damage, and the message about the damage."""
    found = []
    try:
        for shard in cut(path):
            found.append(shard)
    except DamagedError as error:
        return found, str(error)
    return found, ""


def rows_of(found):
    return [row for shard in found for row in read_shard(shard)]


def numbered(count):
    return b"".join(b'{"id": "%d", "text": "x"}\n' % number for number in range(count))


@given(
    lines=st.lists(st.sampled_from(JSON_LINES)),
    bom=st.booleans(),
    end=st.sampled_from([b"\n", b"\r\n"]),
    last=st.booleans(),
    size=st.integers(1, 99),
)
def test_shards_of_jsonl_hold_its_rows(folder, lines, bom, end, last, size):
    path = written(folder, "any.jsonl", BOM * bom + end.join(lines) + end * last)
    with sizes(SHARD_BYTES=size):
        found, ended = pieces(path)
    assert rows_of(found) == whole(path)
    assert sum(shard.size for shard in found) == (path.stat().st_size if found else 0)
    assert not ended


@given(
    parts=st.lists(st.sampled_from(CSV_PIECES), max_size=30),
    bom=st.booleans(),
    size=st.integers(1, 40),
    limit=st.sampled_from([8, 20, 1000]),
)
@example(parts=[b'1,"x'], bom=False, size=1, limit=1000)
@example(parts=[b"1,x\n"] * 5 + [b"2," + b"a" * 20 + b"\n", b"3,y"], bom=True, size=9, limit=12)
def test_shards_of_csv_hold_its_rows(folder, parts, bom, size, limit):
    path = written(folder, "any.csv", BOM * bom + b"id,text\r\n" + b"".join(parts))
    with sizes(SHARD_BYTES=size, MAX_RECORD=limit):
        found, ended = pieces(path)
        rows = whole(path)
        assert rows_of(found) == rows
    unclosed = bool(rows) and getattr(rows[-1], "reason", "") == UNCLOSED
    assert ended == (f"{path}, at row {len(rows)} or later: {UNCLOSED}; correct the file" if unclosed else "")
    assert sum(shard.size for shard in found) == (path.stat().st_size if found else 0)


TEXTS = st.lists(st.none() | st.sampled_from(["", "x", "é" * 9, "a\nb"]), max_size=30)


def write_parquet(path, texts, **options):
    table = pa.table({"id": pa.array(map(str, range(len(texts))), pa.string()), "text": pa.array(texts, pa.string())})
    pq.write_table(table, path, **options)
    return path


@given(texts=TEXTS, group=st.integers(1, 12), batch=st.integers(1, 5), lines=st.integers(1, 12), size=st.integers(1, 5000))
def test_shards_of_parquet_hold_its_rows(folder, texts, group, batch, lines, size):
    path = write_parquet(folder / "any.parquet", texts, row_group_size=group)
    with sizes(SHARD_LINES=lines, SHARD_BYTES=size, _PARQUET_BATCH=batch):
        found, ended = pieces(path)
    assert rows_of(found) == whole(path)
    assert all(len(list(read_shard(shard))) < lines + batch for shard in found)
    assert sum(shard.size for shard in found) == (path.stat().st_size if texts else 0)
    assert not ended


@given(size=st.integers(1, 2000), count=st.integers(1, 40))
def test_shards_are_as_large_as_asked_for_and_no_larger_than_a_row_more(folder, size, count):
    line = numbered(1)
    with sizes(SHARD_BYTES=size):
        *full, last = cut(written(folder, "even.jsonl", line * count))
    assert all(size <= len(shard.content) < size + len(line) for shard in full)
    assert len(last.content) < size + len(line)


def test_csv_shards_stand_alone(folder):
    with sizes(SHARD_BYTES=5):
        first, second = cut(written(folder, "alone.csv", b'id,text\n\n1,"a\nb"\n2,c\n'))
    assert (first.first_row, second.first_row) == (1, 2)
    assert second.content == b"id,text\n2,c\n"


@pytest.mark.parametrize(
    ("name", "content"), [("empty.jsonl", b""), ("empty.csv", b""), ("header.csv", b"id,text\n"), ("blank.csv", b"\n\n")]
)
def test_file_without_rows_has_no_shards(folder, name, content):
    assert list(cut(written(folder, name, content))) == []


def test_names_are_unique_and_the_same_in_every_run(folder):
    files = [written(folder, name, numbered(9)) for name in ("one.jsonl", "two.jsonl")]
    with sizes(SHARD_BYTES=60):
        first, second = ([shard.name for path in files for shard in cut(path)] for _ in range(2))
    assert first == second
    assert len(set(first)) == len(first) == 6


def digests(path, size=60):
    with sizes(SHARD_BYTES=size, _PARQUET_BATCH=3):
        return [shard.digest for shard in cut(path)]


def test_digest_is_of_the_rows_not_of_the_file(folder):
    path = written(folder, "digest.jsonl", numbered(9))
    before = digests(path)
    os.utime(path, (0, 0))
    assert digests(path) == digests(written(folder, "digest.jsonl.gz", gzip.compress(numbered(9)))) == before
    changed = digests(written(folder, "digest.jsonl", numbered(9).replace(b'"5"', b'"V"')))
    assert [old == new for old, new in zip(before, changed, strict=True)] == [True, False, True]


def test_header_is_part_of_what_a_digest_is_of(folder):
    old, new = (digests(written(folder, "digest.csv", header + b"1,x\n2,y\n"), size=1) for header in (b"id,text\n", b"text,id\n"))
    assert not {*old} & {*new}


@given(texts=TEXTS)
def test_digest_of_parquet_is_of_the_rows_not_of_the_file(folder, texts):
    before = digests(write_parquet(folder / "digest.parquet", texts), size=1)
    assert digests(write_parquet(folder / "digest.parquet", texts, compression="zstd", use_dictionary=False), size=1) == before
    changed = digests(write_parquet(folder / "digest.parquet", [*texts, "more"]), size=1)
    assert changed[: len(texts) // 3] == before[: len(texts) // 3]
    assert changed != before


@given(old=st.integers(1, 30), new=st.integers(1, 30), size=st.integers(1, 200))
def test_appending_leaves_the_earlier_whole_shards(folder, old, new, size):
    before = digests(written(folder, "grows.jsonl", numbered(old)), size)
    after = digests(written(folder, "grows.jsonl", numbered(old + new)), size)
    assert after[: len(before) - 1] == before[:-1]


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_rows_before_the_damage_are_in_shards(folder, kind):
    rng = random.Random(0)
    lines = ['{"id": "%d", "text": "%s"}' if kind == "jsonl" else "%d,%s"] * 5000
    text = "".join(line % (number, rng.randbytes(20).hex()) + "\n" for number, line in enumerate(lines))
    content = gzip.compress(("id,text\n" * (kind == "csv") + text).encode())
    path = written(folder, f"cut.{kind}.gz", content[: len(content) * 9 // 10])
    with sizes(SHARD_BYTES=10_000):
        found, ended = pieces(path)
    rows = rows_of(found)
    assert ended.startswith(f"{path}: is damaged or truncated after row {len(rows)} (Truncated compressed stream); ")
    assert 4000 < len(rows) < 5000
    assert [row.fields["id"] for row in rows] == list(map(str, range(len(rows))))
    assert sum(shard.size for shard in found) <= path.stat().st_size


def test_file_that_cannot_be_read_at_all_is_damaged(folder):
    for name in ("not.jsonl.gz", "not.csv.zst", "not.parquet"):
        found, ended = pieces(written(folder, name, (b"PAR1" if name.endswith("parquet") else b"") + b"\0id,text\n1,x\n"))
        assert (found, ended.startswith(f"{folder / name}")) == ([], True)
    assert pieces(folder / "gone.jsonl") == ([], f"{folder / 'gone.jsonl'}: cannot be read (No such file or directory); check the file")


def test_cutting_reads_no_further_than_asked(folder):
    content = b"id,text\n" + b"1,x\n" * 100_000
    for name in ("lazy.csv", "lazy.jsonl", "lazy.csv.gz", "lazy.jsonl.gz"):
        path = written(folder, name, gzip.compress(content, 0) if name.endswith("gz") else content)
        with sizes(SHARD_BYTES=1000):
            assert 0 < next(cut(path)).size < 150_000


def test_only_the_wanted_columns_of_parquet_are_in_shards(folder):
    (shard,) = cut(write_parquet(folder / "columns.parquet", ["w"]), ["text", "absent"])
    assert list(read_shard(shard)) == [Row(1, {"text": "w"})]


def test_standard_input_is_cut_as_jsonl(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(numbered(5))))
    with sizes(SHARD_BYTES=30):
        found, ended = pieces(STDIN)
    assert [row.fields["id"] for row in rows_of(found)] == list("01234")
    assert len(found) > 1
    assert not ended


@given(lines=st.lists(st.sampled_from([b"oops\n", b"\n", b'"x"\n']), max_size=20), most=st.integers(1, 6))
def test_shard_has_no_more_lines_than_allowed(folder, lines, most):
    for name, header in (("lines.jsonl", b""), ("lines.csv", b"id,text\n")):
        path = written(folder, name, header + b"".join(lines))
        with sizes(SHARD_LINES=most):
            found = list(cut(path))
        assert all(len(list(read_shard(shard))) <= most for shard in found)
        assert rows_of(found) == whole(path)
        assert len(found) >= len(rows_of(found)) / most
