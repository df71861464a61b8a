"""Names by which a request may call the server.

A web page must not reach the server by a name that the page's owner points at it (DNS rebinding).
"""

from fnmatch import fnmatchcase
from ipaddress import ip_address
from urllib.parse import urlsplit


def is_allowed(host: str, names: list[str]) -> bool:
    """Return whether a Host header is ``localhost``, an IP address, or one of these names.

    Parameters
    ----------
    host : str
        The header, with or without a port.
    names : list of str
        Names, in which ``*`` stands for anything.

    Examples
    --------
    >>> [is_allowed(host, ["*.example.org"]) for host in ("localhost:5001", "[::1]", "a.example.org", "10.example.com")]
    [True, True, True, False]
    """
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    try:
        ip_address(name)
    except ValueError:
        return name == "localhost" or any(fnmatchcase(name, pattern.lower()) for pattern in names)
    return True
