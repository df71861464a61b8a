"""Rows of files are read, including broken rows."""

import base64
import bz2
import csv
import gc
import gzip
import json
import lzma
import random
import subprocess
import sys
import tracemalloc
import uuid
import zipfile
from datetime import date
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow.parquet.encryption import CryptoFactory, EncryptionConfiguration, KmsClient, KmsConnectionConfig

from pipeline.errors import DamagedError
from pipeline.records import FILES, MAX_RECORD, UNCLOSED, BrokenRow, Row, batch_rows, csv_spans, parquet, parquet_batches, read_rows
from pipeline.records import rows as limits
from pipeline.records.workbook import workbook_lines

TOO_LONG = "record is longer than 16 MiB"
UNREADABLE = "not UTF-8, or a date out of range"
COMPRESS = {
    "gz": lambda content: gzip.compress(content, mtime=0),
    "zst": lambda content: pa.compress(content, codec="zstd", asbytes=True),
    "bz2": lambda content: bz2.compress(content, 1),
    "XZ": lambda content: lzma.compress(content, preset=0),
}
COLUMNS = ["id", "text"]
FIELDS = st.fixed_dictionaries({"id": st.text(min_size=1), "text": st.text()})
CLEAN = b'{"id": "1", "text": "caf\xc3\xa9"}\n'


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    gc.collect()  # finalizers of what other tests left would fail in the depths of nested JSON
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
    b'{"id": "a broken \xff"}': "not UTF-8",
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
    b"a,a broken \xff": "not UTF-8",
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


def told(path, columns=COLUMNS):
    """Return the rows of a file, and the notes about how it was read."""
    said = []
    rows = list(read_rows(path, columns, tell=lambda path, what: said.append(what)))
    return rows, "; ".join(said)


TWO = [Row(1, {"id": "1", "text": "café, she said"}), Row(2, {"id": "2", "text": "I believe you"})]
LINES = '{"id": "1", "text": "café, she said"}\n{"id": "2", "text": "I believe you"}\n'
CELLS = 'id,text\n1,"café, she said"\n2,I believe you\n'
WRITTEN = {
    "UP.CSV": (CELLS.encode(), ""),
    "UP.JSONL": (LINES.encode(), ""),
    "posts.ndjson": (LINES.encode(), ""),
    "lines.json": (LINES.encode(), ""),
    "posts.tsv": (CELLS.replace(",", "\t", 1).replace('1,"café, she said"', "1\tcafé, she said").replace("2,", "2\t").encode(), ""),
    "posts.csv.bz2": (bz2.compress(CELLS.encode()), ""),
    "POSTS.JSONL.XZ": (lzma.compress(LINES.encode()), ""),
    "gzip.jsonl": (gzip.compress(LINES.encode()), "read as gzip"),
    "plain.csv.gz": (CELLS.encode(), "read uncompressed"),
    "plain.jsonl.xz": (LINES.encode(), "read uncompressed"),
    "lines.tsv": (LINES.encode(), "read as JSON lines"),
    "commas.tsv": (CELLS.encode(), "read separated by ','"),
    "array.jsonl": (json.dumps([row.fields for row in TWO]).encode(), "read as a JSON array or JSON over several lines"),
    "pretty.json": (json.dumps([row.fields for row in TWO], indent=1).encode(), "read as a JSON array or JSON over several lines"),
    "objects.jsonl": (
        "\n".join(json.dumps(row.fields, indent=1) for row in TWO).encode(),
        "read as a JSON array or JSON over several lines",
    ),
    "semicolon.csv": ("id;text\n1;café, she said\n2;I believe you\n".encode(), "read separated by ';'"),
    "sep.csv": ("sep=;\r\nid;text\r\n1;café, she said\r\n2;I believe you".encode(), "read separated by ';'"),
    "mark.csv": (("\ufeffsep=,\n" + CELLS).encode(), ""),
    "tab.csv": ("id\ttext\n1\tcafé, she said\n2\tI believe you\n".encode(), "read separated by tabs"),
    "pipe.csv": ("text|id\ncafé, she said|1\nI believe you|2\n".encode(), "read separated by '|'"),
    "spaces.csv": ('id, text\n1, "café, she said"\n2, I believe you\n'.encode(), "read without the spaces after delimiters"),
    "spaced rows.csv": ('id,text\n1, "café, she said"\n2, I believe you\n'.encode(), "read without the spaces after delimiters"),
    "windows.csv": (CELLS.encode("cp1252"), "read in Windows-1252"),
    "windows.jsonl": (LINES.encode("cp1252"), "read in Windows-1252"),
    "wide.csv": (CELLS.encode("utf-16"), "read in UTF-16-LE"),
    "wide be.csv": (CELLS.encode("utf-16-be"), "read in UTF-16-BE"),
    "wide.jsonl": (LINES.encode("utf-16-le"), "read in UTF-16-LE"),
    "wide tabs.csv": (
        ("\ufeffid\ttext\r\n1\tcafé, she said\r\n2\tI believe you").encode("utf-16-be"),
        "read in UTF-16-BE, separated by tabs",
    ),
    "wider.csv": (CELLS.encode("utf-32"), "read in UTF-32-LE"),
    "cr.csv": (CELLS.replace("\n", "\r").encode(), "read with lines that end in a lone CR"),
    "cr.jsonl": (LINES.replace("\n", "\r").encode(), "read with lines that end in a lone CR"),
    "mac.csv": (CELLS.replace("\n", "\r").encode("mac_roman"), "read in Mac OS Roman, with lines that end in a lone CR"),
    "marks.csv": ('\ufeff\ufeffid,text\n1,"café, she said"\n\ufeff2,I believe you\n'.encode(), ""),
    "marks.jsonl": (("\ufeff" + LINES.replace("\n", "\n\ufeff")).encode(), ""),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_files_are_read_as_people_have_them_and_said_to_be(folder, name):
    content, what = WRITTEN[name]
    assert told(written(folder, name, content)) == (TWO, what)


def test_encoding_is_recognised_however_late(folder):
    rows = "".join(f"{number},nothing but ASCII so far\n" for number in range(10_000))
    path = written(folder, "late.csv", f"id,text\n{rows}x,café\ny,“quoted”\n".encode("cp1252"))
    found, what = told(path)
    assert (what, [row.fields["text"] for row in found[-2:]]) == ("from some row on, read in Windows-1252", ["café", "“quoted”"])


def test_utf8_with_damaged_rows_stays_utf8(folder):
    lines = [b"id,text", "1,café".encode(), "2,café".encode("cp1252"), b"3,x"]
    found, what = told(written(folder, "mixed.csv", b"\n".join(lines)))
    assert found == [Row(1, {"id": "1", "text": "café"}), BrokenRow(2, "not UTF-8"), Row(3, {"id": "3", "text": "x"})]
    assert what == ""


def test_text_in_another_alphabet_is_refused(folder, refused):
    for encoding in ("cp1251", "koi8-r"):
        with refused("foreign.csv: is neither in UTF-8 nor in Windows-1252; save the file as UTF-8"):
            read(written(folder, "foreign.csv", "id,text\n1,привет всем и каждому\n".encode(encoding)))


@pytest.mark.parametrize(
    ("name", "content", "rows"),
    [
        ("lf.csv", b"id,text\n1,one\rpost\n2,x\n", ["not valid CSV (a line break of another kind in a cell without quotes", "x"]),
        ("cr.csv", b"id,text\r1,one\npost\r2,x\r", ["not valid CSV (a line break of another kind in a cell without quotes", "x"]),
        ("quoted.csv", b'id,text\r1,"one\rpost\n"\r2,x\r', ["one\rpost\n", "x"]),
        ("header.csv", b'id,"text"\n1,one\n\xef\xbb\xbfid,text\n2,x\n', ["one", "is the header again", "x"]),
    ],
)
def test_post_is_never_cut_in_two(folder, name, content, rows):
    found = [getattr(row, "reason", None) or row.fields["text"] for row in read(written(folder, name, content))]
    assert len(found) == len(rows)
    assert all(text.startswith(wanted) for text, wanted in zip(found, rows, strict=True))


@pytest.mark.parametrize(
    "lines",
    [
        "id,text,n\n1,one; two; three,3\n2,a; b; c,3\n",  # as many semicolons as could be columns
        "text,id\na|b|c,1\nd|e|f,2\n",
        "id,text\n1,x\n",
        "text\nwords; and more words\n",
    ],
)
def test_prose_does_not_decide_the_delimiter(folder, lines):
    for columns in (["text"], []):
        found, what = told(written(folder, "prose.csv", lines.encode()), columns)
        assert (what, [type(row) for row in found]) == ("", [Row] * (lines.count("\n") - 1))


def test_json_array_that_is_cut_off_is_refused_after_the_objects_before(folder, refused):
    rows = read_rows(written(folder, "cut.json", b'[{"id": "1", "text": "]"},\n {"id": "2", "text": "x'), COLUMNS)
    assert next(rows) == Row(1, {"id": "1", "text": "]"})
    with refused("cut.json, row 2: not valid JSON, cut off or longer than 16 MiB, so the rest was not read"):
        next(rows)


@pytest.mark.parametrize("end", ["", ",", " ,\n", ", [", '], [{"id": "2", "text": "y"}'])
def test_json_array_that_is_cut_off_between_objects_is_not_complete(folder, refused, end):
    rows = read_rows(written(folder, "cut.json", b'[{"id": "1", "text": "]"}' + end.encode()), COLUMNS)
    assert next(rows) == Row(1, {"id": "1", "text": "]"})
    with refused("cut.json", "the array was cut off before its end; correct the file, or copy it again"):
        list(rows)


def test_arrays_that_follow_each_other_are_complete(folder):
    assert len(read(written(folder, "two.json", b'[{"id": "1", "text": "["}]\n[{"id": "2", "text": "y"}]\n'))) == 2


def test_objects_of_an_array_that_are_no_rows_are_broken(folder):
    assert read(written(folder, "odd.json", b'[{"id": 1, "text": "x"}, 5, ["a"], "b", null, {"id": 2, "text": "\xff"}]')) == [
        Row(1, {"id": 1, "text": "x"}),
        BrokenRow(2, "not a JSON object"),
        BrokenRow(3, "not a JSON object"),
        BrokenRow(4, "not a JSON object"),
        BrokenRow(5, "not a JSON object"),
        BrokenRow(6, "not UTF-8"),
    ]


SHEET = """<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>
<row r="1"><c r="A1" t="inlineStr"><is><t> id</t></is></c><c r="B1" t="inlineStr"><is><t>text</t></is></c></row>
<row r="3"><c r="A3"><v>7</v></c><c r="B3" t="inlineStr"><is><t>café</t></is></c></row>
<row r="4"><c r="A4"><v>1.5</v></c></row></sheetData></worksheet>"""


def write_xlsx(path, sheet=SHEET, **others):
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    of = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"

    def relation(kind, target):
        relationship = f'<Relationship Id="r1" Type="{of}/{kind}" Target="{target}"/>'
        return f'<Relationships xmlns="{package}/relationships">{relationship}</Relationships>'

    sheets = '<sheets><sheet name="a" sheetId="1" r:id="r1"/></sheets>'
    files = {
        "[Content_Types].xml": f'<Types xmlns="{package}/content-types"/>',
        "_rels/.rels": relation("officeDocument", "xl/workbook.xml"),
        "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{of}">{sheets}</workbook>',
        "xl/_rels/workbook.xml.rels": relation("worksheet", "worksheets/sheet1.xml"),
        "xl/worksheets/sheet1.xml": sheet,
        **others,
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def test_first_sheet_of_a_workbook_is_read(folder, refused):
    assert read(write_xlsx(folder / "posts.XLSX")) == [Row(1, {"id": 7, "text": "café"}), Row(2, {"id": 1.5, "text": ""})]
    with refused("broken.xlsx", "cannot be read as a workbook", "save it again as .xlsx or .csv"):
        read(written(folder, "broken.xlsx", b"PK\x03\x04"))


@pytest.mark.parametrize(
    ("written", "read_as"),
    [("9.2023456789012301E+17", 920234567890123000), ("9007199254740991", 2**53 - 1), ("-9.2E+20", -92 * 10**19), ("1E+15", 10**15)],
)
def test_digits_that_a_workbook_does_not_hold_are_not_made_up(folder, written, read_as):
    sheet = SHEET.replace("<v>7</v>", f"<v>{written}</v>")
    assert next(iter(read(write_xlsx(folder / "long.xlsx", sheet)))).fields["id"] == read_as


@pytest.mark.parametrize(
    ("others", "told"),
    [
        ([3, 0, 1], ["only the first sheet is read; 2 other sheets are not empty"]),
        ([0, 1], ["only the first sheet is read; 1 other sheet is not empty"]),
        ([0], []),
    ],
)
def test_further_sheets_of_a_workbook_that_are_not_empty_are_told(folder, monkeypatch, others, told):
    names = ["first", *(f"more {number}" for number in range(len(others)))]
    sheets = dict(zip(names, [SimpleNamespace(height=n, to_python=lambda **_: [["id"], [1.0]]) for n in (2, *others)], strict=True))
    book = SimpleNamespace(sheet_names=names, get_sheet_by_index=lambda index: sheets[names[index]], get_sheet_by_name=sheets.__getitem__)
    monkeypatch.setattr("python_calamine.load_workbook", lambda file: book)
    said = []
    path = write_xlsx(folder / "book.xlsx")
    assert list(workbook_lines(path, lambda file, what: said.append((file, what)))) == [b'{"id": 1}\n']
    assert said == [(path, what) for what in told]


@pytest.mark.parametrize(
    "far",
    [
        '<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>',
        "<row r='1048576'><c t='n' r='XFD1048576'><v>1</v></c></row>",
        '<row r="1048576">' + "<c><v>1</v></c>" * 20 + "</row>",
        '<x:row><x:c r="XFD1048576"><v>1</v></x:c></x:row>',
    ],
)
def test_workbook_whose_cells_span_too_many_is_refused_before_it_is_read(folder, refused, monkeypatch, far):
    monkeypatch.setattr("python_calamine.load_workbook", lambda file: pytest.fail("would end the process"))
    path = write_xlsx(folder / "far.xlsx", SHEET.replace("</sheetData>", f"{far}</sheetData>"))
    with refused("far.xlsx: has a sheet of 1,048,576 rows and ", "save the posts as .csv"):
        read(path)


def test_workbook_with_styles_to_the_last_cell_is_read(folder):
    styled = '<row r="1048576"><c r="XFD1048576" s="1"/></row></sheetData>'
    assert len(read(write_xlsx(folder / "styled.xlsx", SHEET.replace("</sheetData>", styled)))) == 2


def test_workbook_that_unpacks_to_too_much_is_refused(folder, refused, monkeypatch):
    monkeypatch.setattr("pipeline.records.workbook.MOST_BYTES", 2**20)
    with refused("big.xlsx: unpacks to more than 1 MiB; save the posts as .csv"):
        read(write_xlsx(folder / "big.xlsx", **{"xl/sharedStrings.xml": "x" * 2**20}))


@pytest.mark.parametrize("inside", ["content.xml", "xl/workbook.bin"])
def test_workbook_of_another_kind_is_no_xlsx(folder, refused, inside):
    with refused("other.xlsx: cannot be read as a workbook"):
        read(write_xlsx(folder / "other.xlsx", **{inside: "x"}))


def test_values_of_parquet_are_those_of_other_files(folder):
    kinds = {
        "id": pa.array([Decimal(7), None]),
        "text": pa.array([b"caf\xc3\xa9", b"x"], pa.large_binary()),
        "tags": pa.array([["a"], []], pa.list_(pa.dictionary(pa.int32(), pa.string()))),
        "s": pa.array([{"k": ["a"]}, None], pa.struct([("k", pa.large_list(pa.dictionary(pa.int8(), pa.string())))])),
        "m": pa.array([[("k", "v")], None], pa.map_(pa.string(), pa.dictionary(pa.int32(), pa.string()))),
    }
    place = folder / "lang=en" / "year=__HIVE_DEFAULT_PARTITION__"
    place.mkdir(parents=True)
    pq.write_table(pa.table(kinds), place / "typed.parquet")
    first, second = read(place / "typed.parquet")
    assert first.fields == {
        "lang": "en",
        "year": None,
        "id": 7,
        "text": "café",
        "tags": ["a"],
        "s": {"k": ["a"]},
        "m": [("k", "v")],
    }
    assert second.fields["id"] is None


def test_uuids_of_parquet_are_strings(folder):
    number = uuid.UUID(int=1)
    pq.write_table(pa.table({"id": pa.array([number.bytes], pa.uuid()), "text": ["x"]}), folder / "uuid.parquet")
    assert read(folder / "uuid.parquet")[0].fields["id"] == str(number)


@given(rows=st.lists(FIELDS, min_size=1, max_size=5), group=st.integers(1, 3))
def test_row_groups_are_read_one_by_one(folder, rows, group):
    path = folder / "groups.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=group)
    found = [
        row
        for number, first in enumerate(parquet.parquet_groups(path))
        for row in batch_rows(parquet_batches(path, groups=[number]), first)
    ]
    assert found == read(path)


def test_cut_off_last_line_spoils_only_itself(folder):
    assert read(written(folder, "cut.jsonl", CLEAN * 2 + CLEAN[:12])) == [
        Row(1, {"id": "1", "text": "café"}),
        Row(2, {"id": "1", "text": "café"}),
        BrokenRow(3, "not valid JSON"),
    ]


def test_half_an_emoji_becomes_a_replacement_character(folder):
    path = written(folder, "half.jsonl", rb'{"id": "\ud83d\ude00", "text": "cut \ud83d", "labels": ["\\ud83d", "\udE00x"]}')
    assert read(path) == [Row(1, {"id": "😀", "text": "cut \ufffd", "labels": ["\\ud83d", "\ufffdx"]})]


def test_quote_left_open_ends_the_file(folder):
    rows = read(written(folder, "quote.csv", b'id,text\n1,good\n2,"open\n3,may be her words\n'))
    assert rows == [Row(1, {"id": "1", "text": "good"}), BrokenRow(2, UNCLOSED)]


def test_quote_closed_by_a_later_rows_quote_is_told_from_a_broken_line(folder):
    rows = read(written(folder, "quote.csv", b'id,text\n1,"open\n2,x\n3,"y"\n4,"a"b\n5,z\n'))
    assert [row.number for row in rows] == [1, 2, 3]
    assert rows[0].reason.endswith("a quote that spans lines)")
    assert rows[1].reason == "not valid CSV (',' expected after '\"')"
    assert rows[2] == Row(3, {"id": "5", "text": "z"})


@pytest.mark.parametrize("keep", [4, 100, -1])
def test_truncated_parquet_is_refused(folder, keep, refused):
    whole = write_parquet(folder / "whole.parquet", [{"id": str(number), "text": "x" * number} for number in range(50)])
    with refused("cut.parquet, row 1", "cannot be read as Parquet", "write the file again"):
        read(written(folder, "cut.parquet", whole.read_bytes()[:keep]))


def test_damaged_parquet_page_is_refused_after_the_rows_before_it(folder, refused):
    path = folder / "damaged.parquet"
    table = pa.Table.from_pylist([{"id": str(number), "text": f"text {number}"} for number in range(8192)])
    pq.write_table(table, path, row_group_size=4096)
    start = pq.ParquetFile(path).metadata.row_group(1).column(0).dictionary_page_offset
    content = path.read_bytes()
    rows = read_rows(written(folder, "damaged.parquet", content[:start] + b"\xff" * 64 + content[start + 64 :]), COLUMNS)
    assert [next(rows).number for _ in range(4096)][-1] == 4096
    with refused("damaged.parquet, row 4097", "cannot be read as Parquet"):
        next(rows)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.jsonl", b"", "is empty (no rows)"),
        ("blank.jsonl", b"\n \n", "is empty (no rows)"),
        ("bom-only.jsonl", b"\xef\xbb\xbf\n", "is empty (no rows)"),
        ("empty.csv", b"", "is empty (no rows)"),
        ("header.csv", b"id,text\n", "is empty (no rows)"),
        ("empty.parquet", b"", "row 1: cannot be read as Parquet"),
        ("post.txt", b"x", "but got .txt; give it the ending that fits its content: .jsonl, .csv or .tsv"),
        ("nameless", b"x", f"must be one of {FILES}, but got no extension; convert the file"),
        ("column.jsonl", b'{"id": "1", "txt": "x"}', "row 1: no column 'text'; found 'id', 'txt'"),
        ("column.csv", b"id,txt\n1,x\n", "row 1: no column 'text'; found 'id', 'txt'"),
        ("later.jsonl", b'oops\n{"txt": "x"}', "row 2: no column 'id', 'text'; found 'txt'"),
        ("twice.csv", b"id,text,text\n1,x,y\n", "header: column 'text' occurs twice"),
        ("broken.csv", b"id,text,caf\xff\n1,x,y\n", "header: is not UTF-8"),
        ("quote.csv", b'id,"text\n1,x\n', "header: a quote is never closed"),
    ],
)
def test_unusable_file_is_refused(folder, name, content, reason, refused):
    with refused(folder / name, reason):
        read(written(folder, name, content))


def test_parquet_without_rows_or_column_is_refused(folder, refused):
    with refused("none.parquet", "is empty (no rows)"):
        pq.write_table(pa.table({"id": pa.array([], pa.string()), "text": pa.array([], pa.string())}), folder / "none.parquet")
        read(folder / "none.parquet")
    with refused("column.parquet, row 1", "no column 'text'; found 'id'"):
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
    with refused("no column 'id', 'text'; found 'source', 3 more names that are not shown (is there a header?)"):
        read(written(folder, "headless.csv", b"1,Nobody else was meant to read this,@survivor,source\n2,other,x,y\n"))


def test_rows_are_read_as_they_are_asked_for(folder):
    rows = read_rows(written(folder, "lazy.jsonl", CLEAN + b"broken\n"), COLUMNS)
    assert isinstance(next(rows), Row)
    assert next(rows) == BrokenRow(2, "not valid JSON")


@pytest.mark.parametrize("ending", COMPRESS)
@given(lines=st.lists(st.sampled_from([*JSONL_LINES, *CSV_ROWS])))
def test_compressed_file_is_read_as_the_plain_one(folder, ending, lines):
    for name, content in ("plain.jsonl", b"\n".join(lines)), ("plain.csv", b"\n".join([b"id,text", *lines])):
        plain = list(read_rows(written(folder, name, content), [], may_be_empty=True))
        assert list(read_rows(written(folder, f"{name}.{ending}", COMPRESS[ending](content)), [], may_be_empty=True)) == plain


@pytest.mark.parametrize("ending", COMPRESS)
def test_compressed_files_strung_together_are_one(folder, ending):
    members = [COMPRESS[ending](b'{"id": %d, "text": "x"}\n' % number) for number in range(3)]
    assert [row.fields["id"] for row in read(written(folder, f"members.jsonl.{ending}", b"".join(members)))] == [0, 1, 2]


MANY = [{"id": str(number), "text": random.Random(number).randbytes(30).hex()} for number in range(5000)]
DAMAGE = {
    "cut": lambda content: content[:-200],
    "cut in its last byte": lambda content: content[:-1],
    "followed by something else": lambda content: content + b"else" * 25,
    "followed by a damaged member": lambda content: content + content[:4] + b"\xff" * 300,
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("ending", COMPRESS)
@pytest.mark.parametrize("write", [write_jsonl, write_csv])
def test_damaged_compressed_file_is_refused_after_the_rows_before(folder, write, ending, damage):
    kind = write.__name__.removeprefix("write_")
    content = COMPRESS[ending](write(folder / f"many.{kind}", MANY).read_bytes())
    rows = []
    with pytest.raises(DamagedError) as error:
        for row in read_rows(written(folder, f"many.{kind}.{ending}", DAMAGE[damage](content)), COLUMNS):
            rows.append(row)
    assert f"many.{kind}.{ending}, row {len(rows) + 1}: is damaged or truncated" in str(error.value)
    assert str(error.value).endswith("; copy or write the file again")
    assert len(rows) > 3000
    assert rows == [Row(number, fields) for number, fields in enumerate(MANY[: len(rows)], 1)]


@pytest.mark.parametrize("ending", ["gz", "bz2", "XZ"])
def test_zeros_that_pad_a_compressed_file_are_no_damage(folder, ending):
    member = COMPRESS[ending](b'{"id": "1", "text": "x"}\n')
    for padding in (1, 512, 100_000):
        assert len(read(written(folder, f"padded.jsonl.{ending}", member + bytes(padding) + member + bytes(padding)))) == 2


def frame(content, window=31):
    """Return a zstd frame with a window of 2**window bytes, in which the content is not even compressed."""
    return b"\x28\xb5\x2f\xfd\0" + bytes([window - 10 << 3]) + (len(content) << 3 | 1).to_bytes(3, "little") + content


@pytest.mark.parametrize("window", [20, 27, 28, 31])
def test_zstd_with_a_long_window_is_read_and_its_memory_told(folder, window):
    path = written(folder, "long.jsonl.zst", frame(b'{"id": "1", "text": "x"}\n', window))
    rows, what = told(path)
    assert rows == [Row(1, {"id": "1", "text": "x"})]
    much = f"read with up to {2 ** (window - 20):,} MiB more memory, because it was compressed with so long a window"
    assert what == (much if window > 27 else "")


def test_zstd_is_read_up_to_the_damage_through_frames_to_skip(folder, refused):
    line, skipped = b'{"id": "1", "text": "x"}\n', b"\x5a\x2a\x4d\x18\3\0\0\0abc"
    whole = skipped + frame(line) + skipped + bytes(512) + frame(line, 17) + skipped
    assert len(read(written(folder, "frames.jsonl.zst", whole))) == 2
    for damage in (frame(line)[:9], frame(line, 41), b"no frame", b"\x28\xb5\x2f\xfd\x08\0\0\0\0"):
        rows = read_rows(written(folder, "damaged.jsonl.zst", whole + damage), COLUMNS)
        assert [next(rows).number, next(rows).number] == [1, 2]
        with refused("damaged.jsonl.zst, row 3: is damaged or truncated"):
            next(rows)


FOREIGN = {
    "an error page": b"\n<!DOCTYPE html><title>404</title>",
    "xml": b"<?xml version='1.0'?>",
    "a database": b"SQLite format 3\0",
    "avro": b"Obj\x01\x04",
    "arrow": b"ARROW1\0\0",
    "a document": b"%PDF-1.7\n",
    "7z": b"7z\xbc\xaf\x27\x1c",
    "old excel": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
    "tar": b"posts.jsonl".ljust(257, b"\0") + b"ustar",
    "gzip twice": gzip.compress(b"{}"),
}


@pytest.mark.parametrize("name", ["posts.jsonl.gz", "posts.csv.gz"])
@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
def test_file_that_is_not_of_rows_is_refused_as_what_it_is(folder, refused, name, content):
    with refused(name, ": is ", "; "):
        read(written(folder, name, gzip.compress(content)))


def test_flipped_bit_in_gzip_is_noticed(folder, refused):
    content = bytearray(COMPRESS["gz"](b"".join(json.dumps(row).encode() + b"\n" for row in MANY)))
    content[-6] ^= 1
    with refused("flipped.jsonl.gz, row", "incorrect data check"):
        read(written(folder, "flipped.jsonl.gz", bytes(content)))


def test_compressed_parquet_is_refused(folder, refused):
    with refused("but got .gz; convert the file"):
        read(written(folder, "x.parquet.gz", b"x"))


LIMIT = 60  # a stand-in for 16 MiB
LENGTHS = st.lists(
    st.sampled_from([30, LIMIT - 1, LIMIT, LIMIT + 1, LIMIT + 2, 2 * LIMIT, 2 * LIMIT + 1, 5 * LIMIT]), min_size=1, max_size=5
)


@pytest.mark.parametrize(
    ("name", "header", "opening", "closing"),
    [
        ("long.jsonl", b"", b'{"id": "1", "text": "', b'"}'),
        ("long.csv", b"id,text\n", b"1,", b""),
        ("quoted.csv", b"id,text\n", b'1,"', b'"'),
    ],
)
@given(lengths=LENGTHS, last=st.booleans(), skipped=st.sampled_from([7, LIMIT, 1000]))
def test_too_long_record_spoils_only_itself(folder, name, header, opening, closing, lengths, last, skipped):
    lines = [opening + b"x" * (length - len(opening + closing)) + closing for length in lengths]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "MAX_RECORD", LIMIT)
        patch.setattr(limits, "_SKIPPED", skipped)
        rows = read(written(folder, name, header + b"\n".join(lines) + b"\n" * last))
    assert [row.number for row in rows] == list(range(1, len(lines) + 1))
    assert [getattr(row, "reason", None) for row in rows] == [TOO_LONG if length > LIMIT else None for length in lengths]


@pytest.mark.parametrize(
    ("name", "rows"), [("50mb.jsonl", b'{"id": "1", "text": "%s"}\n'), ("50mb.csv", b"1,%s\n"), ("50mb.jsonl.zst", b'{"id": "%s"}\n')]
)
def test_line_of_50_mb_is_never_held(folder, name, rows):
    content = b"id,text\n" * name.endswith("csv") + b"".join(rows % text for text in (b"x", b"x" * 50_000_000, b"x"))
    path = written(folder, name, COMPRESS["zst"](content) if name.endswith("zst") else content)
    del content
    tracemalloc.start()
    kinds = [type(row) for row in read_rows(path, ["id"])]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert kinds == [Row, BrokenRow, Row]
    assert peak < 2.2 * MAX_RECORD


def test_nul_is_no_json_but_a_character_in_csv(folder):
    assert read(written(folder, "nul.jsonl", CLEAN + b'{"id": "2", "text": "a\0b"}\n\0\n' + CLEAN))[1:3] == [
        BrokenRow(2, "not valid JSON"),
        BrokenRow(3, "not valid JSON"),
    ]
    assert read(written(folder, "nul.csv", b'id,text\n1,a\0b\n2,"\0"\n')) == [
        Row(1, {"id": "1", "text": "a\0b"}),
        Row(2, {"id": "2", "text": "\0"}),
    ]


@pytest.mark.parametrize("end", [b'2,"open', b'2,"open\n', b'2,"', b'"', b'2,"open""\n', b'2,"open' + b"\n3,x" * LIMIT])
def test_open_quote_ends_the_file_wherever_it_is(folder, end, monkeypatch):
    monkeypatch.setattr(limits, "MAX_RECORD", LIMIT)
    rows = read(written(folder, "open.csv", b"id,text\n1,good\n" + end))
    assert rows == [Row(1, {"id": "1", "text": "good"}), BrokenRow(2, UNCLOSED)]


def test_huge_file_is_not_read_on_after_an_open_quote(monkeypatch):
    monkeypatch.setattr(limits, "MAX_RECORD", LIMIT)
    lines = iter(['1,"open\n', *["2,x\n"] * 100])
    assert [values for _, values in csv_spans(lines)] == [UNCLOSED]
    assert len(list(lines)) > 80


@given(size=st.integers(1, 30), group=st.integers(1, 20), batch=st.integers(1, 4))
def test_row_groups_and_batches_of_a_parquet_file_do_not_show(folder, size, group, batch):
    rows = [{"id": str(number), "text": "x" * number} for number in range(size)]
    path = folder / "groups.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=group)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet, "_PARQUET_BATCH", batch)
        assert read(path) == [Row(number, row) for number, row in enumerate(rows, 1)]


def test_parquet_cell_that_python_cannot_hold_spoils_only_its_row(folder):
    texts = pa.array([b"a", b"\xff", b"c", b"d"], pa.binary()).view(pa.string())
    days = pa.array([0, 0, 2**30, None], pa.date32())
    path = folder / "cells.parquet"
    pq.write_table(pa.table({"id": ["1", "2", "3", "4"], "text": texts, "day": days}), path)
    assert read(path) == [
        Row(1, {"id": "1", "text": "a", "day": date(1970, 1, 1)}),
        BrokenRow(2, UNREADABLE),
        BrokenRow(3, UNREADABLE),
        Row(4, {"id": "4", "text": "d", "day": None}),
    ]


def test_only_the_wanted_columns_of_a_parquet_file_are_read(folder):
    path = folder / "wanted.parquet"
    pq.write_table(pa.table({"other": pa.array([b"\xff"], pa.binary()).view(pa.string()), "text": ["a"], "id": ["1"]}), path)
    assert list(batch_rows(parquet_batches(path, ["id", "text", "absent"]))) == [Row(1, {"text": "a", "id": "1"})]


def test_categorical_column_is_read_as_its_values(folder):
    path = folder / "categories.parquet"
    pq.write_table(pa.table({"id": ["1", "2", "3"], "text": pa.array(["a", None, "a"]).dictionary_encode()}), path)
    assert isinstance(pq.read_schema(path).field("text").type, pa.DictionaryType)
    assert [row.fields["text"] for row in read(path)] == ["a", None, "a"]


def test_small_parquet_file_of_a_hundred_gigabytes_is_read_in_bounded_memory(folder):
    path = folder / "bomb.parquet"
    text = pa.DictionaryArray.from_arrays(pa.array([0] * 100_000, pa.int32()), pa.array(["x" * 1_000_000]))
    pq.write_table(pa.table({"id": range(100_000), "text": text}), path, store_schema=False)
    assert path.stat().st_size < 1_000_000
    code = """if True:
        import sys
        from pathlib import Path
        from pipeline.records import batch_rows, parquet_batches
        print(sum(len(row.fields["text"]) for row, _ in zip(batch_rows(parquet_batches(Path(sys.argv[1]))), range(1000))))
        print(*[line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")])
    """
    done = subprocess.run([sys.executable, "-c", code, path], cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True)
    chars, peak = map(int, done.stdout.split())
    assert chars == 1000 * 1_000_000
    assert peak < 800 * 1024  # KiB


def test_path_that_the_system_refuses_is_a_user_error(folder, refused):
    with refused("cannot be read (File name too long)"):
        read(folder / f"{'x' * 300}.jsonl")


def test_parquet_with_two_columns_of_one_name_is_refused(folder, refused):
    path = folder / "twice.parquet"
    pq.write_table(pa.Table.from_arrays([pa.array(["1"]), pa.array(["x"]), pa.array(["y"])], names=["id", "text", "text"]), path)
    with refused(f"{path}: column 'text' occurs twice; rename one"):
        read(path)


def test_parquet_is_read_in_few_rows_at_a_time_where_texts_are_long_or_repeat(folder, monkeypatch):
    monkeypatch.setattr(parquet, "_BATCH_BYTES", 10_000)
    monkeypatch.setattr(parquet, "_SMALL_CHUNK", 0)
    short, long = pa.array([f"post {number}" for number in range(300)]), pa.array(["x" * 1000] * 300)
    for name, column, dictionary, most in [
        ("short", short, True, 128),
        ("shared", long, True, 10),
        ("plain", long, False, 9),
        ("nested", pa.array([["x" * 1000]] * 300), True, 8),
    ]:
        path = folder / f"{name}.parquet"
        pq.write_table(pa.table({"text": column, "unread": ["y" * 9000] * 300}), path, use_dictionary=dictionary, row_group_size=150)
        batches = list(parquet_batches(path, ["text"]))
        assert max(batch.num_rows for batch in batches) == most
        assert pa.Table.from_batches(batches)["text"].to_pylist() == column.to_pylist()


def test_parquet_that_unpacks_to_far_more_than_it_is_is_refused(folder, refused, monkeypatch):
    monkeypatch.setattr(parquet, "_BOMB_BYTES", 100_000)
    path = folder / "bomb.parquet"
    pq.write_table(pa.table({"id": ["1"] * 300, "text": ["x" * 10_000] * 300}), path, use_dictionary=False, compression="zstd")
    with refused("bomb.parquet, row group 1: ", " bytes of column 'text' unpack to 3,0", "; write it with smaller row groups"):
        next(parquet_batches(path))
    assert next(parquet_batches(path, ["id"])).num_rows == 128


class _NoKms(KmsClient):
    def __init__(self, config: object) -> None:
        super().__init__()

    def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> bytes:
        return base64.b64encode(key_bytes)


@pytest.mark.parametrize("plaintext_footer", [False, True])
def test_encrypted_parquet_is_called_so(folder, refused, plaintext_footer):
    keys = EncryptionConfiguration("footer", column_keys={"key": ["text"]}, plaintext_footer=plaintext_footer)
    properties = CryptoFactory(_NoKms).file_encryption_properties(KmsConnectionConfig(), keys)
    table = pa.table({"id": ["1"], "text": ["x"]})
    with pq.ParquetWriter(folder / "secret.parquet", table.schema, encryption_properties=properties) as writer:
        writer.write_table(table)
    with refused("secret.parquet: is encrypted, and we have no key; write it without encryption"):
        read(folder / "secret.parquet")
