"""Lines of the log, as text or as JSON.

No line holds the text of a post, or the message of an unexpected error, which may quote a post.
"""

import json
import logging
import sys
import time
import traceback
import warnings
from typing import Any, Literal

LogFormat = Literal["text", "json"]

_log = logging.getLogger("scoringserver")


def say(event: str, level: int = logging.INFO, caught: BaseException | None = None, **fields: Any) -> None:
    """Write one line.

    Parameters
    ----------
    event : str
        What happened, in one word or two.
    level : int
        As in `logging`.
    caught : BaseException, optional
        An error; its type and place are shown, but not its message.
    **fields : object
        More keys of the line, and their values.
    """
    _log.log(level, event, extra={"fields": fields}, exc_info=caught)


def content_of(record: logging.LogRecord) -> dict[str, Any]:
    """Return the keys and values of a line."""
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"
    line: dict[str, Any] = {"time": moment, "level": record.levelname.lower()}
    if record.name == _log.name:
        line |= {"event": record.getMessage()} | getattr(record, "fields", {})
    else:  # a line of uvicorn or another library
        line |= {"event": "log", "logger": record.name, "message": record.getMessage()}
    if record.exc_info and record.exc_info[1]:
        error = record.exc_info[1]
        line |= {"error": type(error).__name__, "place": "".join(traceback.format_tb(error.__traceback__))}
    return line


class JsonLines(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a line."""
        return json.dumps(content_of(record))


class TextLines(logging.Formatter):
    """Time, level, event, and then each key with its value."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a line, below which a traceback may stand."""
        line = content_of(record)
        place = line.pop("place", "")
        first = [line.pop("time"), line.pop("level").upper(), line.pop("event")]
        return " ".join([*first, *(f"{key}={value}" for key, value in line.items())]) + (f"\n{place}" if place else "")


def set_up(form: LogFormat, level: int = logging.INFO) -> None:
    """Write the lines of all loggers of this process to standard error.

    Parameters
    ----------
    form : {"text", "json"}
        Text, or one JSON object per line.
    level : int
        The lowest level that is written.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    logging.basicConfig(handlers=[handler], level=level, force=True)
    warnings.simplefilter("ignore")
