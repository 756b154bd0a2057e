"""The programs of the scale suite beside gateways: the API with many objects, load and probe."""

from __future__ import annotations

import http.client
import json
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from e2e.bench.scale_samples import Seen
from e2e.bench.stage import LOAD_CORE, PATIENCE, LoadFailed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from e2e.bench.stage import Stage
    from e2e.gateways import Gateway
    from e2e.programs import Program

#: Between two looks at what an API was asked for, in seconds: rare enough not to disturb it.
_PAUSE: Final = 0.05


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
        """Ask for one of its `/control/...`; raise LoadFailed for a refusal."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        with closing(connection):
            connection.request("GET", f"/control/{control}")
            response = connection.getresponse()
            body = response.read()
        if response.status != 200:
            raise LoadFailed(f"{control} is answered {response.status}: {body[:300]!r}")
        told: dict[str, Any] = json.loads(body)
        return told

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
    stage.until(lambda: "serving" in program.output, program)
    port = int(program.output.split()[1])
    return ManyApi(program, count, port, home / "kubeconfig")


class Traffic:
    """A running `scale_traffic`."""

    def __init__(self, stage: Stage, gateway: Gateway, upstream: int, ids: Sequence[str]) -> None:
        """Start it; return once it sends."""
        self._out = stage.place / "traffic.json"
        ports = map(str, (gateway.data_port, gateway.admin_port, upstream))
        argv = [sys.executable, "-m", "e2e.bench.scale_traffic", *ports, str(self._out), *ids]
        self._program = program = stage.start("traffic", argv, LOAD_CORE)
        stage.until(lambda: "sending" in program.output, program)

    def stop(self) -> Seen:
        """End it; return what it saw. Raise LoadFailed if a single request failed."""
        if self._program.end() != 0:
            raise LoadFailed(f"the load broke off:\n{self._program.errors[-4000:]}")
        seen = Seen.of(json.loads(self._out.read_bytes()))
        if seen.failures:
            raise LoadFailed(f"{len(seen.failures)} requests failed: {seen.failures[0]}")
        return seen
