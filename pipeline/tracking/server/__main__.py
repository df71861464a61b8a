"""Start uvicorn with the application and the connections of this folder: ``python pipeline/tracking/server HOST PORT WORKERS``."""

import sys

import uvicorn

MOST_CONNECTIONS = 1_000  # per process; requests on further connections are answered with 503

if __name__ == "__main__":
    host, port, workers = sys.argv[1:]
    uvicorn.run(
        "scoring_app:from_environment",
        factory=True,
        host=host,
        port=int(port),
        workers=int(workers),
        http="connections:BoundedConnection",
        ws="none",
        limit_concurrency=MOST_CONNECTIONS,
        timeout_graceful_shutdown=20,
    )
