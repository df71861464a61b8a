"""Makes the tables of a store, completely or not at all, and only once, however many processes start together."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import mlflow

if TYPE_CHECKING:
    from sqlalchemy import Connection

_PATIENCE = 120.0  # seconds that another process may take
_LOCK = 7_310_602_917  # any number that no other program locks in the same database


def sqlite_file(uri: str) -> Path | None:
    """Return the file of a SQLite store, or None if the URI names another kind of store."""
    kind, _, path = uri.partition(":///")
    path = path.partition("?")[0]
    return Path(path) if kind.split("+")[0] == "sqlite" and path not in {"", ":memory:"} else None


def is_postgresql(uri: str) -> bool:
    """Say whether a URI names a PostgreSQL database itself, rather than a server in front of one."""
    return uri.partition(":")[0].partition("+")[0] == "postgresql"


@contextmanager
def database(uri: str) -> Iterator["Connection"]:
    """Connect to a database for one transaction, without MLflow, which would try for minutes if the database does not answer.

    Parameters
    ----------
    uri : str
        The database's URI.
    """
    from sqlalchemy import NullPool, create_engine

    with create_engine(uri, poolclass=NullPool).begin() as connection:
        yield connection


def _make_tables(uri: str) -> None:
    """Let MLflow make the tables of a PostgreSQL database; processes on other machines that want the same wait until they are made.

    The lock lasts as long as the transaction, which also works through a pool of connections such as PgBouncer.
    """
    from sqlalchemy import text

    with database(uri) as connection:
        connection.execute(text(f"SET LOCAL lock_timeout = '{_PATIENCE:.0f}s'"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _LOCK})
        mlflow.MlflowClient(uri).search_experiments(max_results=1)


def make_store(uri: str) -> None:
    """Make the file of a SQLite store or the tables of a PostgreSQL store, if there are none.

    MLflow makes its tables in hundreds of steps. If two processes take these steps at once, or one is stopped half-way, the file that is
    left cannot be used.

    Parameters
    ----------
    uri : str
        The store's URI. Other stores are left to MLflow.
    """
    if is_postgresql(uri):
        return _make_tables(uri)
    path = sqlite_file(uri)
    if path is None or (path.exists() and path.stat().st_size):
        return None
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
    return None
