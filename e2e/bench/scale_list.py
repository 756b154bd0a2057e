"""The first list of very many sandboxes, and the memory that they take, by whole gateways."""

from __future__ import annotations

import statistics
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from e2e.bench.stage import PROXY_CORE, LoadFailed, Stage

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.bench.scale_stage import ManyApi
    from e2e.gateways import Gateway

#: How long the API holds back each list, in seconds: a program that has just started is done with
#: all else by then.
_HOLD: Final = 1.0
#: How long a gateway is left alone before its memory is read, in seconds.
_REST: Final = 1.0


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading of the whole list, in seconds: from its first page sent to the watch after it.

    `cpu` is the reader's processor time, `api_cpu` the API's, which had to make no page anew.
    """

    wall: float
    cpu: float
    api_cpu: float


@dataclass(frozen=True, slots=True)
class Round:
    """A list as a bare loop and as a gateway read it; the bytes that gateways had after it."""

    bare: Reading
    gateway: Reading
    resident_few: int
    resident_many: int

    @property
    def wall_ratio(self) -> float:
        return self.gateway.wall / self.bare.wall

    @property
    def cpu_ratio(self) -> float:
        return self.gateway.cpu / self.bare.cpu


def measure(place: Path, few: ManyApi, many: ManyApi, rounds: int) -> list[Round]:
    """Take so many rounds; raise LoadFailed if a gateway did not take all sandboxes."""
    for api in (few, many):
        api.ask(f"hold?seconds={_HOLD}")
    found = []
    for turn in range(rounds):
        found.append(_round(place / f"list-{turn}", few, many))
        print(f"scale: first list, {turn + 1} of {rounds}", file=sys.stderr)
    for api in (few, many):
        api.ask("hold?seconds=0")
    return found


def per_route(rounds: list[Round], routes: int) -> float:
    """Return the bytes by which a gateway grows with each of so many routes more: the median."""
    return statistics.median(one.resident_many - one.resident_few for one in rounds) / routes


def _round(place: Path, few: ManyApi, many: ManyApi) -> Round:
    with Stage(place / "bare") as stage:
        bare = _read_bare(stage, many)
    with Stage(place / "few") as stage:
        gateway = stage.gateway(few.kubeconfig)
        start_up = gateway.program.cpu_seconds
        resident_few = _resident(gateway, few)
    with Stage(place / "many") as stage:
        read, resident_many = _read_by_gateway(stage, many, start_up)
    return Round(bare, read, resident_few, resident_many)


def _read_bare(stage: Stage, api: ManyApi) -> Reading:
    before = api.program.cpu_seconds
    argv = [sys.executable, "-m", "e2e.bench.scale_bare", api.url]
    program = stage.start("bare", argv, PROXY_CORE)
    stage.until(lambda: program.exit_status == 0, program)
    cpu = float(program.output)
    return Reading(api.last_list(), cpu, api.program.cpu_seconds - before)


def _read_by_gateway(stage: Stage, api: ManyApi, start_up: float) -> tuple[Reading, int]:
    """Return what the list took and the bytes in memory then.

    `start_up` is the processor time of a gateway that is ready and had no list worth the name. The
    wall time is the API's view and has no start-up in it.
    """
    before = api.program.cpu_seconds
    gateway = stage.gateway(api.kubeconfig)
    cpu = gateway.program.cpu_seconds - start_up
    read = Reading(api.last_list(), cpu, api.program.cpu_seconds - before)
    return read, _resident(gateway, api)


def _resident(gateway: Gateway, api: ManyApi) -> int:
    time.sleep(_REST)
    routes = int(gateway.metric("routes"))
    if routes != api.count:
        raise LoadFailed(f"{routes} of {api.count} sandboxes have a route")
    return gateway.program.resident_bytes
