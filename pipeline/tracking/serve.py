"""MLflow's own scoring server on a model of the store."""

import os
import socket
import sys
from pathlib import Path

from models.errors import InputError
from pipeline.config import Tracking
from pipeline.tracking.registry import model_to_serve
from pipeline.tracking.store import connect, store_uri


def _check_free(host: str, port: int) -> None:
    try:
        socket.create_server((host, port)).close()
    except OSError:
        message = f"{host}:{port}: in use, or no address of this machine; choose another, such as: make serve PORT=5002"
        raise InputError(message) from None


def serve(tracking: Tracking, name: str | None, host: str, port: int, workers: int) -> None:
    """Replace this process by MLflow's scoring server.

    Parameters
    ----------
    tracking : Tracking
        Where the model is looked for.
    name : str or None
        Registered model whose champion to serve; None for the champion of the one updated last, or the newest model.
    host : str
        Address to listen on.
    port : int
        Port to listen on.
    workers : int
        Processes, each with the model.

    Raises
    ------
    InputError
        When there is no such model, or the port is taken.
    """
    _check_free(host, port)
    connect(tracking)
    uri = model_to_serve(name)
    print(f"serving {uri} at http://{host}:{port}/invocations", flush=True)
    # MLflow starts uvicorn by name, and would take an old mlruns/ for the store.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    environment = {**os.environ, "PATH": path, "MLFLOW_TRACKING_URI": store_uri(tracking)}
    options = ["--model-uri", uri, "--env-manager", "local", "--host", host, "--port", str(port), "--workers", str(workers)]
    os.execve(sys.executable, [sys.executable, "-m", "mlflow", "models", "serve", *options], environment)  # noqa: S606  # no shell
