"""What is started to measure wakes: rigs, and the gateways and bare loops that they serve."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from e2e.bench.stage import LOAD_CORE, PROXY_CORE, Stage
from e2e.bench.wake_rig import PATIENCE, Rig, RigError, request_for
from e2e.waiting import TooLateError, until
from gateway.local.api import write_kubeconfig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from e2e.gateways import Gateway

#: Room for the largest crowd, and no limit on how often one sandbox is woken: both are limits
#: that a figure must not depend on.
SETTINGS: Final = {
    "wake_waiters_per_sandbox": "20000",
    "wake_patches_per_second": "10000",
    "wake_namespace_patches_per_second": "10000",
}


@dataclass(frozen=True, slots=True)
class Subject:
    """What is measured, with a rig of its own; `gateway` is None for a bare loop."""

    name: str
    rig: Rig
    gateway: Gateway | None = None

    @property
    def request(self) -> bytes:
        """What a client of the gateway sends."""
        return request_for(self.rig.upstream_port)


class WakeStage(Stage):
    """A stage whose subjects all have a rig."""

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        self._rigs: list[Rig] = []

    def __exit__(self, *_: object) -> None:
        for rig in self._rigs:
            rig.close()
        super().__exit__()

    def gateway_subject(self, name: str) -> Subject:
        """Start a gateway."""
        rig = self._rig(name)
        kubeconfig = self.place / f"{name}.kubeconfig"
        write_kubeconfig(kubeconfig, f"http://127.0.0.1:{rig.api_port}", "benchmark")
        return Subject(name, rig, self.gateway(kubeconfig, name, **SETTINGS))

    def bare_subject(
        self, name: str, loop: str, requests: int = 1, connections: int = 1
    ) -> Subject:
        """Start a bare loop that sends so many requests over so many connections at each wake."""
        rig = self._rig(name)
        ports = [str(rig.api_port), str(rig.upstream_port)]
        work = [str(requests), str(connections)]
        argv = [sys.executable, "-m", "e2e.bench.wake_bare", loop, *ports, *work]
        program = self.start(name, argv, PROXY_CORE)
        self.until(lambda: bool(rig.tell("watched")["watched"]), program)
        return Subject(name, rig)

    def _rig(self, name: str) -> Rig:
        argv = [sys.executable, "-m", "e2e.bench.wake_rig"]
        program = self.start(f"{name}-rig", argv, LOAD_CORE)
        self.until(lambda: program.output.endswith("}\n"), program)
        rig = Rig(json.loads(program.output))
        self._rigs.append(rig)
        return rig


def wait_for_gauge(gateway: Gateway, name: str, wanted: int) -> None:
    """Wait until a gauge of the gateway shows this number; raise RigError."""
    try:
        until(lambda: gateway.metric(name) == wanted, f"{name} is {wanted}", PATIENCE)
    except TooLateError as error:
        raise RigError(f"{error}, but {gateway.metric(name):g}") from error


@contextlib.contextmanager
def room_for_crowds() -> Iterator[int]:
    """Give this process and what it starts all the file descriptors there are; yield how many.

    It also keeps to the load's core meanwhile, as clients of the crowd live in it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    cores = os.sched_getaffinity(0)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    os.sched_setaffinity(0, {int(LOAD_CORE)})
    try:
        yield hard
    finally:
        os.sched_setaffinity(0, cores)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
