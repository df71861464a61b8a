"""`disclosure redecide` and `disclosure rescore`: what an earlier job wrote is used again, and nothing is lost or mixed."""

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.commands import again
from pipeline.errors import IncompleteError
from pipeline.predictions import ROW_GROUP, prediction_schema, prediction_table, prediction_writer
from pipeline.records import parquet
from pipeline.scoring import Options, score_files, shards
from pipeline.scoring.forgetting import forget
from pipeline.scoring.parts import ModelFolder
from pipeline.scoring.redecide import _Decider, redecide

ODD = ["plain", 'a "quoted", cell', "two\nlines\r\nand\rmore", "line\u2028separator\x0b", "", None]


@pytest.fixture(autouse=True)
def _many_shards(monkeypatch) -> None:
    monkeypatch.setattr(shards, "SHARD_BYTES", 400)


@pytest.fixture(scope="module")
def folder(model, posts, tmp_path_factory) -> Path:
    """A folder with a saved model and a file of posts, two of which are rejected."""
    folder = tmp_path_factory.mktemp("again")
    model.save(folder / "model")
    rows = [{"id": str(n), "text": text, "note": ODD[n % len(ODD)]} for n, text in enumerate(posts.texts[:30])]
    rows[4]["text"] = rows[20]["text"] = ""
    (folder / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def content(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir() if path.name.startswith(("part-", "rejects"))}


def counts(out: Path) -> dict[str, object]:
    manifest = json.loads((out / "manifest.json").read_bytes())
    return {name: value for name, value in manifest.items() if name not in ("seconds", "posts_per_second", "kept_shards")}


@pytest.mark.parametrize(("kind", "unfamiliar"), [("parquet", False), ("parquet", True), ("jsonl", True), ("csv", True)])
def test_other_thresholds_give_what_scoring_with_them_would_have_given(folder, tmp_path, kind, unfamiliar):
    def score(out: Path, **options: object) -> None:
        asked = Options(format=kind, keep=("note",), unfamiliar=unfamiliar, **options)
        score_files([folder / "in.jsonl"], folder / "model", out, asked)

    one, two, *_ = ModelFolder.read(folder / "model").labels
    changes: dict[str, Any] = {"thresholds": {one: 0.05, two: 0.99}, "abstain": (0.2, 0.8)}
    score(tmp_path / "first")
    before = content(tmp_path / "first")
    score(tmp_path / "direct", **changes)
    redecide(tmp_path / "first", tmp_path / "again", folder / "model", **changes)
    assert content(tmp_path / "again") == content(tmp_path / "direct") != before
    assert counts(tmp_path / "again") == counts(tmp_path / "direct")
    assert content(tmp_path / "first") == before
    kept = redecide(tmp_path / "first", tmp_path / "again", folder / "model", **changes)
    assert kept.kept_shards == kept.shards > 2
    score(tmp_path / "again", **changes)  # goes on where it is done
    same = redecide(tmp_path / "again", tmp_path / "same", folder / "model")
    assert (same.thresholds, same.options) == (kept.thresholds, kept.options)
    assert content(tmp_path / "same") == content(tmp_path / "again")


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "csv"])
def test_kept_column_may_be_called_like_a_probability(folder, tmp_path, kind):
    (tmp_path / "in.jsonl").write_text(json.dumps({"id": "1", "text": "zaxa", "prob_toxic": "0.50"}) + "\n")
    score_files([tmp_path / "in.jsonl"], folder / "model", tmp_path / "first", Options(format=kind, keep=("prob_toxic",)))
    redecide(tmp_path / "first", tmp_path / "again", folder / "model")
    assert content(tmp_path / "again") == content(tmp_path / "first")


def test_part_is_decided_again_if_rejects_were_scored_since(folder, tmp_path, monkeypatch):
    first, out, model = tmp_path / "first", tmp_path / "again", folder / "model"
    monkeypatch.setattr("pipeline.scoring.posts.is_blank", lambda text: "e" in text)  # what will be mended
    score_files([folder / "in.jsonl"], model, first)
    redecide(first, out, model)
    monkeypatch.undo()
    monkeypatch.setattr(shards, "SHARD_BYTES", 400)
    score_files([folder / "in.jsonl"], model, first, retry_rejects=True)
    redecide(first, out, model)
    assert content(out) == content(first)


def test_posts_that_are_forgotten_meanwhile_are_in_no_complete_output(folder, tmp_path, monkeypatch):
    first, out, model = tmp_path / "first", tmp_path / "again", folder / "model"
    summary = score_files([folder / "in.jsonl"], model, first, Options(format="jsonl"))
    write, left = _Decider.write, [summary.shards]

    def forgotten(decider: _Decider, *given: Any) -> None:
        write(decider, *given)
        left[0] -= 1
        if not left[0]:
            forget(first, {"3"})

    monkeypatch.setattr(_Decider, "write", forgotten)
    with pytest.raises(IncompleteError, match="first: was changed while it was read; run the same command again"):
        redecide(first, out, model)
    assert not (out / "manifest.json").exists()
    redecide(first, out, model)
    assert content(out) == content(first)


def test_what_cannot_be_decided_again_is_refused(folder, tmp_path, refused):
    first, model = tmp_path / "first", folder / "model"
    with refused(first / "manifest.json", "cannot be read", "complete job"):
        redecide(first, tmp_path / "out", model)
    first.mkdir()
    os.mkfifo(first / "manifest.json")
    with refused(first / "manifest.json", "is not a file"):
        redecide(first, tmp_path / "out", model)
    (first / "manifest.json").unlink()
    score_files([folder / "in.jsonl"], model, first)
    for out in (first, first / "more"):
        with refused(out, "must not be the folder of the earlier scores"):
            redecide(first, out, model)
    with refused(first, "holds scores by the model"):
        redecide(first, tmp_path / "out")
    with refused("no such label", "nobody"):
        redecide(first, tmp_path / "out", model, thresholds={"nobody": 0.5})
    part = next(first.glob("part-*"))
    part.write_bytes(part.read_bytes() + b"x")
    with pytest.raises(IncompleteError, match=f"{part.name}: was changed"):
        redecide(first, tmp_path / "out", model)
    assert not (tmp_path / "out" / "manifest.json").exists()
    next(first.glob("_shards/*.json")).unlink()
    with refused(first, "its records do not match its manifest"):
        redecide(first, tmp_path / "out2", model)
    score_files([folder / "in.jsonl"], model, tmp_path / "explained", Options(explain=True))
    with refused("--explain", "cannot be decided again"):
        redecide(tmp_path / "explained", tmp_path / "out2", model)


def test_rejects_are_scored_again_and_nothing_else(folder, tmp_path, refused, monkeypatch, capsys):
    out, model = tmp_path / "out", str(folder / "model")
    source = tmp_path / "in.jsonl"
    source.write_bytes((folder / "in.jsonl").read_bytes())
    monkeypatch.setattr("pipeline.scoring.posts.is_blank", lambda text: "e" in text)  # what will be mended
    summary = score_files([source], model, out)
    assert 2 < summary.rejected < summary.read
    listed = [json.loads(line) for line in (out / "rejects.jsonl").read_text().splitlines()]
    assert {"file", "row", "reason", "id"} == set(listed[0])
    clean = {path.name: path.stat().st_ino for path in out.glob("part-*")}
    dirty = {json.loads(path.read_bytes())["part"] for path in out.glob("_shards/*.json") if json.loads(path.read_bytes())["rejects"]}
    monkeypatch.undo()
    monkeypatch.setattr(shards, "SHARD_BYTES", 400)
    with refused("--rejects"):
        again.rescore(out, model=model, workers=1)
    again.rescore(out, rejects=True, model=model, workers=1, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert (told["rejected"], told["kept_shards"]) == (2, told["shards"] - len(dirty))
    assert {path.name for path in out.glob("part-*") if path.stat().st_ino != clean[path.name]} == dirty
    score_files([source], model, tmp_path / "fresh")
    assert content(out) == content(tmp_path / "fresh")


def test_larger_shards_make_fewer_parts_with_large_row_groups(folder, tmp_path, refused):
    small = score_files([folder / "in.jsonl"], folder / "model", tmp_path / "small")
    large = score_files([folder / "in.jsonl"], folder / "model", tmp_path / "large", Options(shard_mb=1))
    assert (small.shards > 2, large.shards, large.options["shard_mb"], large.scored) == (True, 1, 1, small.scored)
    assert Options(shard_mb=None).digest == Options().digest
    with refused("shard_mb must be from 1 to 256, but got 0"):
        Options(shard_mb=0)


def test_row_groups_have_64k_rows_whatever_is_written_at_a_time(tmp_path):
    import numpy as np

    table = prediction_table(["1"] * 5000, np.zeros((5000, 1), np.float32), np.zeros((5000, 1), bool), ["alpha"], "d1")
    with (tmp_path / "x.parquet").open("wb") as file, prediction_writer(file, "parquet", prediction_schema(["alpha"])) as write:
        for _ in range(30):
            write(table)
    found = pq.ParquetFile(tmp_path / "x.parquet").metadata
    assert [found.row_group(number).num_rows for number in range(found.num_row_groups)] == [70_000, 70_000, 10_000]
    assert ROW_GROUP <= 70_000


def test_parquet_file_is_not_opened_for_each_row_group(tmp_path, monkeypatch):
    pq.write_table(pa.table({"id": list("abcdefghij"), "text": ["x"] * 10}), tmp_path / "in.parquet", row_group_size=1)
    opened = []
    plain = parquet._parquet
    monkeypatch.setattr(parquet, "_parquet", lambda *given, **options: opened.append(given) or plain(*given, **options))
    for small in (0, parquet._SMALL_CHUNK):
        monkeypatch.setattr(parquet, "_SMALL_CHUNK", small)
        opened.clear()
        assert sum(batch.num_rows for batch in parquet.parquet_batches(tmp_path / "in.parquet")) == 10
        assert len(opened) == 3
