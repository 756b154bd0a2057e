"""A small HTTP server to have something in a sandbox: `python -m gateway.local.sample_server`.

`GET /` tells who answers, `POST /echo` gives the body back, `GET /events` streams three
server-sent events. It starts fast: `http.server` would double the modules to load.
"""

import json
import os
import socketserver
import sys
import threading
import time
from io import BufferedIOBase
from typing import NamedTuple

_EVENT_COUNT = 3
_EVENT_PAUSE = 0.2
_STARTED = time.time()
_LINE_LIMIT = 65536
_USAGE = "usage: sample_server --port N --name X [--startup-delay S]"


class Options(NamedTuple):
    """The command line."""

    port: int
    name: str
    startup_delay: float


class Head(NamedTuple):
    """What counts of a request's head."""

    method: str
    path: str
    headers: dict[str, str]
    keep_alive: bool


class BadRequestError(Exception):
    """The request can not be read, and so neither can the next one on the connection."""


class Counter:
    """Requests answered, over all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0

    def next(self) -> int:
        """Count one more."""
        with self._lock:
            self._count += 1
            return self._count


class SampleServer(socketserver.ThreadingTCPServer):
    """Listens on the loopback address; one thread a connection."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, port: int, name: str) -> None:
        super().__init__(("127.0.0.1", port), Connection)
        self.sandbox = name
        self.requests = Counter()


class Connection(socketserver.StreamRequestHandler):
    """Answers requests one after the other until one of them asks to close."""

    disable_nagle_algorithm = True
    wbufsize = 16384
    server: SampleServer

    def handle(self) -> None:
        """Serve one connection."""
        try:
            while (head := read_head(self.rfile)) is not None:
                self._answer(head)
                self.wfile.flush()
                if not head.keep_alive:
                    return
        except BadRequestError:
            self.wfile.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n")
            self.wfile.write(b"Connection: close\r\n\r\n")
        except ConnectionError:
            return

    def finish(self) -> None:
        """Close; a client that has left already is no error."""
        try:
            super().finish()
        except ConnectionError:
            return

    def _answer(self, head: Head) -> None:
        number = self.server.requests.next()
        if head.headers.get("expect", "").lower() == "100-continue":
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.wfile.flush()
        body = read_body(self.rfile, head.headers)
        if (head.method, head.path) == ("POST", "/echo"):
            kind = head.headers.get("content-type", "application/octet-stream")
            self._send(head, "200 OK", kind, body)
        elif (head.method, head.path) == ("GET", "/events"):
            self._stream_events(head)
        elif head.method in {"GET", "HEAD"} and head.path == "/":
            self._send(head, "200 OK", "application/json", self._introduction(number))
        else:
            self._send(head, "404 Not Found", "text/plain", b"not found\n")

    def _introduction(self, number: int) -> bytes:
        about = {
            "sandbox": self.server.sandbox,
            "pid": os.getpid(),
            "requests": number,
            "started": _STARTED,
        }
        return json.dumps(about).encode() + b"\n"

    def _send(self, head: Head, status: str, kind: str, body: bytes) -> None:
        lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
        self._send_head(head, lines)
        if head.method != "HEAD":
            self.wfile.write(body)

    def _send_head(self, head: Head, lines: list[str]) -> None:
        connection = "keep-alive" if head.keep_alive else "close"
        text = "\r\n".join([*lines, f"Connection: {connection}", "", ""])
        self.wfile.write(text.encode("latin-1"))

    def _stream_events(self, head: Head) -> None:
        kind = "Content-Type: text/event-stream"
        lines = ["HTTP/1.1 200 OK", kind, "Cache-Control: no-store", "Transfer-Encoding: chunked"]
        self._send_head(head, lines)
        for number in range(1, _EVENT_COUNT + 1):
            if number > 1:
                time.sleep(_EVENT_PAUSE)
            event = f"id: {number}\ndata: event {number}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")


def read_head(stream: BufferedIOBase) -> Head | None:
    """Read a request line and headers; None where the client closed instead."""
    line = stream.readline(_LINE_LIMIT)
    if not line:
        return None
    words = line.decode("latin-1").split()
    if len(words) != 3:
        raise BadRequestError
    headers: dict[str, str] = {}
    while (field := stream.readline(_LINE_LIMIT)) not in {b"\r\n", b"\n"}:
        name, colon, value = field.decode("latin-1").partition(":")
        if not colon:
            raise BadRequestError
        headers[name.lower()] = value.strip()
    wish = headers.get("connection", "").lower()
    keep_alive = wish != "close" and (words[2] == "HTTP/1.1" or wish == "keep-alive")
    return Head(words[0], words[1].partition("?")[0], headers, keep_alive)


def read_body(stream: BufferedIOBase, headers: dict[str, str]) -> bytes:
    """Read a request's body, by length or in chunks."""
    try:
        if "chunked" in headers.get("transfer-encoding", "").lower():
            return b"".join(_chunks(stream))
        return _exactly(stream, int(headers.get("content-length", "0")))
    except ValueError as error:
        raise BadRequestError from error


def _chunks(stream: BufferedIOBase) -> list[bytes]:
    chunks: list[bytes] = []
    while size := int(stream.readline(_LINE_LIMIT).partition(b";")[0], 16):
        chunks.append(_exactly(stream, size))
        stream.readline(_LINE_LIMIT)
    while stream.readline(_LINE_LIMIT) not in {b"\r\n", b"\n", b""}:
        pass  # Trailers say nothing to this server.
    return chunks


def _exactly(stream: BufferedIOBase, size: int) -> bytes:
    if size < 0:
        raise BadRequestError
    body = stream.read(size)
    if len(body) < size:
        raise BadRequestError
    return body


def read_options(words: list[str]) -> Options:
    """Read the command line; SystemExit with the usage if it is not one."""
    values = {"--startup-delay": "0"}
    values |= dict(zip(words[::2], words[1::2], strict=False))
    try:
        if len(words) % 2 or set(values) != {"--port", "--name", "--startup-delay"}:
            raise SystemExit(_USAGE)
        return Options(int(values["--port"]), values["--name"], float(values["--startup-delay"]))
    except ValueError as error:
        raise SystemExit(_USAGE) from error


def main() -> None:
    """Wait for the startup delay, then serve until killed."""
    options = read_options(sys.argv[1:])
    time.sleep(options.startup_delay)
    with SampleServer(options.port, options.name) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
