"""The API and the sandbox's server in one process, so that one clock and one core time a wake.

`python -m e2e.bench.wake_rig` says on which ports it serves, as a line of JSON, and then does what
it is told on its control port: a JSON object a line, answered by one. `Rig` is who tells it.
Each rig serves one subject: a gateway, or a bare loop, which get the same bytes.
"""

from __future__ import annotations

import gc
import json
import socket
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from e2e.bench.wake_api import Api, NobodyWatches
from e2e.bench.wake_poller import Poller, TooLate
from e2e.bench.wake_sandbox import NAME, Sandbox
from e2e.bench.wake_upstream import Upstream
from e2e.bench.wake_wire import HELLO_BODY, OK

if TYPE_CHECKING:
    from collections.abc import Callable

#: From the API's last answer to the Running event, in seconds: the subject is idle then.
QUIET: Final = 0.004
#: How long any step may take, in seconds.
PATIENCE: Final = 60.0


class RigError(Exception):
    """A wake did not go as it has to: there is no figure."""


def request_for(port: int) -> bytes:
    """Return a request for the rig's sandbox whose server listens on `port`."""
    return (
        f"GET / HTTP/1.1\r\nHost: sandbox\r\nX-Sandbox-ID: {NAME}\r\nX-Sandbox-Port: {port}\r\n\r\n"
    ).encode()


class Client:
    """One client of a gateway, with one connection that lasts."""

    def __init__(self, poller: Poller, gateway_port: int, request: bytes) -> None:
        self._sock = socket.create_connection(("127.0.0.1", gateway_port))
        self._sock.setblocking(False)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._poller = poller
        self._request = request
        self._answer = b""
        poller.add(self._sock, self._read)

    @property
    def answered(self) -> bool:
        """Whether the whole answer is there; raise RigError if it is an error."""
        if not self._answer.startswith(OK[: len(self._answer)]):
            raise RigError(f"the gateway answered {self._answer[:300]!r}")
        return self._answer.endswith(HELLO_BODY)

    def ask(self) -> None:
        """Send the request."""
        self._answer = b""
        self._sock.sendall(self._request)

    def close(self) -> None:
        self._poller.remove(self._sock)
        self._sock.close()

    def _read(self) -> None:
        try:
            data = self._sock.recv(65536)
        except ConnectionResetError:
            data = b""
        self._answer += data
        if not data:
            raise RigError(f"the gateway hung up after {self._answer[:300]!r}")


class Server:
    """Carries out commands. Times are in seconds."""

    def __init__(self, poller: Poller) -> None:
        self._poller = poller
        self.api = Api(poller, Sandbox())
        self.upstream = Upstream(poller)
        self._commands: dict[str, Callable[..., dict[str, Any]]] = {
            "watched": lambda: {"watched": self.api.watched},
            "wakes": self._wakes,
            "ask": self._ask,
            "release": self._release,
            "pause": self._pause,
        }

    def carry_out(self, command: dict[str, Any]) -> dict[str, Any]:
        """Do what is told and return what is to be known of it, `error` where it failed."""
        arguments = dict(command)
        try:
            return self._commands[arguments.pop("do")](**arguments)
        except (RigError, TooLate, NobodyWatches) as error:
            return {"error": f"{type(error).__name__}: {error}"}

    def _wakes(self, samples: int, through: int | None) -> dict[str, Any]:
        """Wake so many times; `through`: a client of the gateway on this port is what wakes."""
        if through is None:
            return {"seconds": [self._wake(None) for _ in range(samples)]}
        client = Client(self._poller, through, request_for(self.upstream.port))
        try:
            return {"seconds": [self._wake(client) for _ in range(samples)]}
        finally:
            client.close()

    def _wake(self, client: Client | None) -> float:
        """Return the time from the Running event to the first byte at the sandbox's server."""
        if client is None:
            self._ask()
        else:
            client.ask()
        began = self._begin_release()
        self._poller.spin_until(lambda: self.upstream.requests > 0, PATIENCE, "the request")
        first_byte = self.upstream.first_byte
        if client is not None:
            self._poller.spin_until(lambda: client.answered, PATIENCE, "the answer")
        self._pause()
        return first_byte - began

    def _ask(self) -> dict[str, Any]:
        """Ask for Running, as a gateway's patch does."""
        self.api.ask_to_run()
        self.api.answered_at = time.perf_counter()
        return {}

    def _begin_release(self) -> float:
        """Say Running once that is asked for and all has been quiet; return when it was said."""
        api = self.api
        self._poller.wait_until(lambda: api.sandbox.asked_to_run, PATIENCE, "the patch")
        while (left := api.answered_at + QUIET - time.perf_counter()) > 0:
            self._poller.rest(left)
        if self.upstream.standing:
            raise RigError("a connection came before Running was said")
        self.upstream.reset()
        return api.run()

    def _release(self, requests: int) -> dict[str, Any]:
        """Say Running and wait until so many requests have come whole.

        `began` is of the monotonic clock, which all processes share; the rest counts from there.
        """
        upstream = self.upstream
        began = self._begin_release()
        self._poller.spin_until(
            lambda: upstream.requests >= requests, PATIENCE, f"{requests} requests"
        )
        return {
            "began": began,
            "first": upstream.first_byte - began,
            "last": upstream.last_request - began,
            "connections": upstream.connections,
        }

    def _pause(self) -> dict[str, Any]:
        """Say Paused and wait until the subject has heard it: then it leaves no connection open."""
        self.api.pause()
        upstream = self.upstream
        self._poller.wait_until(lambda: upstream.standing == 0, PATIENCE, "the end of connections")
        return {"requests": upstream.requests}


class Control:
    """Takes commands from one connection after another."""

    def __init__(self, poller: Poller) -> None:
        self._poller = poller
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._waiting: deque[tuple[socket.socket, dict[str, Any]]] = deque()
        poller.add(self._listener, self._accept)

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    def serve(self, server: Server) -> None:
        """Carry out what has come. Not within a reader: a command polls on its own."""
        while self._waiting:
            sock, command = self._waiting.popleft()
            sock.sendall(json.dumps(server.carry_out(command)).encode() + b"\n")

    def _accept(self) -> None:
        sock, _ = self._listener.accept()
        self._poller.add(sock, lambda: self._read(sock))

    def _read(self, sock: socket.socket) -> None:
        data = sock.recv(65536)
        if data:
            self._waiting.append((sock, json.loads(data)))
        else:
            self._poller.remove(sock)
            sock.close()


class Rig:
    """Tells a rig what to do."""

    def __init__(self, ports: dict[str, int]) -> None:
        """Take what the rig has said."""
        self.api_port = ports["api"]
        self.upstream_port = ports["upstream"]
        self._sock = socket.create_connection(("127.0.0.1", ports["control"]))

    def close(self) -> None:
        self._sock.close()

    def tell(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Have a command carried out; raise RigError where it failed."""
        self._sock.sendall(json.dumps({"do": do} | arguments).encode() + b"\n")
        data = b""
        while not data.endswith(b"\n"):
            piece = self._sock.recv(1 << 20)
            if not piece:
                raise RigError("the rig has ended")
            data += piece
        answer: dict[str, Any] = json.loads(data)
        if "error" in answer:
            raise RigError(answer["error"])
        return answer


def main() -> None:
    poller = Poller()
    server, control = Server(poller), Control(poller)
    ports = {"api": server.api.port, "upstream": server.upstream.port, "control": control.port}
    print(json.dumps(ports), flush=True)
    gc.disable()  # its pauses would be part of the figures
    while True:
        poller.poll(None)
        control.serve(server)


if __name__ == "__main__":
    main()
