"""Makes the file of a SQLite store, completely or not at all, and only once, however many processes start together."""

from pathlib import Path

import mlflow

_PATIENCE = 120.0  # seconds that another process may take


def sqlite_file(uri: str) -> Path | None:
    """Return the file of a SQLite store, or None if the URI names another kind of store."""
    kind, _, path = uri.partition(":///")
    path = path.partition("?")[0]
    return Path(path) if kind.split("+")[0] == "sqlite" and path not in {"", ":memory:"} else None


def make_store(uri: str) -> None:
    """Make the file of a SQLite store if there is none.

    MLflow makes its tables in hundreds of steps. If two processes take these steps at once, or one is stopped half-way, the file that is
    left cannot be used.

    Parameters
    ----------
    uri : str
        The store's URI. Stores that are not SQLite files are left to MLflow.
    """
    path = sqlite_file(uri)
    if path is None or (path.exists() and path.stat().st_size):
        return
    from filelock import FileLock

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{path}.lock", timeout=_PATIENCE)
    with lock:
        if not path.exists() or not path.stat().st_size:
            new = Path(f"{path}.new")
            new.unlink(missing_ok=True)
            mlflow.MlflowClient(f"sqlite:///{new}").search_experiments(max_results=1)  # makes the tables
            new.replace(path)
        # Processes that still wait for this lock will find the store made.
        Path(lock.lock_file).unlink(missing_ok=True)
