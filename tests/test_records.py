"""Rows of files, whole and broken."""

import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.records import BrokenRow, Row, read_rows

COLUMNS = ["id", "text"]
FIELDS = st.fixed_dictionaries({"id": st.text(min_size=1), "text": st.text()})
CLEAN = b'{"id": "1", "text": "caf\xc3\xa9"}\n'


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("records")


def read(path, columns=COLUMNS):
    return list(read_rows(path, columns))


def written(folder, name, content: bytes):
    path = folder / name
    path.write_bytes(content)
    return path


def write_csv(path, rows):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_jsonl(path, rows, *, ascii_only=False):
    path.write_bytes("".join(json.dumps(row, ensure_ascii=ascii_only) + "\n" for row in rows).encode())
    return path


def write_parquet(path, rows):
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.mark.parametrize(("write", "suffix"), [(write_jsonl, "jsonl"), (write_csv, "csv"), (write_parquet, "parquet")])
@given(rows=st.lists(FIELDS, min_size=1, max_size=5))
def test_any_text_comes_back(folder, write, suffix, rows):
    assert read(write(folder / f"any.{suffix}", rows)) == [Row(number, fields) for number, fields in enumerate(rows, 1)]


@given(rows=st.lists(FIELDS, min_size=1, max_size=3))
def test_escaped_json_comes_back(folder, rows):
    assert [row.fields for row in read(write_jsonl(folder / "escaped.jsonl", rows, ascii_only=True))] == rows


def test_csv_cells_hold_newlines_quotes_and_commas(folder):
    path = written(folder, "cells.csv", b'id,text\r\n1,"two\r\nlines, ""quoted"""\r\n\r\n2,plain\r\n')
    assert read(path) == [Row(1, {"id": "1", "text": 'two\r\nlines, "quoted"'}), Row(2, {"id": "2", "text": "plain"})]


JSONL_LINES = {
    b'{"id": "a", "text": "b"}': None,
    b'{"id": "a"}': None,
    b"": "blank",
    b" \t": "blank",
    b'{"id": "a", "te': "not valid JSON",
    b'["a", "b"]': "not a JSON object",
    b"null": "not a JSON object",
    b'{"id": "\xff"}': "not UTF-8",
    b"[" * 20_000: "not valid JSON",
    b'{"id": ' + b"9" * 5_000 + b"}": "not valid JSON",
}


@given(lines=st.lists(st.sampled_from(list(JSONL_LINES)), max_size=8))
def test_good_and_broken_lines_come_in_order_with_their_numbers(folder, lines):
    lines = [b'{"id": "1", "text": "2"}', *lines]
    wanted = [(number, JSONL_LINES.get(line)) for number, line in enumerate(lines, 1) if JSONL_LINES.get(line) != "blank"]
    found = read(written(folder, "mixed.jsonl", b"\n".join(lines)))
    assert [(row.number, getattr(row, "reason", None)) for row in found] == wanted


CSV_ROWS = {
    b"a,b": None,
    b'"a","b\nc"': None,
    b"": "blank",
    b"a": "1 cells where the header has 2",
    b"a,b,c": "3 cells where the header has 2",
    b'a,"b"c': "not valid CSV",
    b"a,\xff": "not UTF-8",
}


@given(rows=st.lists(st.sampled_from(list(CSV_ROWS)), min_size=1, max_size=8))
def test_good_and_broken_csv_rows_come_in_order_with_their_numbers(folder, rows):
    reasons = [CSV_ROWS[row] for row in rows if CSV_ROWS[row] != "blank"]
    found = read(written(folder, "mixed.csv", b"\n".join([b"id,text", b"first,row", *rows])))
    assert [row.number for row in found] == list(range(1, len(reasons) + 2))
    for row, reason in zip(found[1:], reasons, strict=True):
        assert row.reason.startswith(reason) if isinstance(row, BrokenRow) else reason is None


@pytest.mark.parametrize(("name", "content"), [("bom.jsonl", CLEAN), ("bom.csv", b"id,text\n1,caf\xc3\xa9\n")])
def test_byte_order_mark_is_no_part_of_the_data(folder, name, content):
    assert read(written(folder, name, b"\xef\xbb\xbf" + content)) == [Row(1, {"id": "1", "text": "café"})]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
@pytest.mark.parametrize(("name", "content"), [("wide.jsonl", CLEAN), ("wide.csv", b"id,text\n1,caf\xc3\xa9\n")])
def test_utf16_is_refused(folder, name, content, encoding, refused):
    text = content.decode()
    wide = ("\ufeff" + text).encode(encoding) if encoding != "utf-16" else text.encode(encoding)
    with refused(name, "UTF-16", "save the file as UTF-8"):
        read(written(folder, name, wide))


def test_cut_off_last_line_spoils_only_itself(folder):
    assert read(written(folder, "cut.jsonl", CLEAN * 2 + CLEAN[:12])) == [
        Row(1, {"id": "1", "text": "café"}),
        Row(2, {"id": "1", "text": "café"}),
        BrokenRow(3, "not valid JSON"),
    ]


def test_half_an_emoji_becomes_a_replacement_character(folder):
    path = written(folder, "half.jsonl", rb'{"id": "\ud83d\ude00", "text": "cut \ud83d", "labels": ["\\ud83d", "\udE00x"]}')
    assert read(path) == [Row(1, {"id": "😀", "text": "cut \ufffd", "labels": ["\\ud83d", "\ufffdx"]})]


def test_unclosed_quote_says_that_it_takes_the_rest(folder):
    rows = read(written(folder, "quote.csv", b'id,text\n1,good\n2,"open\n3,lost\n'))
    assert rows == [Row(1, {"id": "1", "text": "good"}), BrokenRow(2, "a quote is never closed, to the end of the file")]


@pytest.mark.parametrize("keep", [4, 100, -1])
def test_truncated_parquet_is_refused(folder, keep, refused):
    whole = write_parquet(folder / "whole.parquet", [{"id": str(number), "text": "x" * number} for number in range(50)])
    with refused("cut.parquet, row 1", "not readable as Parquet", "write the file again"):
        read(written(folder, "cut.parquet", whole.read_bytes()[:keep]))


def test_damaged_parquet_page_is_refused_after_the_rows_before_it(folder, refused):
    path = folder / "damaged.parquet"
    table = pa.Table.from_pylist([{"id": str(number), "text": f"text {number}"} for number in range(8192)])
    pq.write_table(table, path, row_group_size=4096)
    start = pq.ParquetFile(path).metadata.row_group(1).column(0).dictionary_page_offset
    content = path.read_bytes()
    rows = read_rows(written(folder, "damaged.parquet", content[:start] + b"\xff" * 64 + content[start + 64 :]), COLUMNS)
    assert [next(rows).number for _ in range(4096)][-1] == 4096
    with refused("damaged.parquet, row 4097", "not readable as Parquet"):
        next(rows)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.jsonl", b"", "empty, no rows"),
        ("blank.jsonl", b"\n \n", "empty, no rows"),
        ("bom-only.jsonl", b"\xef\xbb\xbf\n", "empty, no rows"),
        ("empty.csv", b"", "empty, no rows"),
        ("header.csv", b"id,text\n", "empty, no rows"),
        ("empty.parquet", b"", "row 1: not readable as Parquet"),
        ("post.txt", b"x", "got a .txt file, allowed are .jsonl, .csv, .parquet"),
        ("nameless", b"x", "got a nameless file, allowed are .jsonl, .csv, .parquet"),
        ("column.jsonl", b'{"id": "1", "txt": "x"}', "row 1: no column 'text', found 'id', 'txt'"),
        ("column.csv", b"id,txt\n1,x\n", "row 1: no column 'text', found 'id', 'txt'"),
        ("later.jsonl", b'oops\n{"txt": "x"}', "row 2: no column 'id', found 'txt'"),
        ("twice.csv", b"id,text,text\n1,x,y\n", "header: column 'text' stands twice"),
        ("latin.csv", b"id,text,caf\xe9\n1,x,y\n", "header: not UTF-8"),
        ("quote.csv", b'id,"text\n1,x\n', "header: not valid CSV"),
    ],
)
def test_unusable_file_is_refused(folder, name, content, reason, refused):
    with refused(folder / name, reason):
        read(written(folder, name, content))


def test_parquet_without_rows_or_column_is_refused(folder, refused):
    with refused("none.parquet", "empty, no rows"):
        pq.write_table(pa.table({"id": pa.array([], pa.string()), "text": pa.array([], pa.string())}), folder / "none.parquet")
        read(folder / "none.parquet")
    with refused("column.parquet, row 1", "no column 'text', found 'id'"):
        read(write_parquet(folder / "column.parquet", [{"id": "1"}]))


def test_missing_file_and_folder_are_told_apart(folder, refused):
    with refused(folder / "nowhere.jsonl", "no such file"):
        read(folder / "nowhere.jsonl")
    with refused(folder / "nowhere", "no such file"):
        read(folder / "nowhere")
    (folder / "posts.jsonl").mkdir()
    with refused(folder / "posts.jsonl", "is a folder"):
        read(folder / "posts.jsonl")


def test_post_that_stands_where_the_header_should_is_not_shown(folder, refused):
    with refused("found '1', 'Nobody e…'"):
        read(written(folder, "headless.csv", b"1,Nobody else was meant to read these words\n2,other\n"))


def test_rows_are_read_as_they_are_asked_for(folder):
    rows = read_rows(written(folder, "lazy.jsonl", CLEAN + b"broken\n"), COLUMNS)
    assert isinstance(next(rows), Row)
    assert next(rows) == BrokenRow(2, "not valid JSON")
