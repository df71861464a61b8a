"""Whatever is killed, and whenever: when run again, the job ends with the same output as an undisturbed one.

``make chaos`` runs this over 300,000 posts with 20 kills, on disk and in an object store that answers badly at times.
"""

import gzip
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from faulty_store import FAULTS, faulty_store

from pipeline.routing.rules import load_routing
from pipeline.scoring import Options, score_files, shards
from pipeline.stores import _store, path_of

POSTS = int(os.environ.get("CHAOS_POSTS", "6000"))
KILLS = int(os.environ.get("CHAOS_KILLS", "4"))
FILES = 20
LONGEST = 600 if POSTS < 100_000 else 3600  # seconds that an undisturbed run may take; many more than it needs on an idle machine
FAULTY = 0.01  # share of the requests to the store that meet with a fault
LEASE = 20  # seconds that a job waits for the lock of one that was killed; a request that meets with silence takes several
PATIENCE = 30  # seconds for which a kill waits for records, or up to twice as many
SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".csv", ".csv.gz", ".parquet")

SHARD_BYTES = POSTS // FILES * 12  # small, so that there are many shards to interrupt

JOB = f"""
import sys
from pipeline.scoring import shards, store_lock
store_lock.LEASE = {LEASE}
shards.SHARD_BYTES = {SHARD_BYTES}
if __name__ == "__main__":
    from pipeline import terminal
    from pipeline.commands.score import main
    terminal.run(main)
"""


def write_rows(path: Path, rows: list[dict]) -> None:
    """Write rows, some of which cannot be scored."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows, pa.schema([("id", pa.string()), ("text", pa.string())])), path, row_group_size=977)
        return
    if ".csv" in path.name:
        whole = b"id,text\r\n" + b"".join(b'%s,"%s"\r\n' % (row["id"].encode(), (row["text"] or "").encode()) for row in rows)
    else:
        whole = b"".join(json.dumps(row).encode() + b"\n" if number % 97 else b'{"cut off\n' for number, row in enumerate(rows))
    if path.suffix == ".gz":
        whole = gzip.compress(whole)
    if path.suffix == ".zst":
        with pa.output_stream(str(path), compression="zstd") as file:
            file.write(whole)
    else:
        path.write_bytes(whole)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    rng = random.Random(0)
    folder = tmp_path_factory.mktemp("chaos") / "in"
    folder.mkdir()
    words = ["".join(rng.choices("abcdefghijklmnop", k=rng.randint(2, 9))) for _ in range(5000)] + ["zaxa", "wiku", "zaxo\n", "🙏"]
    texts = [" ".join(rng.choices(words, k=rng.randint(1, 30))) for _ in range(POSTS // 2)]
    for number in range(FILES):
        size = POSTS // FILES
        rows = [{"id": f"{number}-{row}", "text": rng.choice(texts) if row % 101 else None} for row in range(size)]
        write_rows(folder / f"posts-{number:02d}{SUFFIXES[number % len(SUFFIXES)]}", rows)
    return folder


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("chaos-model") / "model"
    model.save(folder)
    queue = f"few: {{task: read, capacity: {POSTS // 60}}}"  # many posts want to be in it, from every part
    (folder.parent / "routing.yaml").write_text(f"queues: {{{queue}}}\nrules: [{{when: {{alpha: 0.1}}, queue: few}}]\n")
    return folder


class Places(NamedTuple):
    """A folder of posts, a folder for the output, and what counts the records in the latter."""

    inputs: Path
    out: Path
    records: Callable[[], int]


# In CI, test_stores.py stops jobs in a store at fixed moments, which takes less time.
@pytest.fixture(params=["disk", "store"] if "CHAOS_KILLS" in os.environ else ["disk"])
def places(request, inputs, tmp_path, monkeypatch) -> Iterator[Places]:
    """Places on disk, and in a store that answers badly at times; its records are counted without a request."""
    with faulty_store() if request.param == "store" else nullcontext() as store:
        if not store:
            out = tmp_path / "out"
            yield Places(inputs, out, lambda: len(list((out / "_shards").glob("*.json"))))
            return
        for name, value in store.environment().items():
            monkeypatch.setenv(name, value)
        _store.cache_clear()
        for path in inputs.iterdir():
            (path_of("s3://posts/in") / path.name).write_bytes(path.read_bytes())
        rng = random.Random(2)
        store.choose = lambda method, path: rng.choice(FAULTS) if rng.random() < FAULTY else None
        yield Places(path_of("s3://posts/in"), path_of("s3://posts/out"), lambda: store.count("out/_shards/*.json"))
        _store.cache_clear()
        assert KILLS < 20 or store.met.keys() == set(FAULTS)
        print(f"faults: {store.met}")


def start(inputs: Path, model: Path, out: Path) -> subprocess.Popen[str]:
    rules = model.parent / "routing.yaml"
    command = [sys.executable, "-c", JOB, str(inputs), "--model", str(model), "--out", str(out), "--workers", "2", "--route", str(rules)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def children(pid: int) -> list[int]:
    """Return the ids of the process's workers: those of its children that ``multiprocessing.spawn`` started."""
    found = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
            found.append(int(child))
    return found


def victims(job: subprocess.Popen[str], records: Callable[[], int], rng: random.Random) -> Iterator[dict[str, int]]:
    """Yield the ids of the parent and one of its workers, if it has any, until the job has ended.

    A kill comes at a random moment after a few more records were written, or after some time, because the end of a job adds none.
    """
    while job.poll() is None:
        wanted, latest = records() + rng.randint(1, 4), time.monotonic() + rng.uniform(1, 2) * PATIENCE
        while job.poll() is None and records() < wanted and time.monotonic() < latest:
            time.sleep(0.002)
        time.sleep(rng.random() * 0.05)
        if job.poll() is None:
            with suppress(OSError):  # it ended just now
                workers = children(job.pid)
                yield {"parent": job.pid} | ({"worker": rng.choice(workers)} if workers else {})


def data(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.iterdir()) if path.name.startswith("part-") or path.name == "rejects.jsonl"}


def finished(job: subprocess.Popen[str]) -> int:
    printed, errors = job.communicate(timeout=LONGEST)
    assert job.returncode == 0, errors
    assert "Traceback" not in errors
    return int(printed.split("read ")[1].split(" ")[0].replace(",", ""))


@pytest.mark.slow
def test_killed_at_random_a_job_ends_as_if_undisturbed(places, saved, tmp_path, monkeypatch):
    (inputs, out, records), undisturbed = places, tmp_path / "undisturbed"
    monkeypatch.setattr(shards, "SHARD_BYTES", SHARD_BYTES)
    summary = score_files([inputs], saved, undisturbed, Options(route=load_routing(saved.parent / "routing.yaml")))
    posts = summary.read
    assert (posts, summary.turned_away["few"] > 0) == (POSTS * len(list(inputs.iterdir())) // FILES, True)
    assert summary.queues["few"] == POSTS // 60
    rng = random.Random(1)
    kills = {"parent": 0, "worker": 0}
    while sum(kills.values()) < KILLS:
        job = start(inputs, saved, out)
        for alive in victims(job, records, rng):
            unseen = [kind for kind in alive if not kills[kind]]
            kind = unseen[0] if unseen and sum(kills.values()) >= KILLS - 2 else rng.choice(list(alive))
            if kills["parent"] >= max(KILLS // 3, 1) and "worker" in alive:  # to start a job again takes longest
                kind = "worker"
            with suppress(ProcessLookupError):  # a worker that ended just now
                os.kill(alive[kind], signal.SIGKILL)
                kills[kind] += 1
            if kind == "parent" or sum(kills.values()) == KILLS:
                break
        job.kill()  # the last run should repair what is left
        _, errors = job.communicate()
        assert job.returncode == -signal.SIGKILL, f"ended before {KILLS} kills: {kills}; {errors}"
    assert min(kills.values()) > 0
    assert finished(start(inputs, saved, out)) == posts
    assert data(out) == data(undisturbed)
    assert records() > 0
    leftovers = [path.name for path in out.rglob("*") if "unfinished" in path.name]
    assert leftovers == []
