"""Scoring: files of posts become predictions in the documented form, without any text of a post, and no work is done twice."""

import csv
import gzip
import io
import json
import os
import random
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import StandIn
from hypothesis import given, settings
from hypothesis import strategies as st

from models import Classifier
from models.errors import InputError
from models.explanation import reasons
from models.text import is_blank, normalise
from pipeline.errors import IncompleteError
from pipeline.records import parquet
from pipeline.scoring import Options, Progress, Summary, completion, job, output, score_files, shards
from pipeline.scoring.parts import ModelFolder

SECRET = "zanzibarquartz"
NAMES = pa.list_(pa.string())
POSTS = [{"id": f"p{number}", "text": "LOUD" if number % 2 else "quiet " * 10 + f"\nand {SECRET}"} for number in range(5)]


class Fake(StandIn):
    """A model that marks long posts and loud posts, and remembers the texts that it was given."""

    labels = ["long", "loud"]
    operating_points_ = {"balanced": [0.5, 0.5], "cautious": [0.9, 1.0]}

    def __init__(self, digest: str = "d1" * 32) -> None:
        self.digest_ = digest
        self.asked: list[str] = []

    def answers(self, texts: Sequence[str]) -> np.ndarray:
        assert len(set(texts)) == len(texts) > 0  # each distinct text once
        self.asked += texts
        return np.array([[min(len(text) / 100, 1), "loud" in text] for text in texts], np.float32)


@pytest.fixture(scope="module", autouse=True)
def _many_shards() -> Iterator[None]:
    """Make shards of only a few rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "SHARD_BYTES", 150)
        patch.setattr(parquet, "_PARQUET_BATCH", 3)
        yield


@contextmanager
def standing_in(model: Fake, load: Callable[[], object] | None = None) -> Iterator[Path]:
    """Yield a folder in which jobs of this process find `model`, although it was not saved; `load` is called when they load it."""
    folder = Path("no such folder")

    def found(place: Path) -> object:
        assert place == folder
        return load() if load else model

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ModelFolder, "read", classmethod(lambda cls, place: cls(place, model.digest_, model.labels, model.operating_points_)))
        patch.setattr(Classifier, "load", classmethod(lambda cls, place: found(place)))
        yield folder


def run(inputs: Sequence[object], out: Path, model: Fake | Path | None = None, *, start_over=False, progress=lambda state: None, **options):
    """Run a job with a fake model, or with the real one in a folder."""
    if isinstance(model, Path):
        return score_files(inputs, model, out, Options(**options), start_over=start_over, progress=progress)
    with standing_in(model or Fake()) as folder:
        return score_files(inputs, folder, out, Options(**options), start_over=start_over, progress=progress)


def manifest(out: Path) -> dict:
    return json.loads((out / "manifest.json").read_text())


def predictions(out: Path, file: object = None) -> list[dict]:
    """Return all rows of an output, or those of one input file, in order."""
    found = []
    for name, summary in manifest(out)["files"].items():
        for part in map(out.joinpath, summary["parts"] if file is None or name == str(file) else ()):
            if part.suffix == ".parquet":
                found += pq.read_table(part).to_pylist()
            elif part.suffix == ".jsonl":
                found += map(json.loads, part.read_text().splitlines())
            else:
                found += csv.DictReader(io.StringIO(part.read_bytes().decode(), newline=""))
    return found


def ids(out: Path, file: object = None) -> list[str]:
    return [row["id"] for row in predictions(out, file)]


def rejects(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "rejects.jsonl").read_text().splitlines()]


def write_rows(path: Path, rows: list[dict]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
        return path
    text = io.StringIO(newline="")
    if ".csv" in path.name:
        writer = csv.DictWriter(text, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    else:
        text.write("".join(json.dumps(row) + "\n" for row in rows))
    with pa.output_stream(str(path), compression={".gz": "gzip", ".zst": "zstd"}.get(path.suffix)) as file:
        file.write(text.getvalue().encode())
    return path


ENDINGS = pytest.mark.parametrize("ending", [".jsonl", ".csv", ".parquet", ".jsonl.gz", ".csv.zst"])


@ENDINGS
def test_output_is_the_contract(tmp_path, ending):
    out = tmp_path / "out"
    summary = run([write_rows(tmp_path / f"in{ending}", POSTS)], out)
    parts = summary.files[str(tmp_path / f"in{ending}")].parts
    assert sorted(path.name for path in out.iterdir()) == sorted([*parts, "_shards", "manifest.json", "rejects.jsonl"])
    assert summary.shards == len(parts) >= 2
    for part in parts:
        assert pq.read_table(out / part).schema == pa.schema(
            [("id", pa.string()), ("prob_long", pa.float32()), ("prob_loud", pa.float32()), ("labels", NAMES), ("model", pa.string())]
        )
    rows = predictions(out)
    assert [row["id"] for row in rows] == [f"p{number}" for number in range(5)]
    assert [row["labels"] for row in rows] == [["long"], ["loud"], ["long"], ["loud"], ["long"]]
    assert [row["prob_loud"] for row in rows] == [0, 1, 0, 1, 0]
    assert {row["model"] for row in rows} == {"d1" * 32}
    assert rejects(out) == []
    assert (summary.read, summary.scored, summary.rejected, summary.reused) == (5, 5, 0, 3)
    assert (summary.labels, summary.rates) == ({"long": 3, "loud": 2}, {"long": 0.6, "loud": 0.4})


def test_manifest_is_the_summary_and_knows_its_parts(tmp_path):
    summary = run([write_rows(tmp_path / "in.jsonl", POSTS)], tmp_path / "out")
    assert manifest(tmp_path / "out") == json.loads(summary.to_json())
    assert set(summary.software) == {"disclosure-pipeline", "python", "numpy", "pyarrow", "scipy", "spacy"}
    (file,) = summary.files.values()
    for part, digest in file.parts.items():
        assert subprocess.check_output(["sha256sum", tmp_path / "out" / part], text=True).split()[0] == digest


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory) -> Path:
    """A model directory."""
    folder = tmp_path_factory.mktemp("model") / "m"
    model.save(folder)
    return folder


@pytest.fixture(scope="module")
def saved(folder) -> Classifier:
    """The model in that directory."""
    return Classifier.load(folder)


@pytest.mark.parametrize("form", ["parquet", "jsonl", "csv"])
def test_a_real_model_gives_the_probabilities_of_its_own_score(tmp_path, folder, saved, posts, form):
    rows = [{"id": number, "text": text} for number, text in enumerate(posts.texts[:30])]
    run([write_rows(tmp_path / "in.parquet", rows)], tmp_path / "out", folder, format=form)
    expected = saved.predict_proba(posts.texts[:30])
    found = predictions(tmp_path / "out")
    probabilities = [[np.float32(row[f"prob_{label}"]) for label in saved.labels] for row in found]
    assert np.array(probabilities, np.float32).tobytes() == expected.tobytes()
    decided = [[label for label, given in zip(saved.labels, row, strict=True) if given] for row in saved.decide(expected)]
    assert any(decided)
    assert [row["labels"] for row in found] == [";".join(row) if form == "csv" else row for row in decided]
    assert [row["id"] for row in found] == [str(number) for number in range(30)]
    assert {row["model"] for row in found} == {saved.digest_}


@pytest.mark.parametrize("form", ["parquet", "jsonl", "csv"])
@ENDINGS
def test_no_text_anywhere_in_the_output(tmp_path, ending, form):
    rows = [{"id": "1", "author": SECRET, "text": f"{SECRET} {SECRET.upper()}"}, {"id": "", "author": SECRET, "text": SECRET}]
    source = write_rows(tmp_path / f"in{ending}", rows)
    if ending in (".jsonl", ".csv"):
        with source.open("ab") as file:
            file.write(f'{{"id": "9", "text": "{SECRET}\n"{SECRET}"{SECRET}, c\n{SECRET}\n'.encode())
            file.write(b"\xff" + SECRET.encode() + b",\xff,\xff\n")
    out = tmp_path / "out"
    summary = run([source], out, format=form, max_chars=200)
    assert summary.rejected > 0
    everything = [path for path in out.rglob("*") if path.is_file()]
    assert out / "_shards" in {path.parent for path in everything}
    for path in everything:
        content = path.read_bytes() + (str(pq.read_table(path).to_pylist()).encode() if path.suffix == ".parquet" else b"")
        assert SECRET.encode() not in content.lower()


BAD_JSONL = {
    '{"id": "a", "text": null}': "text is null",
    '{"id": "a"}': "text is null",
    '{"id": "a", "text": ""}': "text is empty",
    '{"id": "a", "text": " \\n\\u2003"}': "text is empty",
    '{"id": "a", "text": 7}': "text is not a string",
    '{"id": "a", "text": ["x"]}': "text is not a string",
    '{"text": "x"}': "id is missing, or is neither a string nor an integer",
    '{"id": "", "text": "x"}': "id is missing, or is neither a string nor an integer",
    '{"id": true, "text": "x"}': "id is missing, or is neither a string nor an integer",
    '{"id": 1.5, "text": "x"}': "id is missing, or is neither a string nor an integer",
    '{"id": ["a"], "text": "x"}': "id is missing, or is neither a string nor an integer",
    '{"id": "a", "text": "123456789 123456789 123456789 1"}': "text is longer than 30 characters",
    '{"id": "a", "text": "x"': "not valid JSON",
    "\0": "not valid JSON",
    "[1]": "not a JSON object",
    "null": "not a JSON object",
    '{"id": "a", "text": "\udcff"}': "not UTF-8",
}


def test_each_kind_of_bad_line_is_rejected_with_its_number_and_reason_and_counted(tmp_path):
    source, out = tmp_path / "in.jsonl", tmp_path / "out"
    lines = ['{"id": "first", "text": "x"}', *BAD_JSONL, '{"id": "last", "text": "123456789 123456789 123456789 "}']
    source.write_bytes("\n".join(lines).encode("utf-8", "surrogateescape"))
    summary = run([source], out, max_chars=30)
    known = [{"id": "a"} if '"a", "text"' in line or line == '{"id": "a"}' else {} for line in BAD_JSONL]
    known[-5:] = [{}] * 5  # of lines that could not be read
    expected = enumerate(BAD_JSONL.values(), 2)
    assert rejects(out) == [{"file": str(source), "row": row, "reason": reason} | known[row - 2] for row, reason in expected]
    assert ids(out) == ["first", "last"]
    assert summary.reasons["text is null"] == 2
    assert sum(summary.reasons.values()) == summary.rejected == len(BAD_JSONL)


def test_rejects_are_counted_exactly_and_listed_up_to_a_number(tmp_path, monkeypatch):
    monkeypatch.setattr(completion, "LISTED", 2)
    monkeypatch.setattr(job, "LISTED_OF_FILE", 5)
    sources = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    sources[0].write_text("oops\n" * 200)
    sources[1].write_text('{"id": "7", "text": "x"}\n{"id": "8", "text": null}\n')
    summary = run(sources, tmp_path / "out")
    assert summary.shards > 4
    assert (summary.read, summary.scored, summary.rejected) == (202, 1, 201)
    assert summary.reasons == {"not valid JSON": 200, "text is null": 1}
    assert [(file.rejected, file.listed) for file in summary.files.values()] == [(200, 5), (1, 1)]
    assert [row["row"] for row in rejects(tmp_path / "out")][:3] == [1, 2, 31]
    assert rejects(tmp_path / "out")[-1] == {"file": str(sources[1]), "row": 2, "reason": "text is null", "id": "8"}
    assert run(sources, tmp_path / "out").reasons == summary.reasons


def test_record_of_an_earlier_release_counts_what_it_lists():
    done = completion.Completion("in", 0, 1, "", "", "", "part", rejects=[(1, "text is null"), (2, "text is null"), (3, "not UTF-8")])
    assert (done.rejected, done.reasons) == (3, {"text is null": 2, "not UTF-8": 1})


def test_texts_with_nul_bytes_are_scored(tmp_path):
    run([write_rows(tmp_path / "in.jsonl", [{"id": "a\0b", "text": "\0LOUD\0"}])], tmp_path / "out")
    assert ids(tmp_path / "out") == ["a\0b"]


def test_all_rejected_is_parts_without_rows(tmp_path):
    summary = run([write_rows(tmp_path / "in.jsonl", [{"id": "1", "text": None}])], tmp_path / "out")
    (part,) = (tmp_path / "out").glob("part-*")
    assert (pq.read_table(part).num_rows, pq.read_table(part).schema.names[0]) == (0, "id")
    assert (summary.scored, summary.labels, summary.rates) == (0, {"long": 0, "loud": 0}, {"long": 0, "loud": 0})


def test_integers_become_strings_exactly(tmp_path):
    numbers = [0, -5, 2**53 + 1, 929292929292929292929]
    run([write_rows(tmp_path / "in.jsonl", [{"id": number, "text": "x"} for number in numbers])], tmp_path / "out")
    assert ids(tmp_path / "out") == [str(number) for number in numbers]


# What a line may hold: (id, text), or bytes that are not a valid row; and whether it is a post.
TEXTS = st.text(st.characters(codec="utf-8"), max_size=5) | st.sampled_from(["post", "ONE MORE", "two\nlines", 'said "no"', "", " ", "\0"])
BROKEN = {
    ".jsonl": [b"{", b"\xff\xff", b"[1]", b"null", b'"x"', b"\0", b'{"id": "1", "text": "\xff"}', b'{"id": "1", "text": "a"} b'],
    ".csv": [b"one", b"a,b,c", b'"a"b,c', b"\xff,x", b"x,\xff", b","],
    ".parquet": [b"\xff", b"x\xff"],
}
ODD = {".jsonl": st.none() | st.integers() | st.booleans() | st.floats(), ".csv": st.nothing(), ".parquet": st.none()}


def row_of(kind: str):
    return st.tuples(TEXTS | ODD[kind], TEXTS | ODD[kind]) | st.sampled_from(BROKEN[kind])


FILES = st.lists(
    st.sampled_from([".jsonl", ".jsonl.gz", ".jsonl.zst", ".csv", ".csv.gz", ".csv.zst", ".parquet"]).flatmap(
        lambda ending: st.tuples(st.just(ending), st.lists(row_of(f".{ending.split('.')[1]}"), max_size=12))
    ),
    min_size=1,
    max_size=3,
).filter(lambda files: any(rows for _, rows in files))


def write_mixed(path: Path, kind: str, rows: list) -> None:
    if kind == ".parquet":
        cells = zip(*[(b"bad", row) if isinstance(row, bytes) else row for row in rows], strict=True) if rows else [(), ()]
        columns = [pa.array([cell.encode() if isinstance(cell, str) else cell for cell in column], pa.binary()) for column in cells]
        pq.write_table(pa.table({name: column.view(pa.string()) for name, column in zip(["id", "text"], columns, strict=True)}), path)
        return
    lines = [b"id,text\n"] if kind == ".csv" else []
    for row in rows:
        if isinstance(row, bytes):
            lines.append(row + b"\n")
        elif kind == ".csv":
            line = io.StringIO(newline="")
            csv.writer(line).writerow(row)
            lines.append(line.getvalue().encode())
        else:
            lines.append(json.dumps(dict(zip(["id", "text"], row, strict=True)), ensure_ascii=False).encode() + b"\n")
    with pa.output_stream(str(path), compression={".gz": "gzip", ".zst": "zstd"}.get(path.suffix)) as file:
        file.write(b"".join(lines))


def is_post(row: object) -> bool:
    if isinstance(row, bytes):
        return False
    identifier, text = row
    known = bool(identifier) if isinstance(identifier, str) else isinstance(identifier, int) and not isinstance(identifier, bool)
    return known and isinstance(text, str) and not is_blank(text)


@settings(max_examples=40)
@given(files=FILES)
def test_any_mix_of_rows_is_scored_or_rejected_in_order(files):
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        paths = [Path(folder) / f"{number}{ending}" for number, (ending, _) in enumerate(files)]
        for path, (ending, rows) in zip(paths, files, strict=True):
            write_mixed(path, f".{ending.split('.')[1]}", rows)
        summary = run(paths, out)
        assert summary.read == summary.scored + summary.rejected == sum(len(rows) for _, rows in files)
        expected = []
        for path, (_, rows) in zip(paths, files, strict=True):
            posts = [row for row in rows if is_post(row)]
            expected += [{"file": str(path), "row": number} for number, row in enumerate(rows, 1) if not is_post(row)]
            assert ids(out, path) == [str(identifier) for identifier, _ in posts]
            file = summary.files[str(path)]
            assert (file.read, file.scored, file.rejected) == (len(rows), len(posts), len(rows) - len(posts))
            if posts:
                scores = Fake().answers(list(dict.fromkeys(normalise(text) for _, text in posts)))
                by_text = dict(zip(dict.fromkeys(normalise(text) for _, text in posts), scores.tolist(), strict=True))
                found = [[row["prob_long"], row["prob_loud"]] for row in predictions(out, path)]
                assert found == [by_text[normalise(text)] for _, text in posts]
        assert [{"file": row["file"], "row": row["row"]} for row in rejects(out)] == expected
        again = Fake()
        assert run(paths, out, again).kept_shards == summary.shards
        assert again.asked == []


def test_size_of_shards_and_batches_does_not_show(tmp_path, monkeypatch, folder, posts):
    rows = [{"id": str(number), "text": None if number % 5 == 3 else text} for number, text in enumerate(posts.texts[:40])]
    sources = [write_rows(tmp_path / name, rows) for name in ("a.jsonl", "b.csv", "c.parquet")]
    run(sources, tmp_path / "tiny", folder)
    monkeypatch.setattr(shards, "SHARD_BYTES", 2**20)
    monkeypatch.setattr("pipeline.scoring.posts.BATCH_POSTS", 7)
    assert run(sources, tmp_path / "whole", folder).shards == 3
    assert predictions(tmp_path / "tiny") == predictions(tmp_path / "whole")
    assert rejects(tmp_path / "tiny") == rejects(tmp_path / "whole")
    run(sources, tmp_path / "tiny", folder)  # over shards of the other size
    assert predictions(tmp_path / "tiny") == predictions(tmp_path / "whole")


def test_progress_ends_with_all_posts_and_bytes(tmp_path):
    sources = [write_rows(tmp_path / name, POSTS * 3) for name in ("a.jsonl", "b.csv.gz", "c.parquet")]
    told: list[Progress] = []
    run(sources, tmp_path / "out", progress=told.append)
    size = sum(path.stat().st_size for path in sources)
    assert told[-1] == Progress(45, size, size)
    assert told == sorted(told)
    with sources[0].open("a") as file:
        file.write('{"id": "new", "text": "x"}\n')
    told.clear()
    run(sources, tmp_path / "out", progress=told.append)
    assert (told[-1].posts, told[-1].done) == (2, size + 27)  # of its shard; what was there before is done, too


# Options


def test_kept_columns_go_along_as_strings(tmp_path):
    values = ["é", 7, None, ["a", 1], {"b": None}, True, 0.5]
    source = write_rows(tmp_path / "in.jsonl", [{"id": "1", "text": "x", "extra": value} for value in values] + [{"id": "1", "text": "x"}])
    run([source], tmp_path / "out", keep=("extra", "text"))
    rows = predictions(tmp_path / "out")
    assert list(rows[0]) == ["id", "extra", "text", "prob_long", "prob_loud", "labels", "model"]
    assert [row["extra"] for row in rows] == ["é", "7", None, '["a", 1]', '{"b": null}', "true", "0.5", None]
    assert {row["text"] for row in rows} == {"x"}


def test_kept_column_that_the_output_has_is_refused(tmp_path, refused):
    source = write_rows(tmp_path / "in.jsonl", [{"id": "1", "text": "x", "labels": "y"}])
    for name in ("id", "labels", "prob_loud", "model"):
        with refused(f"keep '{name}'", "rename"):
            run([source], tmp_path / "out", keep=(name,))
    with refused("keep 'explanation'"):
        run([source], tmp_path / "out", keep=("explanation",), explain=True)
    with refused("keep 'review'"):
        run([source], tmp_path / "out", keep=("review",), abstain=(0, 1))
    source = write_rows(tmp_path / "in.jsonl", [{"id": "1", "text": "x", "review": "y"}])
    assert run([source], tmp_path / "out", keep=("review",)).scored == 1


@pytest.mark.parametrize("name", ["posts.jsonl", "posts.csv", "posts.parquet"])
def test_rows_without_ids_are_numbered_the_same_in_every_run(tmp_path, monkeypatch, name):
    rows = [{"text": "" if number == 5 else f"post {number}"} for number in range(1, 20)]
    for folder in ("a", "b"):
        path = tmp_path / folder / name
        path.parent.mkdir()
        if name.endswith("parquet"):
            pq.write_table(pa.Table.from_pylist(rows), path)
        elif name.endswith("csv"):
            path.write_text("text\n" + "".join(f'"{row["text"]}"\n' for row in rows))
        else:
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    wanted = [f"{tmp_path}/{folder}/{name}:{number}" for folder in "ab" for number in range(1, 20) if number != 5]
    monkeypatch.setattr(shards, "SHARD_BYTES", 10_000)
    run([tmp_path / "a", tmp_path / "b"], tmp_path / "out", id_column=None)
    assert ids(tmp_path / "out") == wanted
    monkeypatch.setattr(shards, "SHARD_BYTES", 40)
    run([tmp_path / "a", tmp_path / "b"], tmp_path / "more", id_column=None)
    assert len(list((tmp_path / "more").glob("part-*"))) > len(list((tmp_path / "out").glob("part-*")))
    for part in list((tmp_path / "more").glob("part-*"))[::2]:
        part.unlink()
    assert run([tmp_path / "a", tmp_path / "b"], tmp_path / "more", id_column=None).kept_shards
    assert ids(tmp_path / "more") == wanted
    assert {row["row"] for row in rejects(tmp_path / "more")} == {5}


def test_ids_that_stand_in_several_shards_and_files_are_counted(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.csv").write_text("id,text\n" + "".join(f"{number},post {name}\n" for number in range(100)))
    summary = run([tmp_path / "a.csv", tmp_path / "b.csv"], tmp_path / "out")
    assert (summary.shards > 2, summary.repeated_ids, summary.rounded_ids) == (True, 100, 0)
    again = run([tmp_path / "a.csv", tmp_path / "b.csv"], tmp_path / "out")
    assert (again.kept_shards, again.repeated_ids) == (summary.shards, 100)


def test_what_file_managers_leave_in_the_output_stays(tmp_path, jsonl):
    out = tmp_path / "out"
    out.mkdir()
    litter = [out / name for name in (".DS_Store", ".gitkeep", "Thumbs.db", "desktop.ini", "._x")]
    for start_over in (False, True, False):
        for path in litter:
            path.write_text("mine")
        run([jsonl("posts.jsonl", POSTS)], out, start_over=start_over)
        assert [path.read_text() for path in litter] == ["mine"] * len(litter)
        assert len(ids(out)) == len(POSTS)


def test_shards_of_odd_files_hold_whole_rows(tmp_path):
    files = {
        "wide.csv": 'id\ttext\r\n1\t"one\r\npost; caf\u00e9"\r\n2\tanother\r\n'.encode("utf-16"),
        "array.json": json.dumps([{"id": 1, "text": "one\r\npost; caf\u00e9"}, {"id": 2, "text": "another"}], indent=1).encode(),
        "cr.csv": 'sep=|\rid|text\r1|"one\r\npost; caf\u00e9"\r2|another\r'.encode("mac_roman"),
        "spaced.csv": 'id, text\n1, "one\r\npost; caf\u00e9"\n2, another\n'.encode("cp1252"),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "SHARD_BYTES", 1)
        for name, content in files.items():
            (tmp_path / name).write_bytes(content)
            summary = run([tmp_path / name], tmp_path / f"{name}.out", keep=("text",))
            assert summary.shards == 2
            kept = [(row["id"], row["text"]) for row in predictions(tmp_path / f"{name}.out")]
            assert kept == [("1", "one\r\npost; caf\u00e9"), ("2", "another")]


def test_another_dialect_scores_again_what_has_the_same_bytes(tmp_path):
    source, out = tmp_path / "posts.csv", tmp_path / "out"
    source.write_text("id,text\n1,a\n")
    before = run([source], out).shards
    source.write_text("sep=,\nid,text\n1,a\n")
    assert run([source], out).kept_shards == before
    source.write_text("sep=;\nid,text;id;text\n1,a;2;b\n")
    assert run([source], out).kept_shards == 0


def test_column_to_keep_that_no_input_has_is_refused(tmp_path, refused):
    sources = [write_rows(tmp_path / f"{name}.jsonl", [{"id": name, "text": "x", name: "y"}]) for name in "ab"]
    with refused("--keep sorce: the inputs have no such column"):
        run(sources, tmp_path / "out", keep=("a", "sorce"))
    assert run(sources, tmp_path / "out", keep=("a", "b")).scored == 2


def test_starting_over_on_nothing_leaves_the_earlier_output(out, sources, refused):
    before = state(out)
    for source in sources:
        source.unlink()
    sources[0].touch()
    with refused("(no rows); give a file with posts"):
        run(sources[:1], out, start_over=True)
    assert state(out) == before


def test_each_damaged_file_is_told(tmp_path):
    sources = [tmp_path / f"{name}.jsonl.gz" for name in "abc"]
    for source in sources:
        source.write_bytes(b"no gzip")
    with pytest.raises(IncompleteError, match="and 2 more") as caught:
        run(sources, tmp_path / "out")
    assert [source.name in reason for source, reason in zip(sources, caught.value.reasons, strict=True)] == [True] * 3


def test_row_that_cannot_be_kept_is_rejected_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "SHARD_BYTES", 2**20)
    lines = [f'{{"id": "{depth}", "text": "x", "deep": {"[" * depth}{"]" * depth}}}' for depth in range(800, 1000)]
    (tmp_path / "in.jsonl").write_text("\n".join(lines))
    summary = run([tmp_path / "in.jsonl"], tmp_path / "out", keep=("deep",))
    assert summary.scored > 0
    assert summary.reasons["not valid JSON"] > 0
    assert summary.read == 200


def test_large_kept_values_do_not_wait_for_a_full_batch(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "SHARD_BYTES", 2**20)
    monkeypatch.setattr("pipeline.predictions._GROUP_BYTES", 1)  # so that each batch is written by itself
    monkeypatch.setattr("pipeline.scoring.posts.BATCH_CHARS", 1000)
    source = write_rows(tmp_path / "in.parquet", [{"id": str(number), "text": "x", "page": "y" * 400} for number in range(60)])
    run([source], tmp_path / "out", keep=("page",))
    (part,) = (tmp_path / "out").glob("part-*")
    assert pq.read_metadata(part).num_row_groups == 20


def test_labels_within_the_band_are_for_review_bounds_included(tmp_path):
    source = write_rows(tmp_path / "in.jsonl", [{"id": str(size), "text": ("xy" * 40)[:size]} for size in (29, 30, 50, 70, 71)])
    summary = run([source], tmp_path / "out", abstain=(0.3, 0.7))
    found = {row["id"]: row["review"] for row in predictions(tmp_path / "out")}
    assert found == {"29": [], "30": ["long"], "50": ["long"], "70": ["long"], "71": []}
    assert (summary.review, summary.labels["long"]) == (3, 3)  # the decision stands
    run([source], tmp_path / "plain")
    assert "review" not in predictions(tmp_path / "plain")[0]


@pytest.mark.parametrize("form", ["parquet", "jsonl", "csv"])
def test_explanations_are_the_model_s_for_the_labels_decided_and_for_review(tmp_path, folder, saved, posts, form):
    texts = [*posts.texts[:12], *posts.texts[:12], *map(str.upper, posts.texts[:12])]
    source = write_rows(tmp_path / "in.jsonl", [{"id": number, "text": text} for number, text in enumerate(texts)])
    run([source], tmp_path / "out", folder, format=form, explain=True, abstain=(0.2, 0.6))
    probabilities = saved.predict_proba(texts)
    named = saved.decide(probabilities) | ((probabilities >= np.float32(0.2)) & (probabilities <= np.float32(0.6)))
    assert 0 < named.any(axis=1).sum() < 36
    expected = reasons(saved, saved.tokenizer.read(texts), named, 5)
    rows = predictions(tmp_path / "out")
    assert list(rows[0])[-4:] == ["labels", "review", "explanation", "model"]
    if form == "csv":
        told = [[f"{word} {contribution:+.2f}" for _, word, contribution in post] for post in expected]
        assert all(all(part in row["explanation"] for part in parts) for row, parts in zip(rows, told, strict=True))
    else:
        found = [[(each["label"], each["word"], np.float32(each["contribution"])) for each in row["explanation"]] for row in rows]
        assert found == [[(label, word, np.float32(contribution)) for label, word, contribution in post] for post in expected]
    assert manifest(tmp_path / "out")["options"]["explain"] is True


def test_explanations_do_not_show_the_size_of_shards_and_batches_nor_change_the_rest(tmp_path, monkeypatch, folder, posts):
    rows = [{"id": str(number), "text": text} for number, text in enumerate(posts.texts[:40])]
    source = write_rows(tmp_path / "in.jsonl", rows)
    run([source], tmp_path / "tiny", folder, explain=True)
    run([source], tmp_path / "plain", folder)
    monkeypatch.setattr(shards, "SHARD_BYTES", 2**20)
    monkeypatch.setattr("pipeline.scoring.posts.BATCH_POSTS", 7)
    monkeypatch.setattr("pipeline.scoring.distinct.EXPLAINED_CHARS", 50)
    run([source], tmp_path / "whole", folder, explain=True)
    explained = predictions(tmp_path / "tiny")
    assert explained == predictions(tmp_path / "whole")
    assert any(row["explanation"] for row in explained)
    assert [{name: row[name] for name in row if name != "explanation"} for row in explained] == predictions(tmp_path / "plain")


def test_asking_for_explanations_or_thresholds_scores_again_and_then_stands(tmp_path, folder, posts):
    source, out = write_rows(tmp_path / "in.jsonl", [{"id": "1", "text": posts.texts[0]}]), tmp_path / "out"
    for options in ({}, {"explain": True}, {"explain": True, "thresholds": {"alpha": 0.0}}, {}):
        assert [run([source], out, folder, **options).kept_shards for _ in range(2)] == [0, 1]


def test_threshold_asked_for_decides_counts_and_is_in_the_manifest(tmp_path):
    source = write_rows(tmp_path / "in.jsonl", POSTS)
    summary = run([source], tmp_path / "out", thresholds={"long": 0.1, "loud": 1.0})
    assert summary.labels == {"long": 3, "loud": 2}
    summary = run([source], tmp_path / "out", thresholds={"long": 0.0})
    assert summary.labels == {"long": 5, "loud": 2}
    assert [row["labels"] for row in predictions(tmp_path / "out")][:2] == [["long"], ["long", "loud"]]
    assert manifest(tmp_path / "out")["options"]["thresholds"] == {"long": 0.0}


def test_operating_point_decides_thresholds_go_over_it_and_the_manifest_says_what_decided(tmp_path):
    source, out = write_rows(tmp_path / "in.jsonl", POSTS), tmp_path / "out"
    balanced = run([source], out)
    assert (balanced.labels, balanced.thresholds) == ({"long": 3, "loud": 2}, {"long": 0.5, "loud": 0.5})
    assert "operating_point" not in manifest(out)["options"], "so that jobs that an earlier release began can be continued"
    cautious = run([source], out, operating_point="cautious")
    assert (cautious.kept_shards, cautious.labels) == (0, {"long": 0, "loud": 2})
    assert (manifest(out)["options"]["operating_point"], manifest(out)["thresholds"]) == ("cautious", {"long": 0.9, "loud": 1.0})
    assert run([source], out, operating_point="cautious").kept_shards == cautious.shards
    over = run([source], out, operating_point="cautious", thresholds={"long": 0.1})
    assert (over.kept_shards, over.labels, over.thresholds) == (0, {"long": 3, "loud": 2}, {"long": 0.1, "loud": 1.0})


@pytest.mark.parametrize(
    ("point", "told"),
    [
        ("sensitive", "operating point 'sensitive': the model has only balanced, cautious; choose one of these"),
        ("Cautious", "operating_point must be one of balanced, cautious, sensitive, but got 'Cautious'"),
    ],
)
def test_operating_point_that_the_model_lacks_is_refused_and_nothing_done(tmp_path, refused, point, told):
    with refused(told):
        run([write_rows(tmp_path / "in.jsonl", POSTS)], tmp_path / "out", operating_point=point)
    assert not (tmp_path / "out").exists()


def test_threshold_for_a_label_that_the_model_lacks_is_refused_and_nothing_done(tmp_path, refused):
    with refused("'lond'", "long, loud"):
        run([write_rows(tmp_path / "in.jsonl", POSTS)], tmp_path / "out", thresholds={"lond": 0.5})
    assert not (tmp_path / "out").exists()


def test_over_long_text_is_rejected_or_scored_in_part(tmp_path):
    source = write_rows(tmp_path / "in.jsonl", [{"id": str(times), "text": "xy" * times} for times in (5, 6, 20)])
    assert run([source], tmp_path / "out", max_chars=10).reasons == {"text is longer than 10 characters": 2}
    model = Fake()
    assert run([source], tmp_path / "out", model, max_chars=10, over_long="truncate").scored == 3
    assert set(model.asked) == {"xy" * 5}


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"format": "xml"}, ["'xml'", "parquet, jsonl, csv"]),
        ({"over_long": "cut"}, ["'cut'", "reject, truncate"]),
        ({"max_chars": 0}, ["max_chars must be 1 or more, but got 0", "1 or more"]),
        ({"abstain": (0.7, 0.3)}, ["0.7:0.3", "LOW <= HIGH"]),
        ({"abstain": (0.2, 1.5)}, ["0.2:1.5"]),
        ({"abstain": (float("nan"), 0.5)}, ["nan:0.5"]),
        ({"keep": ("a", "b", "a")}, ["'a'", "twice"]),
    ],
)
def test_option_that_is_not_allowed_is_refused(refused, options, parts):
    with refused(*parts):
        Options(**options)


def test_number_of_workers_is_checked(tmp_path, refused):
    with refused("workers must be 1 or more, or None, but got 0"), standing_in(Fake()) as folder:
        score_files([tmp_path], folder, tmp_path / "out", workers=0)


# Restarts


@pytest.fixture
def sources(tmp_path) -> list[Path]:
    """Files that make several shards each, with repeated texts and rejects."""
    rows = [{"id": f"{number}", "text": "" if number % 6 == 5 else f"some POST, number {number % 9}"} for number in range(13)]
    return [write_rows(tmp_path / name, rows) for name in ("a.jsonl", "b.csv.gz", "c.parquet")]


@pytest.fixture
def out(tmp_path, sources) -> Path:
    """The output of a complete job."""
    assert run(sources, tmp_path / "out").shards > 10
    return tmp_path / "out"


TIMES = ("seconds", "posts_per_second")


def state(folder: Path) -> dict[str, object]:
    """Return the content of each file, except for what depends on how long the work took."""
    found: dict[str, object] = {}
    for path in folder.rglob("*"):
        if path.is_file():
            found[str(path.relative_to(folder))] = content = path.read_bytes()
            if path.suffix == ".json":
                found[str(path.relative_to(folder))] = {
                    key: value for key, value in json.loads(content).items() if key not in (*TIMES, "kept_shards", "reused")
                }
    return found


def numbers(folder: Path) -> dict[str, tuple[int, int]]:
    """Return the inode and time of each part, which change if it is written again (the time, because inodes are reused)."""
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.glob("part-*")}


def parts_of(out: Path, path: Path) -> list[str]:
    return list(manifest(out)["files"][str(path)]["parts"])


def test_second_run_does_nothing_again(out, sources):
    before, written, model = state(out), numbers(out), Fake()
    summary = run(sources, out, model)
    assert model.asked == []
    assert summary.kept_shards == summary.shards
    assert (state(out), numbers(out)) == (before, written)


def test_a_run_that_does_nothing_does_not_load_the_model(out, sources):
    with standing_in(Fake(), lambda: pytest.fail("loaded")) as folder:
        assert score_files(sources, folder, out).scored == 33


def again(sources: list[Path], out: Path) -> tuple[Summary, set[str]]:
    """Run the job again, check that the output equals that of a fresh run, and return the names of the parts that were written."""
    written = numbers(out)
    summary = run(sources, out)
    run(sources, out.with_name("fresh"))
    assert state(out) == state(out.with_name("fresh"))
    now = numbers(out)
    changed = {name for name in now if now[name] != written.get(name)}
    assert summary.shards - summary.kept_shards == len(changed)
    return summary, changed


def test_appended_rows_redo_the_last_shard_only(out, sources):
    before = parts_of(out, sources[0])
    with sources[0].open("a") as file:
        file.write('{"id": "new", "text": "x"}\n')
    _, changed = again(sources, out)
    assert changed == {before[-1]}


def test_edited_row_redoes_its_shard_only(out, sources):
    content = sources[0].read_bytes()
    sources[0].write_bytes(content.replace(b'"id": "4"', b'"id": "X"'))
    _, changed = again(sources, out)
    assert changed == {parts_of(out, sources[0])[1]}


def test_row_put_in_front_redoes_all_shards_of_its_file_and_no_others(out, sources):
    write_rows(sources[2], [{"id": "z", "text": "z"}, *pq.read_table(sources[2]).to_pylist()])
    _, changed = again(sources, out)
    assert changed == set(parts_of(out, sources[2]))


def test_shrunk_file_leaves_no_stale_parts(out, sources):
    kept = parts_of(out, sources[0])[0]
    sources[0].write_text("".join(sources[0].read_text().splitlines(keepends=True)[:4]))
    gone = set(parts_of(out, sources[0])[1:])
    summary, changed = again(sources, out)
    assert (changed, list(summary.files[str(sources[0])].parts)) == (set(), [kept])
    assert not any((out / name).exists() for name in gone)


def test_file_that_became_empty_leaves_no_parts(out, sources):
    sources[0].write_text("")
    summary, _ = again(sources, out)
    assert summary.files[str(sources[0])].parts == {}


def test_further_file_leaves_the_others_alone(out, sources, tmp_path):
    further = write_rows(tmp_path / "0.jsonl", POSTS)
    written = numbers(out)
    run([further, *sources], out)
    assert numbers(out).items() >= written.items()
    assert ids(out)[:5] == [post["id"] for post in POSTS]


@pytest.mark.parametrize("options", [{"abstain": (0.1, 0.9)}, {"format": "csv"}, {"keep": ("text",)}, {"max_chars": 18}])
def test_other_options_redo_all(out, sources, options):
    written = numbers(out)
    assert run(sources, out, **options).kept_shards == 0
    run(sources, out.with_name("fresh"), **options)
    assert state(out) == state(out.with_name("fresh"))
    assert not set(written.values()) & set(numbers(out).values())


def remove_record(part: Path) -> None:
    (part.parent / "_shards" / f"{part.stem.removeprefix('part-')}.json").unlink()


def damage_record(part: Path) -> None:
    (part.parent / "_shards" / f"{part.stem.removeprefix('part-')}.json").write_bytes(b'{"file": "a')


def other_content(part: Path) -> None:
    """Leave a part as a job with other options does if it is killed before it writes the record."""
    part.write_bytes(sorted(part.parent.glob("part-*"))[-1].read_bytes() + b"x")


def truncate(part: Path) -> None:
    os.truncate(part, part.stat().st_size - 1)


def flip(part: Path) -> None:
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(content)


@pytest.mark.parametrize("harm", [remove_record, damage_record, other_content, truncate, flip, Path.unlink])
def test_harmed_part_or_record_is_redone_alone(out, sources, harm):
    part = sorted(out.glob("part-*"))[2]
    harm(part)
    summary, _ = again(sources, out)
    assert summary.kept_shards == summary.shards - 1


def stop_after(shards_done: int):
    told = 0

    def progress(_: Progress) -> None:
        nonlocal told
        told += 1
        if told == shards_done:
            raise KeyboardInterrupt

    return progress


@pytest.mark.parametrize("others", [{"abstain": (0.1, 0.9)}, {"format": "jsonl"}])
def test_other_options_stopped_halfway_leave_no_row_once_the_first_are_back(out, sources, others):
    before = state(out)
    with pytest.raises(KeyboardInterrupt):
        run(sources, out, progress=stop_after(5), **others)
    assert not (out / "manifest.json").exists()
    run(sources, out)
    assert state(out) == before


def test_stopped_job_goes_on_where_it_was(tmp_path, sources, out):
    model = Fake()
    with pytest.raises(KeyboardInterrupt):
        run(sources, tmp_path / "stopped", model, progress=stop_after(7))
    assert not (tmp_path / "stopped" / "manifest.json").exists()
    assert run(sources, tmp_path / "stopped").kept_shards == 7
    assert state(tmp_path / "stopped") == state(out)


def test_manifest_is_gone_from_the_first_shard_replaced_to_the_last(out, sources):
    there = []
    run(sources, out, max_chars=1000, progress=lambda _: there.append((out / "manifest.json").exists()))
    assert set(there) == {False}
    assert (out / "manifest.json").exists()


def test_what_was_left_unfinished_is_removed(out, sources):
    before = state(out)
    left = [out / "part-000000000000-00000.parquet.77.unfinished", out / "_shards" / "000000000000-00000.json.77.unfinished"]
    for path in left:
        path.write_text("x")
    run(sources, out)
    assert state(out) == before


def long_ago(*paths: Path) -> None:
    """Date files an hour back, so that there is no doubt that they are the same as in the job before."""
    for path in paths:
        hour_ago = path.stat().st_mtime_ns - 3600 * 10**9
        os.utime(path, ns=(hour_ago, hour_ago))


@pytest.fixture
def read(monkeypatch) -> list[Path]:
    """The files that jobs cut into shards."""
    found: list[Path] = []
    cut = job.cut
    monkeypatch.setattr(job, "cut", lambda path, *given: found.append(path) or cut(path, *given))
    return found


def test_only_what_is_new_or_changed_is_read_again(tmp_path, sources, read):
    long_ago(*sources)
    out = tmp_path / "out"
    shards_of_all = run(sources, out).shards
    long_ago(*out.glob("part-*"))
    read.clear()
    before = state(out)
    assert (run(sources, out).kept_shards, read) == (shards_of_all, [])
    assert state(out) == before
    further = write_rows(tmp_path / "0.jsonl", POSTS)
    assert (run([further, *sources], out).kept_shards, read) == (shards_of_all, [further])
    run([further, *sources], tmp_path / "fresh")
    assert state(out) == state(tmp_path / "fresh")
    long_ago(further, *out.glob("part-*"))
    time.sleep(0.01)
    with sources[0].open("a") as file:
        file.write('{"id": "new", "text": "x"}\n')
    read.clear()
    run([further, *sources], out)
    assert read == [further, sources[0]]  # one was too young in the job before, the other is changed
    run([further, *sources], tmp_path / "fresh")
    assert state(out) == state(tmp_path / "fresh")


@pytest.mark.parametrize("harm", [remove_record, damage_record, truncate, flip, Path.unlink])
def test_file_is_read_again_if_a_part_of_it_may_be_harmed(tmp_path, sources, read, harm):
    long_ago(*sources)
    out = tmp_path / "out"
    shards_of_all = run(sources, out).shards
    before = state(out)
    parts = [out / part for part in parts_of(out, sources[1])]
    long_ago(*out.glob("part-*"))
    harm(parts[1])
    os.utime(out / "manifest.json", ns=(0, (out / "manifest.json").stat().st_mtime_ns - 1))
    read.clear()
    assert (run(sources, out).kept_shards, read) == (shards_of_all - 1, [sources[1]])
    assert state(out) == before


def test_everything_is_read_again_with_other_options(tmp_path, sources, read):
    long_ago(*sources)
    run(sources, tmp_path / "out")
    long_ago(*(tmp_path / "out").glob("part-*"))
    read.clear()
    assert run(sources, tmp_path / "out", max_chars=18).kept_shards == 0
    assert read == sources


def lines_of(*numbers: int) -> bytes:
    return b"".join(b'{"id": "%d", "text": "one more post"}\n' % number for number in numbers)


def stream(*numbers: int) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(lines_of(*numbers)))


def test_another_stream_does_not_replace_the_scores_of_the_first(tmp_path, monkeypatch, refused):
    out = tmp_path / "out"
    monkeypatch.setattr(sys, "stdin", stream(*range(20)))
    assert run(["-"], out).shards > 2
    before = state(out)
    monkeypatch.setattr(sys, "stdin", stream(*range(20)))
    assert run(["-"], out).kept_shards > 2
    for others in ([7, 8], range(5, 30)):
        monkeypatch.setattr(sys, "stdin", stream(*others))
        with refused(out, "holds scores of another -; choose another --out, or replace them with --start-over"):
            run(["-"], out)
    monkeypatch.setattr(sys, "stdin", stream(*range(8)))
    with pytest.raises((InputError, IncompleteError), match="holds "):
        run(["-"], out)
    assert state(out) == before
    monkeypatch.setattr(sys, "stdin", stream(7))
    run(["-"], out, start_over=True)
    assert ids(out) == ["7"]


def test_file_of_the_same_name_elsewhere_does_not_replace_the_scores_of_the_first(tmp_path, monkeypatch, refused):
    for day, first in (("monday", 0), ("tuesday", 50)):
        (tmp_path / day).mkdir()
        (tmp_path / day / "posts.jsonl").write_bytes(lines_of(*range(first, first + 20)))
    monkeypatch.chdir(tmp_path / "monday")
    run(["posts.jsonl"], tmp_path / "out")
    before = state(tmp_path / "out")
    monkeypatch.chdir(tmp_path / "tuesday")
    with refused("holds scores of another posts.jsonl, which was", "monday", "--start-over"):
        run(["posts.jsonl"], tmp_path / "out")
    assert state(tmp_path / "out") == before
    (tmp_path / "monday").rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path / "moved")
    assert run(["posts.jsonl"], tmp_path / "out").kept_shards > 2


def test_pipe_is_read_once(tmp_path):
    os.mkfifo(tmp_path / "posts.jsonl")
    Thread(target=lambda: (tmp_path / "posts.jsonl").write_bytes(lines_of(*range(20))), daemon=True).start()
    run([tmp_path / "posts.jsonl"], tmp_path / "out", keep=("lang",))
    assert ids(tmp_path / "out") == [str(number) for number in range(20)]


def test_other_model_is_refused_unless_told_to_start_over(out, sources, refused):
    before, other = state(out), Fake("e2" * 32)
    with refused(out, "model d1d1d1d1d1d1", "not by e2e2e2e2e2e2", "--start-over"):
        run(sources, out, other)
    assert state(out) == before
    run(sources, out, other, start_over=True)
    assert {row["model"] for row in predictions(out)} == {"e2" * 32}
    assert len(ids(out)) == 33


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("replaced", [False, True])
def test_starting_over_with_a_model_that_is_damaged_or_was_replaced_leaves_the_earlier_output(out, sources, refused, replaced, workers):
    def load():
        if replaced:
            return Fake("f3" * 32)
        raise InputError("weights: damaged")

    before = state(out)
    with refused("the model was replaced" if replaced else "weights: damaged"), standing_in(Fake("e2" * 32), load) as folder:
        score_files(sources, folder, out, start_over=True, workers=workers)
    assert state(out) == before


def test_starting_over_loads_the_model_once(out, sources):
    model, loaded = Fake("e2" * 32), []
    with standing_in(model, lambda: loaded.append(model) or model) as folder:
        score_files(sources, folder, out, start_over=True)
    assert loaded == [model]


def test_inputs_without_one_that_was_scored_are_refused_unless_told_to_start_over(out, sources, refused):
    before = state(out)
    with refused(out, sources[2], "not among the inputs", "--start-over"):
        run(sources[:2], out)
    assert state(out) == before
    assert run(sources[:2], out, start_over=True).kept_shards == 0
    assert len(list(out.glob("part-*"))) == len(list((out / "_shards").glob("*.json"))) == manifest(out)["shards"]


HOLD = """
import sys
from pathlib import Path
from pipeline.scoring.output import Output
with Output(Path(sys.argv[1])).locked():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_second_job_at_the_same_time_is_refused(out, sources, refused):
    before = state(out)
    command = [sys.executable, "-c", HOLD, out]
    with subprocess.Popen(command, cwd=Path(__file__).parent.parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        with refused(out, "another job"):
            run(sources, out, start_over=True)
        other.kill()
    assert state(out) == before
    assert run(sources, out).kept_shards > 0  # a killed process holds no lock


# Failures


def test_every_input_is_looked_at_before_any_is_scored(tmp_path, sources, refused):
    model = Fake()
    with refused(tmp_path / "nowhere.csv"):
        run([*sources, tmp_path / "nowhere.csv"], tmp_path / "out", model)
    assert (model.asked, (tmp_path / "out").exists()) == ([], False)


def test_missing_column_names_what_there_is(tmp_path, refused):
    source = write_rows(tmp_path / "in.jsonl", [{"key": 1, "body": "x"}])
    with refused(source, "'id'", "body", "key"):
        run([source], tmp_path / "out")
    assert run([source], tmp_path / "out", id_column="key", text_column="body").scored == 1


@pytest.mark.parametrize(
    ("row", "remedy"),
    [
        (
            {"post_id": 1, "tweet": "a b c"},
            "name them with --id-column post_id --text-column tweet (or number the rows: --id-column none)",
        ),
        ({"key": 1, "a tweet": "a b c"}, "name them with --text-column 'a tweet' --id-column none (which numbers the rows), or"),
        ({"id": 1, "x": 1}, "name it with --text-column TEXT_COLUMN"),
    ],
)
def test_missing_columns_are_all_named_with_the_options_that_read_the_file(tmp_path, refused, row, remedy):
    missing = ", ".join(repr(name) for name in ("id", "text") if name not in row)
    with refused(f"row 1: no column {missing}; found", remedy):
        run([write_rows(tmp_path / "in.csv", [row])], tmp_path / "out")


def test_empty_files_are_refused_only_when_there_are_no_others(tmp_path, refused):
    empty = [tmp_path / name for name in ("a.jsonl", "b.csv", "c.jsonl.gz", "d.csv")]
    for path in empty:
        path.write_bytes({"c.jsonl.gz": gzip.compress(b""), "d.csv": b"id,text\n"}.get(path.name, b""))
    with refused(empty[0], "and all other inputs", "no rows"):
        run(empty, tmp_path / "out")
    assert run([*empty, write_rows(tmp_path / "full.jsonl", POSTS)], tmp_path / "out").scored == 5


@pytest.mark.parametrize("name", ["notes.txt", "manifest.json", "part-00000.parquet"])
def test_folder_with_something_else_is_refused(tmp_path, refused, name):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("mine")
    for start_over in (False, True):
        with refused(tmp_path / "out", "other files", name):
            run([write_rows(tmp_path / "in.jsonl", POSTS)], tmp_path / "out", start_over=start_over)
    assert [(path.name, path.read_text()) for path in (tmp_path / "out").iterdir()] == [(name, "mine")]


def test_input_inside_the_output_is_refused_and_stays(out, sources, refused):
    before = state(out)
    with refused(out / "rejects.jsonl", "is in the output folder"):
        run([out / "rejects.jsonl"], out)
    assert state(out) == before


def test_full_disk_stops_the_job_and_leaves_what_stands(out, sources, monkeypatch):
    before = state(out)

    def full(_: int) -> None:
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(IncompleteError, match=r"cannot be written \(No space left on device\).* run again$"):
            run(sources, out, max_chars=1000)
    assert state(out) == before


@pytest.mark.parametrize("after", range(0, 43, 6))
def test_disk_that_fills_up_midway_costs_nothing_once_there_is_room(out, sources, monkeypatch, after):
    fsync, calls = os.fsync, 0

    def full(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls > after:
            raise OSError(28, os.strerror(28))
        fsync(descriptor)

    before = state(out)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(IncompleteError):
            run(sources, out, abstain=(0.1, 0.9))
        assert not list(out.rglob("*.unfinished"))
    run(sources, out)
    assert state(out) == before


def test_what_start_over_cannot_remove_is_one_line(out, sources, monkeypatch):
    def busy(path: Path, missing_ok: bool = False) -> None:
        raise OSError(16, os.strerror(16))

    monkeypatch.setattr(Path, "unlink", busy)
    with pytest.raises(IncompleteError, match="cannot be written"):
        run(sources, out, start_over=True)


THEIRS = {
    "a folder of that name": ["_shards/notes.json", "_shards/deep/x.json"],
    "their manifest": ["_shards/", "manifest.json"],
    "their rejects": ["_shards/", "rejects.jsonl"],
    "their lock": ["_shards/lock"],
    "a download": ["_shards/", "part-3.parquet.unfinished"],
    "a record with a tail": ["_shards/0123456789ab-00000.json.old"],
}


@pytest.mark.parametrize("names", THEIRS.values(), ids=THEIRS)
@pytest.mark.parametrize("start_over", [False, True])
def test_files_of_others_in_the_output_are_never_touched(tmp_path, names, start_over, refused):
    out = tmp_path / "out"
    for path in map(out.joinpath, names):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('["mine"]')
    with refused(out, "holds other files"):
        run([write_rows(tmp_path / "in.jsonl", POSTS)], out, start_over=start_over)
    assert all(path.read_text() == '["mine"]' for path in map(out.joinpath, names))


@pytest.mark.parametrize("name", ["manifest.json", "rejects.jsonl"])
@pytest.mark.parametrize("kind", ["deep", "deep inside", "pipe", "folder", "huge"])
def test_odd_things_with_the_names_of_ours_are_refused_unread(tmp_path, name, kind, refused):
    (out := tmp_path / "out").joinpath("_shards").mkdir(parents=True)
    if kind == "pipe":
        os.mkfifo(out / name)  # whoever opened it would wait without end
    elif kind == "folder":
        (out / name).mkdir()
    else:
        (out / name).write_text({"deep": "[", "deep inside": '{"model":', "huge": "\0"}[kind] * 20_000)
    os.truncate(out / name, 2**42) if kind == "huge" else None
    with refused(out, f"holds other files, such as {name}"):
        run([write_rows(tmp_path / "in.jsonl", POSTS)], out)


@pytest.mark.parametrize(
    "name", ["_shards", "_shards/lock", "_shards/0123456789ab-00000.json", "manifest.json", "part-0123456789ab-00000.csv"]
)
def test_links_in_the_output_are_not_followed(tmp_path, name, refused):
    out, theirs = tmp_path / "out", tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "0123456789ab-00000.json").write_text("mine")
    (out / name).parent.mkdir(parents=True)
    (out / "_shards").mkdir(exist_ok=True) if name != "_shards" else None
    (out / name).symlink_to(theirs if name == "_shards" else theirs / "0123456789ab-00000.json")
    with refused(out, "holds other files"):
        run([write_rows(tmp_path / "in.jsonl", POSTS)], out, start_over=True)
    assert (theirs / "0123456789ab-00000.json").read_text() == "mine"


def test_part_that_no_record_names_is_neither_removed_nor_taken_for_ours(tmp_path, out, sources):
    theirs = out / "part-0123456789ab-00000.parquet"
    theirs.write_bytes(b"mine")
    for start_over in (False, True):
        with pytest.raises(IncompleteError, match=r"part-0123456789ab-00000\.parquet: is not ours, because no record in _shards names it"):
            run(sources, out, start_over=start_over)
    assert theirs.read_bytes() == b"mine"
    theirs.unlink()
    summary = run(sources, out)
    assert summary.kept_shards == summary.shards


@pytest.mark.parametrize("moment", ["record", "part"])
def test_part_that_was_put_in_place_by_a_job_that_was_killed_is_ours(tmp_path, out, sources, monkeypatch, moment):
    """The options of the killed job wrote another format, so that nothing overwrites its last part."""
    before, replace, killed = state(out), Path.replace, tmp_path / "killed"

    def keep_what_is_there(path: Path, place: Path) -> Path:
        if place.suffix == (".json" if moment == "record" else ".csv"):
            shutil.copytree(out, killed)
            raise KeyboardInterrupt
        return replace(path, place)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "replace", keep_what_is_there)
        run(sources, out, format="csv")
    assert (len(list(killed.glob("*.csv"))), len(list(killed.rglob("*.unfinished")))) == (moment == "record", 1)
    run(sources, killed)
    assert state(killed) == before


def test_part_that_is_just_in_place_when_the_job_is_interrupted_is_ours(out, sources, monkeypatch):
    before, fsync = state(out), os.fsync

    def interrupted(file: int) -> None:
        fsync(file)
        if stat.S_ISDIR(os.fstat(file).st_mode):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "fsync", interrupted)
        run(sources, out, format="csv")
    assert len(list(out.glob("*.csv"))) == 1
    run(sources, out)
    assert state(out) == before


@pytest.mark.parametrize(
    "name", ["manifest.json", f"part-{'0' * 12}-00000.csv.12.unfinished", f"_shards/part-{'0' * 12}-00000.csv.intended"]
)
def test_what_another_job_moves_while_the_folder_is_looked_at_is_not_taken_for_a_file_of_others(out, name, monkeypatch):
    (out / name).touch()
    listed = output._held

    def moved(folder: Path) -> list[Path]:
        if out / name in (found := listed(folder)):
            (out / name).unlink()
        return found

    monkeypatch.setattr(output, "_held", moved)
    output.Output(out)
    assert not (out / name).exists()


def test_record_of_other_types_or_that_points_elsewhere_is_done_again(out, sources):
    for number, (key, value) in enumerate(
        [("labels", ["long"]), ("read", "5"), ("rejects", {"1": "x"}), ("part", "../in.csv"), ("seconds", None)]
    ):
        record = sorted((out / "_shards").glob("*.json"))[number]
        record.write_text(json.dumps(json.loads(record.read_text()) | {key: value}))
    summary, _ = again(sources, out)
    assert summary.kept_shards == summary.shards - 5


def test_record_whose_counts_cannot_be_is_done_again(out, sources):
    many = 10**30
    changes = [
        {"scored": -5},
        {"read": many, "scored": many},
        {"reasons": {"text is null": -9}},
        {"labels": {"other": 0}},
        {"review": many},
        {"moved": -1},
        {"met": {"few": -1}},
        {"queues": {"few": many}},
    ]
    before = sorted((out / "_shards").glob("*.json"))
    counts = [(was["read"], was["scored"], was["labels"]) for was in map(json.loads, map(Path.read_text, before))]
    for record, change in zip(before, changes, strict=False):
        record.write_text(json.dumps(json.loads(record.read_text()) | change))
    summary, _ = again(sources, out)
    assert summary.kept_shards == summary.shards - min(len(changes), len(before))
    assert counts == [(now["read"], now["scored"], now["labels"]) for now in map(json.loads, map(Path.read_text, before))]


def test_fresh_volume_may_be_the_output(tmp_path):
    (tmp_path / "out" / "lost+found").mkdir(parents=True)
    assert run([write_rows(tmp_path / "in.jsonl", POSTS)], tmp_path / "out").scored == 5
    assert run([write_rows(tmp_path / "in.jsonl", POSTS)], tmp_path / "out", start_over=True).scored == 5


def cut_short(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def appended_to(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b'{"id": "late", "text": "x"}\n')


def written_over(path: Path) -> None:
    """Write as many bytes as there are, in place."""
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))


@pytest.mark.parametrize("harm", [cut_short, appended_to, written_over])
@pytest.mark.parametrize("ending", [".jsonl", ".csv.zst", ".parquet"])
def test_file_that_is_written_while_it_is_scored_is_never_taken_for_whole(tmp_path, sources, ending, harm):
    source, out = write_rows(tmp_path / f"0{ending}", [{"id": f"{n}", "text": "x" * 90} for n in range(900)]), tmp_path / "out"
    told = iter([harm])

    def meddle(_: Progress) -> None:
        for change in told:
            os.utime(source, ns=(1, 1))
            change(source)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(IncompleteError) as caught:
        patch.setattr(shards, "SHARD_BYTES", 20_000)
        run([source, sources[0]], out, progress=meddle)
    assert str(source) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (out / "manifest.json").exists()
    write_rows(source, POSTS)
    run([source, sources[0]], out)
    assert (ids(out, source), len(ids(out, sources[0]))) == ([post["id"] for post in POSTS], 11)


def test_file_that_is_written_while_it_is_scored_is_named_with_the_cause(tmp_path, sources):
    with pytest.raises(IncompleteError, match=r"a\.jsonl: was changed while it was being scored; run again"):
        run(sources[:1], tmp_path / "out", progress=lambda _: appended_to(sources[0]))


@pytest.mark.parametrize("number", [0, 1])
def test_text_file_that_is_replaced_while_it_is_scored_is_scored_as_it_was(tmp_path, sources, number):
    def meddle(state: Progress) -> None:
        if fresh.exists():
            fresh.replace(sources[number])

    fresh = write_rows(sources[number].with_name(f"fresh-{sources[number].name}"), POSTS)
    run([sources[number]], tmp_path / "out", progress=meddle)
    assert len(ids(tmp_path / "out")) == 11
    run([sources[number]], tmp_path / "out")
    assert ids(tmp_path / "out") == [post["id"] for post in POSTS]


def test_input_that_vanishes_while_others_are_scored_fails_alone(tmp_path, sources):
    with pytest.raises(IncompleteError, match=r"b\.csv\.gz: cannot be read"):
        run(sources, tmp_path / "out", progress=lambda _: sources[1].unlink(missing_ok=True))
    write_rows(sources[1], POSTS)
    run(sources, tmp_path / "out")
    assert (len(ids(tmp_path / "out", sources[0])), len(ids(tmp_path / "out", sources[1]))) == (11, 5)


def test_truncated_gzip_keeps_the_rows_before_and_the_other_files(tmp_path, sources):
    rows = [{"id": str(number), "text": random.Random(number).randbytes(30).hex()} for number in range(200)]
    damaged = write_rows(tmp_path / "0.jsonl.gz", rows)
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(IncompleteError, match=r"0\.jsonl\.gz: is damaged or truncated after row \d+"):
        run([damaged, *sources], tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.json").exists()
    damaged.write_bytes(whole)
    summary = run([damaged, *sources], tmp_path / "out")
    assert 20 < summary.kept_shards < summary.shards
    run([damaged, *sources], tmp_path / "fresh")
    assert state(tmp_path / "out") == state(tmp_path / "fresh")


def test_unexpected_error_does_not_tell_the_text(tmp_path):
    class Broken(Fake):
        def answers(self, texts: Sequence[str]) -> np.ndarray:
            if any(SECRET in text for text in texts):
                raise RuntimeError(f"cannot score {texts}")
            return super().answers(texts)

    source = write_rows(tmp_path / "in.jsonl", [{"id": "1", "text": SECRET + "x" * 150}, *[{"id": "2", "text": "fine"}] * 9])
    with pytest.raises(IncompleteError, match=r"in\.jsonl, from row 1: RuntimeError while scoring; please report this bug") as caught:
        run([source], tmp_path / "out", Broken())
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    assert all(SECRET.encode() not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path != source)
    assert run([source], tmp_path / "out").kept_shards > 0


def test_a_thousand_tiny_files(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # writing 4,000 parts would mostly measure the disk
    (tmp_path / "in").mkdir()
    for number in range(1000):
        (tmp_path / "in" / f"{number:05d}.jsonl").write_text(f'{{"id": {number}, "text": "post {number}"}}\n')
    summary = run([tmp_path / "in"], tmp_path / "out")
    assert (summary.read, summary.shards) == (1000, 1000)
    assert ids(tmp_path / "out") == [str(number) for number in range(1000)]
