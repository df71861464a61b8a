"""``python -m pipeline.commands.serve``: serve a model over HTTP."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from pipeline import terminal
from pipeline.config_files import load_config
from pipeline.cores import cores

_KEPT_BUSY = 4  # scoring processes that one front can surely keep busy


def main(
    name: Annotated[str | None, typer.Option(help="Serve the champion of this registered model.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 5001,
    workers: Annotated[
        int | None, typer.Option(help="Number of scoring processes; each loads the model.", min=1, show_default="one per core, at most 4")
    ] = None,
    max_rows: Annotated[int, typer.Option(help="Maximum number of posts in a request.", min=1)] = 10_000,
    max_body: Annotated[int, typer.Option(help="Maximum size of a request's body in MiB.", min=1)] = 10,
    route: Annotated[Path | None, typer.Option(metavar="FILE", help="Add the queues of these rules, without capacities.")] = None,
    timeout: Annotated[float, typer.Option(help="Maximum number of seconds that a request may take.", min=1)] = 60,
    allowed_hosts: Annotated[
        str, typer.Option(metavar="NAME,...", help="Names of this server that requests may use, besides localhost and IP addresses.")
    ] = "",
    log_format: Annotated[Literal["text", "json"], typer.Option(help="Format of the log lines.")] = "text",
) -> None:
    """Serve a registered model over HTTP.

    It serves the champion, or the newest model if there is no champion. /health and /metrics (for Prometheus) show how it is doing.
    """
    from pipeline.routing.rules import load_routing
    from pipeline.tracking.serve import ServeOptions, serve

    limits = {"rows": max_rows, "body": max_body * 2**20, "seconds": timeout}
    names = tuple(stripped for given in allowed_hosts.split(",") if (stripped := given.strip()))
    routing = load_routing(route) if route else None
    workers = workers or min(cores(), _KEPT_BUSY)
    serve(load_config().tracking, ServeOptions(name, host, port, workers, limits, names, log_format, routing))


if __name__ == "__main__":
    terminal.run(main)
