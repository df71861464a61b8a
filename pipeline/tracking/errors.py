"""Says in one line why a store failed, and how to mend it."""

import re

from pipeline.config import mask_password
from pipeline.tracking.creation import is_postgresql, sqlite_file

_BROKEN = re.compile(
    "_alembic_tmp_|table .* already exists|no such table|Online migration expected|Can't locate revision|not a database|malformed"
)


def reason_of(error: Exception) -> str:
    """Return the first line of an error message from a store's driver, without passwords."""
    return mask_password(next(iter(str(error).strip().splitlines()), type(error).__name__))


def how_to_mend(uri: str, reason: str) -> str:
    """Say in a few words what to do about a store that cannot be used.

    Parameters
    ----------
    uri : str
        The store's URI, without its password.
    reason : str
        MLflow's error.
    """
    path = sqlite_file(uri)
    if is_postgresql(uri) and re.search(r"No module named|import of \w+ halted", reason):
        return "install its driver: .venv/bin/python -m pip install --require-hashes --no-deps -r requirements/server.txt"
    if "out-of-date database schema" in reason:
        return f"it was written by an older MLflow; back it up, then run: mlflow db upgrade {uri}"
    if path and _BROKEN.search(reason):
        return f"the file is incomplete or damaged; move it away (mv {path} {path}.broken), and the same command makes a new one"
    if "deleted experiment" in reason:
        return "restore the experiment in MLflow's UI, or choose another: --experiment NAME"
    return "set tracking.uri or MLFLOW_TRACKING_URI"
