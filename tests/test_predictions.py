"""The table of predictions, and the files that it is written to."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.predictions import prediction_schema, prediction_table, prediction_writer

LABELS = ["alpha", "beta"]
DIGEST = "d1" * 32
NAMES = pa.list_(pa.string())

TEXTS = st.text(st.characters(codec="utf-8"), max_size=6) | st.sampled_from(["a\rb", "a\nb", 'say "x"', "1,2", "\0", "\u2028", "😀"])
PROBABILITIES = st.floats(0, 1, width=32)
ROWS = st.lists(
    st.tuples(TEXTS, st.none() | TEXTS, PROBABILITIES, PROBABILITIES, st.tuples(*[st.booleans()] * 4)),
    max_size=8,
)


def table_of(rows) -> pa.Table:
    ids, kept, alpha, beta, flags = zip(*rows, strict=True) if rows else [()] * 5
    flags = np.array(flags, bool).reshape(-1, 4)
    probabilities = np.array([alpha, beta], np.float32).T
    return prediction_table(ids, probabilities, flags[:, :2], LABELS, DIGEST, kept={"lang": kept}, review=flags[:, 2:])


def expected(rows) -> list[dict]:
    return [
        {
            "id": identifier,
            "lang": kept,
            "prob_alpha": alpha,
            "prob_beta": beta,
            "labels": [label for label, given in zip(LABELS, flags, strict=False) if given],
            "review": [label for label, given in zip(LABELS, flags[2:], strict=True) if given],
            "model": DIGEST,
        }
        for identifier, kept, alpha, beta, flags in rows
    ]


def written(kind: str, *tables: pa.Table) -> bytes:
    file = io.BytesIO()
    with prediction_writer(file, kind, tables[0].schema) as write:
        for table in tables:
            write(table)
    return file.getvalue()


def read_csv(content: bytes) -> list[dict]:
    rows = list(csv.DictReader(io.StringIO(content.decode(), newline=""), strict=True))
    for row in rows:
        row |= {name: float(np.float32(row[name])) for name in ("prob_alpha", "prob_beta")}
        row |= {name: row[name].split(";") if row[name] else [] for name in ("labels", "review")}
    return rows


def test_schema_names_columns_in_order():
    assert prediction_schema(LABELS) == pa.schema(
        [("id", pa.string()), ("prob_alpha", pa.float32()), ("prob_beta", pa.float32()), ("labels", NAMES), ("model", pa.string())]
    )
    assert prediction_schema(LABELS, ["lang"], review=True).names == ["id", "lang", "prob_alpha", "prob_beta", "labels", "review", "model"]
    assert prediction_schema(LABELS, review=True).field("review").type == NAMES


@given(rows=ROWS)
def test_table_holds_what_it_was_given(rows):
    table = table_of(rows)
    table.validate(full=True)
    assert table.schema == prediction_schema(LABELS, ["lang"], review=True)
    assert table.to_pylist() == expected(rows)


@given(rows=ROWS, cut=st.integers(0, 8))
def test_each_format_gives_the_same_rows_back_however_they_were_handed_over(rows, cut):
    tables = table_of(rows[:cut]), table_of(rows[cut:])
    parquet = pq.read_table(io.BytesIO(written("parquet", *tables)))
    assert (parquet.schema, parquet.to_pylist()) == (tables[0].schema, expected(rows))
    lines = written("jsonl", *tables).decode().split("\n")
    found = [json.loads(line) for line in lines[:-1]]
    assert lines[-1] == ""
    assert [{**row, **{name: float(np.float32(row[name])) for name in ("prob_alpha", "prob_beta")}} for row in found] == expected(rows)
    assert read_csv(written("csv", *tables)) == [{**row, "lang": row["lang"] or ""} for row in expected(rows)]


def test_text_formats_tell_a_float32_by_its_shortest_digits():
    table = table_of([("1", None, 0.1, 1e-07, (True, True, False, False))])
    assert '"prob_alpha": 0.1, "prob_beta": 1e-07, "labels": ["alpha", "beta"], "review": []' in written("jsonl", table).decode()
    assert written("csv", table).decode().splitlines()[1] == f"1,,0.1,1e-07,alpha;beta,,{DIGEST}"


@pytest.mark.parametrize(("kind", "content"), [("jsonl", b""), ("csv", b"id,lang,prob_alpha,prob_beta,labels,review,model\r\n")])
def test_no_posts_are_a_file_without_rows(kind, content):
    assert written(kind, table_of([])) == content
    assert pq.read_table(io.BytesIO(written("parquet", table_of([])))).schema == table_of([]).schema


REASONS = st.lists(
    st.tuples(st.sampled_from(LABELS), st.sampled_from(["me", "#metoo", "@user", "😀", ";"]), st.floats(0.5, 9, width=32)), max_size=4
)


def explained(*explanations) -> pa.Table:
    size = len(explanations)
    probabilities = np.zeros((size, 2), np.float32)
    return prediction_table(["1"] * size, probabilities, probabilities > 0, LABELS, DIGEST, explanations=explanations)


@given(explanations=st.lists(REASONS, max_size=5))
def test_explanations_are_a_column_of_structs(explanations):
    table = explained(*explanations)
    table.validate(full=True)
    assert table.schema == prediction_schema(LABELS, explanation=True)
    assert table.schema.names[-2:] == ["explanation", "model"]
    expected = [[dict(zip(("label", "word", "contribution"), reason, strict=True)) for reason in reasons] for reasons in explanations]
    assert table["explanation"].to_pylist() == expected
    assert pq.read_table(io.BytesIO(written("parquet", table)))["explanation"].to_pylist() == expected
    found = [json.loads(line)["explanation"] for line in written("jsonl", table).decode().split("\n")[:-1]]
    assert [[{**reason, "contribution": float(np.float32(reason["contribution"]))} for reason in reasons] for reasons in found] == expected


def test_explanations_can_be_read_in_text_formats():
    table = explained([("alpha", "me", 1.1), ("alpha", "too", 0.25), ("beta", ";", 3.0)], [])
    assert '"explanation": [{"label": "alpha", "word": "me", "contribution": 1.1}, ' in written("jsonl", table).decode()
    rows = list(csv.DictReader(io.StringIO(written("csv", table).decode(), newline=""), strict=True))
    assert [row["explanation"] for row in rows] == ["alpha: me +1.10, too +0.25; beta: ; +3.00", ""]


def test_half_an_emoji_becomes_a_question_mark():
    assert table_of([("a\ud83d", "\udcff", 0.5, 0.5, (False,) * 4)]).select(["id", "lang"]).to_pylist() == [{"id": "a?", "lang": "?"}]


def test_truth_is_a_further_column():
    table = prediction_table(["1"], np.array([[0.5, 0.5]], np.float32), np.array([[True, False]]), LABELS, DIGEST, truth=np.array([[0, 1]]))
    assert table.schema.names[-1] == "true_labels"
    assert (table["labels"].to_pylist(), table["true_labels"].to_pylist()) == ([["alpha"]], [["beta"]])


WITHOUT_PANDAS = """
import io, sys
import numpy as np
from pipeline.predictions import prediction_table, prediction_writer
half = np.array([[.5]], np.float32)
more = {"kept": {"lang": [None]}, "review": half >= .5, "explanations": [[("alpha", "me", .5)]]}
table = prediction_table(["1"], half, half >= .5, ["alpha"], "d1", **more)
for kind in ("parquet", "jsonl", "csv"):
    with prediction_writer(io.BytesIO(), kind, table.schema) as write:
        write(table)
sys.exit("pandas" in sys.modules)
"""


def test_no_format_imports_pandas():
    assert subprocess.run([sys.executable, "-c", WITHOUT_PANDAS], cwd=Path(__file__).parent.parent, check=False).returncode == 0
