"""Serves a model of the store with MLflow's own scoring server."""

import os
import socket
import sys
from pathlib import Path

from models.errors import InputError
from pipeline.config import Tracking
from pipeline.tracking.artifacts import verified_copy
from pipeline.tracking.registry import model_to_serve
from pipeline.tracking.store import open_store, store_uri


def check_free(host: str, port: int, target: str) -> None:
    """Raise an error if a server cannot listen at this address; the message names the make target to use."""
    try:
        socket.create_server((host, port)).close()
    except OSError:
        message = f"{host}:{port}: in use, or not an address of this machine; choose another, such as: make {target} PORT={port + 1}"
        raise InputError(message) from None


def run_mlflow(tracking: Tracking, *command: str) -> None:
    """Replace this process by a command of MLflow on a store, without telemetry.

    Parameters
    ----------
    tracking : Tracking
        Names the store.
    command : str
        The command and its options.
    """
    # MLflow finds uvicorn by PATH, and would use an old mlruns/ as the store if the URI were not set. The environment holds what
    # pipeline/tracking/__init__.py has set.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    environment = {**os.environ, "PATH": path, "MLFLOW_TRACKING_URI": store_uri(tracking)}
    os.execve(sys.executable, [sys.executable, "-m", "mlflow", *command], environment)  # noqa: S606  # no shell


def serve(tracking: Tracking, name: str | None, host: str, port: int, workers: int) -> None:
    """Replace this process by MLflow's scoring server, which runs the code in the model, after its digest was checked.

    Parameters
    ----------
    tracking : Tracking
        Names the store that holds the model.
    name : str or None
        Serve the champion of this registered model; by default, the one of the model updated last or, if there is none, the newest model.
    host : str
        Address to listen on.
    port : int
        Port to listen on.
    workers : int
        Number of processes; each loads the model.

    Raises
    ------
    InputError
        If there is no such model, it was changed after it was logged, or the port is taken.
    """
    check_free(host, port, "serve")
    open_store(tracking)
    uri = model_to_serve(name)
    copy = verified_copy(uri)
    print(f"serving {uri} at http://{host}:{port}/invocations", flush=True)
    run_mlflow(
        *(tracking, "models", "serve", "--model-uri", str(copy), "--env-manager", "local"),
        *("--host", host, "--port", str(port), "--workers", str(workers)),
    )
