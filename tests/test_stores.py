"""Jobs that read from and write to an object store, on a real S3 server that answers badly at times."""

import glob
import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from faulty_store import CREDENTIALS, FAULTS, faulty_store

from pipeline import stores
from pipeline.commands import again, score
from pipeline.errors import IncompleteError, LockedError
from pipeline.files import OutputError
from pipeline.routing.rules import Routing
from pipeline.scoring import Options, score_files, shards, store_lock
from pipeline.scoring.compaction import compact
from pipeline.scoring.completion import Completion
from pipeline.scoring.forgetting import forget
from pipeline.scoring.output import MANIFEST, Output
from pipeline.stores import path_of

pytestmark = pytest.mark.slow

ROWS = [{"id": str(number), "text": f"zaxa wiku {number}" if number % 11 else None} for number in range(60)]
SHARD = 1_500
_numbers = count()


@pytest.fixture(scope="module")
def server():
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with faulty_store() as server:
        yield server


@pytest.fixture
def store(server, monkeypatch):
    """The server, as this process finds it, without faults, and as impatient as a test."""
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(stores, "ANSWERING", 1.0)
    monkeypatch.setattr(shards, "SHARD_BYTES", SHARD)
    stores._store.cache_clear()
    server.silence = 1.5
    server.choose, server.met = lambda method, path: None, {}
    yield server
    server.choose = lambda method, path: None
    stores._store.cache_clear()


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("stores") / "model"
    model.save(folder)
    return folder


@pytest.fixture
def night(store, request) -> str:
    """The address of a folder with posts in several forms."""
    address = f"s3://posts/{next(_numbers)}/in"
    into = path_of(address)
    (into / "a.jsonl").write_bytes(b"".join(json.dumps(row).encode() + b"\n" for row in ROWS))
    (into / "day=1" / "b.csv").write_bytes(b"id,text\n" + b"".join(f"c{row['id']},{row['text'] or ''}\n".encode() for row in ROWS))
    pq.write_table(pa.Table.from_pylist(ROWS[1:]), file := pa.BufferOutputStream())
    (into / "day=1" / "c.parquet").write_bytes(file.getvalue())
    return address


def data(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.iterdir()) if path.name.startswith("part-") or path.name == "rejects.jsonl"}


def names(out: Path) -> set[str]:
    return {path.name for path in out.rglob("*")}


def test_a_job_in_a_store_leaves_the_same_files_as_on_disk(night, folder, tmp_path):
    here, there = tmp_path / "out", path_of(night).parent / "out"
    few = {"queues": {"few": {"task": "read", "capacity": 3}}, "rules": [{"when": {"alpha": 0.0}, "queue": "few"}]}
    options = Options(route=Routing.model_validate(few))  # so that most parts are written twice
    summary = score_files([night], folder, here, options)
    assert score_files([f"{night}/*.jsonl", f"{night}/**/day=*/*"], folder, str(there), options, workers=1).read == summary.read == 179
    assert (summary.queues, summary.left_out) == ({"few": 3}, summary.scored - 3)
    assert data(there) == data(here)
    assert len(data(there)) > 4
    assert names(there) == names(here) - {"lock"}
    done = score_files([f"{night}/*.jsonl", f"{night}/**/day=*/*"], folder, there, options)
    assert (done.kept_shards, done.shards) == (summary.shards, summary.shards)
    assert CREDENTIALS["AWS_SECRET_ACCESS_KEY"].encode() not in (there / "manifest.json").read_bytes()


def test_a_delta_table_in_a_store_gives_the_rows_that_it_still_has(night, folder, tmp_path):
    write_deltalake(tmp_path / "table", pa.table({"id": ["1", "2"], "text": ["zaxa", "wiku"], "day": ["a b", "a b"]}), partition_by=["day"])
    DeltaTable(tmp_path / "table").delete("id = '1'")
    address = path_of(night).parent / "table"
    for path in (path for path in (tmp_path / "table").rglob("*") if path.is_file()):
        (address / str(path.relative_to(tmp_path / "table"))).write_bytes(path.read_bytes())
    summary = score_files([str(address)], folder, tmp_path / "out", Options(keep=("day",), format="jsonl"))
    (row,) = [json.loads(line) for path in (tmp_path / "out").glob("part-*") for line in path.read_text().splitlines()]
    assert (row["id"], row["day"], summary.tables) == ("2", "a b", {str(address): 1})


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_passes_is_survived(store, night, folder, tmp_path, fault):
    score_files([night], folder, tmp_path / "out")
    asked = count(1)
    few = (3, 8, 13) if fault == "cut request" else (9, 31, 53)  # requests; the one after a fault tries the same again
    store.choose = lambda method, path: fault if (fault != "cut request" or method == "PUT") and next(asked) in few else None
    out = path_of(night).parent / "out"
    score_files([night], folder, out)
    store.choose = lambda method, path: None
    assert store.met == {fault: 3}
    assert data(out) == data(tmp_path / "out")


def after(last: int) -> Callable[[str, str], str | None]:
    """Return what makes the store answer 503 to everything, once so many objects were written."""
    asked = Counter[str]()

    def choose(method: str, path: str) -> str | None:
        asked[method] += 1
        return "503" if asked["PUT"] > last else None

    return choose


def test_a_store_that_stays_away_is_exit_code_4_and_the_next_run_does_the_rest(store, night, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(stores, "ATTEMPTS", 1)
    score_files([night], folder, tmp_path / "out")
    out = path_of(night).parent / "out"
    for last in (1, 2, 3, 6, 9):  # objects that are written before nothing works any more, as for a process that was killed
        stores._store.cache_clear()
        store.choose = after(last)
        with pytest.raises(IncompleteError, match="the store answered 503"):
            score_files([night], folder, out)
        store.choose = lambda method, path: None
        assert not (out / MANIFEST).exists()
        for lock in (out / "_shards").glob("lock-*"):
            lock.unlink()
    score_files([night], folder, out)
    assert data(out) == data(tmp_path / "out")
    assert names(out) == names(tmp_path / "out") - {"lock"}


def test_decisions_and_rejects_are_done_again_in_a_store(store, night, folder, script, tmp_path):
    out = path_of(night).parent
    score_files([night], folder, out / "out")
    store.choose = lambda method, path: "403" if path.startswith(f"/posts/{out.name}/in/") else None  # posts need not be there any more
    code, printed, _ = script(again.redecide, out / "out", "--out", out / "anew", "--model", folder, "--operating-point", "balanced")
    store.choose = lambda method, path: None
    assert (code, printed.splitlines()[-1]) == (0, f"scores   {out}/anew")
    assert data(out / "anew").keys() == data(out / "out").keys()
    assert script(again.rescore, "--rejects", out / "out", "--model", folder, "--workers", 1).code == 0


def test_posts_are_forgotten_in_a_store_whenever_it_stays_away(store, night, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(stores, "ATTEMPTS", 1)
    out, ids = path_of(night).parent / "out", {"3", "22", "59"}
    score_files([f"{night}/a.jsonl"], folder, out)
    for last in (3, 5):  # objects that are written before nothing works any more
        stores._store.cache_clear()
        store.choose = after(last)
        with pytest.raises(IncompleteError, match="the store answered 503"):
            forget(out, ids)
        store.choose = lambda method, path: None
        for lock in (out / "_shards").glob("lock-*"):
            lock.unlink()
    assert not (out / MANIFEST).exists()
    forget(out, ids)
    score_files([f"{night}/a.jsonl"], folder, tmp_path / "out")
    forget(tmp_path / "out", ids)
    assert data(out) == data(tmp_path / "out")
    assert names(out) == names(tmp_path / "out") - {"lock"}
    assert json.loads((out / MANIFEST).read_bytes())["forgotten"].popitem()[1] == 3


def test_parts_are_compacted_in_a_store_and_what_was_left_unfinished_is_written_again(store, night, folder, tmp_path, refused, monkeypatch):
    monkeypatch.setattr(stores, "ATTEMPTS", 1)
    out = path_of(night).parent
    score_files([night], folder, out / "out", Options(keep=("day",)))
    stores._store.cache_clear()
    store.choose = lambda method, path: "503" if method != "GET" and path.endswith("_SUCCESS") else None
    with pytest.raises(IncompleteError, match="the store answered 503"):
        compact(out / "out", out / "table", ["day"])
    store.choose = lambda method, path: None
    with monkeypatch.context() as patch, pytest.raises(IncompleteError, match="the lock was lost"):
        patch.setattr(store_lock._Lock, "is_lost", lambda lock: True)
        compact(out / "out", out / "table", ["day"])
    assert {"_unfinished", "_SUCCESS"} & names(out / "table") == {"_unfinished"}
    (out / "table" / "day=9" / "part-0.parquet").touch()  # of other rows, which the scores no longer have
    table = compact(out / "out", out / "table", ["day"])
    assert names(out / "table") - {"day=9"} == {"_SUCCESS", "day=1", "day=__HIVE_DEFAULT_PARTITION__", "part-0.parquet"}
    assert list((out / "table" / "day=9").iterdir()) == []  # Arrow keeps folders
    assert table.files == {"day=1/part-0.parquet": 108, "day=__HIVE_DEFAULT_PARTITION__/part-0.parquet": 54}
    (out / "table" / "_unfinished").touch()  # as if it had ended just before its last step
    assert compact(out / "out", out / "table", ["day"]).files == table.files
    assert "_unfinished" not in names(out / "table")
    with refused("s3://", "exists and is not empty"):
        compact(out / "out", out / "table", ["day"])
    assert compact(out / "out", tmp_path / "here", ["day"]).files == table.files


def test_one_job_at_a_time(store, night, folder, monkeypatch):
    monkeypatch.setattr(store_lock, "LEASE", 4.0)
    monkeypatch.setattr(store_lock, "_LOOK", 0.2)
    out = Output(path_of(night).parent / "out")
    with out.locked(), pytest.raises(LockedError, match="another job is writing to it"):
        score_files([night], folder, out.folder)
    left = out.folder / "_shards" / f"lock-{0:016x}"
    left.touch()  # by a job that was killed
    began = time.monotonic()
    score_files([night], folder, out.folder)
    assert time.monotonic() - began > 4 - 1  # the store's clock shows whole seconds
    assert not left.exists()


def test_of_jobs_that_start_at_the_same_moment_one_stays(store, monkeypatch):
    monkeypatch.setattr(store_lock, "LEASE", 40.0)
    monkeypatch.setattr(store_lock, "_LOOK", 0.1)
    folder, all_there = path_of(f"s3://posts/{next(_numbers)}/_shards"), threading.Barrier(3)
    others, seen, gone = store_lock._Lock.others, set[Path](), threading.Semaphore(0)

    def looked(lock: store_lock._Lock) -> dict[Path, float]:
        if lock.path not in seen:
            seen.add(lock.path)
            all_there.wait()  # each has written its lock, and nobody has looked for others'
        return others(lock)

    monkeypatch.setattr(store_lock._Lock, "others", looked)

    def begin(number: int) -> int:
        try:
            with store_lock.locked_in_store(folder, folder):
                assert all(gone.acquire(timeout=60) for _ in range(2))
                return 0
        except LockedError:
            gone.release()
            return 6

    with ThreadPoolExecutor(3) as pool:
        assert sorted(pool.map(begin, range(3))) == [0, 6, 6]


def test_a_job_that_lost_its_lock_stops(store, night, folder, monkeypatch):
    monkeypatch.setattr(store_lock, "LEASE", 2.0)
    out = path_of(night).parent / "out"

    def taken(progress: object) -> None:
        for lock in (out / "_shards").glob("lock-*"):
            lock.unlink()
        time.sleep(1.0)

    with pytest.raises(IncompleteError, match="the lock was lost"):
        score_files([night], folder, out, progress=taken)
    assert not (out / MANIFEST).exists()


def test_a_lock_that_the_store_no_longer_takes_is_lost(store, night, folder, monkeypatch):
    monkeypatch.setattr(stores, "ATTEMPTS", 1)
    monkeypatch.setattr(store_lock, "LEASE", 1.0)
    stores._store.cache_clear()
    out = path_of(night).parent / "out"

    def refused(progress: object) -> None:
        store.choose = lambda method, path: "503" if method == "PUT" and "/lock-" in path else None
        time.sleep(1.5)

    with pytest.raises(IncompleteError, match="the lock was lost"):
        score_files([night], folder, out, progress=refused)


def test_nothing_is_written_once_the_lock_is_lost(tmp_path):
    output, done = Output(tmp_path / "out"), Completion("in", 0, 1, "", "", "", f"part-{'0' * 12}-00000.csv")
    with output.locked():
        output._is_lost = lambda: True
        with pytest.raises(OutputError, match="the lock was lost"), output.part(done):
            pass
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["_shards"]


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["s3://posts/none.jsonl"], 2, "s3://posts/none.jsonl: no such file; check the path"),
        (["s3://posts/none/*.jsonl"], 2, "s3://posts/none/*.jsonl: no file matches this glob; check the pattern"),
        (["s3://none/x.jsonl"], 2, "s3://none/x.jsonl: no such file; check the path"),
        (["HERE", "--out", "s3://none/out"], 2, "s3://none/out: cannot be written (there is no such bucket); choose another --out"),
        (["HERE", "--out", "s3://denied/out"], 2, "s3://denied/out: cannot be read (access is denied; set credentials"),
        (["s3://denied/x.jsonl"], 2, "s3://denied/x.jsonl: cannot be read (access is denied; set credentials"),
        (["HERE", "--out", "s3://away/out"], 2, "s3://away/out: cannot be read (the store answered 503); choose another --out"),
        (["HERE", "--out", "s3://"], 2, "s3://: lacks the name of a bucket; write s3://BUCKET/FOLDER"),
        (["HERE", "--out", "s3:/posts/out"], 2, "s3:/posts/out: as a path, this is a folder called 's3:'; write s3://posts/out"),
        (["HERE", "--out", "ftp://me:secret@posts/out"], 2, "ftp://…@posts/out: is not an address of an object store that we know"),
        (["s3://me:sec/ret@posts/x.jsonl"], 2, "s3://…@posts/x.jsonl: must not hold a password; set credentials"),
        (["HERE", "--out", "s3://posts/other"], 2, "s3://posts/other: holds other files, such as theirs.txt; choose another --out"),
        (["s3://posts/other", "--out", "s3://posts/other/out"], 2, "s3://posts/other/out: is in the input s3://posts/other, so the next"),
        (["s3://posts/other/theirs.txt"], 2, "s3://posts/other/theirs.txt: must be one of .jsonl"),
        (["HERE", "--engine", "spark", "--out", "s3://posts/out"], 2, "s3://posts/out: is an address, but this must be a path on this"),
    ],
)
def test_what_cannot_be_used_is_one_line(store, folder, script, jsonl, tmp_path, monkeypatch, arguments, code, told):
    monkeypatch.setattr(stores, "ATTEMPTS", 1)
    path_of("s3://posts/other/theirs.txt").write_bytes(b"not ours")
    store.choose = lambda method, path: "403" if path.startswith("/denied") else "503" if path.startswith("/away") else None
    monkeypatch.chdir(tmp_path)
    here = jsonl("here.jsonl", ROWS)
    done = script(score.main, *[str(here) if part == "HERE" else part for part in arguments], "--model", folder, "--workers", 1)
    assert done.code == code
    assert done.err.splitlines()[-1].startswith(f"error: {told}")
    assert "sec" not in done.err.replace("seconds", "")
    assert {path.name for path in tmp_path.iterdir()} == {"here.jsonl"}


def test_folders_around_the_posts_need_not_be_listed(store, night, folder, tmp_path):
    given = night.removeprefix("s3://posts/")
    store.choose = lambda method, path: None if given in unquote(path) else "403"
    score_files([night], folder, tmp_path / "out")
    assert store.met["403"] > 0


def test_a_store_that_cannot_be_reached_is_one_line(folder, script, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(stores, "ATTEMPTS", 1)
    stores._store.cache_clear()
    code, _, err = script(score.main, "s3://posts/x.jsonl", "--model", folder)
    stores._store.cache_clear()
    assert code == 2
    assert err.splitlines()[-1].startswith(
        "error: s3://posts/x.jsonl: cannot be read (the store cannot be reached, or the connection broke off)"
    )


def test_a_file_that_is_replaced_while_it_is_read_is_told(store, night, folder):
    out, file = path_of(night).parent / "out", path_of(night) / "a.jsonl"

    def replaced(progress: object) -> None:
        file.write_bytes(b'{"id": "1", "text": "zaxa"}\n')

    with pytest.raises(IncompleteError, match=r"a\.jsonl: was changed while it was being scored"):
        score_files([night], folder, out, progress=replaced)


def test_globs_mean_in_a_store_what_they_mean_on_disk(store, tmp_path):
    for name in ("a.csv", ".b.csv", "c/d.csv", "c/.e/f.csv", "c/g/h.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
        (path_of("s3://posts/globs") / name).touch()
    for pattern in ("*", "*.csv", "**", "**/*.csv", "c/*", "c/**/h.csv", ".*", "c/.e/*", "?.csv", "[ab].csv", "none/*", "a.csv", "**/g"):
        here = sorted(str(Path(path).relative_to(tmp_path)) for path in glob.glob(f"{tmp_path}/{pattern}", recursive=True))  # noqa: PTH207
        there = sorted(str(path)[len("s3://posts/globs/") :] or "." for path in path_of(f"s3://posts/globs/{pattern}").matches())
        assert there == here, pattern
