"""Rows that were deleted from a Delta table are never read, however the table says so; what we cannot read rightly is refused."""

import json
import pickle
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from delta_log import FEATURES, add, commit, field, metadata, protocol
from deltalake import DeltaTable, write_deltalake

from pipeline.commands import score
from pipeline.commands.again import rescore
from pipeline.evaluation.prevalence import parts_of, read_scores
from pipeline.predictions import prediction_table
from pipeline.records import Row, file_rows, live_of, parquet_batches, with_live
from pipeline.records.parquet import parquet_groups, parquet_length
from pipeline.scoring import Options, score_files, shards
from pipeline.scoring.inputs import find_inputs
from pipeline.watching.stream import read_stream

COLUMNS = ["id", "text", "day", "note"]


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory) -> Path:
    """The directory of a saved model."""
    place = tmp_path_factory.mktemp("delta") / "model"
    model.save(place)
    return place


def posts(first: int, last: int) -> dict[str, list[str]]:
    numbers = range(first, last)
    return {"id": [str(n) for n in numbers], "text": [f"zaxa wiku {n}" for n in numbers]}


def odd_table(place: Path) -> Path:
    """Write a table with renamed columns, partitions, a column that is newer than most files, and deleted rows."""
    fields = [field("id", "c1"), field("text", "c2"), field("day", "c3", "date"), field("note", "c4")]

    def columns(first, last, **more):
        held = posts(first, last)
        return {"c1": held["id"], "c2": held["text"], "dropped": held["text"], **more}

    return commit(
        place,
        protocol(*FEATURES),
        metadata(fields, ["day"], columnMapping_mode="name"),
        add(place, "_x/b %20c.parquet", columns(0, 10), {"c3": "2017-10-15"}, [0, 1, 5, 6, 7, 8]),
        add(place, "a.parquet", columns(10, 14, c4=["n"] * 4), {"c3": None}),
        add(place, "all.parquet", columns(20, 22, c4=["n"] * 2), {"c3": "2017-10-16"}, [0, 1]),
    )


def rows_of(path: Path, columns=None) -> list[dict]:
    found = list(file_rows(path, columns or ()))
    assert [row.number for row in found] == list(range(1, len(found) + 1))
    return [row.fields for row in found if isinstance(row, Row)]


def scored(out: Path) -> list[dict]:
    return sorted((row for path in out.glob("part-*") for row in pq.read_table(path).to_pylist()), key=lambda row: int(row["id"]))


def test_readers_give_the_rows_that_the_table_has(tmp_path):
    table = odd_table(tmp_path / "odd table")
    files = find_inputs([table])
    assert [path.name for path in files] == ["b %20c.parquet", "a.parquet", "all.parquet"]
    wanted = pa.table(DeltaTable(table).scan()).to_pylist()
    found = [row for path in files for row in rows_of(path)]
    assert sorted(map(str, found)) == sorted(map(str, wanted))
    assert [parquet_length(path) for path in files] == [4, 4, 0]
    assert [row["id"] for row in found] == ["2", "3", "4", "9", "10", "11", "12", "13"]


def test_row_groups_one_by_one_give_the_same_rows_with_the_same_numbers(tmp_path):
    for path in find_inputs([odd_table(tmp_path / "table")]):
        again = with_live(Path(str(path)), pickle.loads(pickle.dumps(live_of(path))))  # noqa: S301
        firsts = parquet_groups(again)
        groups = [
            [row for batch in parquet_batches(again, COLUMNS, [number]) for row in batch.to_pylist()] for number in range(len(firsts))
        ]
        assert [row for group in groups for row in group] == rows_of(path, COLUMNS)
        assert firsts == [1 + sum(map(len, groups[:number])) for number in range(len(firsts))]


def test_a_job_scores_no_deleted_row_and_names_the_version(folder, tmp_path, script, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shards, "SHARD_BYTES", 64)  # a shard is only some rows
    odd_table(Path("lake/odd"))
    write_deltalake("lake/plain", pa.table(posts(30, 36)))
    (erased,) = Path("lake/plain").glob("*.parquet")
    DeltaTable("lake/plain").delete("id = '31'")
    assert erased.exists()
    keep = ["--keep", "day", "--keep", "note", "--workers", 1]
    code, _, err = script(score.main, "lake", "--model", folder, *keep)
    assert (code, err.splitlines()) == (
        0,
        ["note     lake/odd: a Delta table, read at version 0", "note     lake/plain: a Delta table, read at version 1"],
    )
    found = [(int(row["id"]), row["day"], row["note"]) for row in scored(Path("scores"))]
    assert found[:4] == [(n, "2017-10-15", None) for n in (2, 3, 4, 9)]
    assert found[4:8] == [(n, None, "n") for n in (10, 11, 12, 13)]
    assert [n for n, _, _ in found[8:]] == [30, 32, 33, 34, 35]
    manifest = json.loads(Path("scores/manifest.json").read_text())
    assert manifest["tables"] == {"lake/odd": 0, "lake/plain": 1}
    assert manifest["shards"] > 5
    summary = score_files(["lake/odd"], folder, "numbered", Options(id_column=None))
    parts = [part for file in summary.files.values() for part in file.parts]
    numbered = [row["id"] for part in parts for row in pq.read_table(Path("numbered") / part).to_pylist()]
    assert numbered == [f"lake/odd/{name}.parquet:{n}" for name in ("_x/b %20c", "a") for n in (1, 2, 3, 4)]


def test_a_job_goes_on_only_at_the_version_at_which_it_was_begun(folder, tmp_path, script, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for first in (0, 4):
        write_deltalake("table", pa.table(posts(first, first + 4)), mode="append")
    first = find_inputs(["table"])[0]
    content = first.read_bytes()
    first.write_bytes(content[: len(content) // 2])
    assert script(score.main, "table", "--model", folder)[0] == 4  # one file is done
    first.write_bytes(content)
    DeltaTable("table").delete("id = '1'")
    code, _, err = script(score.main, "table", "--model", folder)
    assert code == 2
    assert err.splitlines()[-1] == (
        "error: scores: holds scores of table at version 1, and not at version 2 (add --table-version 1 to continue there, which scores "
        "rows that were deleted since); choose another --out, or replace them with --start-over"
    )
    assert script(score.main, "table", "--model", folder, "--table-version", 1)[0] == 0
    assert [int(row["id"]) for row in scored(Path("scores"))] == list(range(8))
    assert script(score.main, "table", "--model", folder)[0] == 2
    assert script(score.main, "table", "--model", folder, "--start-over")[0] == 0
    assert [int(row["id"]) for row in scored(Path("scores"))] == [0, *range(2, 8)]
    assert json.loads(Path("scores/manifest.json").read_text())["tables"] == {"table": 2}


def test_rejects_of_a_table_are_refused_with_what_to_do(folder, tmp_path, script, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_deltalake("lake", pa.table({"id": ["1", "2"], "text": ["zaxa", ""]}))
    assert script(score.main, "lake", "--model", folder).code == 0
    code, _, err = script(rescore, "scores", "--rejects", "--model", folder)
    what = "scores: the input lake is a Delta table, whose rejects cannot be scored again alone; run score.py on it with --start-over"
    assert (code, err) == (2, f"error: {what}\n")


def test_scores_of_a_folder_that_has_become_a_table_since_are_refused(folder, tmp_path, refused):
    table, fields = tmp_path / "table", [field("id"), field("text")]
    line = add(table, "a.parquet", posts(0, 2), deleted=[1])
    assert score_files([table], folder, tmp_path / "out").scored == 2
    commit(table, protocol("deletionVectors"), metadata(fields), line)
    with refused(f"holds scores of {table}/a.parquet from when it was no Delta table; choose another --out"):
        score_files([table], folder, tmp_path / "out")


NESTED = {"type": "struct", "fields": [field("city", "c9")]}


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([protocol("unheard"), metadata([field("id")])], "is a Delta table that uses unheard, which we cannot read"),
        (
            [protocol("typeWidening", "deletionVectors"), metadata([field("id")])],
            "is a Delta table that uses TypeWidening, which we cannot read",
        ),
        (
            [protocol("columnMapping"), metadata([field("id", "c1")], columnMapping_mode="id")],
            "is a Delta table whose columns are found by number",
        ),
        ([protocol("catalogManaged"), metadata([])], "the log of this Delta table cannot be read (DeltaError); repair the table"),
        ([{"protocol": "SECRET"}], "the log of this Delta table cannot be read (DeltaError); repair the table"),
        ([protocol(), metadata([field("id")]), {"add": "file:///other/a.parquet"}], "has files in other folders, as shallow clones do"),
        ([protocol(), metadata([field("id")]), {"add": "../a.parquet"}], "has files in other folders, as shallow clones do"),
        ([protocol(), metadata([field("id")])], "has no files"),
    ],
)
def test_a_table_that_we_cannot_read_rightly_is_refused(tmp_path, refused, lines, reason):
    action = {"partitionValues": {}, "size": 1, "modificationTime": 0, "dataChange": True}
    whole = [{"add": action | {"path": line["add"]}} if "add" in line else line for line in lines]
    commit(tmp_path / "table", *whole)
    with refused(f"{tmp_path}/table: {reason}") as caught:
        find_inputs([tmp_path / "table"])
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "version", "reason"),
    [
        (["table"], 7, "table: version 7 of this Delta table cannot be read (DeltaError)"),
        (["table", "other"], 0, "--table-version 0: is for one Delta table among the inputs, but there are 2"),
        (["plain.parquet"], 0, "--table-version 0: is for one Delta table among the inputs, but there is none"),
        (
            ["table/*.parquet"],
            None,
            "table: is a Delta table, and only its log says what was deleted; give the folder, not the files in it",
        ),
        (["table", "other/a.parquet"], None, "other: is a Delta table, and only its log says"),
        (["hudi"], None, "hudi: is a Delta table with another log beside its own (.hoodie)"),
        (["50%25"], None, "50%25: has a % in its path"),
        (["outer"], None, "outer: is an Iceberg table, and its log"),
    ],
)
def test_inputs_that_are_not_one_whole_table_are_refused(tmp_path, monkeypatch, refused, given, version, reason):
    monkeypatch.chdir(tmp_path)
    pq.write_table(pa.table(posts(0, 2)), "plain.parquet")
    for name in ("table", "other", "hudi", "50%25", "outer/data"):
        commit(Path(name), protocol(), metadata([field("id"), field("text")]), add(Path(name), "a.parquet", posts(0, 2)))
    for sign in ("hudi/.hoodie", "outer/metadata/v1.metadata.json"):
        Path(sign).mkdir(parents=True)
    with refused(reason):
        find_inputs(given, table_version=version)


def test_a_table_with_iceberg_metadata_that_delta_writes_itself_is_read(tmp_path):
    table = tmp_path / "table"
    (table / "metadata").mkdir(parents=True)
    commit(table, protocol(), metadata([field("id")], universalFormat_enabledFormats="iceberg"), add(table, "a.parquet", posts(0, 2)))
    assert [path.name for path in find_inputs([table])] == ["a.parquet"]


def test_a_column_that_holds_renamed_ones_is_refused_only_if_it_is_kept(folder, tmp_path, refused):
    table, fields = tmp_path / "table", [field("id", "c1"), field("text", "c2"), field("place", "c3", NESTED)]
    rows = {"c1": ["1", "2"], "c2": ["zaxa", "wiku"], "c3": [{"c9": "a"}, {"c9": "b"}]}
    commit(table, protocol(*FEATURES), metadata(fields, columnMapping_mode="name"), add(table, "a.parquet", rows))
    assert score_files([table], folder, tmp_path / "out").scored == 2
    with refused(f"{table}: column 'place' has nested fields whose names in the files are not those in the table"):
        score_files([table], folder, tmp_path / "other", Options(keep=("place",)))


def test_a_file_that_is_gone_is_refused_and_without_deltalake_the_refusal_names_the_extra(folder, tmp_path, refused, monkeypatch):
    table = commit(tmp_path / "t", protocol(), metadata([field("id"), field("text")]), add(tmp_path / "t", "a.parquet", posts(0, 2)))
    (table / "a.parquet").unlink()
    with refused(f"{table}/a.parquet: no such file"):
        score_files([table], folder, tmp_path / "out")
    monkeypatch.setitem(sys.modules, "deltalake", None)
    with refused(
        f"{table}: is a Delta table, and deltalake, which is needed to read it, is not installed; install it with pip install -e '.[delta]'"
    ):
        find_inputs([table])


@pytest.fixture
def lake(tmp_path):
    """Scores as Spark writes them: a Delta table with ``_SUCCESS``, two files, and a checkpoint of its log, which is Parquet."""
    table, probabilities = tmp_path / "scored", np.array([[0.25], [0.5]], np.float32)
    for ids in (["p1", "p2"], ["p3", "p4"]):
        rows = prediction_table(ids, probabilities, probabilities > 0.5, ["alpha"], "a" * 64)
        write_deltalake(table, rows, mode="append")
    (table / "_SUCCESS").touch()
    return table


def test_deleted_scores_are_not_counted(lake, refused):
    assert read_scores(lake, "a" * 64, ["alpha"]).probabilities.tolist() == [[0.25], [0.5]] * 2
    DeltaTable(lake).delete("id = 'p2'")
    DeltaTable(lake).create_checkpoint()
    assert list((lake / "_delta_log").glob("*.parquet"))
    assert len(read_stream([lake], "a" * 64, ["alpha"])) == 3
    assert sorted(read_scores(lake, "a" * 64, ["alpha"]).probabilities.ravel().tolist()) == [0.25, 0.25, 0.5]
    assert sorted(name for part in parts_of(lake) for name in pq.read_table(part)["id"].to_pylist()) == ["p1", "p3", "p4"]
    with refused("is a Delta table", "give the folder"):
        parts_of(next(lake.glob("*.parquet")))
    lake.rename(lake.parent / "table")
    lake.mkdir()
    (lake / "_SUCCESS").touch()
    (lake.parent / "table").rename(lake / "inner")
    with refused("inner: is a Delta table"):
        parts_of(lake)


@pytest.mark.parametrize(
    ("fields", "deleted", "told"),
    [(("id", "model"), [1], "hold rows that were deleted"), ((("id", "c1"), ("model", "c2")), [], "other names in its files")],
)
def test_scores_that_only_the_log_can_read_are_refused(tmp_path, refused, fields, deleted, told):
    described = [field(*((each, None) if isinstance(each, str) else each)) for each in fields]
    rows = add(tmp_path / "table", "a.parquet", {"id": ["p1", "p2"], "model": ["a", "a"]}, deleted=deleted)
    mapping = {} if deleted else {"columnMapping_mode": "name"}
    commit(tmp_path / "table", protocol(*FEATURES), metadata(described, **mapping), rows)
    with refused(str(tmp_path / "table"), told):
        parts_of(tmp_path / "table")
