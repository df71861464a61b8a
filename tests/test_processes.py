"""Worker processes: whichever of them dies, the output is the same as without them, and none is left behind."""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import StandIn

from models import Classifier
from models.errors import InputError
from pipeline.errors import IncompleteError
from pipeline.files import OutputError, whole_file
from pipeline.scoring import Options, Summary, job, parts, processes, score_files, shards
from pipeline.scoring.completion import Completion
from pipeline.scoring.parts import ModelFolder, PartWriter
from pipeline.scoring.processes import Failure, _start, in_processes
from pipeline.scoring.shards import Shard

ROOT = Path(__file__).parent.parent
SECRET = "zanzibarquartz"


class Obedient:
    """Work that does what a shard's content says, and writes a file for each process that has started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / f"began-{os.getpid()}").touch()

    def __call__(self, shard: Shard, at: Callable[[int], Any]) -> Completion:
        told, tries = shard.content.decode(), self.folder / f"tries-{shard.number}"
        with tries.open("a") as file:
            file.write("x")
        if told == "die" or (told == "die once" and tries.read_text() == "x"):
            os.kill(os.getpid(), signal.SIGKILL)
        if told == "sleep":
            time.sleep(60)
        if told == "fail":
            raise RuntimeError(f"what happened with {SECRET}")
        if told == "be damaged":
            raise InputError("damaged, so there")
        if told == "fill the disk":
            raise OutputError("no room")
        return Completion.of(shard, "model", "options", "csv")


def told(*contents: str) -> Iterator[Shard]:
    for number, content in enumerate(contents):
        yield Shard("in.jsonl", number, 10 * number + 1, "digest", 1, content.encode())


def test_each_shard_has_its_outcome_whatever_becomes_of_its_process(tmp_path, capfd):
    work = told("", "die once", "", "fail", "be damaged", "die", "", "")
    found = {shard.number: outcome for shard, outcome in in_processes(partial(Obedient, tmp_path), work, 2)}
    assert {number: outcome.reason for number, outcome in found.items() if isinstance(outcome, Failure)} == {
        3: "in.jsonl, from row 31: RuntimeError while scoring; please report this bug",
        4: "damaged, so there",
        5: "in.jsonl, from row 51: the processes that scored these rows died (out of memory?)",
    }
    assert {number: outcome.number for number, outcome in found.items() if isinstance(outcome, Completion)} == {
        n: n for n in (0, 1, 2, 6, 7)
    }
    assert [len((tmp_path / f"tries-{number}").read_text()) for number in range(8)] == [1, 2, 1, 1, 1, 3, 1, 1]
    assert capfd.readouterr() == ("", "")
    assert multiprocessing.active_children() == []


def test_process_that_is_stopped_and_takes_nothing_is_like_one_that_died(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "SILENCE", 1.0)
    done = []
    for _, outcome in in_processes(partial(Obedient, tmp_path), told("", "x" * 2**20), 1):
        done.append(outcome.number)
        if len(done) == 1:
            os.kill(multiprocessing.active_children()[0].pid, signal.SIGSTOP)
    assert done == [0, 1]
    assert len(list(tmp_path.glob("began-*"))) == 2


@pytest.mark.parametrize(("bad", "found"), [({3}, {3}), ({1, 7, 8}, {1, 7, 8}), (set(), set()), (set(range(1, 50)), None)])
def test_posts_that_kill_their_process_are_rejected_and_no_others(monkeypatch, bad, found):
    monkeypatch.setattr(processes._Worker, "_begin", lambda self: setattr(self, "_ready", False))
    worker, shard, tries = processes._Worker(StandIn), Shard("in.jsonl", 0, 1, "digest", 1, b""), 0
    while shard and (not shard.alone or bad - shard.without):
        worker.give(shard)
        worker._row = min(bad - shard.without) if shard.alone else 0
        shard, tries = worker._following(shard), tries + 1
    assert (shard and shard.without) == found
    assert tries <= processes.TRIES


def test_posts_that_are_scored_alone_give_the_same_part(folder, tmp_path):
    content = (folder / "a.jsonl").read_bytes()
    told, parts_ = [], []
    for alone in (False, True):
        out = tmp_path / str(alone)
        (out / "_shards").mkdir(parents=True)
        write = PartWriter(ModelFolder.read(folder / "model"), Options(), out)
        write(Shard("a.jsonl", 0, 1, "digest", 1, content, alone=alone), told.append)
        parts_.append(data(out))
    assert parts_[0] == parts_[1]
    assert [row for row in told if row] == list(range(1, content.count(b"\n") + 1))


def test_no_process_for_which_there_is_no_work(tmp_path):
    assert len(list(in_processes(partial(Obedient, tmp_path), told(""), 4))) == 1
    assert len(list(tmp_path.glob("began-*"))) == 1
    assert list(in_processes(partial(Obedient, tmp_path), told(), 4)) == []


def test_full_disk_in_one_process_ends_all(tmp_path):
    with pytest.raises(OutputError, match="no room"):
        list(in_processes(partial(Obedient, tmp_path), told("fill the disk", ""), 2))
    assert multiprocessing.active_children() == []


# Jobs


@pytest.fixture(scope="module", autouse=True)
def _many_shards() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "SHARD_BYTES", 3000)
        yield


@pytest.fixture(scope="module")
def folder(model, posts, tmp_path_factory) -> Path:
    """A folder with a saved model and files of posts."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = tmp_path_factory.mktemp("job")
    model.save(folder / "model")
    rows = [{"id": str(number), "text": "" if number % 9 == 4 else text} for number, text in enumerate(posts.texts)]
    (folder / "a.jsonl").write_text("".join(json.dumps(row) + "\n" if number % 20 else "{broken\n" for number, row in enumerate(rows)))
    (folder / "b.csv").write_text("id,text\n" + "".join(f"{row['id']},{row['text']}\n" for row in rows))
    pq.write_table(pa.Table.from_pylist(rows), folder / "c.parquet")
    return folder


def run(
    folder: Path, out: Path, *, workers: int = 2, progress: Callable[..., None] = lambda state: None, model: Path | None = None
) -> Summary:
    """Score the files of a folder with the model in it, unless another model is given."""
    files = [folder / name for name in ("a.jsonl", "b.csv", "c.parquet")]
    return score_files(files, model or folder / "model", out, workers=workers, progress=progress)


def data(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir() if path.name.startswith(("part-", "rejects"))}


@pytest.fixture(scope="module")
def alone(folder) -> Path:
    """The output of a job that runs in one process."""
    run(folder, folder / "alone", workers=1)
    return folder / "alone"


@pytest.mark.slow
def test_several_processes_write_what_one_does_even_if_one_is_killed(folder, alone, tmp_path):
    killed = []

    def kill_one(_: object) -> None:
        if not killed:
            killed.append(multiprocessing.active_children()[0])
            killed[0].kill()

    summary = run(folder, tmp_path / "out", progress=kill_one)
    assert killed[0].exitcode == -signal.SIGKILL
    assert data(tmp_path / "out") == data(alone)
    one = json.loads((alone / "manifest.json").read_bytes())
    assert summary.shards == one["shards"] > 10
    assert (summary.workers, summary.read, summary.scored, summary.reasons) == (2, one["read"], one["scored"], one["reasons"])
    assert not list(tmp_path.rglob("*.unfinished"))


class Deadly(StandIn):
    """A model that ends its process when it scores a certain text."""

    labels = ["alpha", "beta"]
    operating_points_ = {"balanced": [0.1, 0.1]}

    def __init__(self, digest: str) -> None:
        self.digest_ = digest

    def answers(self, texts):
        if any("deadly" in text for text in texts):
            os._exit(9)
        if any(SECRET in text for text in texts):
            raise RuntimeError(texts)
        return np.full((len(texts), 2), 0.5, np.float32)


class DeadlyWriter(PartWriter):
    """A writer that uses the deadly model in every process."""

    def __init__(self, source: ModelFolder, options: Options, folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Classifier, "load", lambda place: Deadly(source.digest))
            super().__init__(source, options, folder)


def test_shards_that_kill_their_process_or_raise_fail_alone_and_tell_no_text(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(job, "PartWriter", DeadlyWriter)
    monkeypatch.setattr(ModelFolder, "read", classmethod(lambda cls, folder: cls(folder, "d1", Deadly.labels, Deadly.operating_points_)))
    posts = ["fine"] * 80 + ["deadly " + SECRET] + ["fine"] * 80 + [SECRET] * 2 + ["fine"] * 80
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps({"id": str(number), "text": text}) + "\n" for number, text in enumerate(posts)))
    with pytest.raises(IncompleteError, match=r"in\.jsonl, from row \d+: RuntimeError .*bug\. Finished shards are kept") as caught:
        score_files([source], tmp_path / "deadly", tmp_path / "out", workers=2)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out" / "manifest.json").exists()
    records = [json.loads(path.read_bytes()) for path in (tmp_path / "out" / "_shards").glob("*.json")]
    assert len(records) == sum(1 for _ in shards.cut(source)) - 1
    assert [reject for record in records for reject in record["rejects"]] == [[81, parts.DEADLY, "80"]]
    told = [str(caught.value), *capfd.readouterr(), *map(str, records)]
    assert not any(SECRET in text for text in told)
    assert not any(SECRET.encode() in path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())


@pytest.mark.parametrize("workers", [1, 2])
def test_model_that_was_replaced_is_refused(folder, tmp_path, monkeypatch, refused, workers):
    shutil.copytree(folder / "model", tmp_path / "model")
    read, other = ModelFolder.read, Classifier.load(folder / "model")

    def read_and_replace(place: Path) -> ModelFolder:
        found = read(place)
        assert other.save(place, {"note": "another"}) != found.digest
        return found

    monkeypatch.setattr(ModelFolder, "read", read_and_replace)
    with refused("the model was replaced while the job was running"):
        run(folder, tmp_path / "out", workers=workers, model=tmp_path / "model")
    assert not list((tmp_path / "out").glob("part-*"))


def test_model_that_is_damaged_is_refused_by_the_processes(folder, tmp_path, refused, capfd):
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for path in (folder / "model").iterdir():
        (damaged / path.name).write_bytes(path.read_bytes()[: -1 if path.suffix == ".safetensors" else None])
    with refused(damaged / "weights.safetensors", "digest differs"):
        run(folder, tmp_path / "out", model=damaged)
    assert capfd.readouterr() == ("", "")
    assert multiprocessing.active_children() == []


# ---- how a whole job ends ----

JOB = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # where tests run in the background, a shell has it ignored
import sys
from pipeline.scoring import shards
shards.SHARD_BYTES = 6000
if __name__ == "__main__":
    from pipeline import terminal
    from pipeline.commands.score import main
    terminal.run(main, stopped="stopped; run again to go on")
"""


def start(folder: Path, out: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", JOB, folder / "many.jsonl", "--model", folder / "model", "--out", out, "--workers", "2"]
    return subprocess.Popen(
        list(map(str, command)), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


@pytest.fixture(scope="module")
def many(folder, posts) -> Path:
    """So many posts that scoring is still going on when a test interrupts it."""
    rows = [json.dumps({"id": f"{n}-{m}", "text": f"{text} {n}"}) + "\n" for n in range(40) for m, text in enumerate(posts.texts)]
    (folder / "many.jsonl").write_text("".join(rows))
    return folder


def descendants(pid: int) -> list[int]:
    try:
        children = list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
    except OSError:
        return []
    return [one for child in children for one in (child, *descendants(child))]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition: Callable[[], object], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def working(job: subprocess.Popen[str], out: Path) -> bool:
    return len(list(out.glob("_shards/*.json"))) > 3


def starting(job: subprocess.Popen[str], out: Path) -> bool:
    """Return whether a worker process is still importing its packages."""
    try:
        return any("numpy" in Path(f"/proc/{pid}/maps").read_text() for pid in descendants(job.pid))
    except OSError:  # one of them ended just now
        return False


@pytest.mark.slow
@pytest.mark.parametrize("moment", [starting, working])
def test_interrupt_from_the_keyboard_is_one_line_and_leaves_nobody_behind(many, tmp_path, moment):
    with start(many, tmp_path / "out") as job:
        wait_for(lambda: moment(job, tmp_path / "out"))
        family = descendants(job.pid)
        os.killpg(job.pid, signal.SIGINT)
        printed, errors = job.communicate(timeout=30)
    assert (job.returncode, printed, errors) == (130, "", "stopped; run again to go on\n")
    assert len(family) >= 2
    wait_for(lambda: not any(map(alive, family)), 15)
    assert not (tmp_path / "out" / "manifest.json").exists()


SLEEPERS = """
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace
sys.path.insert(0, "tests")
from test_processes import Obedient, in_processes, told
list(in_processes(partial(Obedient, Path(sys.argv[1])), told("sleep", "sleep"), 2))
"""


@pytest.mark.slow
def test_processes_end_with_the_job_in_the_midst_of_a_shard(tmp_path):
    with subprocess.Popen([sys.executable, "-c", SLEEPERS, tmp_path], cwd=ROOT) as job:
        wait_for(lambda: len(list(tmp_path.glob("tries-*"))) == 2)
        family = descendants(job.pid)
        job.kill()
        job.wait()
        wait_for(lambda: not any(map(alive, family)), 15)
    assert len(family) >= 2


@pytest.mark.slow
def test_processes_end_when_the_job_is_killed_and_the_next_run_completes_it(many, tmp_path):
    with start(many, tmp_path / "out") as job:
        wait_for(lambda: working(job, tmp_path / "out"))
        family = descendants(job.pid)
        job.kill()
        job.wait()
        wait_for(lambda: not any(map(alive, family)), 15)
    assert len(family) >= 2
    with start(many, tmp_path / "out") as job:
        printed, errors = job.communicate(timeout=120)
    assert (job.returncode, errors) == (0, "")
    assert printed.startswith("read 9,600 posts, scored 9,600, rejected 0")
    assert not list(tmp_path.rglob("*.unfinished"))


def test_what_windows_lacks_is_not_needed(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "O_DIRECTORY")
    monkeypatch.delattr(signal, "pthread_sigmask")
    with whole_file(tmp_path / "whole") as file:
        file.write(b"x")
    started = []
    _start(SimpleNamespace(start=lambda: started.append(True)))
    assert ((tmp_path / "whole").read_bytes(), started) == (b"x", [True])


def test_processes_that_die_as_they_start_end_the_job():
    with pytest.raises(IncompleteError, match=r"worker processes die as they start .*; finished shards are kept"):
        list(in_processes(partial(os._exit, 1), told(*[""] * 9), 2))
