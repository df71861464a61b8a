"""`disclosure compact`: many small parts become few large files, with all rows, in folders as Hive, Spark and Arrow name them."""

import json
import os
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pandas as pd
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from pipeline.commands import compact
from pipeline.errors import IncompleteError
from pipeline.evaluation.prevalence import parts_of
from pipeline.scoring import Options, compaction, score_files, shards
from pipeline.scoring.compaction import compact as write_table
from pipeline.scoring.forgetting import forget
from pipeline.scoring.inputs import find_inputs
from pipeline.scoring.output import Output

ODD = ["2017-10-16", None, "", "a/b", "x=y", "é 🙏", "a%2Fb", "..", "a:b\nc", "2017-10-16", "2017-10-17"]


@pytest.fixture(scope="module")
def scores(model, posts, tmp_path_factory) -> Path:
    """The output of a job with many parts."""
    folder = tmp_path_factory.mktemp("compaction")
    model.save(folder / "model")
    rows = [{"id": str(n), "text": text, "day": ODD[n % len(ODD)], "n": str(n)} for n, text in enumerate(posts.texts[:66])]
    (folder / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "SHARD_BYTES", 1000)
        summary = score_files([folder / "in.jsonl"], folder / "model", folder / "scores", Options(keep=("day", "n")))
    assert (summary.shards > 5, summary.scored) == (True, 66)
    return folder / "scores"


def rows_of(scores: Path) -> list[dict[str, Any]]:
    return [row for part in parts_of(scores) for row in pq.read_table(part).to_pylist()]


def test_many_parts_become_one_file_that_any_program_reads(scores, tmp_path, script):
    done = script(compact.main, scores, "--out", tmp_path / "table")
    assert (done.code, done.out) == (0, f"wrote 66 rows in 1 files\ntable    {tmp_path}/table\n")
    assert {path.name for path in (tmp_path / "table").iterdir()} == {"part-0.parquet", "_SUCCESS"}
    found = pq.read_table(tmp_path / "table" / "part-0.parquet")
    assert found.to_pylist() == rows_of(scores)
    assert pq.ParquetFile(tmp_path / "table" / "part-0.parquet").num_row_groups == 1
    assert len(pd.read_parquet(tmp_path / "table")) == 66
    assert parts_of(tmp_path / "table") == [tmp_path / "table" / "part-0.parquet"]  # for `watch` and `evaluate --scores`
    told = json.loads((tmp_path / "table" / "_SUCCESS").read_bytes())
    assert (told["rows"], told["files"], told["scores"]) == (66, {"part-0.parquet": 66}, str(scores))
    assert oct((tmp_path / "table" / "part-0.parquet").stat().st_mode)[-3:] == "600"


def test_values_become_folders_and_come_back_as_they_were(scores, tmp_path):
    table = write_table(scores, tmp_path / "table", ["day"], rows_per_file=4)
    wanted = {row["id"]: row | {"day": row["day"] or None} for row in rows_of(scores)}
    names = {path.parent.name for path in (tmp_path / "table").rglob("*.parquet")}
    assert {unquote(name.partition("=")[2]) for name in names} == {value or "__HIVE_DEFAULT_PARTITION__" for value in ODD}
    assert (table.rows, max(table.files.values()), len(table.files)) == (66, 4, 9 * 2 + 2)
    hive = ds.partitioning(flavor="hive")
    found = ds.dataset(tmp_path / "table", partitioning=hive).to_table().to_pylist()
    assert {row["id"]: row for row in found} == wanted
    assert find_inputs([tmp_path / "table"]) == parts_of(tmp_path / "table")  # our own readers find the same files, and the column


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--partition-by", "id"], "--partition-by id: the names of folders would tell who wrote what"),
        (["--partition-by", "prob_alpha"], "--partition-by prob_alpha: must be one of day, n, model"),
        (["--partition-by", "n"], "--partition-by n: has more than 20 different values"),
        (["--partition-by", "day"], "--partition-by day: has values that are too long for the name of a folder"),
    ],
)
def test_columns_that_make_no_good_folders_are_refused(scores, tmp_path, script, monkeypatch, options, told):
    monkeypatch.setattr(compaction, "MOST_PARTITIONS", 20)
    monkeypatch.setattr(compaction, "_LONGEST_NAME", 9)
    done = script(compact.main, scores, "--out", tmp_path / "table", *options)
    assert (done.code, done.err.startswith(f"error: {told}"), list(tmp_path.iterdir())) == (2, True, [])


def test_what_cannot_be_written_leaves_nothing(scores, tmp_path, refused, monkeypatch):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "a").write_text("mine")
    with refused(tmp_path / "theirs", "exists and is not empty"):
        write_table(scores, tmp_path / "theirs")
    for out in (scores, scores / "table"):
        with refused(out, "must not be the folder of the scores"):
            write_table(scores, out)
    with refused("cannot be read", "complete job"):
        write_table(tmp_path, tmp_path / "table")
    monkeypatch.setattr(compaction, "_on_disk", lambda folder: os.open("/none", 0))
    with refused(tmp_path / "table", "cannot be written (No such file or directory)"):
        write_table(scores, tmp_path / "table")
    assert [path.name for path in tmp_path.iterdir()] == ["theirs"]
    part = next(scores.glob("part-*"))
    content = part.read_bytes()
    part.write_bytes(content + b"x")
    with pytest.raises(IncompleteError, match=f"{part.name}: was changed"):
        write_table(scores, tmp_path / "table")
    part.write_bytes(content)
    assert [path.name for path in tmp_path.iterdir()] == ["theirs"]


@pytest.mark.parametrize("column", ["tweet", "tweet_id"])
def test_posts_and_ids_never_become_names_of_folders_whatever_their_columns_are_called(scores, tmp_path, refused, column):
    (tmp_path / "in.jsonl").write_text('{"tweet_id": "1", "tweet": "zaxa wiku", "day": "1"}\n')
    options = Options(id_column="tweet_id", text_column="tweet", keep=("tweet", "tweet_id", "day"))
    score_files([tmp_path / "in.jsonl"], scores.parent / "model", tmp_path / "scores", options)
    with refused(f"--partition-by {column}: the names of folders would tell who wrote what"):
        write_table(tmp_path / "scores", tmp_path / "table", [column])
    with refused("must be one of day, model;"):
        write_table(tmp_path / "scores", tmp_path / "table", ["n"])


@pytest.mark.parametrize(
    "change", [lambda job: forget(job, {"3"}), lambda job: Output(job).forgetting.touch(), lambda job: (job / "manifest.json").unlink()]
)
def test_posts_that_are_forgotten_meanwhile_are_in_no_table(scores, tmp_path, monkeypatch, change):
    shutil.copytree(scores, tmp_path / "scores")
    write = compaction._write
    monkeypatch.setattr(compaction, "_write", lambda *given: (write(*given), change(tmp_path / "scores")))
    with pytest.raises(IncompleteError, match="scores: was changed while it was read"):
        write_table(tmp_path / "scores", tmp_path / "table")
    assert [path.name for path in tmp_path.iterdir()] == ["scores"]
