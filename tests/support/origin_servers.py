"""The model hub and a package index, on loopback, with the faults that tests ask for."""

import base64
import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class OriginServer:
    """What is served, what was asked for, and where the next answers break off or stand still."""

    files: dict[str, bytes] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    """Path and ``Range`` of every GET, in order."""

    cut_at: dict[str, int] = field(default_factory=dict)
    """The next answer for this path loses its connection after so many bytes."""

    stall_at: dict[str, int] = field(default_factory=dict)
    """The next answer for this path stands still after so many bytes, until ``resume``."""

    resume: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def ranges_of(self, path: str) -> list[str]:
        return [asked_range for asked_path, asked_range in self.requests if asked_path == path]

    def add_wheel(self, package: str, version: str, members: dict[str, bytes]) -> str:
        """Offer a wheel, and return the path that it is fetched from."""
        name = f"{package.replace('-', '_')}-{version}-py3-none-any.whl"
        self.files[f"/wheels/{name}"] = wheel_of(package, version, members)
        page = f'<!DOCTYPE html><html><body><a href="/wheels/{name}">{name}</a></body></html>'
        self.files[f"/simple/{package}/"] = page.encode()
        return f"/wheels/{name}"


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_HTTPServer"

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self.server.origin.requests.append((self.path, self.headers.get("Range", "")))
        self._answer(with_body=True)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  -- the base class's name
        """Keep quiet."""

    def _answer(self, *, with_body: bool) -> None:
        origin = self.server.origin
        content = origin.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header(
            "Content-Type", "text/html" if self.path.endswith("/") else "application/octet-stream"
        )
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.end_headers()
        if with_body:
            self._send_body(content[start:])

    def _send_body(self, content: bytes) -> None:
        origin = self.server.origin
        cut, stall = origin.cut_at.pop(self.path, None), origin.stall_at.pop(self.path, None)
        try:
            self.wfile.write(content[: cut or stall])
            if stall is not None:
                origin.resume.wait(timeout=60)
                self.wfile.write(content[stall:])
        except ConnectionError:
            self.close_connection = True  # the client was ended, as the test meant it to be
        if cut is not None:
            self.close_connection = True


class _HTTPServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, origin: OriginServer) -> None:
        self.origin = origin
        super().__init__(("127.0.0.1", 0), _Answer)


@contextmanager
def origin_server() -> Iterator[OriginServer]:
    """Serve until the end of the block."""
    origin = OriginServer()
    server = _HTTPServer(origin)
    origin.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield origin
    finally:
        origin.resume.set()
        server.shutdown()
        server.server_close()
        thread.join()


def wheel_of(package: str, version: str, members: dict[str, bytes]) -> bytes:
    """Build the least that pip takes for a wheel."""
    info = f"{package.replace('-', '_')}-{version}.dist-info"
    files = {
        **members,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = [f"{name},sha256={_digest(content)},{len(content)}" for name, content in files.items()]
    files[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""]).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
