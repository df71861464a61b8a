"""HTTP connections that end in time: uvicorn itself waits for ever for a request to arrive and for an answer to be read."""

import asyncio
from collections import Counter
from typing import ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol

from .limits import Limits

_MORE = 200  # connections beyond the limit, whose requests are answered with 503; any more are cut off at once
_EARLY = 2**17  # bytes of the next request that may arrive before the answer to this one


class BoundedConnection(H11Protocol):
    """A connection that is cut off if a request takes too long to arrive, or its answer too long to be read.

    Attributes
    ----------
    head_seconds : float
        For the head of a request, counted from the connection or the previous answer. The rest of that answer must be read in this time.
    request_seconds : float
        For the rest: its body, its turns and its answer. The application gives up sooner.
    most : int
        How many connections may be open.
    open : int
        How many are.
    cut : Counter
        How many were cut off, by reason.
    """

    head_seconds: ClassVar[float] = 10.0
    request_seconds: ClassVar[float] = 120.0
    most: ClassVar[int] = 1_000
    open: ClassVar[int] = 0
    cut: ClassVar[Counter[str]] = Counter()

    _deadline: asyncio.TimerHandle | None = None
    _in_head = True
    _early = 0

    @classmethod
    def within(cls, limits: Limits) -> "type[BoundedConnection]":
        """Return a class of connections that keep within limits."""
        kept = {"request_seconds": 2 * limits.seconds, "most": limits.connections, "cut": Counter[str]()}
        return type(cls.__name__, (cls,), kept)

    def _allow(self, seconds: float, *, head: bool) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._in_head = head
        self._deadline = self.loop.call_later(seconds, self._cut_off, "head" if head else "request")

    def _cut_off(self, reason: str) -> None:
        type(self).cut[reason] += 1
        self.transport.abort()  # not close(), which waits until all is sent

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        type(self).open += 1
        self._allow(self.head_seconds, head=True)
        if self.open > self.most + _MORE:
            self._cut_off("too many")

    def data_received(self, data: bytes) -> None:
        """Handle what has arrived; nobody may fill the memory with further requests while one is being answered."""
        if self.cycle is not None and not self.cycle.more_body and not self.cycle.response_complete:
            self._early += len(data)
            if self._early > _EARLY:
                self._cut_off("early")
                return
        super().data_received(data)

    def handle_events(self) -> None:
        """Handle what has arrived, and give a request whose head is complete more time."""
        super().handle_events()
        if self._in_head and self.cycle is not None and not self.cycle.response_complete:
            self._early = 0
            self._allow(self.request_seconds, head=False)
            if {b"content-length", b"transfer-encoding"} <= {name for name, _ in self.scope["headers"]}:
                self.cycle.keep_alive = False  # what follows may be half of a smuggled request (RFC 9112, 6.1)

    def on_response_complete(self) -> None:
        """Begin to wait for the next request; what is left of this answer must be read within the same time."""
        self._allow(self.head_seconds, head=True)
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        type(self).open -= 1
        if self._deadline is not None:
            self._deadline.cancel()
        super().connection_lost(exc)
