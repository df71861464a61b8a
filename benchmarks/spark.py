#!/usr/bin/env python3
"""Measures how many posts per second a real Spark cluster on this machine scores, and how much time its driver takes.

The cluster has a master and workers in processes of their own, as on several machines; see docs/how_to/spark.md.
"""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

# The packages are in the parent folder of this script's folder.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import pyarrow as pa
import pyarrow.parquet as pq
import typer
from rich.table import Table

from models.errors import InputError
from pipeline import terminal
from pipeline.records import Row, file_rows
from pipeline.scoring.inputs import find_inputs

SCORE = Path(__file__).resolve().parent.parent / "score.py"
START = 300  # seconds
_QUICK = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"  # the master and the workers have little to do
_FEW = 10  # posts of each small file
_TICKS = os.sysconf("SC_CLK_TCK")


def _free_port() -> int:
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a cluster on this machine, in which executors use this Python.

    Parameters
    ----------
    more : str
        Further variables.
    """
    return os.environ | {"SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": sys.executable, "SPARK_NO_DAEMONIZE": "1"} | more


@contextmanager
def _started(folder: Path, name: str, *arguments: str) -> Iterator[int]:
    """Start a process of Spark, whose log is in the folder, and end it after the block."""
    import pyspark

    command = [str(Path(pyspark.__path__[0]) / "bin/spark-class"), f"org.apache.spark.deploy.{name}", *arguments]
    number = len(list(folder.glob("*.log")))
    variables = environment(SPARK_DAEMON_MEMORY="512m", SPARK_DAEMON_JAVA_OPTS=_QUICK)
    with (folder / f"{number}.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=variables)  # noqa: S603
        try:
            yield process.pid
        finally:
            process.terminate()
            process.wait()


@contextmanager
def cluster(folder: Path, workers: int = 2) -> Iterator[tuple[str, list[int]]]:
    """Yield the address of a new Spark master on this machine, and the ids of its worker processes, which have one core each.

    Parameters
    ----------
    folder : Path
        Folder for what the processes write.
    workers : int
        Number of worker processes.

    Raises
    ------
    TimeoutError
        When the workers do not start.
    """
    port, page = _free_port(), _free_port()
    master, here = f"spark://127.0.0.1:{port}", ["--host", "127.0.0.1"]
    with ExitStack() as stack:
        stack.enter_context(_started(folder, "master.Master", *here, "--port", str(port), "--webui-port", str(page)))
        size = ["--cores", "1", "--memory", "2g", "--work-dir", str(folder / "work"), "--webui-port", "0"]
        pids = [stack.enter_context(_started(folder, "worker.Worker", *here, *size, master)) for _ in range(workers)]
        end = time.monotonic() + START
        while (started := _alive(page)) < workers:
            if time.monotonic() > end:
                raise TimeoutError(f"only {started} of {workers} workers started within {START} s; try again on a less busy machine")
            time.sleep(0.2)
        yield master, pids


def _alive(page: int) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{page}/json/", timeout=5) as answer:
            return int(json.load(answer)["aliveworkers"])
    except OSError:
        return 0


def descendants(pid: int) -> list[int]:
    """Return the ids of a process and of all that it started.

    Parameters
    ----------
    pid : int
        The process.
    """
    try:
        children = [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()]
    except OSError:  # it has ended
        return []
    return [pid, *(found for child in children for found in descendants(child))]


class _Clock:
    """Adds up the processor time of processes and of all that they start."""

    def __init__(self, pids: Sequence[int]) -> None:
        self._pids = pids
        self._ticks: dict[int, int] = {}
        self.look()
        self._before = self._total()

    def look(self) -> None:
        for pid in [found for top in self._pids for found in descendants(top)]:
            try:
                values = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
            except OSError:
                continue
            self._ticks[pid] = int(values[11]) + int(values[12])

    def _total(self) -> int:
        return sum(self._ticks.values())

    @property
    def seconds(self) -> float:
        return (self._total() - self._before) / _TICKS


def run_job(master: str, workers: Sequence[int], inputs: Sequence[Path], executors: int, model: str) -> dict[str, float]:
    """Score files on a cluster.

    Parameters
    ----------
    master : str
        Address of the cluster.
    workers : sequence of int
        Ids of its worker processes.
    inputs : sequence of Path
        Files or folders of posts.
    executors : int
        Number of executors, with one core each.
    model : str
        As for ``score.py``.

    Returns
    -------
    dict
        Posts, seconds by the clock, and seconds of processor time of the driver and of the executors.
    """
    settings = f"--conf spark.cores.max={executors} --conf spark.executor.cores=1 pyspark-shell"
    with TemporaryDirectory() as scratch:
        options = ["--engine", "spark", "--master", master, "--model", model, "--out", f"{scratch}/out", "--json"]
        started, command = time.perf_counter(), [sys.executable, str(SCORE), *map(str, inputs), *options]
        of_executors = _Clock(workers)
        with subprocess.Popen(  # noqa: S603
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment(PYSPARK_SUBMIT_ARGS=settings)
        ) as job:
            of_driver = _Clock([job.pid])
            while job.poll() is None:
                of_driver.look()
                of_executors.look()
                time.sleep(0.1)
            seconds = time.perf_counter() - started
            assert job.returncode == 0
            scored = json.loads(job.stdout.read() if job.stdout else "")["scored"]
    return {"posts": scored, "seconds": seconds, "driver": of_driver.seconds, "executors": of_executors.seconds}


def write_inputs(posts: Path, folder: Path, count: int, files: int) -> dict[str, list[Path]]:
    """Write posts in three ways: a few of them in one file, all of them in row groups, and some of them in many small files.

    Parameters
    ----------
    posts : Path
        File of posts with ids and texts.
    folder : Path
        Folder to write to.
    count : int
        Number of posts.
    files : int
        Number of small files.

    Raises
    ------
    InputError
        When there are no posts.
    """
    rows = [row.fields for row in file_rows(find_inputs([posts])[0]) if isinstance(row, Row)]
    rows = [{"id": str(row["id"]), "text": str(row["text"])} for row in rows if row.get("text")]
    if not rows:
        raise InputError(f"{posts}: has no posts; give a file with the columns id and text")
    table = pa.Table.from_pylist([rows[number % len(rows)] for number in range(count)])
    (folder / "small").mkdir()
    pq.write_table(table.slice(0, 1_000), folder / "few.parquet")
    pq.write_table(table, folder / "all.parquet", row_group_size=max(count // 16, 1))
    for number in range(files):
        pq.write_table(table.slice(number * _FEW % count, _FEW), folder / "small" / f"{number}.parquet")
    return {"few": [folder / "few.parquet"], "all": [folder / "all.parquet"], "small": [folder / "small"]}


def measure(posts: Path, count: int, files: int, executors: int, model: str) -> dict[str, Any]:
    """Measure jobs on a cluster that is started for them; a job over a few posts shows what every job takes, and is subtracted.

    Parameters
    ----------
    posts : Path
        File of posts.
    count : int
        Number of posts to score.
    files : int
        Number of small files.
    executors : int
        Maximum number of executors.
    model : str
        As for ``score.py``.

    Returns
    -------
    dict
        By number of executors: posts per second, posts per second of their processor time, and seconds of the driver. Then the seconds of
        the driver for each small file, and those that every job takes.
    """
    found: dict[str, Any] = {"executors": {}}
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        inputs = write_inputs(posts, folder, count, files)
        with cluster(folder, executors) as (master, pids):
            for number in range(1, executors + 1):
                few, many = (run_job(master, pids, inputs[name], number, model) for name in ("few", "all"))
                more = {name: many[name] - few[name] for name in few}
                rates = {"rate": more["posts"] / more["seconds"], "rate_of_processor": more["posts"] / more["executors"]}
                found["executors"][number] = rates | {"driver": more["driver"], "start": few["seconds"]}
            small = run_job(master, pids, inputs["small"], executors, model)
    return found | {"driver_per_file": (small["driver"] - few["driver"]) / files, "driver_of_each_job": few["driver"]}


def main(
    posts: Annotated[Path, typer.Argument(help="File of posts with ids and texts.")],
    count: Annotated[int, typer.Option(min=2_000, help="Number of posts; if the file has fewer, they are repeated.")] = 200_000,
    files: Annotated[int, typer.Option(min=1, help="Number of small files.")] = 400,
    executors: Annotated[int, typer.Option(min=1, help="Maximum number of executors, with one core each.")] = 2,
    model: Annotated[str, typer.Option(help="As for score.py.")] = "released",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Measure how many posts per second Spark scores with one executor and with more, and how much time its driver takes."""
    found = measure(posts, count, files, executors, model)
    if as_json:
        print(json.dumps(found))
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("executors", "posts/s", "posts/s of processor time", "driver, seconds", "start, seconds"):
        table.add_column(heading, justify="right")
    for number, figures in found["executors"].items():
        cells = [f"{figures['rate']:,.0f}", f"{figures['rate_of_processor']:,.0f}", f"{figures['driver']:.1f}", f"{figures['start']:.1f}"]
        table.add_row(str(number), *cells)
    terminal.output().print(table)
    each, per_file = found["driver_of_each_job"], 1000 * found["driver_per_file"]
    print(f"processor time of the driver: {each:.1f} s for each job, and {per_file:.1f} ms for each small file")


if __name__ == "__main__":
    terminal.run(main)
