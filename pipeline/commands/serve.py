"""``python -m pipeline.commands.serve``: serve a model over HTTP."""

from typing import Annotated

import typer

from pipeline import terminal
from pipeline.config_files import load_config


def main(
    name: Annotated[str | None, typer.Option(help="Serve the champion of this registered model.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 5001,
    workers: Annotated[int, typer.Option(help="Number of processes; each loads the model.", min=1)] = 1,
    max_rows: Annotated[int, typer.Option(help="Maximum number of posts in a request.", min=1)] = 10_000,
    max_body: Annotated[int, typer.Option(help="Maximum size of a request's body in MiB.", min=1)] = 10,
    timeout: Annotated[float, typer.Option(help="Maximum number of seconds that a request may take.", min=1)] = 60,
) -> None:
    """Serve a registered model over HTTP.

    It serves the champion, or the newest model if there is no champion.
    """
    from pipeline.tracking.serve import serve

    limits = {"rows": max_rows, "body": max_body * 2**20, "seconds": timeout}
    serve(load_config().tracking, name, host, port, workers, limits)


if __name__ == "__main__":
    terminal.run(main)
