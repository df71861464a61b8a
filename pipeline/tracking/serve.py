"""Serves a model of the store over HTTP, within bounds."""

import json
import os
import socket
import sys
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from models.config import ROOT
from models.errors import InputError
from pipeline.config import Tracking
from pipeline.tracking.artifacts import digests_of, verified_copy
from pipeline.tracking.registry import model_to_serve
from pipeline.tracking.store import open_store, store_uri

if TYPE_CHECKING:
    from pipeline.routing.rules import Routing


def check_free(host: str, port: int, target: str) -> None:
    """Raise an error if a server cannot listen at this address; the message names the make target to use."""
    try:
        socket.create_server((host, port)).close()
    except OSError:
        message = f"{host}:{port}: in use, or not an address of this machine; choose another, such as: make {target} PORT={port + 1}"
        raise InputError(message) from None


def run_python(tracking: Tracking, *command: str, **variables: str) -> None:
    """Replace this process by a Python program that uses MLflow on a store, without telemetry.

    Parameters
    ----------
    tracking : Tracking
        Names the store.
    command : str
        What follows ``python``.
    variables : str
        More environment variables.
    """
    # MLflow finds uvicorn by PATH, and would use an old mlruns/ as the store if the URI were not set. The environment holds what
    # pipeline/tracking/__init__.py has set.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    environment = {**os.environ, "PATH": path, "MLFLOW_TRACKING_URI": store_uri(tracking), **variables}
    os.execve(sys.executable, [sys.executable, *command], environment)  # noqa: S606  # no shell


def _queues_of(routing: "Routing", folder: Path) -> dict[str, Any]:
    """Return rules in the form that the server takes; raise an error if they do not suit the model in the folder."""
    from pipeline.scoring.parts import ModelFolder

    model = next(folder.glob("data/*/model.json"), None)
    if model is None:
        raise InputError("--route: the model that would be served is not one of this project, so its labels are not known; omit --route")
    routing.check_labels(ModelFolder.read(model.parent).labels)
    rules = [rule.model_dump(mode="json")["when"] for rule in routing.rules]
    return {"rules": rules, "queues": [rule.queue for rule in routing.rules]}


@dataclass(frozen=True)
class ServeOptions:
    """How to serve a model.

    Attributes
    ----------
    name : str or None
        Serve the champion of this registered model; by default, the champion that was updated last or, if there is none, the newest model.
    host : str
        Address to listen on.
    port : int
        Port to listen on.
    workers : int
        Number of scoring processes; each loads the model.
    limits : dict of str to float
        What requests may cost: attributes of `pipeline.tracking.server.scoringserver.limits.Limits`.
    allowed_hosts : tuple of str
        Names of the server that requests may use, beside ``localhost`` and IP addresses.
    log_format : {"text", "json"}
        Format of the log lines.
    routing : Routing or None
        Queues and rules, for the column ``queue``.
    """

    name: str | None = None
    host: str = "127.0.0.1"
    port: int = 5001
    workers: int = 1
    limits: dict[str, float] = field(default_factory=dict)
    allowed_hosts: tuple[str, ...] = ()
    log_format: Literal["text", "json"] = "text"
    routing: "Routing | None" = None


def serve(tracking: Tracking, options: ServeOptions) -> None:
    """Replace this process by the server in `pipeline.tracking.server`, which runs the code in the model, after checking its digest.

    Parameters
    ----------
    tracking : Tracking
        Names the store that holds the model.
    options : ServeOptions
        Which model to serve, and how.

    Raises
    ------
    InputError
        If there is no such model, it was changed after it was logged, it lacks a label of the rules, or the port is taken.
    """
    check_free(options.host, options.port, "serve")
    open_store(tracking)
    uri = model_to_serve(options.name)
    folder = verified_copy(uri)
    address = f"http://{options.host}:{options.port}/invocations"
    queues = _queues_of(options.routing, folder) if options.routing else None
    if options.log_format == "text":
        print(f"serving {uri} at {address}", flush=True)
    settings = asdict(replace(options, routing=None)) | {"model": str(folder), "queues": queues, "address": address}
    settings["about"] = {"uri": uri, **digests_of(uri)}
    # The server finds pipeline/routing/ by PYTHONPATH; the model's own copy of models/ comes before it.
    found_by = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    run_python(tracking, str(Path(__file__).parent / "server"), json.dumps(settings), PYTHONPATH=found_by)
