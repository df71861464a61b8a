"""The application that scores posts over HTTP, with bounds on what a request holds and on how long it lasts and keeps others waiting.

A thread scores a piece of one request at a time, and the requests take turns. MLflow loads the model and writes the answers.
"""

import asyncio
import json
import logging
import os
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from io import StringIO
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import pandas as pd
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Mount, Route

if TYPE_CHECKING:
    from mlflow.pyfunc import PyFuncModel

    from pipeline.routing.serving import ServedQueues

# Environment variables: a folder, and `Limits` and the rules of queues as JSON.
MODEL, LIMITS, ROUTE = "DISCLOSURE_MODEL", "DISCLOSURE_LIMITS", "DISCLOSURE_ROUTE"

_PIECE_TEXTS, _PIECE_CHARS = 256, 100_000
_FORMS = ("dataframe_records", "dataframe_split")
_EXAMPLE = 'such as {"dataframe_records": [{"text": "…"}]}'

Result = TypeVar("Result")


@dataclass(frozen=True)
class Limits:
    """What one request, and all requests that a process holds at once, may cost.

    Attributes
    ----------
    body : int
        Bytes of a request's body.
    rows : int
        Posts in a request.
    seconds : float
        How long a request may take, with the time that it waits for its turns.
    reading : float
        Seconds in which a body must have arrived.
    requests : int
        Requests that are scored or wait at once.
    bodies : int
        How many bodies of the greatest size may be held at once, or more smaller ones; bodies of a hundredth of it always may.
    """

    body: int = 10 * 2**20
    rows: int = 10_000
    seconds: float = 60
    reading: float = 20
    requests: int = 64
    bodies: int = 6


class _Posts(NamedTuple):
    texts: list[str]
    params: dict[str, Any]


def _refused(status: int, message: str) -> HTTPException:
    later = {"Retry-After": "5"} if status in {429, 503} else None
    return HTTPException(status, message, later)


def _check_type(request: Request) -> None:
    kind, _, rest = request.headers.get("content-type", "").partition(";")
    charset = rest.lower().partition("charset=")[2].partition(";")[0].strip(' "')
    if kind.strip().lower() != "application/json" or charset not in {"", "utf-8", "utf8"}:
        raise _refused(415, "the body must be JSON in UTF-8; send it with the header Content-Type: application/json")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise _refused(415, "the body must not be compressed; send it without Content-Encoding")


def _records(given: object) -> list[Any]:
    """Return the value of ``text`` in each record, or None; raise `ValueError` if these are no records, or none has a text."""
    if not isinstance(given, list) or not all(isinstance(record, dict) for record in given):
        raise ValueError("dataframe_records must be a list of objects")
    if given and not any("text" in record for record in given):
        raise ValueError("no record has the key 'text'")
    return [record.get("text") for record in given]


def _split(given: object) -> list[Any]:
    """Return the cell of the column ``text`` in each row; raise `ValueError` if these are no rows with one such column."""
    columns, rows = (given.get("columns"), given.get("data")) if isinstance(given, dict) else (None, None)
    if not isinstance(columns, list) or columns.count("text") != 1:
        raise ValueError("dataframe_split must have one column 'text' among its columns")
    if not isinstance(rows, list) or not all(isinstance(row, list) and len(row) == len(columns) for row in rows):
        raise ValueError("the data of dataframe_split must be a list of rows with a cell for each column")
    return [row[columns.index("text")] for row in rows]


def _params(given: object, known: list[str]) -> dict[str, Any]:
    if given is not None and not isinstance(given, dict):
        raise ValueError("params must be an object")
    params = given or {}
    if known and not params.keys() <= set(known):
        raise ValueError(f"params may hold only {', '.join(known)}")
    if not all(isinstance(value, str) for value in params.values()):
        raise ValueError("each of the params must be a string")
    return params


def _parse(body: bytes, rows: int, known: list[str]) -> _Posts:
    """Return what a body holds; only texts are kept, and what is no string becomes an empty text, which the model refuses by itself."""
    try:
        given = json.loads(body)
    except RecursionError:
        raise _refused(400, "the body is nested too deeply") from None
    except UnicodeDecodeError:
        raise _refused(400, "the body is not valid JSON (not UTF-8)") from None
    except ValueError as error:  # a message of JSONDecodeError quotes nothing
        reason = str(error) if isinstance(error, json.JSONDecodeError) else "a number has too many digits"
        raise _refused(400, f"the body is not valid JSON ({reason}); send an object {_EXAMPLE}") from None
    forms = [form for form in _FORMS if isinstance(given, dict) and form in given]
    if len(forms) != 1:
        raise _refused(400, f"the body must be a JSON dictionary with one of {', '.join(_FORMS)}, {_EXAMPLE}")
    try:
        texts = (_records if forms == ["dataframe_records"] else _split)(given[forms[0]])
        params = _params(given.get("params"), known)
        "".join(text for text in texts if isinstance(text, str)).encode()
    except UnicodeEncodeError:
        raise _refused(400, "a text holds half a surrogate pair (surrogates not allowed); correct its escapes") from None
    except ValueError as error:
        raise _refused(400, f"{error}; send an object {_EXAMPLE}") from None
    if len(texts) > rows:
        raise _refused(413, f"{len(texts):,} posts are more than the {rows:,} that a request may hold; send them in several requests")
    return _Posts([text if isinstance(text, str) else "" for text in texts], params)


def _pieces(texts: list[str]) -> Iterator[list[str]]:
    """Yield consecutive texts in pieces that take a fraction of a second; there is at least one piece, so that params are checked."""
    piece: list[str] = []
    chars = 0
    for text in texts:
        if piece and (len(piece) == _PIECE_TEXTS or chars + len(text) > _PIECE_CHARS):
            yield piece
            piece, chars = [], 0
        piece.append(text)
        chars += len(text)
    yield piece


class Scorer:
    """Scores the posts of requests.

    Parameters
    ----------
    model : PyFuncModel
        The model, loaded by MLflow.
    limits : Limits
        What requests may cost.
    queues : ServedQueues, optional
        Adds queues to the answers.
    """

    def __init__(self, model: "PyFuncModel", limits: Limits, queues: "ServedQueues | None" = None) -> None:
        self._model, self._limits, self._queues = model, limits, queues
        schema = model.metadata.get_params_schema()  # type: ignore[no-untyped-call]
        self._known = [param.name for param in schema.params] if schema else []
        self._thread = ThreadPoolExecutor(1, "scoring")  # its queue is first come, first served: requests take turns, piece by piece
        self._requests = self._held = 0

    async def _in_turn(self, function: Callable[..., Result], *given: Any) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *given)

    @contextmanager
    def _place(self) -> Iterator[None]:
        if self._requests >= self._limits.requests:
            raise _refused(429, f"{self._limits.requests} requests are waiting already; send this one again later")
        self._requests += 1
        try:
            yield
        finally:
            self._requests -= 1

    @contextmanager
    def _room(self) -> Iterator[Callable[[int], None]]:
        """Yield a function that counts the bytes of a request among those that are held until the block ends."""
        mine = 0

        def hold(size: int) -> None:
            nonlocal mine
            if mine + size > self._limits.body:
                most = f"{self._limits.body / 2**20:g} MiB"
                raise _refused(413, f"the body is larger than {most}; send the posts in several requests")
            small = mine + size <= self._limits.body // 100  # always taken, so that a few slow large bodies keep nobody out
            if not small and self._held + size > self._limits.bodies * self._limits.body:
                raise _refused(429, "the requests at work fill the memory set aside for them; send this one again later")
            mine += size
            self._held += size

        try:
            yield hold
        finally:
            self._held -= mine

    async def _read(self, request: Request, hold: Callable[[int], None]) -> bytes:
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared[:20]) > self._limits.body:
            hold(self._limits.body + 1)
        chunks = []
        try:
            async with asyncio.timeout(self._limits.reading):
                async for chunk in request.stream():
                    hold(len(chunk))
                    chunks.append(chunk)
        except TimeoutError:
            raise _refused(408, f"the body did not arrive within {self._limits.reading:g} seconds") from None
        return b"".join(chunks)

    def _score(self, texts: list[str], params: dict[str, Any]) -> pd.DataFrame:
        try:
            scored = self._model.predict(pd.DataFrame({"text": pd.Series(texts, dtype=object)}), params=params or None)
        except Exception as error:
            if type(error).__name__ == "InputError":  # of the model's own copy of `models`; it quotes no text
                raise _refused(400, str(error)) from None
            raise
        if len(scored) != len(texts):
            raise RuntimeError("the model did not give one prediction for each text")
        return self._queues(scored) if self._queues else scored

    @staticmethod
    def _write(scored: list[pd.DataFrame]) -> str:
        from mlflow.pyfunc import scoring_server

        answer = StringIO()
        scoring_server.predictions_to_json(pd.concat(scored, ignore_index=True), answer)  # type: ignore[no-untyped-call]
        return answer.getvalue()

    async def _answer(self, request: Request) -> str:
        with self._room() as hold:
            body = await self._read(request, hold)
            with self._place():
                posts = await self._in_turn(_parse, body, self._limits.rows, self._known)
                del body
                scored = []
                for piece in _pieces(posts.texts):
                    scored.append(await self._in_turn(self._score, piece, posts.params))
                    if await request.is_disconnected():
                        raise ClientDisconnect
                return await self._in_turn(self._write, scored)

    async def __call__(self, request: Request) -> Response:
        """Answer a request to ``/invocations``.

        Raises
        ------
        HTTPException
            If it cannot be read, is too large, takes too long, or comes when too many others are waiting.
        """
        _check_type(request)
        try:
            async with asyncio.timeout(self._limits.seconds):
                return Response(await self._answer(request), media_type="application/json")
        except TimeoutError:
            message = f"the posts could not be scored within {self._limits.seconds:g} seconds; send fewer at once, or again later"
            raise _refused(503, message) from None
        except (HTTPException, ClientDisconnect):
            raise
        except Exception as error:  # a bug; its message may quote a text, so only its name and place are shown
            place = "".join(traceback.format_tb(error.__traceback__))
            logging.getLogger("uvicorn.error").error("scoring failed: %s\n%s", type(error).__name__, place)
            raise _refused(500, f"scoring failed ({type(error).__name__}); the server's log says where") from None


def _refusal(_: Request, error: Exception) -> Response:
    """Return the answer to a request that is refused, in the form that MLflow gives to errors."""
    if not isinstance(error, HTTPException):
        return Response(status_code=400)  # to a client that has gone
    code = HTTPStatus(error.status_code).phrase.upper().replace(" ", "_")
    content = json.dumps({"error_code": code, "message": error.detail})
    return Response(content, error.status_code, error.headers, media_type="application/json")


def scoring_app(model: "PyFuncModel", limits: Limits, queues: "ServedQueues | None" = None) -> Starlette:
    """Return the application: ``/invocations``, and ``/ping``, ``/health`` and ``/version`` as in MLflow's own server.

    Parameters
    ----------
    model : PyFuncModel
        The model, loaded by MLflow.
    limits : Limits
        What requests may cost.
    queues : ServedQueues, optional
        Adds queues to the answers.
    """
    from mlflow.pyfunc import scoring_server

    scorer = Scorer(model, limits, queues)

    async def invocations(request: Request) -> Response:
        return await scorer(request)

    routes = [Route("/invocations", invocations, methods=["POST"]), Mount("/", scoring_server.init(model))]
    return Starlette(routes=routes, exception_handlers={HTTPException: _refusal, ClientDisconnect: _refusal})


def from_environment() -> Starlette:
    """Return the application for the model and the limits that the environment names."""
    from mlflow.pyfunc import load_model

    queues = None
    if route := os.environ.get(ROUTE):
        from pipeline.routing.serving import ServedQueues

        queues = ServedQueues(**json.loads(route))
    return scoring_app(load_model(os.environ[MODEL]), Limits(**json.loads(os.environ[LIMITS])), queues)
