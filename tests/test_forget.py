"""`disclosure forget` and `score.py --forget`: posts are gone from all that a job wrote, whatever is interrupted and whenever."""

import csv
import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.commands import forget, score
from pipeline.commands.again import rescore
from pipeline.errors import IncompleteError, LockedError
from pipeline.files import OutputError
from pipeline.routing.rules import Routing
from pipeline.scoring import Options, score_files, shards
from pipeline.scoring.forgetting import forget as forget_posts
from pipeline.scoring.forgetting import read_ids
from pipeline.scoring.output import Output
from pipeline.scoring.redecide import redecide

ODD = ["plain", 'a "quoted", cell', "two\nlines\r\nand\rmore", "line\u2028separator\x0b", "", None]
GONE = {"3", "4", "11", "29", "b7", "never there"}
RULES = {
    "queues": {"few": {"task": "read", "capacity": 2}, "rest": {"task": "look", "capacity": 9}},
    "rules": [{"when": {"alpha": 0.0}, "queue": "few"}, {"when": {"beta": 0.0}, "queue": "rest"}],
}


@pytest.fixture(autouse=True)
def _many_shards(monkeypatch) -> None:
    monkeypatch.setattr(shards, "SHARD_BYTES", 400)


@pytest.fixture(scope="module")
def folder(model, posts, tmp_path_factory) -> Path:
    """A folder with a saved model and posts, some of which are rejected."""
    folder = tmp_path_factory.mktemp("forget")
    model.save(folder / "model")
    rows = [{"id": str(n), "text": text, "note": ODD[n % len(ODD)]} for n, text in enumerate(posts.texts[:30])]
    rows[4]["text"] = rows[20]["text"] = ""
    more = [{"id": f"b{row['id']}", "text": row["text"]} for row in rows[:10]]
    for name, gone in (("in", set[str]()), ("without", GONE)):
        (folder / name).mkdir()
        for file, held in (("a", rows), ("b", more)):
            (folder / name / f"{file}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in held if row["id"] not in gone))
    return folder


def rows_of(out: Path) -> list[dict[str, Any]]:
    """Return the rows of an output in the order of its inputs, as the manifest names them."""
    found: list[dict[str, Any]] = []
    manifest = json.loads((out / "manifest.json").read_bytes())
    for name, file in manifest["files"].items():
        for part, digest in file["parts"].items():
            content = (out / part).read_bytes()
            assert hashlib.sha256(content).hexdigest() == digest, name
            if part.endswith(".parquet"):
                found += pq.read_table(pa.BufferReader(content)).to_pylist()
            elif part.endswith(".jsonl"):
                found += map(json.loads, content.decode().split("\n")[:-1])
            else:
                found += csv.DictReader(content.decode().splitlines(keepends=True))
    return found


def counts(out: Path) -> dict[str, object]:
    """Return what the manifest says about posts."""
    manifest = json.loads((out / "manifest.json").read_bytes())
    named = ("read", "scored", "rejected", "review", "reasons", "labels", "rates", "queues", "turned_away", "left_out", "repeated_ids")
    return {name: manifest[name] for name in named} | {"stream": {name: round(mean, 4) for name, mean in manifest["stream"].items()}}


def rejected(out: Path) -> list[Any]:
    return [json.loads(line)["id"] for line in (out / "rejects.jsonl").read_text().splitlines()]


def mentions(out: Path, ids: set[str]) -> list[str]:
    """Return the files that hold one of the ids in quotes, or its hash; Parquet is read by `rows_of`."""
    hashes = [str(int.from_bytes(hashlib.blake2b(each.encode(), digest_size=6).digest())) for each in ids]
    texts = {path.name: path.read_text() for path in out.rglob("*") if path.is_file() and path.suffix != ".parquet"}
    return [name for name, text in texts.items() if any(f'"{each}"' in text for each in ids) or any(each in text for each in hashes)]


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "csv"])
def test_what_is_left_is_what_the_other_posts_alone_would_have_given(folder, tmp_path, kind):
    out, alone, other = tmp_path / "out", tmp_path / "alone", tmp_path / "again"
    options = Options(
        format=kind, keep=("note",), unfamiliar=True, explain=kind == "parquet", abstain=(0.2, 0.8), route=Routing.model_validate(RULES)
    )
    before = score_files([folder / "in"], folder / "model", out, options)
    score_files([folder / "without"], folder / "model", alone, options)
    shutil.copytree(out, other)
    done = forget_posts(out, GONE)
    assert (done.posts, done.rejects, done.ids, done.unknown, done.resumed) == (4, 1, 6, 1, False)
    assert rows_of(out) == rows_of(alone)
    assert counts(out) == counts(alone)
    assert rejected(out) == rejected(alone) == ["20", "b4"]
    assert mentions(out, GONE - {"never there"}) == []
    manifest = json.loads((out / "manifest.json").read_bytes())
    assert (list(manifest["forgotten"].values()), manifest["read"]) == ([5], before.read - 5)
    assert {path.name for path in out.rglob("*")} == {path.name for path in other.rglob("*")}
    kept = {path.name: path.stat().st_mtime_ns for path in out.glob("part-*")}
    assert forget_posts(out, GONE).posts == 0  # nothing is written
    assert {path.name: path.stat().st_mtime_ns for path in out.glob("part-*")} == kept
    assert json.loads((out / "manifest.json").read_bytes()) == manifest
    again = score_files([folder / "in"], folder / "model", out, options)  # which holds them
    assert (again.kept_shards, rows_of(out)) == (again.shards, rows_of(alone))
    assert list(again.forgotten.values()) == [5]


class Killed(BaseException):
    """Nothing of ours catches this."""


@pytest.fixture
def killed_after(monkeypatch) -> Iterator[Any]:
    """``killed_after(n)`` makes the n-th file that replaces another be the last; ``killed_after(None)`` lets all be written."""
    replace, unlink, left = Path.replace, Path.unlink, [10**9]

    def counted(path: Path, target: Path) -> Path:
        if left[0] <= 0:
            raise Killed
        left[0] -= 1
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", counted)
    monkeypatch.setattr(Path, "unlink", lambda path, **how: unlink(path, **how) if left[0] > 0 else None)
    return lambda number: left.__setitem__(0, 10**9 if number is None else number)


def test_killed_at_any_moment_the_same_command_does_the_rest(folder, tmp_path, killed_after, monkeypatch):
    options = Options(route=Routing.model_validate(RULES))
    monkeypatch.setattr("os.fsync", lambda file: None)
    score_files([folder / "in" / "b.jsonl"], folder / "model", tmp_path / "whole", options)
    shutil.copytree(tmp_path / "whole", tmp_path / "wanted")
    forget_posts(tmp_path / "wanted", GONE)
    moments = 0
    while True:
        out = tmp_path / f"out-{moments}"
        shutil.copytree(tmp_path / "whole", out)
        killed_after(moments)
        try:
            forget_posts(out, GONE)
            break
        except Killed:
            killed_after(None)
        if moments:
            assert (out / "_shards" / "forgetting").exists()
        if moments % 5 == 4:  # and killed again
            killed_after(2)
            with pytest.raises(Killed):
                forget_posts(out, GONE)
            killed_after(None)
        forget_posts(out, GONE)
        assert {path.name: path.read_bytes() for path in out.glob("part-*")} == {
            path.name: path.read_bytes() for path in (tmp_path / "wanted").glob("part-*")
        }
        assert counts(out) == counts(tmp_path / "wanted")
        assert {path.name for path in out.rglob("*")} == {path.name for path in (tmp_path / "wanted").rglob("*")}
        assert sum(json.loads((out / "manifest.json").read_bytes())["forgotten"].values()) == 1
        shutil.rmtree(out)
        moments += 1
    assert moments > 8


def test_a_job_that_is_killed_while_queues_change_keeps_what_was_forgotten(folder, tmp_path, killed_after, monkeypatch):
    options, model = Options(route=Routing.model_validate(RULES)), folder / "model"
    monkeypatch.setattr("os.fsync", lambda file: None)
    later = tmp_path / "later.jsonl"
    later.write_text("".join((folder / "in" / "a.jsonl").read_text().splitlines(keepends=True)[:6]))
    first, both = [folder / "in" / "b.jsonl"], [folder / "in" / "b.jsonl", later]
    score_files(first, model, tmp_path / "before", options)
    forget_posts(tmp_path / "before", {"b7"})
    moments = 0
    while True:
        out = tmp_path / f"out-{moments}"
        shutil.copytree(tmp_path / "before", out)
        killed_after(moments)
        try:
            score_files(both, model, out, options)
            break
        except Killed:
            killed_after(None)
        score_files(both, model, out, options)
        assert "b7" not in {row["id"] for row in rows_of(out)}
        assert sum(json.loads((out / "manifest.json").read_bytes())["forgotten"].values()) == 1
        shutil.rmtree(out)
        moments += 1
    assert moments > 4


def test_disk_that_fills_up_is_exit_code_4_and_score_says_what_is_not_finished(folder, tmp_path, script, monkeypatch):
    out, ids = tmp_path / "out", tmp_path / "ids.txt"
    score_files([folder / "in" / "b.jsonl"], folder / "model", out)
    ids.write_text("b2\r\n\nb7\nb4\n")
    part = Output.part
    monkeypatch.setattr(Output, "part", lambda *_: (_ for _ in ()).throw(OutputError("disk: full")))
    done = script(forget.main, out, "--ids", ids)
    assert (done.code, done.err) == (4, "error: disk: full. Run the same command again to do the rest\n")
    monkeypatch.setattr(Output, "part", part)
    told = script(score.main, folder / "in" / "b.jsonl", "--model", folder / "model", "--out", out, "--workers", 1).err
    assert f"note     {out}: not all posts have been removed that were to be forgotten; run disclosure forget again" in told
    done = script(forget.main, out, "--ids", ids, "--json")
    assert json.loads(done.out) == {"posts": 2, "rejects": 1, "ids": 3, "unknown": 0, "resumed": True}
    assert "an earlier call was interrupted; run it again with its ids" in done.err
    done = script(forget.main, out, "--ids", ids)
    assert done.out.splitlines() == [
        "removed 0 from the scores and 0 from the rejects",
        "  ids that were not found: 3 of 3",
        f"scores   {out}",
    ]
    assert "interrupted" not in done.err


def test_score_leaves_out_what_was_forgotten_even_if_it_is_scored_again(folder, tmp_path, script):
    source, out, ids = tmp_path / "b.jsonl", tmp_path / "out", tmp_path / "ids.csv"
    source.write_bytes((folder / "in" / "b.jsonl").read_bytes())
    ids.write_text("when;id\nmonday;b2\ntuesday;b8\n")
    command = [source, "--model", folder / "model", "--out", out, "--workers", 1]
    done = script(score.main, *command, "--forget", ids)
    assert (done.code, "  forgotten, and counted nowhere else: 2" in done.out) == (0, True)
    assert {row["id"] for row in rows_of(out)} == {f"b{number}" for number in range(10)} - {"b2", "b4", "b8"}
    with source.open("a") as file:
        file.write(source.read_text().splitlines()[0].replace("b0", "b10") + "\n")
    refused = script(score.main, *command)
    assert (refused.code, "b.jsonl: has changed, or would be scored again, where posts were forgotten" in refused.err) == (2, True)
    assert "b8" not in {row["id"] for row in rows_of(out)}
    ids.write_text("id\n")
    assert script(score.main, *command, "--forget", ids).code == 0
    assert "b8" in {row["id"] for row in rows_of(out)}  # as this file asks for
    ids.write_text("id\nb8\n")
    assert script(score.main, *command, "--forget", ids).code == 0
    assert "b8" not in {row["id"] for row in rows_of(out)}


@pytest.mark.parametrize(("gone", "left"), [("b9", range(6, 10)), ("b6", range(3, 10)), ("b9", range(6))])
def test_posts_do_not_come_back_where_rows_were_removed_before_them(folder, tmp_path, refused, monkeypatch, gone, left):
    """They are in an earlier part then, or in none: that an earlier part does not know of them is noticed before it is written."""
    (tmp_path / "in").mkdir()
    monkeypatch.setattr(shards, "SHARD_BYTES", 100)
    other, source, out = tmp_path / "in" / "a.jsonl", tmp_path / "in" / "b.jsonl", tmp_path / "out"
    rows = (folder / "in" / "b.jsonl").read_text().splitlines(keepends=True)
    source.write_text("".join(rows))
    other.write_text(rows[0])
    assert score_files([tmp_path / "in"], folder / "model", out).shards > 3
    forget_posts(out, {gone})
    source.write_text("".join(rows[number] for number in left))
    other.write_text(rows[1])
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with refused(source, "where posts were forgotten", "--forget IDS"):
        score_files([tmp_path / "in"], folder / "model", out)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    score_files([tmp_path / "in"], folder / "model", out, forget={gone})
    assert {row["id"] for row in rows_of(out)} == {"b1"} | {f"b{number}" for number in left} - {gone, "b4"}


def test_rows_behind_those_that_were_forgotten_may_change(folder, tmp_path):
    source, out = tmp_path / "b.jsonl", tmp_path / "out"
    rows = (folder / "in" / "b.jsonl").read_text().splitlines(keepends=True)
    source.write_text("".join(rows))
    score_files([source], folder / "model", out)
    forget_posts(out, {"b0"})
    source.write_text("".join(rows[:-1]))
    assert score_files([source], folder / "model", out).kept_shards > 0
    assert {row["id"] for row in rows_of(out)} == {f"b{number}" for number in range(1, 9)} - {"b4"}


def test_column_of_ids_to_leave_out_is_called_as_in_the_posts(tmp_path, folder, script):
    (tmp_path / "in.csv").write_text("nr,text\n7,zaxa\n8,wiku\n")
    (tmp_path / "gone.csv").write_text("nr,name\n7,x\n")
    command = [tmp_path / "in.csv", "--id-column", "nr", "--model", folder / "model", "--out", tmp_path / "out", "--forget"]
    assert script(score.main, *command, tmp_path / "gone.csv").code == 0
    assert [row["id"] for row in rows_of(tmp_path / "out")] == ["8"]
    (tmp_path / "wrong.csv").write_text("id,name\n7,x\n")
    remedy = "no column 'nr'; found 'id', 'name'; call the column of ids 'nr', as in the posts, or write one id per line to a file"
    assert remedy in script(score.main, *command, tmp_path / "wrong.csv").err
    assert remedy in script(rescore, tmp_path / "out", "--rejects", "--model", folder / "model", "--forget", tmp_path / "wrong.csv").err


@pytest.mark.parametrize(
    ("name", "content", "code", "told"),
    [
        ("ids.txt", b"\n", 5, "holds no ids"),
        ("ids.csv", b"17\n18\n", 2, "no column 'id'; found"),
        ("ids.csv", b"17\n", 2, "name the column with --id-column, or write one id per line to a file that ends in .txt"),
        ("ids.csv", b"id,name\n1,x\n2\n", 2, "so that no id is passed over"),
        ("ids.jsonl", b'{"id": 1.5}\n', 2, "row 1: the id is missing, or is neither a string nor an integer"),
        ("ids.txt", b"\xff\xfe", 2, "is not in UTF-8"),
        ("ids.pdf", b"1", 2, "must end in .txt (one id per line), .csv"),
        ("none.txt", None, 2, "cannot be read (No such file or directory)"),
    ],
)
def test_ids_that_cannot_be_read_change_nothing(tmp_path, script, name, content, code, told):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    done = script(forget.main, tmp_path / "out", "--ids", tmp_path / name)
    assert (done.code, told in done.err, done.err.count("\n")) == (code, True, 1)
    assert not (tmp_path / "out").exists()


def test_only_complete_and_intact_output_can_forget(folder, tmp_path, refused):
    with refused("cannot be read", "complete job"):
        forget_posts(tmp_path / "none", GONE)
    assert not (tmp_path / "none").exists()
    out = tmp_path / "out"
    score_files([folder / "in" / "b.jsonl"], folder / "model", out)
    part = next(out.glob("part-*"))
    content = part.read_bytes()
    part.write_bytes(content + b"x")
    with pytest.raises(IncompleteError, match=f"{part.name}: was changed"):
        forget_posts(out, GONE)
    assert (out / "manifest.json").exists()
    assert not (out / "_shards" / "forgetting").exists()


def test_ids_may_be_numbers_and_come_through_a_pipe(tmp_path, monkeypatch):
    (tmp_path / "ids.jsonl").write_text('{"post": 7}\n{"post": "x"}\n')
    assert read_ids(tmp_path / "ids.jsonl", "post") == {"7", "x"}
    with (tmp_path / "given").open("w+") as file:
        file.write("\ufeff1\n2\n")
        file.seek(0)
        monkeypatch.setattr("sys.stdin", file)
        assert read_ids(Path("-")) == {"1", "2"}


def test_deciding_again_forgets_what_the_scores_have_forgotten_since(folder, tmp_path):
    scores, out, model = tmp_path / "scores", tmp_path / "out", folder / "model"
    score_files([folder / "in" / "b.jsonl"], model, scores)
    redecide(scores, out, model)
    forget_posts(out, {"b3"})  # and not from the scores: a part that is kept does not bring it back
    redecide(scores, out, model)
    assert "b3" not in {row["id"] for row in rows_of(out)}
    for gone in ("b7", "b4"):  # one of which is a reject
        forget_posts(scores, {gone})
        redecide(scores, out, model)
        assert {gone} & {row["id"] for row in rows_of(out)} == set() == {gone} & set(rejected(out))
        assert mentions(out, {gone}) == []
    forget_posts(scores, {"b3"})
    forget_posts(out, {"b2"})  # as many on the same day
    redecide(scores, out, model)
    assert rows_of(out) == rows_of(scores)


def test_rescore_does_not_bring_posts_back(folder, tmp_path, script, monkeypatch):
    source, out, ids = tmp_path / "b.jsonl", tmp_path / "out", tmp_path / "ids.txt"
    source.write_bytes((folder / "in" / "b.jsonl").read_bytes())
    command = [out, "--rejects", "--model", folder / "model", "--workers", 1]
    monkeypatch.setattr(shards, "SHARD_BYTES", 2**20)  # b4 is rejected
    score_files([source], folder / "model", out)
    forget_posts(out, {"b2"})
    before = (out / "manifest.json").read_bytes()
    done = script(rescore, *command)
    assert (done.code, done.err.count("\n"), "--forget IDS" in done.err, "b2" in done.err) == (2, 1, True, False)
    assert (out / "manifest.json").read_bytes() == before
    ids.write_text("b2\n")
    assert script(rescore, *command, "--forget", ids).code == 0
    assert {row["id"] for row in rows_of(out)} == {f"b{number}" for number in range(10)} - {"b2", "b4"}
    forget_posts(out, {"b4"})  # nothing is rejected any more
    assert script(rescore, *command).code == 0
    with source.open("a") as file:
        file.write(source.read_text().splitlines()[0].replace("b0", "b10") + "\n")
    assert script(rescore, *command).code == 2


def test_numbers_of_rows_are_no_ids_to_leave_out(folder, tmp_path, script):
    (tmp_path / "ids.txt").write_text("b.jsonl:2\n")
    command = [folder / "in" / "b.jsonl", "--model", folder / "model", "--out", tmp_path / "out", "--id-column", "none"]
    done = script(score.main, *command, "--forget", tmp_path / "ids.txt")
    assert (done.code, done.err.count("\n"), "--id-column none" in done.err) == (2, 1, True)
    assert not (tmp_path / "out").exists()


def test_other_ids_do_not_end_an_earlier_call_unnoticed(folder, tmp_path, script, killed_after):
    out = tmp_path / "out"
    score_files([folder / "in" / "b.jsonl"], folder / "model", out)
    killed_after(2)
    with pytest.raises(Killed):
        forget_posts(out, {"b2", "b7"})
    killed_after(None)
    (tmp_path / "ids.txt").write_text("b2\n")
    done = script(forget.main, out, "--ids", tmp_path / "ids.txt")
    assert (done.code, done.err.count("an earlier call was interrupted; run it again with its ids")) == (0, 1)


def test_folder_that_another_program_wrote_is_not_told_to_choose_another_out(tmp_path, refused):
    (tmp_path / "_SUCCESS").touch()
    with refused("holds other files, such as _SUCCESS; give", "filter it with the program that wrote it, or compact again"):
        forget_posts(tmp_path, GONE)


def test_job_that_is_at_work_is_waited_for_though_it_has_no_manifest_yet(tmp_path, refused):
    with Output(tmp_path).locked(), pytest.raises(LockedError, match="another job is writing to it"):
        forget_posts(tmp_path, GONE)
    with refused("cannot be read", "complete job"):
        forget_posts(tmp_path, GONE)


def test_ids_in_lines_may_hold_any_character_that_ends_no_line(tmp_path):
    ids = {"a\u2028b", " c\x0b", "\x85d\x1c", "e\r"}
    (tmp_path / "ids.txt").write_text("\r\n".join(sorted(ids)) + "\n\r\n", newline="", encoding="utf-8")
    assert read_ids(tmp_path / "ids.txt") == ids
