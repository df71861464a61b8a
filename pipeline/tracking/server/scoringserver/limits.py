"""What a request, and all requests together, may cost."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What one request, and all requests that the server holds at once, may cost, however many scoring processes there are.

    Attributes
    ----------
    body : int
        Bytes of a request's body.
    rows : int
        Posts in a request.
    seconds : float
        How long a request may take, including the time that it waits for its turns.
    reading : float
        Seconds within which a body must arrive.
    requests : int
        How many requests may be scored or wait at once.
    bodies : int
        How many bodies of the maximum size may be held at once; there may be more small ones. Bodies of up to a hundredth of that size are
        never refused for this.
    connections : int
        Connections that are open at once.
    """

    body: int = 10 * 2**20
    rows: int = 10_000
    seconds: float = 60
    reading: float = 20
    requests: int = 64
    bodies: int = 6
    connections: int = 1_000
