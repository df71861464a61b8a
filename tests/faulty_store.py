"""A real S3 server (moto's), and a proxy before it that breaks requests: it answers 503, falls silent, or cuts the connection."""

import fnmatch
import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.moto_server.threaded_moto_server import ThreadedMotoServer
from moto.s3.models import s3_backends
from werkzeug.serving import WSGIRequestHandler

from pipeline import stores

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "AKIAINVENTED", "AWS_SECRET_ACCESS_KEY": "inventedsecret", "AWS_REGION": "us-east-1"}
# What a request may meet with: its answer is an error, never comes or breaks off, or the request itself is cut off in the middle.
FAULTS = ("503", "silent", "cut answer", "cut request")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # otherwise, each answer waits 40 ms between its head and its body
    server: "FaultyStore"

    def log_message(self, *_: Any) -> None:
        """Print nothing."""

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:  # the client has gone, or we have cut the connection
            self.close_connection = True

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _cut(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _answer(self) -> None:
        fault = self.server.fault(self.command, self.path)
        if fault == "cut request":  # while the client is still sending, if it sends anything
            if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
                self.rfile.read1(100)
            return self._cut()
        body = self._body()
        if fault == "silent":
            time.sleep(self.server.silence)
            return self._cut()
        if fault and fault.isdigit():
            return self._send(int(fault), [("Content-Length", "0")], b"")
        connection = http.client.HTTPConnection("127.0.0.1", self.server.behind, timeout=60)
        theirs = ("transfer-encoding", "expect", "content-length")
        headers = {name: value for name, value in self.headers.items() if name.lower() not in theirs}
        connection.request(self.command, self.path, body, headers | {"Content-Length": str(len(body))})
        answer = connection.getresponse()
        content, ours = answer.read(), ("Connection", "Date", "Server")
        heads = [(name, value) for name, value in answer.getheaders() if name not in ours]
        connection.close()
        if fault == "cut answer":
            self._send(answer.status, heads, content[: len(content) // 2])
            return self._cut()
        return self._send(answer.status, heads, content)

    def _send(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        self.send_response(status)
        for header in headers:
            self.send_header(*header)
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _answer  # noqa: N815


class FaultyStore(ThreadingHTTPServer):
    """An S3 server with a bucket ``posts``; `fault` decides about each request, by its method and path, and counts them."""

    daemon_threads = True

    def __init__(self, behind: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behind = behind
        self.silence = 3.0
        self.met: dict[str, int] = {}
        self.choose: Callable[[str, str], str | None] = lambda method, path: None
        self._lock = threading.Lock()

    def handle_error(self, *_: Any) -> None:
        """Print nothing: connections are cut on purpose."""

    def fault(self, method: str, path: str) -> str | None:
        """Return what a request meets with."""
        with self._lock:
            if fault := self.choose(method, path):
                self.met[fault] = self.met.get(fault, 0) + 1
            return fault

    def count(self, pattern: str) -> int:
        """Count the objects whose names match, without a request that might meet with a fault."""
        return len(fnmatch.filter(list(s3_backends[DEFAULT_ACCOUNT_ID]["aws"].buckets["posts"].keys), pattern))

    def environment(self) -> dict[str, str]:
        """Return the variables by which programs find the store and may use it."""
        return CREDENTIALS | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.server_address[1]}", "AWS_EC2_METADATA_DISABLED": "true"}


@contextmanager
def faulty_store() -> Iterator[FaultyStore]:
    """Start the server and the proxy, and stop them after the block."""
    WSGIRequestHandler.disable_nagle_algorithm = True
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    proxy = FaultyStore(port)
    thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.request("PUT", "/posts")
        assert connection.getresponse().status == 200
        yield proxy
    finally:
        proxy.shutdown()
        proxy.server_close()
        server.stop()


def upload(folder: Path, into: str) -> None:
    """Copy the files of a folder into the store."""
    for path in folder.iterdir():
        (stores.path_of(into) / path.name).write_bytes(path.read_bytes())
