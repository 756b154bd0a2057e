"""The loads, and one measurement of a proxy under one of them."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from e2e.bench.proxies import target_fields
from e2e.bench.stage import LOAD_CORE, LoadFailed

if TYPE_CHECKING:
    from e2e.bench.proxies import Proxy, Upstreams

#: How often a request is tried: nginx answers before it has the body, and a proxy may then close.
_TRIES: Final = 5

#: How much longer than it should a load may run, in seconds.
_PATIENCE: Final = 60.0


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked of a proxy: over each connection one request after the answer to the last.

    `varied`: no two requests have the same header fields, as with a request id of the client's.
    `ids`: sandboxes to which requests go in turn, in the place of `sandbox`.
    """

    name: str
    connections: int
    sandbox: str = "bench"
    method: str = "GET"
    path: str = "/"
    body_bytes: int = 0
    new_connections: bool = False
    varied: bool = False
    websocket: bool = False
    ids: tuple[str, ...] = ()

    @property
    def saturates(self) -> bool:
        """Return whether the proxy should be busy all the time."""
        return self.connections > 1

    def argv(self, port: int, upstream_port: int, seconds: int) -> list[str]:
        """Return the command that puts this load on a proxy for so long."""
        fields = [f"{name}: {value}" for name, value in self.fields(upstream_port).items()]
        if self.websocket:
            module = [sys.executable, "-m", "e2e.bench.websocket_load"]
            return [*module, str(port), str(self.connections), str(seconds), *fields]
        headers = [word for field in fields for word in ("-H", field)]
        how = ["-t1", f"-c{self.connections}", f"-d{seconds}"]
        script = str(Path(__file__).with_name("load.lua"))
        url = f"http://127.0.0.1:{port}{self.path}"
        what = [self.method, str(self.body_bytes)]
        if self.varied:
            what.append("varied")
        elif self.ids:
            what += ["ids", *self.ids]
        return ["wrk", *how, "-s", script, *headers, url, "--", *what]

    def fields(self, upstream_port: int) -> dict[str, str]:
        """Return the header fields of each request."""
        last = {"Connection": "close"} if self.new_connections else {}
        return target_fields(self.sandbox, upstream_port) | last


GET_1: Final = Load("GET, 1 connection", 1)
GET_64: Final = Load("GET, 64 connections", 64)
VARIED_64: Final = Load("GET, a different header each time, 64 connections", 64, varied=True)
GET_512: Final = Load("GET, 512 connections", 512)
POST_1K: Final = Load("POST 1 KiB, 64 connections", 64, method="POST", body_bytes=1 << 10)
GET_1M: Final = Load("GET 1 MiB, 16 connections", 16, path="/1MiB")
POST_1M: Final = Load(
    "POST 1 MiB, 16 connections", 16, sandbox="upload", method="POST", body_bytes=1 << 20
)
NEW_64: Final = Load("GET, a new connection each, 64 at once", 64, new_connections=True)
WEBSOCKET_64: Final = Load("WebSocket echo, 64 connections", 64, sandbox="echo", websocket=True)

LOADS: Final = (
    GET_1,
    GET_64,
    VARIED_64,
    GET_512,
    POST_1K,
    GET_1M,
    POST_1M,
    NEW_64,
    WEBSOCKET_64,
)


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement. `cpu_seconds` is the proxy's; a WebSocket's requests are its messages."""

    requests: int
    seconds: float
    p50_us: float
    p99_us: float
    cpu_seconds: float

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds

    @property
    def cpu_us_per_request(self) -> float:
        return self.cpu_seconds / self.requests * 1e6

    @property
    def busy(self) -> float:
        """Return the part of its core's time that the proxy used."""
        return self.cpu_seconds / self.seconds


def measure(load: Load, proxy: Proxy, upstreams: Upstreams, seconds: int) -> Sample:
    """Put a load on a proxy; raise LoadFailed if a single request failed."""
    _check(load, proxy, upstreams)
    argv = load.argv(proxy.port, upstreams.port_of(load.sandbox), seconds)
    cpu, opened = proxy.cpu_seconds, _accepted_connections()
    told = run(argv, seconds)
    cpu, opened = proxy.cpu_seconds - cpu, _accepted_connections() - opened
    requests = told["requests"]
    if load.new_connections and opened < requests:
        raise LoadFailed(f"{requests} requests came over {opened} connections")
    return Sample(requests, told["duration"] / 1e6, told["p50"], told["p99"], cpu)


def _check(load: Load, proxy: Proxy, upstreams: Upstreams) -> None:
    """Raise LoadFailed unless the proxy answers one such request as the sandbox itself does.

    WebSockets are checked by what puts the load on them, each echo.
    """
    if load.websocket:
        return
    upstream_port = upstreams.port_of(load.sandbox)
    expected = _ask(load, upstream_port, upstream_port)
    for _ in range(_TRIES):
        if (answer := _ask(load, proxy.port, upstream_port)) == expected:
            return
    raise LoadFailed(f"status, body or end of the connection are not the sandbox's: {answer}")


def run(argv: list[str], seconds: int) -> dict[str, Any]:
    """Run a load on its core; return what it told. Raise LoadFailed if a single request failed."""
    done = subprocess.run(
        ["taskset", "-c", LOAD_CORE, *argv],
        capture_output=True,
        text=True,
        timeout=seconds + _PATIENCE,
        check=False,
    )
    if done.returncode:
        last = (done.stdout + done.stderr).strip().rpartition("\n")[2]
        raise LoadFailed(f"the load ended with status {done.returncode}: {last}")
    return told_in(done.stdout)


def told_in(output: str) -> dict[str, Any]:
    """Read a load's last line, which is JSON; raise LoadFailed if a single request failed."""
    last = output.strip().rpartition("\n")[2]
    try:
        told: dict[str, Any] = json.loads(last)
    except ValueError as error:
        raise LoadFailed(f"the load told no figures: {last}") from error
    if not told["requests"] or any(told["errors"].values()):
        raise LoadFailed(f"{told['requests']} requests, errors: {told['errors']}")
    return told


def _ask(load: Load, port: int, upstream_port: int) -> tuple[int, int, bytes, bool]:
    """Ask once; return status, length and end of the body, and if the connection ends with it."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        body = b"x" * load.body_bytes
        connection.request(load.method, load.path, body or None, load.fields(upstream_port))
        response = connection.getresponse()
        closes = response.will_close
        content = response.read()
        return response.status, len(content), content[-20:], closes
    except (OSError, http.client.HTTPException) as error:
        raise LoadFailed(f"not answered: {error}") from error
    finally:
        connection.close()


def _accepted_connections() -> int:
    """Return how many TCP connections this machine has accepted, of all programs (RFC 4022)."""
    names, values = (
        line.split()
        for line in Path("/proc/net/snmp").read_text().splitlines()
        if line.startswith("Tcp:")
    )
    return int(values[names.index("PassiveOpens")])
