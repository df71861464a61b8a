"""Runs the server: starts the scoring processes, and then answers requests until it is told to stop."""

import asyncio
import logging
import os
import signal
import sys
from concurrent.futures import BrokenExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import uvicorn

from . import logs
from .connections import BoundedConnection
from .limits import Limits
from .model import Mistake
from .scorers import Scorers, start
from .scoring_app import scoring_app

_FILES = 300  # open files that are not connections: libraries, pipes to scoring processes, and connections that are cut off
_STOPPING = (signal.SIGINT, signal.SIGTERM)


def _room_for(limits: Limits) -> Limits:
    """Return the limits with as many connections as this process may open files."""
    if sys.platform == "win32":
        return limits
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = limits.connections + _FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        return replace(limits, connections=max(soft - _FILES, 1))
    return limits


async def _serve(settings: dict[str, Any]) -> int:
    limits = _room_for(Limits(**settings["limits"]))
    connections = BoundedConnection.within(limits)
    scorers = Scorers(
        partial(start, settings["model"], limits.rows, settings["log_format"], settings.get("queues")), settings["workers"], limits.seconds
    )
    try:
        await scorers.start()
    except Mistake as error:
        logs.say("the model cannot be loaded", logging.ERROR, error=error.kind, place=error.place)
        scorers.stop()
        return 1
    except (BrokenExecutor, OSError) as error:  # for example, there is too little memory
        logs.say("no process for the model", logging.ERROR, error)
        scorers.stop()
        return 1
    logs.say("ready", address=settings["address"], workers=settings["workers"], **settings["about"])
    app = scoring_app(scorers, limits, settings["about"], settings["allowed_hosts"], connections)
    stopped = list[int]()
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=settings["host"],
            port=settings["port"],
            http=connections,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,  # an access log would show the query strings of URLs
            timeout_graceful_shutdown=20,
        )
    )
    for number in _STOPPING:  # uvicorn raises them again when it has ended
        signal.signal(number, lambda number, _: stopped.append(number))
    try:
        await server.serve()
    finally:
        scorers.stop()
    return 128 + stopped[0] if stopped else 0


def run(settings: dict[str, Any]) -> int:
    """Serve until SIGTERM or Ctrl-C, and return the exit code.

    Parameters
    ----------
    settings : dict
        ``model`` (folder), ``host``, ``port``, ``workers`` (number of scoring processes), ``limits`` (attributes of `Limits`), ``about``
        (what is served), ``address`` (of the server, for the log), ``allowed_hosts``, ``log_format`` and, if there are rules, ``queues``
        (as for `model.load`).
    """
    logs.set_up(settings["log_format"])
    for number in _STOPPING:  # these handlers are used while the model is being loaded
        signal.signal(number, lambda number, _: os._exit(128 + number))
    return asyncio.run(_serve(settings))
