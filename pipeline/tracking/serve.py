"""Serves a model of the store with MLflow's own scoring server, within bounds."""

import json
import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from models.config import ROOT
from models.errors import InputError
from pipeline.config import Tracking
from pipeline.tracking.artifacts import verified_copy
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


def _route_of(routing: "Routing", folder: Path) -> dict[str, str]:
    """Return the environment variables by which the server finds rules, which must suit the model in a folder, and the code for them."""
    from pipeline.scoring.parts import ModelFolder

    (model,) = folder.glob("data/*/model.json")
    routing.check_labels(ModelFolder.read(model.parent).labels)
    rules = [rule.model_dump(mode="json")["when"] for rule in routing.rules]
    told = json.dumps({"rules": rules, "queues": [rule.queue for rule in routing.rules]})
    return {"DISCLOSURE_ROUTE": told, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}


def serve(
    tracking: Tracking,
    name: str | None,
    host: str,
    port: int,
    workers: int,
    limits: dict[str, float],
    routing: "Routing | None" = None,
) -> None:
    """Replace this process by the server in `pipeline.tracking.server`, which runs the code in the model, after its digest was checked.

    Parameters
    ----------
    tracking : Tracking
        Names the store that holds the model.
    name : str or None
        Serve the champion of this registered model; by default, the champion that was updated last or, if there is none, the newest model.
    host : str
        Address to listen on.
    port : int
        Port to listen on.
    workers : int
        Number of processes; each loads the model.
    limits : dict of str to float
        What a request may cost: attributes of `pipeline.tracking.server.scoring_app.Limits`.
    routing : Routing, optional
        Queues and rules, for the column ``queue``.

    Raises
    ------
    InputError
        If there is no such model, it was changed after it was logged, it lacks a label of the rules, or the port is taken.
    """
    check_free(host, port, "serve")
    open_store(tracking)
    uri = model_to_serve(name)
    folder = verified_copy(uri)
    print(f"serving {uri} at http://{host}:{port}/invocations", flush=True)
    program = str(Path(__file__).parent / "server")
    route = _route_of(routing, folder) if routing else {}
    variables = {"DISCLOSURE_MODEL": str(folder), "DISCLOSURE_LIMITS": json.dumps(limits), **route}
    run_python(tracking, program, host, str(port), str(workers), **variables)
