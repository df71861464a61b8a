#!/usr/bin/env python3
"""Loads a server with good and bad requests at once, checks each answer, and measures waiting times and memory.

See benchmarks/README.md.
"""

import json
import os
import random
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
    lock: Any = field(default_factory=Lock, repr=False)

    def add(self, kind: str, status: int | str, seconds: float, right: bool) -> None:
        """Count one request."""
        with self.lock:
            self.statuses.setdefault(kind, Counter())[str(status)] += 1
            self.waits.setdefault(kind, []).append(seconds)
            self.wrong[kind] += not right


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
        self.slow_left: list[int] = []

    def post(self, kind: str, body: bytes, judge: Callable[[requests.Response], bool]) -> None:
        """Send one request and count how it went."""
        began = time.monotonic()
        try:
            headers = {"Content-Type": "application/json"}
            answer = requests.post(f"http://127.0.0.1:{self.port}/invocations", body, headers=headers, timeout=120)
        except requests.RequestException as error:  # it may be cut off while it is being sent
            self.tally.add(kind, type(error).__name__, time.monotonic() - began, "odd" in kind)
            return
        self.tally.add(kind, answer.status_code, time.monotonic() - began, judge(answer))

    def good(self, seed: int) -> None:
        """Send a few posts at a time, with texts that are none among them."""
        rng = random.Random(seed)  # noqa: S311
        while not self.stop.is_set():
            chosen = rng.sample(range(len(self.texts)), rng.randint(1, 30))
            records: list[dict[str, Any]] = [{"text": self.texts[number]} for number in chosen]
            expected = [self.expected[number] for number in chosen]
            place = rng.randint(0, len(chosen))
            records.insert(place, {"text": rng.choice([None, "", ["a", "b"], 5])})
            expected.insert(place, (None, []))
            body = json.dumps({"dataframe_records": records}).encode()
            self.post("few posts", body, lambda answer, e=expected: answer.status_code in BUSY or is_right(answer.json(), e))  # type: ignore[misc]
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
                    if answer.status_code in BUSY:
                        return True
                    return is_right(answer.json(), known) if known else len(answer.json()["predictions"]) == count

                self.post(kind, body, judge)

    def bad(self, seed: int) -> None:
        """Send what cannot be used."""
        rng = random.Random(seed)  # noqa: S311
        while not self.stop.is_set():
            name = rng.choice(list(self.odd))
            body, status = self.odd[name]
            self.post(f"odd: {name}", body, lambda answer, status=status: answer.status_code in {status, 429, 503})  # type: ignore[misc]
            self.stop.wait(0.2)

    def slow(self) -> None:
        """Open many connections that send next to nothing, and count those that are still open 25 seconds later."""
        while not self.stop.is_set():
            opened = []
            for number in range(_SLOW):
                with suppress(OSError):
                    connection = socket.create_connection(("127.0.0.1", self.port), timeout=5)
                    connection.sendall((b"", b"POST /invoc", b"POST /invocations HTTP/1.1\r\nContent-Length: 9\r\n\r\n{")[number % 3])
                    opened.append(connection)
            if not self.stop.wait(25):
                self.slow_left.append(sum(map(is_open, opened)))
            for connection in opened:
                connection.close()

    def burst(self) -> None:
        """Send 150 requests at once, and hang up on a long one."""
        body = json.dumps({"dataframe_records": [{"text": text} for text in self.texts[:20]]}).encode()

        def judge(answer: requests.Response) -> bool:
            return answer.status_code in BUSY or is_right(answer.json(), self.expected[:20])

        while not self.stop.is_set():
            threads = [Thread(target=self.post, args=("150 at once", body, judge)) for _ in range(150)]
            _together(threads)
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port)) as gone:
                long = json.dumps({"dataframe_records": [{"text": " ".join(self.texts)[:90_000]}] * 100}).encode()
                head = f"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(long)}\r\n\r\n"
                gone.sendall(head.encode() + long)
            self.stop.wait(10)

    def run(self, seconds: float) -> None:
        """Run all clients for so many seconds."""
        clients = [Thread(target=self.good, args=(seed,)) for seed in range(3)]
        clients += [Thread(target=self.bad, args=(seed,)) for seed in range(2)]
        clients += [Thread(target=self.large, args=(0,)), Thread(target=self.slow), Thread(target=self.burst)]
        Timer(seconds, self.stop.set).start()
        _together(clients)


def _together(threads: list[Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def is_open(connection: socket.socket) -> bool:
    """Return whether the server has not closed a connection yet."""
    connection.settimeout(0.01)
    try:
        while connection.recv(4096):
            pass
    except TimeoutError:
        return True
    except OSError:
        pass
    return False


@contextmanager
def serving(model: Path) -> Iterator[tuple[int, int]]:
    """Serve a model from a store of its own, and yield the server's port and process."""
    from pipeline.registering import register

    with TemporaryDirectory() as scratch, socket.socket() as free:
        uri = f"sqlite:///{scratch}/mlflow.db"
        os.chdir(scratch)  # where MLflow puts artifacts
        register(model, "load", Tracking(uri=uri))
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        command = [sys.executable, "-m", "pipeline.commands.serve", "--port", str(port)]
        environment = {**os.environ, "MLFLOW_TRACKING_URI": uri, "PYTHONPATH": str(ROOT)}
        with (Path(scratch) / "log").open("wb") as log:
            server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)  # noqa: S603
        try:
            while not _answers(port):
                if server.poll() is not None:
                    raise SystemExit((Path(scratch) / "log").read_text())
                time.sleep(0.2)
            yield port, server.pid
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(60)


def _answers(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/ping", timeout=5).ok
    except requests.RequestException:
        return False


def resident(pid: int) -> float:
    """Return the resident memory of a process, in MiB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / _MIB


def measure(model: Path, seconds: float) -> dict[str, Any]:
    """Load a server for so many seconds, and return what was counted and measured.

    Parameters
    ----------
    model : Path
        Model directory.
    seconds : float
        How long.
    """
    texts = [str(row.fields["text"]) for row in read_rows(POSTS, ["text"]) if hasattr(row, "fields")]
    classifier = Classifier.load(model)
    probabilities = classifier.predict_proba(texts)
    names = np.array(classifier.labels)
    decided = [names[row].tolist() for row in classifier.decide(probabilities)]
    expected: list[tuple[list[float] | None, list[str]]] = list(zip(probabilities.tolist(), decided, strict=True))
    with serving(model) as (port, pid):
        load = Load(port, texts, expected)
        memory, done = [resident(pid)], Event()

        def sample() -> None:
            while not done.wait(0.25):
                memory.append(resident(pid))

        sampler = Thread(target=sample)
        sampler.start()
        load.run(seconds)
        time.sleep(15)
        done.set()
        sampler.join()
        after = resident(pid)
    tally = load.tally
    kinds = {
        kind: {"answers": dict(tally.statuses[kind]), "wrong": tally.wrong[kind]}
        | dict(zip(("median", "p99", "longest"), np.quantile(tally.waits[kind], [0.5, 0.99, 1]).round(2).tolist(), strict=True))
        for kind in sorted(tally.statuses)
    }
    return {
        "seconds": seconds,
        "kinds": kinds,
        "wrong": sum(tally.wrong.values()),
        "memory": {"before": memory[0], "peak": max(memory), "after": after},
        "slow_left": load.slow_left,
    }


def _table(result: dict[str, Any]) -> Table:
    memory = ", ".join(f"{name} {value:,.0f} MiB" for name, value in result["memory"].items())
    title = f"{result['seconds']:g} s; {result['wrong']} wrong; {memory}; of {_SLOW} slow connections, left: {result['slow_left']}"
    table = Table(title=title)
    for name in ("requests", "answers", "wrong", "median s", "p99 s", "longest s"):
        table.add_column(name)
    for kind, found in result["kinds"].items():
        answers = ", ".join(f"{status} × {count:,}" for status, count in sorted(found["answers"].items()))
        table.add_row(kind, answers, *(str(found[name]) for name in ("wrong", "median", "p99", "longest")))
    return table


def main(
    seconds: Annotated[float, typer.Option(min=1, help="How long the load lasts.")] = 300,
    model: Annotated[Path, typer.Option(help="Model directory.")] = RELEASED,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object instead of a table.")] = False,
) -> None:
    """Load a server with good and bad requests, check each answer, and measure waiting times and memory."""
    result = measure(model.resolve(), seconds)
    if as_json:
        print(json.dumps(result))
    else:
        from rich.console import Console

        Console(width=140).print(_table(result))
    if result["wrong"]:
        raise SystemExit(1)


if __name__ == "__main__":
    terminal.run(main)
