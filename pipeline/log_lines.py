"""Standard error as JSON: one object per line, for programs that collect the logs of many jobs."""

import io
import json
import re
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, TextIO

OPTION = "--log-format"
_LEVELS = {"error": "error", "also": "error", "warning": "warning", "stopped": "warning", "note": "info", "model": "info"}
_SAID = re.compile(r"(error|also|warning|note|model)(?::| {2,}) *(.*)|(stopped)\b.*", re.IGNORECASE)


def wanted(arguments: Sequence[str]) -> bool:
    """Return whether arguments of a command ask for JSON, before they are parsed, so that errors about them are JSON, too.

    Examples
    --------
    >>> wanted(["--log-format", "json"]), wanted(["--log-format=json"]), wanted(["--json"])
    (True, True, False)
    """
    return f"{OPTION}=json" in arguments or (OPTION, "json") in pairwise(arguments)


def _object(line: str) -> dict[str, Any] | None:
    try:
        given = json.loads(line) if line.startswith("{") else None
    except ValueError:
        return None
    return given if isinstance(given, dict) else None


def content_of(line: str) -> dict[str, Any]:
    """Return the event, the level and everything else in a line: a JSON object is taken as it is, and other lines have a ``message``.

    Examples
    --------
    >>> content_of("note     night.csv: read in Windows-1252")
    {'event': 'note', 'level': 'info', 'message': 'night.csv: read in Windows-1252'}
    >>> content_of('{"posts": 4}')
    {'event': 'progress', 'level': 'info', 'posts': 4}
    """
    given = _object(line)
    if given is not None:
        if "note" in given:
            given["message"] = given.pop("note")
        event = "note" if "message" in given else "progress"
        return {"event": event, "level": "info"} | given
    if found := _SAID.fullmatch(line):
        event = (found[1] or found[3]).lower()
        return {"event": event, "level": _LEVELS[event], "message": found[2] if found[1] else line}
    return {"event": "log", "level": "info", "message": line}


class JsonLines(io.TextIOBase):
    """A stream that turns each line written to it into a JSON object, and hands it on.

    Parameters
    ----------
    stream : TextIO
        Where the lines go.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._rest = stream, ""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Encoding of the underlying stream."""
        return self._stream.encoding

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, text: str, /) -> int:
        """Write text, whose last line may be completed later."""
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            if line.strip():
                now = time.time()
                moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03d}Z"
                self._stream.write(json.dumps({"time": moment, **content_of(line)}) + "\n")
        return len(text)

    def flush(self) -> None:
        """Write what has arrived."""
        self._stream.flush()


def are_json() -> bool:
    """Return whether the lines of standard error are turned into JSON."""
    return isinstance(sys.stderr, JsonLines)


def event(name: str, level: str = "info", **fields: Any) -> None:
    """Write a line that appears only in JSON.

    Parameters
    ----------
    name : str
        What happened.
    level : str
        How bad that is.
    **fields : object
        More keys of the line.
    """
    if are_json():
        print(json.dumps({"event": name, "level": level, **fields}), file=sys.stderr, flush=True)


def bug(error: Exception) -> None:
    """Write the type and the place of an unexpected error, but not its message, which may quote a text."""
    event("bug", "critical", error=type(error).__name__, place="".join(traceback.format_tb(error.__traceback__)))


@contextmanager
def as_wanted(arguments: Sequence[str]) -> Iterator[None]:
    """Turn standard error into JSON while the block lasts, if arguments ask for it.

    Parameters
    ----------
    arguments : sequence of str
        Those of the command.
    """
    before = sys.stderr
    if wanted(arguments):
        sys.stderr = JsonLines(before)
    try:
        yield
    finally:
        if are_json():
            print(file=sys.stderr, flush=True)  # ends a line that was begun
        sys.stderr = before
