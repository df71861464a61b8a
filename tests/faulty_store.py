"""A real S3 server (moto's) that breaks requests: it answers 503, falls silent, or cuts the connection."""

import fnmatch
import http.client
import io
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from moto.s3.models import s3_backends
from werkzeug.serving import ThreadedWSGIServer
from werkzeug.test import run_wsgi_app

from pipeline import stores

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "AKIAINVENTED", "AWS_SECRET_ACCESS_KEY": "inventedsecret", "AWS_REGION": "us-east-1"}
# What a request may meet with: its answer is an error, never comes or breaks off, or the request itself is cut off in the middle.
FAULTS = ("503", "silent", "cut answer", "cut request")


class _Handler(MotoRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # otherwise, each answer waits 40 ms between its head and its body
    server: "FaultyStore"

    def log(self, *_: Any) -> None:
        """Print nothing."""

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:  # the client has gone, or we have cut the connection
            self.close_connection = True

    def _cut(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def run_wsgi(self) -> None:
        fault = self.server.fault(self.command, self.path)
        if fault == "cut request":  # while the client is still sending, if it sends anything
            if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
                self.rfile.read1(100)
            return self._cut()
        asked = self.make_environ()
        body = asked["wsgi.input"].read(-1 if "wsgi.input_terminated" in asked else int(asked.get("CONTENT_LENGTH") or 0))
        if fault == "silent":
            time.sleep(self.server.silence)
            return self._cut()
        if fault and fault.isdigit():
            return self._send(int(fault), [("Content-Length", "0")], b"")
        asked |= {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        try:
            parts, status, headers = run_wsgi_app(self.server.app, asked, buffered=True)
        except Exception:  # an error in moto would look like a connection that was cut
            traceback.print_exc()
            return self._send(500, [("Content-Length", "0")], b"")
        content, code = b"".join(parts), int(status.split()[0])
        heads = [(name, value) for name, value in headers if name.lower() not in ("connection", "date", "server")]
        if fault == "cut answer":
            self._send(code, heads, content[: len(content) // 2])
            return self._cut()
        return self._send(code, heads, content)

    def _send(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        self.send_response(status)
        for header in headers:
            self.send_header(*header)
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()


class FaultyStore(ThreadedWSGIServer):
    """An S3 server with a bucket ``posts``; `fault` decides about each request, by its method and path, and counts them."""

    def __init__(self) -> None:
        super().__init__("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), _Handler)
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
        return CREDENTIALS | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}", "AWS_EC2_METADATA_DISABLED": "true"}


@contextmanager
def faulty_store() -> Iterator[FaultyStore]:
    """Start the server, and stop it after the block."""
    server = FaultyStore()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        connection = http.client.HTTPConnection("127.0.0.1", server.port)
        connection.request("PUT", "/posts")
        assert connection.getresponse().status == 200
        connection.close()
        yield server
    finally:
        server.shutdown()
        thread.join()  # serve_forever closes the server when it ends


def upload(folder: Path, into: str) -> None:
    """Copy the files of a folder into the store."""
    for path in folder.iterdir():
        (stores.path_of(into) / path.name).write_bytes(path.read_bytes())
