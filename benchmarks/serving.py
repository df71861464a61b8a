#!/usr/bin/env python3
"""Loads a server with good and bad requests at once, checks each answer, and measures waiting times and memory.

See benchmarks/README.md.
"""

import json
import os
import random
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Lock, Thread, Timer
from typing import Annotated, Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the packages are in the parent folder of this script's folder

import numpy as np
import requests
import typer
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.table import Table

from models import Classifier
from models.storage import RELEASED
from pipeline import terminal
from pipeline.config import Tracking
from pipeline.records import read_rows

ROOT = Path(__file__).resolve().parent.parent
POSTS = ROOT / "data" / "invented" / "test-01.jsonl"
BUSY = {429, 503}  # answers that a good request may also get, which must then be sent again
_SLOW = 900  # connections
_CLOSED = 60.0  # seconds in which a slow connection must be closed; each bound of the server is shorter
_HEAD = "POST /invocations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: "
_SLOWLY = {
    "nothing": b"",
    "half a head": b"POST /invoc",
    "half a body": f"{_HEAD}9\r\n\r\n{{".encode(),
}
_MIB = 2**20


def odd_bodies() -> dict[str, tuple[bytes, int]]:
    """Return bodies that cannot be used, each with the status that must answer it."""
    ok = '{"dataframe_records": [{"text": "x"}]'
    long = {"dataframe_records": [{"text": "word " * 19_000}] * 400}
    many = {"dataframe_records": [{"text": "x"}] * 10_001}
    bodies = {
        "no JSON": ("word", 400),
        "brackets": ("[" * 100_000, 400),
        "long number": (ok[:-2] + ', "n": ' + "9" * 6_000 + "}]}", 400),
        "surrogate": ('{"dataframe_records": [{"text": "\\ud83d"}]}', 400),
        "inputs": ('{"inputs": {"text": ["a", "b"]}}', 400),
        "unknown point": (ok + ', "params": {"operating_point": "eager"}}', 400),
        "400 long texts": (json.dumps(long), 413),
        "10,001 posts": (json.dumps(many), 413),
        "50 MB": ('{"dataframe_records": [{"text": "' + "x" * 50_000_000 + '"}]}', 413),
        "lists in lists": ('{"more": [' + "[]," * 3_000_000 + "[]]}", 400),
        "one wide record": ('{"dataframe_records": [{"text": 5' + "".join(f', "k{n}": 0' for n in range(500_000)) + "}, {}]}", 200),
    }
    return {name: (body.encode(), status) for name, (body, status) in bodies.items()}


@dataclass
class Tally:
    """What happened to the requests of each kind."""

    statuses: dict[str, Counter[str]] = field(default_factory=dict)
    waits: dict[str, list[float]] = field(default_factory=dict)
    wrong: Counter[str] = field(default_factory=Counter)
    unanswered: Counter[str] = field(default_factory=Counter)
    lock: Any = field(default_factory=Lock, repr=False)

    def add(self, kind: str, status: int | str, seconds: float, right: bool) -> None:
        """Count one request."""
        with self.lock:
            self.statuses.setdefault(kind, Counter())[str(status)] += 1
            self.waits.setdefault(kind, []).append(seconds)
            answered = isinstance(status, int)
            self.wrong[kind] += answered and not right
            self.unanswered[kind] += not answered and not right


def is_right(answer: dict[str, Any], expected: list[tuple[list[float] | None, list[str]]]) -> bool:
    """Return whether an answer has one prediction for each text, with its probabilities to 1e-6 and its labels.

    Parameters
    ----------
    answer : dict
        The JSON of an answer.
    expected : list of (list of float or None, list of str)
        The probabilities and labels of each text; without probabilities, the text must have an error.
    """
    rows = answer["predictions"]
    if len(rows) != len(expected):
        return False
    for row, (probabilities, labels) in zip(rows, expected, strict=True):
        found = [value for name, value in row.items() if name.startswith("prob_")]
        if row["labels"] != labels or (row["error"] is None) != (probabilities is not None):
            return False
        if probabilities is not None and not np.allclose(found, probabilities, rtol=0, atol=1e-6):
            return False
    return True


class Load:
    """Clients of several kinds, which send requests to one server at the same time until they are told to stop.

    Parameters
    ----------
    port : int
        Port of the server.
    texts : list of str
        Posts.
    expected : list of (list of float, list of str)
        Probabilities and labels of each post, computed without the server.
    """

    def __init__(self, port: int, texts: list[str], expected: list[tuple[list[float] | None, list[str]]]) -> None:
        self.port, self.texts, self.expected = port, texts, expected
        self.tally, self.stop, self.odd = Tally(), Event(), odd_bodies()
        self.closed: dict[str, list[float]] = {kind: [] for kind in _SLOWLY}  # seconds after which slow connections were closed
        self.left: Counter[str] = Counter()  # those that were not
        self.lag: list[float] = []  # by how much this process itself was late

    def post(self, kind: str, body: bytes, judge: Callable[[requests.Response], bool]) -> None:
        """Send one request and count how it went. An answer is good if its status is in `BUSY`, or if `judge` says so."""
        began = time.monotonic()
        try:
            headers = {"Content-Type": "application/json"}
            answer = requests.post(f"http://127.0.0.1:{self.port}/invocations", body, headers=headers, timeout=120)
        except requests.RequestException as error:  # what is too large may be cut off while it is being sent
            self.tally.add(kind, type(error).__name__, time.monotonic() - began, "odd" in kind)
            return
        seconds = time.monotonic() - began
        self.tally.add(kind, answer.status_code, seconds, answer.status_code in BUSY or judge(answer))

    def good(self, seed: int) -> None:
        """Send a few posts at a time, including some that cannot be scored."""
        rng = random.Random(seed)  # noqa: S311
        while not self.stop.is_set():
            chosen = rng.sample(range(len(self.texts)), rng.randint(1, 30))
            records: list[dict[str, Any]] = [{"text": self.texts[number]} for number in chosen]
            expected = [self.expected[number] for number in chosen]
            place = rng.randint(0, len(chosen))
            records.insert(place, {"text": rng.choice([None, "", ["a", "b"], 5])})
            expected.insert(place, (None, []))
            body = json.dumps({"dataframe_records": records}).encode()
            self.post("few posts", body, lambda answer, e=expected: answer.status_code == 200 and is_right(answer.json(), e))  # type: ignore[misc]
            self.stop.wait(rng.random() / 10)

    def large(self, seed: int) -> None:
        """Send nearly as much as a request may hold: 100 texts of nearly 100,000 characters, or 10,000 short posts."""
        rng = random.Random(seed)  # noqa: S311
        joined = " ".join(self.texts)
        while not self.stop.is_set():
            long = [joined[start : start + 95_000] for start in (rng.randrange(max(len(joined) - 95_000, 1)) for _ in range(100))]
            short = rng.choices(range(len(self.texts)), k=10_000)
            for kind, texts in (("100 long texts", long), ("10,000 posts", [self.texts[number] for number in short])):
                known = [self.expected[number] for number in short] if kind == "10,000 posts" else None
                body = json.dumps({"dataframe_records": [{"text": text} for text in texts]}).encode()

                def judge(answer: requests.Response, known: Any = known, count: int = len(texts)) -> bool:
                    if answer.status_code != 200:
                        return False
                    return is_right(answer.json(), known) if known else len(answer.json()["predictions"]) == count

                self.post(kind, body, judge)

    def bad(self, seed: int) -> None:
        """Send what cannot be used."""
        rng = random.Random(seed)  # noqa: S311
        while not self.stop.is_set():
            name = rng.choice(list(self.odd))
            body, status = self.odd[name]
            self.post(f"odd: {name}", body, lambda answer, status=status: answer.status_code == status)  # type: ignore[misc]
            self.stop.wait(0.2)

    def slow(self) -> None:
        """Open many connections that send next to nothing, and measure how long the server takes to close each."""
        while not self.stop.is_set():
            waiting = selectors.DefaultSelector()
            for number in range(_SLOW):
                kind = list(_SLOWLY)[number % len(_SLOWLY)]
                with suppress(OSError):  # it may be cut off at once, if too many others are open
                    began = time.monotonic()
                    connection = socket.create_connection(("127.0.0.1", self.port), timeout=_CLOSED)
                    connection.sendall(_SLOWLY[kind])
                    connection.setblocking(False)
                    waiting.register(connection, selectors.EVENT_READ, (kind, began))
            last = time.monotonic() + _CLOSED
            while waiting.get_map() and time.monotonic() < last:
                for key, _ in waiting.select(1):
                    self._end(waiting, key)
            for key in list(waiting.get_map().values()):
                self.left[key.data[0]] += 1
                key.fileobj.close()  # type: ignore[union-attr]

    def _end(self, waiting: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
        """Read what a slow connection was answered, if anything; if it was closed, note after how long."""
        connection: Any = key.fileobj
        try:
            if connection.recv(4096):
                return
        except BlockingIOError:
            return
        except OSError:  # it was cut off
            pass
        kind, began = key.data
        self.closed[kind].append(time.monotonic() - began)
        waiting.unregister(connection)
        connection.close()

    def probe(self) -> None:
        """Ask for the server's health, which must be answered at any time, and measure how late this process itself wakes up."""
        while not self.stop.is_set():
            began = time.monotonic()
            time.sleep(0.2)
            self.lag.append(time.monotonic() - began - 0.2)
            began = time.monotonic()
            try:
                answer = requests.get(f"http://127.0.0.1:{self.port}/health", timeout=120)
            except requests.RequestException as error:
                self.tally.add("health", type(error).__name__, time.monotonic() - began, False)
            else:
                self.tally.add("health", answer.status_code, time.monotonic() - began, answer.status_code == 200)

    def burst(self) -> None:
        """Send 150 requests at once, and hang up on a long one."""
        body = json.dumps({"dataframe_records": [{"text": text} for text in self.texts[:20]]}).encode()

        def judge(answer: requests.Response) -> bool:
            return answer.status_code == 200 and is_right(answer.json(), self.expected[:20])

        while not self.stop.is_set():
            threads = [Thread(target=self.post, args=("150 at once", body, judge)) for _ in range(150)]
            _together(threads)
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port)) as gone:
                long = json.dumps({"dataframe_records": [{"text": " ".join(self.texts)[:90_000]}] * 100}).encode()
                head = _HEAD + f"{len(long)}\r\n\r\n"
                gone.sendall(head.encode() + long)
            self.stop.wait(10)

    def run(self, seconds: float) -> None:
        """Run all clients for so many seconds."""
        clients = [Thread(target=self.good, args=(seed,)) for seed in range(3)]
        clients += [Thread(target=self.bad, args=(seed,)) for seed in range(2)]
        clients += [Thread(target=self.large, args=(0,)), *(Thread(target=client) for client in (self.slow, self.burst, self.probe))]
        Timer(seconds, self.stop.set).start()
        _together(clients)


def _together(threads: list[Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@contextmanager
def serving(model: Path, workers: int) -> Iterator[tuple[int, int, Path]]:
    """Serve a model from a store of its own, and yield the server's port, process and log."""
    from pipeline.registering import register

    with TemporaryDirectory() as scratch, socket.socket() as free:
        uri = f"sqlite:///{scratch}/mlflow.db"
        os.chdir(scratch)  # where MLflow puts artifacts
        register(model, "load", Tracking(uri=uri))
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        options = ["--port", str(port), "--workers", str(workers), "--log-format", "json"]
        environment = {**os.environ, "MLFLOW_TRACKING_URI": uri, "PYTHONPATH": str(ROOT)}
        log = Path(scratch) / "log"
        with log.open("wb") as file:
            command = [sys.executable, "-m", "pipeline.commands.serve", *options]
            server = subprocess.Popen(command, env=environment, stdout=file, stderr=file)  # noqa: S603
        try:
            while not _answers(port):
                if server.poll() is not None:
                    raise SystemExit(log.read_text())
                time.sleep(0.2)
            yield port, server.pid, log
        finally:
            server.send_signal(signal.SIGTERM)
            try:
                server.wait(60)
            except subprocess.TimeoutExpired:
                server.kill()


def _answers(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/ping", timeout=5).ok
    except requests.RequestException:
        return False


def resident(pid: int) -> float:
    """Return the resident memory of a process and of all that it has started, in MiB."""
    family = {pid}
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    for child in sorted(parents):
        if parents[child] in family:
            family.add(child)
    pages = 0
    for member in family:
        with suppress(OSError):
            pages += int(Path(f"/proc/{member}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / _MIB


def figures(port: int) -> dict[str, float]:
    """Return what the server counted itself: the samples of /metrics, by name and labels."""
    text = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=60).text
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {" ".join([sample.name, *sample.labels.values()]): sample.value for sample in samples}


def _expected(model: Path) -> tuple[list[str], list[tuple[list[float] | None, list[str]]]]:
    """Return posts, and their probabilities and labels by the model itself."""
    texts = [str(row.fields["text"]) for row in read_rows(POSTS, ["text"]) if hasattr(row, "fields")]
    classifier = Classifier.load(model)
    probabilities = classifier.predict_proba(texts)
    names = np.array(classifier.labels)
    decided = [names[row].tolist() for row in classifier.decide(probabilities)]
    return texts, list(zip(probabilities.tolist(), decided, strict=True))


def _times(seconds: list[float]) -> dict[str, float]:
    return dict(zip(("median", "p99", "longest"), np.quantile(seconds or [np.nan], [0.5, 0.99, 1]).round(2).tolist(), strict=True))


def _summary(load: Load, counted: dict[str, float]) -> dict[str, Any]:
    """Return what happened, kind by kind, and what the server's own figures say about it."""
    tally = load.tally
    kinds = {
        kind: {"answers": dict(tally.statuses[kind]), "wrong": tally.wrong[kind], "unanswered": tally.unanswered[kind]}
        | _times(tally.waits[kind])
        for kind in sorted(tally.statuses)
    }
    scored = sum(statuses["200"] for kind, statuses in tally.statuses.items() if kind != "health")
    return {
        "kinds": kinds,
        "wrong": tally.wrong.total(),
        "unanswered": tally.unanswered.total(),
        "slow": {kind: {"closed": len(took), "left": load.left[kind]} | _times(took) for kind, took in load.closed.items()},
        "late": _times(load.lag),
        "counted": {name: value for name, value in counted.items() if not name.startswith(("process_", "disclosure_request_seconds"))},
        "miscounted": max(scored - counted.get("disclosure_requests_total /invocations 200", 0), 0),
    }


def measure(model: Path, seconds: float, workers: int = 1) -> dict[str, Any]:
    """Load a server for so many seconds, and return what was counted and measured.

    Parameters
    ----------
    model : Path
        Model directory.
    seconds : float
        How long.
    workers : int
        Number of scoring processes.
    """
    texts, expected = _expected(model)
    with serving(model, workers) as (port, pid, log):
        load = Load(port, texts, expected)
        memory, done = [resident(pid)], Event()

        def sample() -> None:
            while not done.wait(1):
                memory.append(resident(pid))

        began = time.monotonic()
        Thread(target=sample, daemon=True).start()
        try:
            load.run(seconds)
            time.sleep(15)
        finally:
            done.set()
        after, counted = resident(pid), figures(port)
        lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    errors = Counter(line["event"] for line in lines if line["level"] in {"error", "critical"})
    half = memory[len(memory) // 2]
    return {
        "seconds": round(time.monotonic() - began),
        "workers": workers,
        "machine": {"cores": os.cpu_count(), "load": os.getloadavg()},
        **_summary(load, counted),
        "memory": {"before": memory[0], "halfway": half, "peak": max(memory), "after": after},
        "errors": dict(errors),
    }


def failures(result: dict[str, Any]) -> list[str]:
    """Return a line for each thing that went wrong."""
    found = [f"{result[name]:g} {name}" for name in ("wrong", "unanswered", "miscounted") if result[name]]
    found += [f"{slow['left']} connections that sent {kind} stayed open" for kind, slow in result["slow"].items() if slow["left"]]
    return found + [f"{times} × {event} in the log" for event, times in result["errors"].items()]


def _show(result: dict[str, Any], console: Console) -> None:
    memory = ", ".join(f"{name} {value:,.0f}" for name, value in result["memory"].items())
    one, five, fifteen = result["machine"]["load"]
    title = f"{result['seconds']} s, {result['workers']} scoring processes, load {one:.1f} ({five:.1f}, {fifteen:.1f}); MiB: {memory}"
    table = Table(title=title)
    for name in ("requests", "answers", "wrong", "unanswered", "median s", "p99 s", "longest s"):
        table.add_column(name)
    for kind, found in result["kinds"].items():
        answers = ", ".join(f"{status} × {count:,}" for status, count in sorted(found["answers"].items()))
        table.add_row(kind, answers, *(str(found[name]) for name in ("wrong", "unanswered", "median", "p99", "longest")))
    for kind, found in result["slow"].items():
        times = (str(found[name]) for name in ("median", "p99", "longest"))
        table.add_row(f"slow: {kind}", f"closed × {found['closed']:,}, left × {found['left']:,}", "", "", *times)
    table.add_row("this process was late", "", "", "", *(str(result["late"][name]) for name in ("median", "p99", "longest")))
    console.print(table)


def main(
    seconds: Annotated[float, typer.Option(min=1, help="How long the load lasts.")] = 300,
    workers: Annotated[int, typer.Option(min=1, help="Number of scoring processes.")] = 1,
    model: Annotated[Path, typer.Option(help="Model directory.")] = RELEASED,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object instead of a table.")] = False,
) -> None:
    """Load a server with good and bad requests, check each answer, and measure waiting times and memory."""
    result = measure(model.resolve(), seconds, workers)
    if as_json:
        print(json.dumps(result))
    else:
        _show(result, Console(width=150))
    for failure in failures(result):
        print(f"failed: {failure}", file=sys.stderr)
    if failures(result):
        raise SystemExit(1)


if __name__ == "__main__":
    terminal.run(main)
