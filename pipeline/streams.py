"""Standard input, output and error as they may be found: closed, full, or without a reader."""

import errno
import io
import os
import sys
from typing import Any


class _Forgiving(io.FileIO):
    """A stream to which writing never fails; the first error is kept, so that it can be reported once the work is done."""

    error: OSError | None = None

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data) or 0
        except OSError as error:
            self.error = self.error or error
            return memoryview(data).nbytes


def _fill_closed() -> None:
    """Open what was closed, or else the next files that are opened would take the place of standard output and error."""
    while (opened := os.open(os.devnull, os.O_RDWR)) <= 2:
        continue
    os.close(opened)


def prepare() -> None:
    """Make sure that printing to standard output and error cannot fail; characters that their encoding lacks are escaped."""
    _fill_closed()
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
        elif stream is getattr(sys, f"__{name}__") and stream.fileno() == number:
            lines, encoding = stream.line_buffering, stream.encoding
            raw: Any = _Forgiving(number, "w", closefd=False)
            stream = io.TextIOWrapper(io.BufferedWriter(raw), encoding, "backslashreplace", line_buffering=lines)
            setattr(sys, name, stream)
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def lost_output() -> str | None:
    """Return why something that was printed was lost, such as a full disk; None if nothing was lost, or nobody was reading any more."""
    sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    error = raw.error if isinstance(raw, _Forgiving) else None
    if error is None or error.errno == errno.EPIPE:
        return None
    return error.strerror or type(error).__name__
