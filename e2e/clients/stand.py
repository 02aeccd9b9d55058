"""What the clients share: where the gateway is, and an app behind it that writes down what really arrived.

A script is called with the name of one of its functions and a JSON object of addresses; the function is a scenario, and
fails by an exception.
"""

import json
import os
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from typing import NamedTuple

PATIENCE = 20.0


class Request(NamedTuple):
    """A request as it arrived, over HTTP/1.1."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes
    trailers: list[str] = []

    def all(self, name: str) -> list[str]:
        return [value for own, value in self.headers if own == name]

    def one(self, name: str) -> str | None:
        values = self.all(name)
        assert len(values) <= 1, f"{name}: {values}"
        return values[0] if values else None


def reply(status: int, body: bytes = b"", *headers: tuple[str, str]) -> bytes:
    """A whole answer."""
    lines = [f"HTTP/1.1 {status} Said", *(f"{name}: {value}" for name, value in headers), f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def reply_json(status: int, value: object, *headers: tuple[str, str]) -> bytes:
    return reply(status, json.dumps(value).encode(), ("Content-Type", "application/json"), *headers)


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


class App:
    """A server of HTTP/1.1 on plain sockets. It reads strictly, and keeps what it got: whole requests in `requests`,
    every byte of each connection in `raw`, and what no strict reader could accept in `faults`."""

    def __init__(self, where: str, answer: Callable[["App", Request, socket.socket], bytes | None] | None = None):
        self.requests: list[Request] = []
        self.raw: list[bytearray] = []
        self.faults: list[str] = []
        self.orders = 0
        self.seen = threading.Semaphore(0)
        self.left = threading.Event()
        self._answer = answer or App.usual
        self._lock = threading.Lock()
        if where.startswith("/"):
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(where)
        else:
            self._listener = socket.socket()
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._listener.bind(address(where))
        self._listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            raw = bytearray()
            self.raw.append(raw)
            threading.Thread(target=self._serve, args=(connection, raw), daemon=True).start()

    def _serve(self, connection: socket.socket, raw: bytearray) -> None:
        pending = bytearray()

        def more() -> None:
            data = connection.recv(65536)
            if not data:
                raise EOFError
            raw.extend(data)
            pending.extend(data)

        try:
            while True:
                request = read_request(pending, more)
                with self._lock:
                    self.requests.append(request)
                answered = self._answer(self, request, connection)
                if answered is None:
                    return
                if request.method == "HEAD":
                    answered = answered[: answered.index(b"\r\n\r\n") + 4]
                connection.sendall(answered)
        except (EOFError, OSError):
            if pending:
                self.faults.append(f"broke off: {bytes(pending[:300])!r}")
            self.left.set()
        except ValueError as error:
            self.faults.append(f"{error}: {bytes(raw[-300:])!r}")
        finally:
            connection.close()

    def usual(self, request: Request, connection: socket.socket) -> bytes | None:
        """What the app does unless a scenario says otherwise."""
        path = request.target.partition("?")[0]
        if path == "/orders":
            with self._lock:
                self.orders += 1
                order = self.orders
            return reply_json(201, {"order": order}, ("Location", f"/orders/{order}"))
        if path == "/chunks":
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for number in range(20):
                connection.sendall(chunk(f"chunk {number}\n".encode() * 1000))
            return b"0\r\n\r\n"
        if path == "/events":
            connection.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
            for number in range(5):
                connection.sendall(chunk(f"data: {number}\n\n".encode()))
                # The next one is sent when the caller has this one.
                assert self.seen.acquire(timeout=PATIENCE), f"event {number} did not arrive by itself"
            return b"0\r\n\r\n"
        if path == "/trailers":
            head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
            return head + chunk(b"one") + chunk(b"two") + b"0\r\nX-Sum: 6\r\n\r\n"
        if path == "/never":
            # No answer; over when the gateway hangs up.
            while connection.recv(1024):
                pass
            self.left.set()
            return None
        headers = [list(field) for field in request.headers]
        told = {"method": request.method, "target": request.target, "headers": headers, "bytes": len(request.body)}
        return reply_json(200, told)


def read_request(pending: bytearray, more: Callable[[], None]) -> Request:
    """Reads one request, as a reader that forgives nothing."""
    while b"\r\n\r\n" not in pending:
        more()
    head, _, _ = bytes(pending).partition(b"\r\n\r\n")
    del pending[: len(head) + 4]
    lines = head.decode("latin-1").split("\r\n")
    method, target, version = lines[0].split(" ")
    if version != "HTTP/1.1" or not method.isalnum():
        raise ValueError(f"no request line: {lines[0]!r}")
    headers = []
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or not name.replace("-", "").replace("_", "").isalnum() or any(ord(c) < 32 or ord(c) == 127 for c in value):
            raise ValueError(f"no header field: {line!r}")
        headers.append((name.lower(), value.strip()))
    request = Request(method, target, headers, b"")
    lengths, codings = request.all("content-length"), request.all("transfer-encoding")
    if len(lengths) + len(codings) > 1 or len(request.all("host")) != 1:
        raise ValueError("framed, or named, twice")
    if codings and codings != ["chunked"]:
        raise ValueError("another coding")
    if lengths and not lengths[0].isdigit():
        raise ValueError("no length")
    if codings:
        body, trailers = read_chunks(pending, more)
        return request._replace(body=body, trailers=trailers)
    return request._replace(body=take(pending, more, int(lengths[0]) if lengths else 0))


def take(pending: bytearray, more: Callable[[], None], size: int) -> bytes:
    while len(pending) < size:
        more()
    data = bytes(pending[:size])
    del pending[:size]
    return data


def read_line(pending: bytearray, more: Callable[[], None]) -> str:
    while b"\r\n" not in pending:
        more()
    return take(pending, more, pending.index(b"\r\n") + 2).decode("latin-1")[:-2]


def read_chunks(pending: bytearray, more: Callable[[], None]) -> tuple[bytes, list[str]]:
    """A body in chunks, and the lines of its trailers."""
    body = b""
    while size := int(read_line(pending, more), 16):
        body += take(pending, more, size)
        if read_line(pending, more):
            raise ValueError("a chunk that does not end")
    trailers = []
    while line := read_line(pending, more):
        trailers.append(line)
    return body, trailers


class Place:
    """Where everything is."""

    def __init__(self, told: dict[str, str]):
        self.plain, self.tls, self.proxied = told["plain"], told["tls"], told["proxied"]
        self.admin, self.steadfast = told["admin"], told["steadfast"]
        self.app, self.http2 = told["app"], told["http2"]
        self.folder = told["folder"]

    def file(self, name: str) -> str:
        return os.path.join(self.folder, name)

    @property
    def ca(self) -> str:
        return self.file("ca.pem")

    @property
    def tls_port(self) -> int:
        return address(self.tls)[1]

    @property
    def url(self) -> str:
        return f"http://{self.plain}"

    @property
    def url_tls(self) -> str:
        return f"https://localhost:{self.tls_port}"


def address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


def run_program(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(arguments, capture_output=True, timeout=PATIENCE)


def main(scenarios: dict[str, object]) -> None:
    scenario = scenarios[sys.argv[1]]
    try:
        scenario(Place(json.loads(sys.argv[2])))
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        # Threads of a scenario that failed are of no interest.
        os._exit(1)
    os._exit(0)
