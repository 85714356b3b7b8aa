"""A real server on this machine, for tests of downloads."""

import hashlib
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class Server:
    """Serves what ``publish`` gave it; everything else is 404."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.announced: dict[str, int] = {}  # lengths to announce instead of the true ones
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.lstrip("/")
                outer.asked.append(name)
                if name not in outer.files:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(outer.announced.get(name, len(outer.files[name]))))
                self.end_headers()
                self.wfile.write(outer.files[name])

            def log_message(self, *args: object) -> None:
                """Keep the test output quiet."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.http.server_port}/{name}"

    def publish(self, name: str, content: bytes, *, md5: str | None = None) -> str:
        """Serve a file with its checksum beside it, in the form that GroupLens uses; return its address."""
        self.files[name] = content
        found = hashlib.md5(content, usedforsecurity=False).hexdigest()
        self.files[f"{name}.md5"] = (f"MD5 ({name}) = {found}\n" if md5 is None else md5).encode()
        return self.url(name)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def server():
    one = Server()
    one.thread.start()
    yield one
    one.http.shutdown()
    one.thread.join()
    one.http.server_close()


@pytest.fixture
def closed_port():
    """A port of this machine where nobody listens: bound, so that nobody else gets it, but not listening."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]
