"""Starts MLflow's UI on a store or, if the store is a server, says where its UI is."""

from pipeline.config import Tracking, mask_password
from pipeline.tracking.serve import check_free, run_python
from pipeline.tracking.store import connect, store_uri

# MLflow 3.17 shows its pages for language-model applications first, unless the address asks for those for training.
_TRAINING = "workflowType=machine_learning"
_OF_MLFLOW = "ignore:starlette.middleware.wsgi is deprecated"  # a warning about MLflow's own code, for each of its processes


def show(tracking: Tracking, host: str, port: int) -> None:
    """Replace this process by MLflow's UI; if the store is a server, say where its UI is instead.

    Parameters
    ----------
    tracking : Tracking
        Names the store.
    host : str
        Address to listen on.
    port : int
        Port to listen on.

    Raises
    ------
    InputError
        If the store cannot be used, or the port is taken.
    """
    uri = store_uri(tracking)
    if uri.startswith(("http://", "https://")):
        print(f"the runs are on a server; open {mask_password(uri).rstrip('/')}/#/experiments?{_TRAINING}")
        return
    check_free(host, port, "ui")
    experiment = connect(tracking)  # makes the store's file, if there is none
    print(
        f"MLflow's UI on {mask_password(uri)}: in about a minute, open http://{host}:{port}/#/experiments/{experiment}/runs?{_TRAINING}",
        flush=True,
    )
    # Not as an option, because a database's URI may hold a password, and everybody on this machine can see the options of a program.
    command = ("-m", "mlflow", "ui", "--host", host, "--port", str(port))
    run_python(tracking, *command, MLFLOW_BACKEND_STORE_URI=uri, PYTHONWARNINGS=_OF_MLFLOW)
