"""By default there are as many processes as cores, fewer if a container has a quota of processor time or the cores are taken away."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace
from typing import NoReturn

import pytest

from models.config import ROOT
from pipeline.commands import again, score, serve
from pipeline.cores import cores
from pipeline.scoring import job
from pipeline.scoring.earlier import Earlier
from pipeline.scoring.options import Options

# Shows quotas in the files in which Linux shows them to a container, in microseconds, one after another: half a core in version 2 of
# control groups, one core in version 1, and none in either.
COUNT = """
from pathlib import Path
from pipeline.cores import cores
groups = Path("/sys/fs/cgroup")
(groups / "cpu").mkdir()
for quota in ("50000", "max"):
    (groups / "cpu.max").write_text(f"{quota} 100000")
    print(cores())
(groups / "cpu.max").unlink()
(groups / "cpu" / "cpu.cfs_period_us").write_text("100000")
for quota in ("100000", "-1"):
    (groups / "cpu" / "cpu.cfs_quota_us").write_text(quota)
    print(cores())
"""


def test_quota_of_a_container_counts():
    """In a view of the file system that only one process has, as in a container."""
    program = f"mount -t tmpfs none /sys/fs/cgroup || exit 77; exec {sys.executable} -c '{COUNT}'"
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", program]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip(f"no process can have its own view of the file system here: {done.stderr.strip()}")
    everything = len(os.sched_getaffinity(0))
    assert [int(line) for line in done.stdout.split()] == [1, everything, 1, everything], done.stderr


def test_cores_that_were_taken_away_do_not_count():
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.mark.parametrize(("found", "serving"), [(1, 1), (3, 3), (64, 4)])
def test_server_starts_as_many_processes(script, monkeypatch, found, serving):
    given = []
    monkeypatch.setattr(serve, "cores", lambda: found)
    monkeypatch.setattr("pipeline.tracking.serve.serve", lambda _, options: given.append(options.workers))
    script(serve.main)
    script(serve.main, "--workers", 7)
    assert given == [serving, 7]


def test_jobs_start_as_many_processes(script, tmp_path, monkeypatch):
    """Jobs that score, and those that score rejected posts again, start one process per core; a job with one part does not count them."""
    given = []

    def started(_start: object, _shards: object, workers: int) -> NoReturn:
        given.append(workers)
        sys.exit(0)

    posts, out = tmp_path / "posts.jsonl", tmp_path / "out"
    posts.write_text('{"id": 1, "text": "me too"}\n{"id": 2, "text": ""}\n')
    monkeypatch.delattr(job, "cores")
    script(score.main, posts, "--out", out)
    monkeypatch.setattr(job, "cores", lambda: 3, raising=False)
    monkeypatch.setattr(job, "in_processes", started)
    posts.write_text('{"id": 1, "text": "me too"}\n' * 2**17)
    script(score.main, posts, "--out", tmp_path / "other")
    script(score.main, posts, "--out", tmp_path / "other", "--workers", 7)
    monkeypatch.setattr(Earlier, "read", lambda _: SimpleNamespace(files={str(posts): None}, tables={}, options=Options()))
    script(again.rescore, "--rejects", tmp_path / "other")
    assert given == [3, 7, 3]
    assert json.loads((out / "manifest.json").read_text())["workers"] == 1
