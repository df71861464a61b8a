"""What the server reports about itself: metrics for Prometheus, and one log line for each request."""

import logging
import time
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from . import logs
from .connections import BoundedConnection
from .scorers import Scorers

PATHS = ("/invocations", "/health", "/ping", "/version", "/metrics")
GONE = "gone"  # in place of the status, if the client did not wait for an answer
_TOLD = "disclosure"  # key of an ASGI scope
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60)
_MOST_REASONS = 20


@dataclass
class Told:
    """What the application says about a request, besides the answer.

    Attributes
    ----------
    reason : str
        Why it was refused, or `GONE`.
    posts : int
        How many posts were answered.
    errors : dict of str to int
        How many of these could not be scored, by reason.
    size : int
        Bytes of the body.
    """

    reason: str = ""
    posts: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    size: int = 0


def told_of(scope: Any) -> Told:
    """Return what has been told about a request, so that more can be added."""
    told: Told = scope.setdefault(_TOLD, Told())
    return told


class _Kept(Collector):
    """Figures that are kept elsewhere: connections and scoring processes."""

    def __init__(self, connections: type[BoundedConnection], scorers: Scorers) -> None:
        self._connections, self._scorers = connections, scorers

    def collect(self) -> list[Metric]:
        """Return the figures of this moment."""
        cut = CounterMetricFamily("disclosure_connections_cut", "Connections that were cut off, by reason.", labels=["reason"])
        for reason in ("head", "request", "early", "too many"):
            cut.add_metric([reason], self._connections.cut[reason])
        deaths = CounterMetricFamily("disclosure_scoring_process_deaths", "Scoring processes that died or were killed.")
        deaths.add_metric([], self._scorers.deaths)
        return [cut, deaths]


class Watch:
    """The figures of a server.

    Parameters
    ----------
    about : dict of str to str
        What is served: labels of ``disclosure_model_info``.
    connections : type of BoundedConnection
        The connections of the server.
    scorers : Scorers
        Its scoring processes.
    """

    def __init__(self, about: dict[str, str], connections: type[BoundedConnection], scorers: Scorers) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a time for each figure, which nobody asks for
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        registry.register(_Kept(connections, scorers))
        model = Gauge("disclosure_model_info", "The model that is served; always 1.", list(about), registry=registry)
        model.labels(*about.values()).set(1)
        self._requests = Counter("disclosure_requests", "Requests, by path and status.", ["path", "status"], registry=registry)
        self._refused = Counter("disclosure_requests_refused", "Requests that were refused, by reason.", ["reason"], registry=registry)
        what = "Seconds from the head of a request for scores to the end of its answer, by status."
        self._seconds = Histogram("disclosure_request_seconds", what, ["status"], buckets=_SECONDS, registry=registry)
        self._posts = Counter("disclosure_posts_scored", "Posts that were answered with a prediction.", registry=registry)
        self._rejected = Counter("disclosure_posts_rejected", "Posts that were answered with an error.", ["reason"], registry=registry)
        self._busy = Gauge("disclosure_requests_in_progress", "Requests for scores that are not answered yet.", registry=registry)
        opened = Gauge("disclosure_connections_open", "Open connections.", registry=registry)
        opened.set_function(lambda: connections.open)
        ready = Gauge("disclosure_scoring_processes_ready", "Scoring processes that have loaded the model.", registry=registry)
        ready.set_function(lambda: scorers.ready)
        self._reasons = set[str]()

    def text(self) -> bytes:
        """Return all figures in Prometheus' text format."""
        return generate_latest(self._registry)

    def count(self, path: str, status: str, seconds: float, told: Told) -> None:
        """Count a request that has ended.

        Parameters
        ----------
        path : str
            One of `PATHS`, or "other".
        status : str
            Status of the answer, or `GONE`.
        seconds : float
            How long it took.
        told : Told
            What the application said about it.
        """
        self._requests.labels(path, status).inc()
        if told.reason:
            self._refused.labels(told.reason).inc()
        if path == PATHS[0]:
            self._seconds.labels(status).observe(seconds)
        if status == "200":
            self._posts.inc(told.posts - sum(told.errors.values()))
            for reason, posts in told.errors.items():
                self._rejected.labels(self._known(reason)).inc(posts)

    def _known(self, reason: str) -> str:
        """Return a reason that the model gave, or "other" if it gives too many different ones."""
        if len(self._reasons) < _MOST_REASONS:
            self._reasons.add(reason)
        return reason if reason in self._reasons else "other"

    def begun(self, path: str, by: int) -> None:
        """Count a request that begins (1) or ends (-1) among those in progress."""
        if path == PATHS[0]:
            self._busy.inc(by)


class Watched:
    """An application whose requests are counted and logged.

    Parameters
    ----------
    app : ASGIApp
        The application.
    watch : Watch
        Where requests are counted.
    """

    def __init__(self, app: ASGIApp, watch: Watch) -> None:
        self._app, self._watch = app, watch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        began, status, told = time.perf_counter(), GONE, told_of(scope)
        path = scope["path"] if scope["path"] in PATHS else "other"

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        self._watch.begun(path, 1)
        try:
            await self._app(scope, receive, sending)
        finally:
            self._watch.begun(path, -1)
            seconds = time.perf_counter() - began
            if told.reason == GONE:
                status, told.reason = GONE, ""
            self._watch.count(path, status, seconds, told)
            if path == PATHS[0] or status != "200":  # calls of a probe are not logged
                fields: dict[str, Any] = {"path": path, "status": status, "seconds": round(seconds, 4), "bytes": told.size}
                fields |= {"posts": told.posts, "rejected": sum(told.errors.values())} if told.posts else {}
                fields |= {"reason": told.reason} if told.reason else {}
                logs.say("request", logging.WARNING if status.startswith("5") else logging.INFO, **fields)
