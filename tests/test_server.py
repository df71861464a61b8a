"""The application behind `make serve`: wrong requests are refused in words, and none is too large, too slow or in the way of others."""

import asyncio
import json
import logging
import socket
import threading
import time
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, contextmanager, suppress

import httpx
import pandas as pd
import pytest
import uvicorn

from models import Classifier
from models.serving import ServedClassifier

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow warns about its own types
    from mlflow.models import Model
    from mlflow.pyfunc import PyFuncModel

    from pipeline.tracking.served import _signature
    from pipeline.tracking.server import connections, scoring_app
    from pipeline.tracking.server.scoring_app import Limits

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


def app_of(model: object, **limits: float) -> scoring_app.Starlette:
    labels = model.classifier.labels if isinstance(model, ServedClassifier) else ["alpha"]
    return scoring_app.scoring_app(PyFuncModel(Model(signature=_signature(labels)), model_impl=model), Limits(**limits))


async def send(app: scoring_app.Starlette, body: object = OK, kind: str = "application/json", **headers: str) -> httpx.Response:
    content = json.dumps(body) if isinstance(body, dict | list) else body
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        return await client.post("/invocations", content=content, headers={"Content-Type": kind, **headers})


def answer_of(app: scoring_app.Starlette, body: object = OK, kind: str = "application/json", **headers: str) -> httpx.Response:
    return asyncio.run(send(app, body, kind, **headers))


@pytest.fixture(scope="module")
def app(model: Classifier) -> scoring_app.Starlette:
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
    first, second, small = asyncio.run(at_once())
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
    answers, done = asyncio.run(run())
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
        assert "scoring_app.py" in caplog.text


@contextmanager
def running(app: scoring_app.Starlette, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Run uvicorn with an application and our connections, for which a head may take 0.6 seconds and the rest one."""
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.6)
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 1.0)
    server = uvicorn.Server(uvicorn.Config(app, port=0, http=connections.BoundedConnection, ws="none", log_level="critical"))
    thread = threading.Thread(target=server.run)
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
    head = f"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
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


def test_slow_connections_are_cut_off_and_others_are_served(monkeypatch):
    slow = [b"", b"POST /invoc", b"POST /invocations HTTP/1.1\r\nHost: x\r\n", request_bytes()[:-5], request_bytes() + b"POST /inv"]
    with running(app_of(Counting()), monkeypatch) as port:
        opened = [socket.create_connection(("127.0.0.1", port)) for _ in slow]
        for connection, sent in zip(opened, slow, strict=True):
            connection.sendall(sent)
        with closing(socket.create_connection(("127.0.0.1", port))) as patient:
            for _ in range(2):  # a connection that is kept alive
                patient.sendall(request_bytes())
                assert patient.recv(2**16).startswith(b"HTTP/1.1 200")
                time.sleep(0.05)
        for connection, sent in zip(opened, slow, strict=True):
            assert ends_within(connection, 3), sent
            connection.close()


def test_request_with_two_lengths_is_the_last_of_its_connection(monkeypatch):
    body = json.dumps(OK).encode()
    chunked = request_bytes().partition(b"\r\n\r\n")[0] + b"\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    with running(app_of(Counting()), monkeypatch) as port, closing(socket.create_connection(("127.0.0.1", port))) as connection:
        connection.sendall(chunked + request_bytes())
        answers = b""
        connection.settimeout(3)
        with suppress(OSError):
            while received := connection.recv(2**16):
                answers += received
    assert answers.count(b"HTTP/1.1 200") == 1


def test_ligature_of_many_letters_counts_as_these():
    long = ["\ufdfa" * 9_000] * 3
    assert [len(piece) for piece in scoring_app._pieces(long)] == [1, 1, 1]
    assert [len(piece) for piece in scoring_app._pieces(["x" * 9_000] * 3)] == [3]


def test_only_the_documented_pages_are_there(app):
    async def codes(*paths: str) -> list[int]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            return [(await client.get(path)).status_code for path in paths]

    assert asyncio.run(codes("/ping", "/health", "/version")) == [200, 200, 200]
    assert asyncio.run(codes("/docs", "/redoc", "/openapi.json", "/docs/oauth2-redirect", "/", "/ping/x")) == [404] * 6


def test_head_that_drips_is_cut_off(monkeypatch):
    with running(app_of(Counting()), monkeypatch) as port, closing(socket.create_connection(("127.0.0.1", port))) as dripping:
        for byte in request_bytes()[:60]:
            try:
                dripping.sendall(bytes([byte]))
            except OSError:  # broken pipe, or reset
                return
            time.sleep(0.02)
    pytest.fail("the connection stayed open")


def test_answer_that_nobody_reads_is_given_up(monkeypatch):
    wide = Counting(answer=lambda texts: pd.DataFrame({"prob_alpha": ["x" * 10_000] * len(texts)}))
    with running(app_of(wide), monkeypatch) as port, closing(socket.socket()) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(("127.0.0.1", port))
        deaf.sendall(request_bytes({"dataframe_records": [{"text": "x"}] * 2000}))
        time.sleep(1.7)
        assert ends_within(deaf, 1)


def test_posts_of_a_client_that_has_gone_are_not_scored(monkeypatch):
    model = Counting(0.02)
    with running(app_of(model), monkeypatch) as port:
        with closing(socket.create_connection(("127.0.0.1", port))) as gone:
            gone.sendall(request_bytes({"dataframe_records": [{"text": "x" * 60_000}] * 100}))
            while not model.texts:
                time.sleep(0.01)
        scored = -1
        while scored != model.texts:
            scored = model.texts
            time.sleep(0.2)
        assert scored < 100
