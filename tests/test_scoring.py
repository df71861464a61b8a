"""Scoring: files of posts in, predictions by the contract out, and nothing of a post's text with them."""

import json
import os
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import scoring
from pipeline.scoring import score_files

DIGEST = "d1" * 32
SECRET = "zanzibarquartz"
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("prob_long", pa.float32()),
        ("prob_loud", pa.float32()),
        ("labels", pa.list_(pa.string())),
        ("model", pa.string()),
    ]
)


class Fake:
    """Long posts and loud posts."""

    labels = ["long", "loud"]
    digest_ = DIGEST

    def score(self, texts):
        assert len(set(texts)) == len(texts) > 0  # each distinct text once
        return np.array([[min(len(text) / 100, 1), sum(map(str.isupper, text)) / len(text)] for text in texts], np.float32)

    def decide(self, probabilities):
        return probabilities >= 0.5


def part(folder: Path, number: int = 0) -> pa.Table:
    return pq.read_table(folder / f"part-{number:05d}.parquet")


def rejects(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "rejects.jsonl").read_text().splitlines()]


def write_rows(path: Path, rows: list[dict]) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".csv":
        pa.csv.write_csv(pa.Table.from_pylist(rows), path)
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    return path


FORMATS = pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
POSTS = [{"id": f"p{number}", "text": "LOUD" if number % 2 else "x" * 60 + f", quiet\nand {SECRET}"} for number in range(5)]


@FORMATS
def test_output_is_the_contract(tmp_path, suffix):
    out = tmp_path / "out"
    summary = score_files(Fake(), [write_rows(tmp_path / f"in{suffix}", POSTS)], out)
    assert sorted(path.name for path in out.iterdir()) == ["manifest.json", "part-00000.parquet", "rejects.jsonl"]
    table = part(out)
    assert table.schema.equals(SCHEMA)
    assert table["id"].to_pylist() == [f"p{number}" for number in range(5)]
    assert table["labels"].to_pylist() == [["long"], ["loud"], ["long"], ["loud"], ["long"]]
    assert table["prob_loud"].to_pylist()[1] == 1
    assert set(table["model"].to_pylist()) == {DIGEST}
    assert rejects(out) == []
    assert (summary.read, summary.scored, summary.rejected, summary.labels) == (5, 5, 0, {"long": 3, "loud": 2})


def test_a_real_model_gives_the_probabilities_of_its_own_score(tmp_path, model, posts):
    rows = [{"id": number, "text": text} for number, text in enumerate(posts.texts[:30])]
    score_files(model, [write_rows(tmp_path / "in.parquet", rows)], tmp_path / "out")
    table = part(tmp_path / "out")
    expected = model.score(posts.texts[:30])
    assert np.column_stack([table[f"prob_{label}"].to_numpy() for label in model.labels]).tolist() == expected.tolist()
    decided = [[label for label, given in zip(model.labels, row, strict=True) if given] for row in model.decide(expected)]
    assert table["labels"].to_pylist() == decided
    assert table["id"].to_pylist() == [str(number) for number in range(30)]


@pytest.fixture(scope="module", autouse=True)
def saved(model, tmp_path_factory):
    """The model has a digest once it is saved."""
    model.save(tmp_path_factory.mktemp("model") / "m")


@FORMATS
def test_no_text_anywhere_in_the_output(tmp_path, suffix):
    rows = [{"id": "1", "author": SECRET, "text": f"{SECRET} {SECRET.upper()}"}, {"id": None, "author": SECRET, "text": SECRET}]
    source = write_rows(tmp_path / f"in{suffix}", rows)
    if suffix != ".parquet":
        with source.open("ab") as file:
            file.write(
                f'{{"id": "9", "text": "{SECRET}\n"{SECRET}" {SECRET}, "b"c,\n{SECRET}\n'.encode()
                + b"\xff"
                + SECRET.encode()
                + b",\xff,\xff\n"
            )
    out = tmp_path / "out"
    assert score_files(Fake(), [source], out).rejected > 0
    for path in out.iterdir():
        content = path.read_bytes() + (str(pq.read_table(path).to_pylist()).encode() if path.suffix == ".parquet" else b"")
        assert SECRET.encode() not in content.lower()


BAD_JSONL = {
    '{"id": "a", "text": null}': "text is null",
    '{"id": "a"}': "text is null",
    '{"id": "a", "text": ""}': "text is empty",
    '{"id": "a", "text": " \\n\\u2003"}': "text is empty",
    '{"id": "a", "text": 7}': "text is no string",
    '{"id": "a", "text": ["x"]}': "text is no string",
    '{"text": "x"}': "id missing or neither string nor integer",
    '{"id": "", "text": "x"}': "id missing or neither string nor integer",
    '{"id": true, "text": "x"}': "id missing or neither string nor integer",
    '{"id": 1.5, "text": "x"}': "id missing or neither string nor integer",
    '{"id": "a", "text": "x"': "not valid JSON",
    '["a", "x"]': "not a JSON object",
    "caf\udce9": "not UTF-8",
}


def test_bad_json_rows_are_rejected_by_line_and_reason_and_the_good_go_on(tmp_path):
    good = '{"id": "good \\ud83d", "text": "half an emoji \\ud83d"}'
    source, out = tmp_path / "in.jsonl", tmp_path / "out"
    source.write_bytes("\n".join([good, "", *BAD_JSONL, good]).encode("utf-8", "surrogateescape"))
    summary = score_files(Fake(), [source], out)
    expected = [{"file": str(source), "row": row, "reason": reason} for row, reason in enumerate(BAD_JSONL.values(), 3)]
    assert rejects(out) == expected
    assert part(out)["id"].to_pylist() == ["good \ufffd"] * 2
    assert sum(summary.reasons.values()) == summary.rejected == len(BAD_JSONL)


def test_bad_csv_rows_are_rejected(tmp_path):
    source, out = tmp_path / "in.csv", tmp_path / "out"
    rows = ["id,text", "1,fine", "2,", ",x", "3,a,b", '4,"x"y', "5,\udce9", '6,"two\nlines"', "7,007"]
    source.write_bytes("\r\n".join(rows).encode("utf-8", "surrogateescape"))
    score_files(Fake(), [source], out)
    assert part(out)["id"].to_pylist() == ["1", "6", "7"]
    reasons = {reject["row"]: reject["reason"] for reject in rejects(out)}
    assert sorted(reasons) == [2, 3, 4, 5, 6]
    assert (reasons[2], reasons[3], reasons[6]) == ("text is empty", "id missing or neither string nor integer", "not UTF-8")


def test_bad_parquet_rows_are_rejected(tmp_path):
    table = pa.table({"id": pa.array([1, None, 3, 4], pa.int64()), "text": ["a", "b", None, ""]})
    pq.write_table(table, tmp_path / "in.parquet")
    score_files(Fake(), [tmp_path / "in.parquet"], tmp_path / "out")
    assert part(tmp_path / "out")["id"].to_pylist() == ["1"]
    assert [(reject["row"], reject["reason"]) for reject in rejects(tmp_path / "out")] == [
        (2, "id missing or neither string nor integer"),
        (3, "text is null"),
        (4, "text is empty"),
    ]


def test_all_rejected_is_an_empty_part_with_the_schema(tmp_path, jsonl):
    summary = score_files(Fake(), [jsonl("in.jsonl", [{"id": "1", "text": None}])], tmp_path / "out")
    assert (part(tmp_path / "out").num_rows, part(tmp_path / "out").schema) == (0, SCHEMA)
    assert (summary.scored, summary.labels) == (0, {"long": 0, "loud": 0})


def cells(*odd):
    return st.one_of(st.text(max_size=5), st.sampled_from(["post", "ONE MORE", "", " "]), *odd)


@settings(max_examples=40)
@given(
    rows=st.lists(st.tuples(cells(st.none(), st.integers()), cells(st.none())), min_size=1, max_size=12),
    broken=st.lists(st.binary(max_size=12).filter(lambda line: line.strip() and b"\n" not in line and b'"' not in line), max_size=3),
    suffix=st.sampled_from([".jsonl", ".csv", ".parquet"]),
)
def test_every_row_is_scored_or_rejected(rows, broken, suffix):
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / f"in{suffix}", Path(folder) / "out"
        # A column of a Parquet or CSV file has one type.
        write_rows(source, [{"id": i if suffix == ".jsonl" or i is None else str(i), "text": t} for i, t in rows])
        extra = 0
        if suffix == ".jsonl":
            with source.open("ab") as file:
                file.write(b"".join(line + b"\n" for line in broken))
            extra = len(broken)
        summary = score_files(Fake(), [source], out)
        assert summary.read == summary.scored + summary.rejected == len(rows) + extra
        assert part(out).num_rows == summary.scored
        assert len(rejects(out)) == summary.rejected
        good = [str(i) for i, t in rows if i is not None and i != "" and t and t.strip()]
        assert part(out)["id"].to_pylist() == good


def test_integers_become_strings_exactly(tmp_path, jsonl):
    ids = [0, -5, 2**53 + 1, 929292929292929292929]
    score_files(Fake(), [jsonl("in.jsonl", [{"id": number, "text": "x"} for number in ids])], tmp_path / "out")
    assert part(tmp_path / "out")["id"].to_pylist() == [str(number) for number in ids]


def test_several_inputs_give_a_part_each_in_order(tmp_path):
    sources = [write_rows(tmp_path / f"{name}{suffix}", POSTS[n:]) for n, (name, suffix) in enumerate([("b", ".csv"), ("a", ".jsonl")])]
    summary = score_files(Fake(), sources, tmp_path / "out")
    assert summary.files == {str(sources[0]): "part-00000.parquet", str(sources[1]): "part-00001.parquet"}
    assert [part(tmp_path / "out", number)["id"].to_pylist()[0] for number in (0, 1)] == ["p0", "p1"]
    assert summary.read == 9
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest == vars(summary)


def test_input_given_twice_is_refused(tmp_path, jsonl, refused):
    source = jsonl("in.jsonl", POSTS)
    with refused(source, "given 2 times"):
        score_files(Fake(), [source, source], tmp_path / "out")


@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_batches_do_not_show(tmp_path, monkeypatch, model, posts, size):
    rows = [{"id": number, "text": None if number % 5 == 3 else text} for number, text in enumerate(posts.texts[:23])]
    source = write_rows(tmp_path / "in.jsonl", rows)
    score_files(model, [source], tmp_path / "whole")
    monkeypatch.setattr(scoring, "BATCH", size)
    counts: list[int] = []
    score_files(model, [source], tmp_path / "pieces", progress=counts.append)
    assert part(tmp_path / "pieces").equals(part(tmp_path / "whole"))
    assert rejects(tmp_path / "pieces") == rejects(tmp_path / "whole")
    assert (sum(counts), max(counts)) == (23, min(size, 23))


def test_repeated_texts_get_equal_probabilities(tmp_path, jsonl, model, posts):
    texts = [posts.texts[0], posts.texts[1], posts.texts[0]]
    score_files(model, [jsonl("in.jsonl", [{"id": n, "text": text} for n, text in enumerate(texts)])], tmp_path / "out")
    first, other, again = part(tmp_path / "out").drop_columns("id").to_pylist()
    assert first == again != other


def test_rows_are_read_no_more_than_a_batch_ahead(tmp_path, monkeypatch):
    read = scored = ahead = 0

    def rows(path, columns):
        nonlocal read
        read = 0
        for number in range(50):
            read += 1
            yield SimpleNamespace(number=number, fields={"id": number, "text": f"post {number}"})

    def progress(posts):
        nonlocal scored, ahead
        ahead = max(ahead, read - scored)
        scored += posts

    monkeypatch.setattr(scoring, "read_rows", rows)
    monkeypatch.setattr(scoring, "BATCH", 8)
    score_files(Fake(), [Path("in.jsonl")], tmp_path / "out", progress=progress)
    assert (scored, ahead) == (50, 8)


@pytest.fixture
def earlier(tmp_path, jsonl) -> Path:
    """An earlier output."""
    score_files(Fake(), [jsonl("earlier.jsonl", POSTS)], tmp_path / "out")
    return tmp_path / "out"


def test_output_replaces_an_earlier_one_whole(earlier, tmp_path, jsonl):
    score_files(Fake(), [jsonl("a.jsonl", POSTS[:1]), jsonl("b.jsonl", POSTS[:1])], earlier)
    score_files(Fake(), [jsonl("a.jsonl", POSTS[:1])], earlier)
    assert sorted(path.name for path in earlier.iterdir()) == ["manifest.json", "part-00000.parquet", "rejects.jsonl"]
    assert part(earlier).num_rows == 1


def unreadable(folder: Path, kind: str) -> Path:
    path = folder / ("bad.csv" if kind == "no column" else "bad.parquet" if "parquet" in kind else "bad.jsonl")
    if kind == "truncated parquet":
        pq.write_table(pa.table({"id": ["1"], "text": ["x"]}), path)
        os.truncate(path, path.stat().st_size - 8)
    elif kind == "damaged parquet":  # its footer is whole: the damage shows midway
        pq.write_table(
            pa.table({"id": list(map(str, range(20_000))), "text": [f"post {n}" for n in range(20_000)]}), path, compression="none"
        )
        with path.open("r+b") as file:
            file.seek(path.stat().st_size // 2)
            file.write(b"\xff" * 2000)
    elif kind != "missing":
        path.write_text("id,body\n1,x\n" if kind == "no column" else "")
    return path


@pytest.mark.parametrize("kind", ["missing", "empty", "no column", "truncated parquet", "damaged parquet"])
def test_unreadable_input_midway_leaves_the_earlier_output_and_no_scratch(earlier, tmp_path, jsonl, refused, kind):
    before = {path.name: path.read_bytes() for path in earlier.iterdir()}
    bad, good = unreadable(tmp_path, kind), jsonl("good.jsonl", POSTS[:2])
    files = sorted(path.name for path in tmp_path.iterdir())
    with refused(bad):
        score_files(Fake(), [good, bad], earlier)
    assert {path.name: path.read_bytes() for path in earlier.iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == files


def test_every_input_is_looked_at_before_any_is_scored(tmp_path, jsonl, refused, monkeypatch):
    monkeypatch.setattr(Fake, "score", lambda self, texts: pytest.fail("scored"))
    with refused(tmp_path / "nowhere.csv"):
        score_files(Fake(), [jsonl("in.jsonl", POSTS), tmp_path / "nowhere.csv"], tmp_path / "out")


def test_missing_column_names_what_there_is(tmp_path, jsonl, refused):
    source = jsonl("in.jsonl", [{"key": 1, "body": "x"}])
    with refused(source, "'id'", "body", "key"):
        score_files(Fake(), [source], tmp_path / "out")
    summary = score_files(Fake(), [source], tmp_path / "out", id_column="key", text_column="body")
    assert summary.scored == 1


def test_csv_with_byte_order_mark(tmp_path):
    (tmp_path / "in.csv").write_bytes("\ufeffid,text\r\né,ça va\r\n".encode())
    score_files(Fake(), [tmp_path / "in.csv"], tmp_path / "out")
    assert part(tmp_path / "out")["id"].to_pylist() == ["é"]


def test_folder_with_something_else_is_refused(tmp_path, jsonl, refused):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with refused(tmp_path / "out", "something else"):
        score_files(Fake(), [jsonl("in.jsonl", POSTS)], tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["notes.txt"]


def test_input_inside_the_output_is_refused_and_stays(tmp_path, jsonl, refused):
    posts = [{"id": "1", "text": "loud"}]
    out = tmp_path / "out"
    score_files(Fake(), [jsonl("first.jsonl", posts)], out)
    inside = out / "rejects.jsonl"
    inside.write_text('{"id": "1", "text": "loud"}\n')
    with refused(inside, "lies in the output folder"):
        score_files(Fake(), [inside], out)
    assert inside.exists()
