"""A real Spark cluster, with a master and two workers in processes of their own, scores the same rows, even if an executor is killed.

Only ``make spark-cluster`` runs this, because starting the cluster takes long.
"""

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.spark import cluster, environment
from models.config import ROOT
from pipeline.scoring import score_files

POSTS = int(os.environ.get("SPARK_POSTS", "0"))
END = 1800  # seconds

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not POSTS, reason="starts a Spark cluster: make spark-cluster")]


@pytest.fixture(scope="module")
def spark(tmp_path_factory) -> Iterator[tuple[str, list[int]]]:
    """The address of the master, and the processes of the workers."""
    with cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture(scope="module")
def night(tmp_path_factory) -> Path:
    """A folder of posts in several forms, some of which cannot be scored."""
    folder = tmp_path_factory.mktemp("night")
    texts = [json.loads(line)["text"] for line in (ROOT / "data/starter/train.jsonl").read_text().splitlines()]
    rows = [{"id": str(n), "text": f"{texts[n % len(texts)]} {n}" if n % 97 else None} for n in range(POSTS)]
    third = POSTS // 3
    pq.write_table(pa.Table.from_pylist(rows[:third]), folder / "a.parquet", row_group_size=third // 20)
    for name, some in (("b.jsonl", rows[third : 2 * third]), ("c.jsonl.gz", rows[2 * third :])):
        lines = "".join(json.dumps(row) + "\n" for row in some).encode()
        (folder / name).write_bytes(gzip.compress(lines) if name.endswith("gz") else lines)
    return folder


@pytest.fixture(scope="module")
def local(night, tmp_path_factory) -> dict[str, dict]:
    """What the local engine says of each post that it can score."""
    out = tmp_path_factory.mktemp("local") / "out"
    score_files([night], out=out)
    return {row["id"]: row for path in out.glob("part-*") for row in pq.read_table(path).to_pylist()}


def executors(workers: list[int]) -> set[int]:
    """Return the processes that score for these workers, which are their children."""
    found = set()
    for pid in [int(pid) for worker in workers for task in Path(f"/proc/{worker}/task").iterdir() for pid in children(task)]:
        with suppress(OSError):  # it has ended
            if b"CoarseGrainedExecutorBackend" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.add(pid)
    return found


def children(task: Path) -> list[str]:
    """Return the processes that a thread has started."""
    try:
        return (task / "children").read_text().split()
    except OSError:
        return []


def written(out: Path) -> int:
    """Return how many tasks have already written their rows."""
    return len(list(out.parent.glob(".spark-unfinished-*/job-*/new/_temporary/0/task_*")))


def assert_same(out: Path, local: dict[str, dict]) -> None:
    rows = pq.read_table(out).to_pylist()
    assert len(rows) == POSTS == len({row["id"] for row in rows})
    scored = [row for row in rows if row["error"] is None]
    assert len(scored) == len(local)
    for row in scored:
        wanted = local[row["id"]]
        for name in wanted:
            assert row[name] == (pytest.approx(wanted[name], abs=1e-6) if name.startswith("prob_") else wanted[name])


@pytest.mark.parametrize("kill", [False, True], ids=["undisturbed", "an executor is killed"])
def test_a_cluster_gives_the_rows_of_the_local_engine(spark, night, local, tmp_path, kill):
    master, workers = spark
    out, settings = tmp_path / "out", "--conf spark.executor.cores=1 --conf spark.sql.files.maxPartitionBytes=1m pyspark-shell"
    command = [sys.executable, str(ROOT / "score.py"), str(night), "--engine", "spark", "--master", master, "--out", str(out)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment(PYSPARK_SUBMIT_ARGS=settings)) as job:
        end, killed, seen = time.monotonic() + END, 0, set()
        while job.poll() is None and time.monotonic() < end:
            seen |= (now := executors(workers))
            if kill and not killed and len(now) == 2 and written(out) > 2:
                killed = min(now)
                os.kill(killed, signal.SIGKILL)
            time.sleep(0.05)
        said = job.stderr.read() if job.stderr else ""
    assert job.returncode == 0, said[-2000:]
    assert_same(out, local)
    assert (len(seen), killed in seen) == ((3, True) if kill else (2, False))  # another executor takes the place of the one that was killed
    assert not list(tmp_path.glob(".spark-*"))
