"""A Kubernetes API with one Sandbox, which says Running when it is told to and not before.

It speaks what a gateway asks of an API: list, watch, get, merge patch, and Events, which it
forgets. Its watch is what the bare loop reads, too.
"""

from __future__ import annotations

import socket
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson

from e2e.bench.wake_sandbox import COLLECTION, PATH, Sandbox
from e2e.bench.wake_wire import WATCH_HEAD, Request, RequestReader, chunk, json_answer

if TYPE_CHECKING:
    from e2e.bench.wake_poller import Poller


class NobodyWatches(Exception):
    """An event has nobody to go to."""


class Api:
    """Serves on a port of loopback; the newest watch gets the events."""

    def __init__(self, poller: Poller, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.answered_at = 0.0
        self._poller = poller
        self._watch: socket.socket | None = None
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._listener.setblocking(False)
        poller.add(self._listener, self._accept)

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def watched(self) -> bool:
        """Whether somebody watches."""
        return self._watch is not None

    # ---- what happens to the sandbox

    def ask_to_run(self) -> None:
        """Let Running be wanted, and say so on the watch."""
        self.sandbox.ask_to_run()
        self._tell(self._event())

    def run(self) -> float:
        """Say Running on the watch; return the moment right before it was written."""
        self.sandbox.run()
        event = self._event()
        began = time.perf_counter()
        self._tell(event)
        return began

    def pause(self) -> None:
        """Say Paused on the watch."""
        self.sandbox.pause()
        self._tell(self._event())

    def _event(self) -> bytes:
        frame = {"type": "MODIFIED", "object": self.sandbox.as_json()}
        return chunk(orjson.dumps(frame) + b"\n")

    def _tell(self, event: bytes) -> None:
        if self._watch is None:
            raise NobodyWatches
        self._watch.sendall(event)

    # ---- requests

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._poller.add(client, partial(self._read, client, RequestReader()))

    def _read(self, client: socket.socket, reader: RequestReader) -> None:
        try:
            data = client.recv(65536)
        except ConnectionResetError:
            data = b""
        if not data:
            self._close(client)
            return
        for request in reader.feed(data):
            self._serve(client, request)

    def _close(self, client: socket.socket) -> None:
        if client is self._watch:
            self._watch = None
        self._poller.remove(client)
        client.close()

    def _serve(self, client: socket.socket, request: Request) -> None:
        path, _, query = request.target.decode().partition("?")
        if path == COLLECTION and "watch=1" in query.split("&"):
            client.sendall(WATCH_HEAD)
            self._watch = client
            return
        status, document = self._answer(request.method, path, request.body)
        client.sendall(json_answer(status, orjson.dumps(document)))
        self.answered_at = time.perf_counter()

    def _answer(self, method: bytes, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        match method, path:
            case b"GET", str(where) if where == COLLECTION:
                return 200, self.sandbox.as_list()
            case b"GET", str(where) if where == PATH:
                return 200, self.sandbox.as_json()
            case b"PATCH", str(where) if where == PATH:
                return self._patch(orjson.loads(body))
            case b"POST", str(where) if where.endswith("/events"):
                return 201, orjson.loads(body)
        return 404, _failure(404, "NotFound")

    def _patch(self, patch: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Take the one change that a wake makes, guarded by the version."""
        guarded = patch.get("metadata", {}).get("resourceVersion")
        if patch.get("spec") != {"desiredState": "Running"} or guarded != str(self.sandbox.version):
            return 409, _failure(409, "Conflict")
        self.ask_to_run()
        return 200, self.sandbox.as_json()


def _failure(code: int, reason: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Status",
        "status": "Failure",
        "reason": reason,
        "message": reason,
        "code": code,
    }
