"""HTTP connections that end in time: uvicorn itself waits for ever for a request to arrive and for an answer to be read."""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 10.0  # for the head of a request, from the connection or the answer before
REQUEST_SECONDS = 120.0  # for the rest: its body, its turn and its answer; the application gives up sooner


class BoundedConnection(H11Protocol):
    """A connection that is cut off if a request takes too long to arrive, or its answer too long to be read."""

    _deadline: asyncio.TimerHandle | None = None
    _in_head = True

    def _allow(self, seconds: float, *, head: bool) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._in_head = head
        self._deadline = self.loop.call_later(seconds, self.transport.abort)  # not close(), which waits until all is sent

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._allow(HEAD_SECONDS, head=True)

    def handle_events(self) -> None:
        """Handle what has arrived, and give a request whose head is complete more time."""
        super().handle_events()
        if self._in_head and self.cycle is not None and not self.cycle.response_complete:
            self._allow(REQUEST_SECONDS, head=False)
            if {b"content-length", b"transfer-encoding"} <= {name for name, _ in self.scope["headers"]}:
                self.cycle.keep_alive = False  # what follows may be half of a smuggled request (RFC 9112, 6.1)

    def on_response_complete(self) -> None:
        """Begin to wait for the next request; what is left of this answer must be read in the same time."""
        self._allow(HEAD_SECONDS, head=True)
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        if self._deadline is not None:
            self._deadline.cancel()
        super().connection_lost(exc)
