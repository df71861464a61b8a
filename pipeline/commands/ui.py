"""``python -m pipeline.commands.ui``: look at runs and models in MLflow's UI."""

from typing import Annotated

import typer

from pipeline import terminal
from pipeline.config_files import load_config


def main(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 5000,
) -> None:
    """Start MLflow's UI on the runs of this folder, or name the server that holds them.

    The store is that of MLFLOW_TRACKING_URI, or else sqlite:///mlflow.db. If it is a server, its UI runs already.
    """
    from pipeline.tracking.ui import show

    show(load_config().tracking, host, port)


if __name__ == "__main__":
    terminal.run(main)
