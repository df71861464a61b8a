"""The application behind `make serve`: wrong requests are refused in words, and none is too large, too slow or in the way of others."""

import asyncio
import json
import logging
import socket
import sys
import threading
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from typing import Any, TypeVar

import httpx
import pandas as pd
import pytest
import uvicorn
from prometheus_client.parser import text_string_to_metric_families

from models import Classifier
from models.serving import ServedClassifier

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow warns about its own types
    from mlflow.models import Model
    from mlflow.pyfunc import PyFuncModel

    from pipeline.tracking.served import _signature
    from pipeline.tracking.server.scoringserver import connections, logs
    from pipeline.tracking.server.scoringserver import model as of_process
    from pipeline.tracking.server.scoringserver.connections import BoundedConnection
    from pipeline.tracking.server.scoringserver.limits import Limits
    from pipeline.tracking.server.scoringserver.scorers import Scorers, Started
    from pipeline.tracking.server.scoringserver.scoring_app import scoring_app

pytestmark = pytest.mark.filterwarnings("ignore:::mlflow")

OK = {"dataframe_records": [{"text": "zaxa ba lu"}]}
ERROR = "text must be a non-empty string"
SECRET = "zugzwang"


class Counting:
    """A stand-in for a model, which sleeps with each call and counts the texts that it was asked for."""

    def __init__(self, seconds: float = 0.0, answer: Callable[[list[str]], pd.DataFrame] | None = None) -> None:
        self.seconds, self.texts, self.answer = seconds, 0, answer

    def predict(self, model_input: pd.DataFrame, params: dict[str, str] | None = None) -> pd.DataFrame:
        time.sleep(self.seconds)
        self.texts += len(model_input)
        texts = list(model_input["text"])
        return self.answer(texts) if self.answer else pd.DataFrame({"prob_alpha": [len(text) / 100 for text in texts]})


Result = TypeVar("Result")


class App:
    """The application, with threads in place of processes, which start when it is used and end afterwards."""

    def __init__(self, model: object, threads: int = 1, names: tuple[str, ...] = ("test",), **limits: float) -> None:
        labels = model.classifier.labels if isinstance(model, ServedClassifier) else ["alpha"]
        self.limits = Limits(**limits)
        inner = of_process.Model(PyFuncModel(Model(signature=_signature(labels)), model_impl=model), self.limits.rows)
        work = of_process.without_message(lambda name, *given: getattr(inner, name)(*given))
        self.scorers = Scorers(lambda: Started(None, inner.start()), threads, self.limits.seconds, lambda: ThreadPoolExecutor(1), work)
        self.connections = BoundedConnection.within(self.limits)
        about = {"uri": "models:/disclosure@champion", "digest": "5705ab"}
        self.asgi = scoring_app(self.scorers, self.limits, about, list(names), self.connections)

    async def using(self, work: Awaitable[Result]) -> Result:
        await self.scorers.start()
        try:
            return await work
        finally:
            self.scorers.stop()

    def run(self, work: Awaitable[Result]) -> Result:
        return asyncio.run(self.using(work))

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self.run(client_of(self).get(path, headers=headers))


def client_of(app: App) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app.asgi), base_url="http://test")


def app_of(model: object, **more: Any) -> App:
    return App(model, **more)


async def send(app: App, body: object = OK, kind: str = "application/json", **headers: str) -> httpx.Response:
    content = json.dumps(body) if isinstance(body, dict | list) else body
    async with client_of(app) as client:
        return await client.post("/invocations", content=content, headers={"Content-Type": kind, **headers})


def answer_of(app: App, body: object = OK, kind: str = "application/json", **headers: str) -> httpx.Response:
    return app.run(send(app, body, kind, **headers))


@pytest.fixture(scope="module")
def app(model: Classifier) -> App:
    return app_of(ServedClassifier(model))


def test_answers_are_those_of_the_classifier_in_the_order_of_the_records(app, model, posts):
    texts = posts.texts * 3  # in several pieces
    wanted = model.predict_proba(texts)
    labels = [[label for label, given in zip(model.labels, row, strict=True) if given] for row in model.decide(wanted)]
    for body in (
        {"dataframe_records": [{"text": text, "id": n, str(n): n} for n, text in enumerate(texts)]},
        {"dataframe_split": {"columns": ["id", "text"], "data": [[7, text] for text in texts], "index": [0] * len(texts)}},
    ):
        answer = answer_of(app, body)
        assert answer.status_code == 200
        rows = answer.json()["predictions"]
        assert [[row["prob_alpha"], row["prob_beta"]] for row in rows] == wanted.tolist()
        assert [row["labels"] for row in rows] == labels
        assert {row["error"] for row in rows} == {None}


@pytest.mark.parametrize("odd", [["a", "b"], ["a"], [], {"a": "b"}, {}, None, 5, True, 1e999, "", " \n", [["a"], "b"], [{"text": "a"}]])
def test_text_that_is_none_gets_one_error_and_the_others_their_answers(app, odd):
    for texts in ([odd], ["zaxa", odd, "wiku"]):
        records = {"dataframe_records": [{"text": text} for text in texts]}
        for body in (records, {"dataframe_split": {"columns": ["text"], "data": [[text] for text in texts]}}):
            rows = answer_of(app, body).json()["predictions"]
            assert [row["error"] for row in rows] == [None if isinstance(text, str) and text.strip() else ERROR for text in texts]


def test_request_without_posts_and_record_without_a_text(app):
    assert answer_of(app, {"dataframe_records": []}).json() == {"predictions": []}
    assert answer_of(app, {"dataframe_split": {"columns": ["text"], "data": []}}).json() == {"predictions": []}
    rows = answer_of(app, {"dataframe_records": [{"text": "zaxa"}, {"id": 7}]}).json()["predictions"]
    assert [row["error"] for row in rows] == [None, ERROR]


REFUSED = {
    "no JSON": (SECRET, "valid JSON"),
    "nothing": ("", "valid JSON"),
    "not UTF-8": (b'{"dataframe_records": [{"text": "\xff"}]}', "valid JSON (not UTF-8)"),
    "brackets": ("[" * 100_000, "nested too deeply"),
    "braces": ('{"a":' * 100_000, "nested too deeply"),
    "brackets in a text": ('{"dataframe_records": [{"text": ' + "[" * 100_000 + "]" * 100_000 + "}]}", "nested too deeply"),
    "long number": ('{"dataframe_records": [{"text": "x", "n": ' + "9" * 6_000 + "}]}", "too many digits"),
    "long number as text": ('{"dataframe_records": [{"text": -' + "9" * 6_000 + "}]}", "too many digits"),
    "surrogate": ('{"dataframe_records": [{"text": "\\ud83d"}]}', "surrogates"),
    "list": ([{"text": SECRET}], "must be a JSON dictionary"),
    "string": (f'"{SECRET}"', "must be a JSON dictionary"),
    "other key": ({"text": SECRET}, "must be a JSON dictionary"),
    "instances": ({"instances": [{"text": SECRET}]}, "dataframe_records"),
    "inputs": ({"inputs": {"text": [SECRET, SECRET]}}, "dataframe_records"),
    "both": ({**OK, "dataframe_split": {"columns": ["text"], "data": []}}, "one of dataframe_records"),
    "wrong column": ({"dataframe_records": [{"txt": SECRET}]}, "no record has the key 'text'"),
    "no records": ({"dataframe_records": [SECRET]}, "list of objects"),
    "null among records": ({"dataframe_records": [None, {"text": SECRET}]}, "list of objects"),
    "one record": ({"dataframe_records": {"text": SECRET}}, "list of objects"),
    "no columns": ({"dataframe_split": {"data": [[SECRET]]}}, "one column 'text'"),
    "column twice": ({"dataframe_split": {"columns": ["text", "text"], "data": [[SECRET, SECRET]]}}, "one column 'text'"),
    "ragged": ({"dataframe_split": {"columns": ["text", "id"], "data": [[SECRET]]}}, "a cell for each column"),
    "rows of no list": ({"dataframe_split": {"columns": ["text"], "data": [SECRET]}}, "a cell for each column"),
    "params": ({**OK, "params": [SECRET]}, "params must be an object"),
    "unknown param": ({**OK, "params": {"point": "sensitive"}}, "only operating_point"),
    "param of another type": ({**OK, "params": {"operating_point": [SECRET]}}, "must be a string"),
    "param null": ({**OK, "params": {"operating_point": None}}, "must be a string"),
    "unknown point": ({**OK, "params": {"operating_point": "eager"}}, "only balanced, cautious, sensitive"),
    "unknown point for nobody": ({"dataframe_records": [], "params": {"operating_point": "eager"}}, "only balanced, cautious, sensitive"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_request_is_refused_in_words_that_quote_no_text(app, case):
    body, said = REFUSED[case]
    answer = answer_of(app, body)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "BAD_REQUEST")
    assert said in answer.json()["message"]
    assert SECRET not in answer.text
    assert "Traceback" not in answer.text


@pytest.mark.parametrize(
    ("kind", "headers"),
    [
        ("", {}),
        ("text/csv", {}),
        ("application/vnd.apache.parquet", {}),
        ("application/json; charset=latin-1", {}),
        ("application/json", {"Content-Encoding": "gzip"}),
    ],
)
def test_other_content_is_refused_before_it_is_read(app, kind, headers):
    assert answer_of(app, OK, kind, **headers).status_code == 415


def test_usual_spellings_of_the_content_type_are_taken(app):
    for kind in ("application/json; charset=utf-8", 'APPLICATION/JSON;charset="UTF-8"', "application/json;x=y"):
        assert answer_of(app, OK, kind).status_code == 200


async def chunks(*sizes: int, seconds: float = 0.0) -> AsyncIterator[bytes]:
    for size in sizes:
        yield b" " * size
        await asyncio.sleep(seconds)


def test_body_rows_and_memory_have_bounds():
    model = Counting()
    app = app_of(model, body=1000, rows=3, reading=0.05)
    assert answer_of(app, " " * 1001).status_code == 413
    assert answer_of(app, chunks(500, 500, 1)).status_code == 413
    answer = answer_of(app, {"dataframe_records": [{"text": "x"}] * 4})
    assert answer.status_code == 413
    assert "4 posts are more than the 3" in answer.json()["message"]
    answer = answer_of(app, chunks(1, 1, seconds=0.1))
    assert (answer.status_code, answer.json()["error_code"]) == (408, "REQUEST_TIMEOUT")
    assert model.texts == 0
    assert answer_of(app, {"dataframe_records": [{"text": "x"}] * 3}).status_code == 200

    async def at_once() -> list[httpx.Response]:
        large = [send(app, chunks(600, 1, seconds=0.02)) for _ in range(2)]
        return await asyncio.gather(*large, send(app, chunks(10)))

    app = app_of(model, body=1000, bodies=1)
    first, second, small = app.run(at_once())
    assert sorted([first.status_code, second.status_code]) == [400, 429]  # blanks are no JSON
    assert small.status_code == 400
    assert answer_of(app).status_code == 200  # what the two held is free again


def test_long_request_lets_others_pass_and_too_many_are_sent_away():
    async def run() -> tuple[list[httpx.Response], list[str]]:
        done: list[str] = []

        async def one(name: str, body: object) -> httpx.Response:
            answer = await send(app, body)
            done.append(name)
            return answer

        long = asyncio.create_task(one("long", {"dataframe_records": [{"text": "x" * 60_000}] * 30}))
        await asyncio.sleep(0.03)
        return [await one("short", OK), *await asyncio.gather(one("other", OK), one("more", OK)), await long], done

    app = app_of(Counting(0.01), requests=2)
    answers, done = app.run(run())
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 429]
    (away,) = [answer for answer in answers if answer.status_code == 429]
    assert away.headers["Retry-After"] == "5"
    assert (done[0], done[-1]) == ("short", "long")


def test_request_that_takes_too_long_is_not_scored_to_its_end():
    model = Counting(0.02)
    answer = answer_of(app_of(model, seconds=0.1), {"dataframe_records": [{"text": "x" * 60_000}] * 100})
    assert (answer.status_code, answer.json()["error_code"]) == (503, "SERVICE_UNAVAILABLE")
    assert answer.headers["Retry-After"] == "5"
    time.sleep(0.1)
    assert model.texts < 10


def test_mistakes_of_a_model_are_500_and_quote_no_text(caplog):
    def fail(texts: list[str]) -> pd.DataFrame:
        raise RuntimeError(texts[0])

    for answer in (fail, lambda texts: pd.DataFrame({"prob_alpha": [0.5] * (len(texts) + 1)})):
        with caplog.at_level(logging.ERROR):
            found = answer_of(app_of(Counting(answer=answer)), {"dataframe_records": [{"text": SECRET}]})
        assert (found.status_code, found.json()["error_code"]) == (500, "INTERNAL_SERVER_ERROR")
        assert SECRET not in found.text + caplog.text
        assert "model.py" in json.dumps([record.fields for record in caplog.records if hasattr(record, "fields")])


@contextmanager
def running(app: App) -> Iterator[int]:
    """Run uvicorn with an application and its connections, for which a head may take 0.6 seconds and the rest one."""
    app.connections.head_seconds, app.connections.request_seconds = 0.6, 1.0
    config = uvicorn.Config(app.asgi, port=0, http=app.connections, ws="none", lifespan="off", log_level="critical")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: app.run(server.serve()))
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


def request_bytes(body: object = OK) -> bytes:
    content = json.dumps(body).encode()
    head = f"POST /invocations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    return head.encode() + content


def ends_within(connection: socket.socket, seconds: float) -> bool:
    """Read until the connection ends, and return whether it does in time."""
    connection.settimeout(seconds)
    try:
        while connection.recv(2**16):
            pass
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


def test_slow_connections_are_cut_off_and_others_are_served():
    slow = [b"", b"POST /invoc", b"POST /invocations HTTP/1.1\r\nHost: x\r\n", request_bytes()[:-5], request_bytes() + b"POST /inv"]
    with running(app_of(Counting())) as port:
        opened = [socket.create_connection(("127.0.0.1", port)) for _ in slow]
        for connection, sent in zip(opened, slow, strict=True):
            connection.sendall(sent)
        with closing(socket.create_connection(("127.0.0.1", port))) as patient:
            for _ in range(2):  # a connection that is kept alive
                patient.sendall(request_bytes())
                answer = b""
                while not answer.endswith(b"]}"):  # it may arrive in pieces
                    received = patient.recv(2**16)
                    assert received, "the connection was cut off"
                    answer += received
                assert answer.startswith(b"HTTP/1.1 200")
                time.sleep(0.05)
        for connection, sent in zip(opened, slow, strict=True):
            assert ends_within(connection, 3), sent
            connection.close()


def test_request_with_two_lengths_is_the_last_of_its_connection():
    body = json.dumps(OK).encode()
    chunked = request_bytes().partition(b"\r\n\r\n")[0] + b"\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    with running(app_of(Counting())) as port, closing(socket.create_connection(("127.0.0.1", port))) as connection:
        connection.sendall(chunked + request_bytes())
        answers = b""
        connection.settimeout(3)
        with suppress(OSError):
            while received := connection.recv(2**16):
                answers += received
    assert answers.count(b"HTTP/1.1 200") == 1


def test_ligature_of_many_letters_counts_as_these():
    long = ["\ufdfa" * 9_000] * 3
    assert [len(piece) for piece in of_process._pieces(long)] == [1, 1, 1]
    assert [len(piece) for piece in of_process._pieces(["x" * 9_000] * 3)] == [3]


def test_head_that_drips_is_cut_off():
    with running(app_of(Counting())) as port, closing(socket.create_connection(("127.0.0.1", port))) as dripping:
        for byte in request_bytes()[:60]:
            try:
                dripping.sendall(bytes([byte]))
            except OSError:  # broken pipe, or reset
                return
            time.sleep(0.02)
    pytest.fail("the connection stayed open")


def test_answer_that_nobody_reads_is_given_up():
    wide = Counting(answer=lambda texts: pd.DataFrame({"prob_alpha": ["x" * 10_000] * len(texts)}))
    with running(app_of(wide)) as port, closing(socket.socket()) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(("127.0.0.1", port))
        deaf.sendall(request_bytes({"dataframe_records": [{"text": "x"}] * 2000}))
        time.sleep(1.7)
        assert ends_within(deaf, 1)


def test_posts_of_a_client_that_has_gone_are_not_scored():
    model = Counting(0.02)
    app = app_of(model)
    with running(app) as port:
        with closing(socket.create_connection(("127.0.0.1", port))) as gone:
            gone.sendall(request_bytes({"dataframe_records": [{"text": "x" * 60_000}] * 100}))
            while not model.texts:
                time.sleep(0.01)
        scored = -1
        while scored != model.texts:
            scored = model.texts
            time.sleep(0.2)
        assert scored < 100
    assert figures(app)["disclosure_requests_total['/invocations', 'gone']"] == 1


def test_health_says_whether_posts_can_be_scored(app):
    answer = app.get("/health")
    assert (answer.status_code, answer.json()["status"], answer.json()["digest"]) == (200, "ok", "5705ab")
    assert app.get("/ping").status_code == 200
    app.scorers.stop()
    assert asyncio.run(client_of(app).get("/health")).status_code == 503


def test_pages_that_load_programs_from_elsewhere_are_closed(app):
    for path in ("/docs", "/redoc", "/openapi.json", "/docs/oauth2-redirect", "/", "/ping/x"):
        assert app.get(path).status_code == 404


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *[(host, 200) for host in ("localhost", "localhost:5001", "127.0.0.1:5001", "[::1]:5001", "10.2.3.4", "Test", "a.example.org:80")],
        *[(host, 403) for host in ("evil.example.com", "localhost.example.com", "10.example.com", "example.org", "", "[::1", "a b")],
    ],
)
def test_foreign_hosts_are_refused(host, status):
    app = app_of(Counting(), names=("test", "*.example.org"))
    assert answer_of(app, Host=host).status_code == status
    assert app.get("/metrics", Host=host).status_code == status
    assert app.get("/health", Host=host).status_code == 200  # a probe may call it by any name


def figures(app: App) -> dict[str, float]:
    """Return the samples of /metrics by name and labels."""
    text = asyncio.run(client_of(app).get("/metrics")).text
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {f"{sample.name}{sorted(sample.labels.values())}": sample.value for sample in samples}


def test_figures_count_posts_requests_and_refusals(model, caplog):
    app = app_of(ServedClassifier(model), rows=3)
    with caplog.at_level(logging.INFO, logger="scoringserver"):
        assert answer_of(app, {"dataframe_records": [{"text": SECRET}, {"text": None}, {"text": ["x"]}]}).status_code == 200
        assert answer_of(app, SECRET).status_code == 400
        assert answer_of(app, {"dataframe_records": [{"text": SECRET}] * 4}).status_code == 413
        assert app.get(f"/{SECRET}?{SECRET}").status_code == 404
    found = figures(app)
    assert found["disclosure_model_info['5705ab', 'models:/disclosure@champion']"] == 1
    assert found["disclosure_posts_scored_total[]"] == 1
    assert found[f"disclosure_posts_rejected_total['{ERROR}']"] == 2
    assert [found[f"disclosure_requests_total['/invocations', '{status}']"] for status in (200, 400, 413)] == [1, 1, 1]
    assert [found[f"disclosure_requests_refused_total['{reason}']"] for reason in ("json", "posts", "path")] == [1, 1, 1]
    assert found["disclosure_request_seconds_count['200']"] == found["disclosure_request_seconds_bucket['+Inf', '200']"] == 1
    assert found["disclosure_requests_in_progress[]"] == 0
    lines = [json.loads(logs.JsonLines().format(record)) for record in caplog.records if record.name == "scoringserver"]
    assert [(line["event"], line["path"], line["status"]) for line in lines] == [
        *[("request", "/invocations", status) for status in ("200", "400", "413")],
        ("request", "other", "404"),
    ]
    assert (lines[0]["posts"], lines[0]["rejected"], lines[2]["reason"]) == (3, 2, "posts")
    assert SECRET not in json.dumps(lines) + json.dumps(found)


@pytest.mark.parametrize("form", [logs.JsonLines(), logs.TextLines()])
def test_lines_of_the_log_show_where_but_not_what(form):
    try:
        raise ValueError(SECRET)
    except ValueError:
        record = logging.LogRecord("uvicorn.error", logging.ERROR, "", 1, "Exception in %s", ("application",), sys.exc_info())
    line = form.format(record)
    assert SECRET not in line
    assert all(part in line for part in ("ValueError", "test_server.py", "Exception in application"))


class Dying(ThreadPoolExecutor):
    """A thread that dies like a process at its second task, and once more while it is idle."""

    made = 0

    def __init__(self) -> None:
        super().__init__(1)
        Dying.made += 1
        self.number, self.tasks = Dying.made, 0

    def submit(self, function: Any, /, *given: Any, **named: Any) -> Any:
        self.tasks += 1
        if self.number == 2 and self.tasks == 2:
            raise BrokenExecutor
        future = super().submit(function, *given, **named)
        if self.number == 1 and self.tasks == 2:
            future.result()
            future = Future()
            future.set_exception(BrokenExecutor())
        return future


def test_process_that_dies_is_replaced_and_takes_one_request_with_it():
    app, Dying.made = app_of(Counting()), 0
    app.scorers._new = Dying

    async def run() -> list[int]:
        return [(await send(app)).status_code for _ in range(3)]

    assert app.run(run()) == [500, 200, 200]
    assert (app.scorers.deaths, Dying.made) == (2, 3)
    found = figures(app)
    assert found["disclosure_scoring_process_deaths_total[]"] == 2
    assert found["disclosure_requests_refused_total['process died']"] == 1


def test_several_processes_score_at_the_same_time():
    together = threading.Barrier(3, timeout=10)

    def answer(texts: list[str]) -> pd.DataFrame:
        together.wait()  # an error, unless three arrive
        return pd.DataFrame({"prob_alpha": [0.5] * len(texts)})

    app = app_of(Counting(answer=answer), threads=3)

    async def run() -> list[httpx.Response]:
        return await asyncio.gather(*(send(app) for _ in range(6)))

    assert {answer.status_code for answer in app.run(run())} == {200}


def test_too_many_connections_are_answered_and_still_more_are_cut_off(monkeypatch):
    monkeypatch.setattr(connections, "_MORE", 2)
    app = app_of(Counting(), connections=2)
    with running(app) as port:
        opened = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]
        time.sleep(0.1)
        with closing(socket.create_connection(("127.0.0.1", port))) as more:
            more.sendall(request_bytes())
            answer = more.recv(2**16)
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"retry-after: 5" in answer
        with closing(socket.create_connection(("127.0.0.1", port))) as probe:
            probe.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert probe.recv(2**16).startswith(b"HTTP/1.1 200")
        opened += [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]
        assert [ends_within(each, 0.5) for each in opened[-1:]] == [True]
        for each in opened:
            each.close()
    assert app.connections.cut["too many"] >= 1


def test_requests_that_arrive_before_the_answer_do_not_fill_the_memory():
    app = app_of(Counting(0.03))
    with running(app) as port, closing(socket.create_connection(("127.0.0.1", port))) as eager:
        eager.sendall(request_bytes({"dataframe_records": [{"text": "x" * 60_000}] * 20}))
        try:
            for _ in range(20):
                eager.sendall(b" " * 2**16)
                time.sleep(0.01)
        except OSError:  # broken pipe, or reset
            pass
        assert ends_within(eager, 1)
    assert app.connections.cut == {"early": 1}


def test_slow_body_ends_its_connection():
    app = app_of(Counting(), reading=0.2)
    with running(app) as port, closing(socket.create_connection(("127.0.0.1", port))) as slow:
        slow.sendall(request_bytes()[:-5])
        slow.settimeout(5)
        assert slow.recv(2**16).startswith(b"HTTP/1.1 408")
        assert ends_within(slow, 5)
    assert not app.connections.cut  # it ended by itself
