"""The programs of the scale suite beside gateways: the API with many objects, load and probe."""

from __future__ import annotations

import http.client
import json
import re
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from e2e.bench.scale_samples import Seen
from e2e.bench.stage import LOAD_CORE, PATIENCE, StageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from e2e.bench.stage import Gateway, Program, Stage

#: Between two looks at what an API was asked for, in seconds: rare enough not to disturb it.
_PAUSE: Final = 0.05
_ROUTES: Final = re.compile(rb"^sandbox_gateway_routes (\S+)$", re.MULTILINE)


class LoadFailed(Exception):
    """A load did not go as it was meant to: what was measured means nothing."""


@dataclass(frozen=True, slots=True)
class ManyApi:
    """A running `scale_api` that has `count` sandboxes."""

    program: Program
    count: int
    port: int
    kubeconfig: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, control: str) -> dict[str, Any]:
        """Ask for one of its `/control/...`."""
        return get(self.port, f"/control/{control}")

    def last_list(self) -> float:
        """Return how long the last list took, from its first page to the watch after it."""
        began: float = self.ask("marks")["list_began"]
        opened: float = self.wait_watch(began)["watch_opened"]
        return opened - began

    def wait_watch(self, after: float) -> dict[str, Any]:
        """Return its marks once a watch was opened after this time; raise LoadFailed."""
        give_up = time.monotonic() + PATIENCE
        while time.monotonic() < give_up:
            marks = self.ask("marks")
            if marks["watch_opened"] > after:
                return marks
            time.sleep(_PAUSE)
        raise LoadFailed(f"no watch was opened within {PATIENCE:g} s")


def start_api(stage: Stage, count: int) -> ManyApi:
    """Start an API that has so many sandboxes."""
    name = f"api-{count}"
    home = stage.place / name
    argv = [sys.executable, "-m", "e2e.bench.scale_api", str(home), str(count)]
    program = stage.start(name, argv, LOAD_CORE)
    stage.until(lambda: b"serving" in program.log.read_bytes(), program)
    port = int(program.log.read_text().split()[1])
    return ManyApi(program, count, port, home / "kubeconfig")


class Traffic:
    """A running `scale_traffic`."""

    def __init__(self, stage: Stage, gateway: Gateway, upstream: int, ids: Sequence[str]) -> None:
        """Start it; return once it sends."""
        self._out = stage.place / "traffic.json"
        ports = map(str, (gateway.port, gateway.admin_port, upstream))
        argv = [sys.executable, "-m", "e2e.bench.scale_traffic", *ports, str(self._out), *ids]
        self._program = program = stage.start("traffic", argv, LOAD_CORE)
        stage.until(lambda: b"sending" in program.log.read_bytes(), program)

    def stop(self) -> Seen:
        """End it; return what it saw. Raise LoadFailed if a single request failed."""
        self._program.process.terminate()
        if self._program.process.wait(PATIENCE) != 0:
            raise StageError(f"the load broke off:\n{self._program.log.read_text()[-4000:]}")
        seen = Seen.of(json.loads(self._out.read_bytes()))
        if seen.failures:
            raise LoadFailed(f"{len(seen.failures)} requests failed: {seen.failures[0]}")
        return seen


def routes_of(gateway: Gateway) -> int:
    """Return how many routes a gateway has."""
    found = _ROUTES.search(_body(gateway.admin_port, "/metrics"))
    if found is None:
        raise LoadFailed("the gateway's metrics do not tell its routes")
    return int(float(found[1]))


def state_of(gateway: Gateway, namespace: str, name: str) -> str:
    """Return the state that a gateway takes a sandbox to be in."""
    told = get(gateway.admin_port, f"/api/v1/sandboxes/{namespace}/{name}/explain")
    return str(told["state"])


def get(port: int, path: str) -> dict[str, Any]:
    """Return the JSON that is answered on a port of loopback; raise LoadFailed for a refusal."""
    found: dict[str, Any] = json.loads(_body(port, path))
    return found


def _body(port: int, path: str) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    if response.status != 200:
        raise LoadFailed(f"{path} on port {port} is answered {response.status}: {body[:300]!r}")
    return body
