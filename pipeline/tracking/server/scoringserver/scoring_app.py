"""Answers requests over HTTP, with bounds on what a request holds, how long it takes and how long it keeps others waiting.

It hands bodies on to scoring processes, in which requests take turns, piece by piece, and never looks into a body itself.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from . import logs
from .connections import BoundedConnection
from .hosts import is_allowed
from .limits import Limits
from .model import Mistake, Refused, Scored
from .scorers import Scorers
from .watch import GONE, PATHS, Watch, Watched, told_of

_ANYWHERE = {"/health", "/ping", "/version"}  # probes may call these by any name, as in MLflow's own server


def _check_type(request: Request) -> None:
    kind, _, rest = request.headers.get("content-type", "").partition(";")
    charset = rest.lower().partition("charset=")[2].partition(";")[0].strip(' "')
    if kind.strip().lower() != "application/json" or charset not in {"", "utf-8", "utf8"}:
        raise Refused(415, "content", "the body must be JSON in UTF-8; send it with the header Content-Type: application/json")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Refused(415, "content", "the body must not be compressed; send it without Content-Encoding")


class Invocations:
    """Answers requests to ``/invocations``.

    Parameters
    ----------
    scorers : Scorers
        The scoring processes.
    limits : Limits
        What requests may cost.
    """

    def __init__(self, scorers: Scorers, limits: Limits) -> None:
        self._scorers, self._limits = scorers, limits
        self._requests = self._held = 0

    @contextmanager
    def _place(self) -> Iterator[None]:
        if self._requests >= self._limits.requests:
            raise Refused(429, "waiting", f"{self._limits.requests} requests are waiting already; send this one again later")
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
                raise Refused(413, "body", f"the body is larger than {most}; send the posts in several requests")
            small = mine + size <= self._limits.body // 100  # always taken, so that a few large, slow bodies keep nobody out
            if not small and self._held + size > self._limits.bodies * self._limits.body:
                raise Refused(
                    429, "memory", "the requests that are being answered fill the memory set aside for them; send this one again later"
                )
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
            raise Refused(408, "slow body", f"the body did not arrive within {self._limits.reading:g} seconds") from None
        return b"".join(chunks)

    async def _answer(self, request: Request) -> Scored:
        with self._room() as hold:
            body = await self._read(request, hold)
            told_of(request.scope).size = len(body)
            with self._place():
                begun = await self._scorers.call("begin", body)
                if isinstance(begun, Scored):
                    return begun
                del body
                scored = []
                for piece in begun:
                    scored.append(await self._scorers.call("go_on", piece))
                    if await request.is_disconnected():
                        raise ClientDisconnect
                done: Scored = await self._scorers.call("finish", scored)
                return done

    async def __call__(self, request: Request) -> Response:
        """Answer a request.

        Raises
        ------
        Refused
            If it cannot be read, is too large, takes too long, or arrives when too many others are waiting.
        """
        _check_type(request)
        try:
            async with asyncio.timeout(self._limits.seconds):
                scored = await self._answer(request)
        except TimeoutError:
            message = f"the posts could not be scored within {self._limits.seconds:g} seconds; send fewer at once, or send them again later"
            raise Refused(503, "time", message) from None
        except BrokenExecutor:
            raise Refused(500, "process died", "the process that was scoring this request died; the server's log says when") from None
        except Mistake as error:
            logs.say("scoring failed", logging.ERROR, error=error.kind, place=error.place)
            raise Refused(500, "mistake", f"scoring failed ({error.kind}); the server's log says where") from None
        told = told_of(request.scope)
        told.posts, told.errors = scored.posts, scored.errors
        return Response(scored.content, media_type="application/json")


def _refusal(request: Request, error: Exception) -> Response:
    """Return the answer to a request that is refused, in the form that MLflow gives to errors."""
    if isinstance(error, Refused):
        status, message, told_of(request.scope).reason = error.status, error.message, error.reason
    elif isinstance(error, HTTPException):  # no such path or method
        status, message, told_of(request.scope).reason = error.status_code, error.detail, "path"
    else:
        told_of(request.scope).reason = GONE
        return Response(status_code=400)  # nobody reads this answer
    headers = {"Retry-After": "5"} if status in {429, 503} else {}
    if status == 408:
        headers["Connection"] = "close"  # the rest of the body is not waited for
    code = HTTPStatus(status).phrase.upper().replace(" ", "_")
    return JSONResponse({"error_code": code, "message": message}, status, headers)


def scoring_app(scorers: Scorers, limits: Limits, about: dict[str, str], names: list[str], connections: type[BoundedConnection]) -> ASGIApp:
    """Return the application: ``/invocations``, ``/health``, ``/metrics``, and ``/ping`` and ``/version`` as in MLflow's own server.

    Parameters
    ----------
    scorers : Scorers
        The scoring processes.
    limits : Limits
        What requests may cost.
    about : dict of str to str
        What is served, for ``/metrics``.
    names : list of str
        Names of this server that requests may use, besides ``localhost`` and IP addresses.
    connections : type of BoundedConnection
        The connections of the server.
    """
    watch, score = Watch(about, connections, scorers), Invocations(scorers, limits)

    def check(request: Request) -> None:
        if connections.open > limits.connections and request.scope["path"] == PATHS[0]:
            raise Refused(503, "connections", f"{limits.connections:,} connections are open already; send this request again later")
        if request.scope["path"] not in _ANYWHERE and not is_allowed(request.headers.get("host", ""), names):
            raise Refused(403, "host", "requests may not use this host name; allow it with --allowed-hosts when starting the server")

    async def invocations(request: Request) -> Response:
        check(request)
        return await score(request)

    async def health(request: Request) -> Response:
        check(request)
        status = "ok" if scorers.ready else "starting"
        content = {"status": status, "scoring_processes_ready": scorers.ready, **about}
        return JSONResponse(content, 200 if scorers.ready else 503)

    async def ping(request: Request) -> Response:
        check(request)
        return Response("\n", media_type="application/json")

    async def version(request: Request) -> Response:
        check(request)
        return Response(scorers.mlflow, media_type="application/json")

    async def metrics(request: Request) -> Response:
        check(request)
        return Response(watch.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    routes = [Route("/invocations", invocations, methods=["POST"])]
    routes += [Route(f"/{answer.__name__}", answer) for answer in (health, ping, version, metrics)]
    refusals = dict.fromkeys((Refused, HTTPException, ClientDisconnect), _refusal)
    return Watched(Starlette(routes=routes, exception_handlers=refusals), watch)
