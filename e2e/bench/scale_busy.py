"""A gateway with very many routes that serves a fixed load while its routes change."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from e2e.bench.scale_objects import REACHABLE, name_of, namespace_of
from e2e.bench.scale_samples import Latency, Seen, Window, latency
from e2e.bench.stage import LoadFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.bench.scale_stage import ManyApi, Traffic
    from e2e.gateways import Gateway

#: Events of the watch a second.
EVENT_RATE: Final = 2_000
#: Objects changed between two lists.
CHANGES: Final = 10_000

#: Share of the events that must have been sent in time.
_PACE: Final = 0.99
#: How long a load runs before it counts, in seconds.
_SETTLE: Final = 1.0
#: A watch that breaks sooner is reopened after a longer wait, in seconds.
_STEADY: Final = 5.5


@dataclass(frozen=True, slots=True)
class Served:
    """How requests and probes fared in a window, and which share of its core the gateway used."""

    requests: Latency
    probes: Latency
    cpu_share: float

    @classmethod
    def of(cls, seen: Seen, window: Window) -> Served:
        probes = latency(seen.probes, window)
        return cls(latency(seen.requests, window), probes, window.cpu_share)


@dataclass(frozen=True, slots=True)
class Streams:
    """What serving showed without and with events, by rounds.

    `behind` is how long after the last event the gateway had taken it; `late` how late the load
    itself was at most times (p99). Both in seconds.
    """

    quiet: list[Served]
    busy: list[Served]
    behind: float
    late: float


@dataclass(frozen=True, slots=True)
class Relist:
    """A watch that ended in 410: seconds until the list began, and until the gateway had it all."""

    waited: float
    took: float
    served: Served


@dataclass(frozen=True, slots=True)
class Rig:
    """The gateway under load, the API that feeds it, and a maker of its load."""

    api: ManyApi
    gateway: Gateway
    load: Callable[[], Traffic]


def measure_streams(rig: Rig, rounds: int, seconds: int) -> Streams:
    """Serve without and with events, in turn."""
    traffic = rig.load()
    time.sleep(_SETTLE)
    windows = []
    for turn in range(rounds):
        windows.append((_window(rig.gateway, seconds), _window_with_events(rig, seconds)))
        print(f"scale: events, {turn + 1} of {rounds}", file=sys.stderr)
    behind = _until_taken(rig.api)
    seen = traffic.stop()
    quiet, busy = ([Served.of(seen, one) for one in kind] for kind in zip(*windows, strict=True))
    return Streams(quiet, busy, behind, seen.usual_lateness)


def _window(gateway: Gateway, seconds: float) -> Window:
    begin, before = time.monotonic(), gateway.program.cpu_seconds
    time.sleep(seconds)
    return Window(begin, time.monotonic(), gateway.program.cpu_seconds - before)


def _window_with_events(rig: Rig, seconds: int) -> Window:
    """Serve with events; raise LoadFailed if the API did not keep the pace."""
    rig.api.ask(f"heartbeats?rate={EVENT_RATE}")
    time.sleep(_SETTLE)
    window = _window(rig.gateway, seconds)
    told = rig.api.ask("heartbeats?rate=0")
    if told["sent"] < _PACE * EVENT_RATE * told["seconds"]:
        raise LoadFailed(f"the API sent {told['sent']} events in {told['seconds']:.1f} s")
    time.sleep(_SETTLE)
    return window


def _until_taken(api: ManyApi) -> float:
    """End the watch; return how long after that the gateway watches on from the last event.

    Raise LoadFailed if it does not: then it lacked events, and the API says that they are gone.
    """
    gone = api.ask("marks")["gone"]
    ended = api.ask("end")["at"]
    marks = api.wait_watch(ended)
    if marks["gone"] != gone:
        raise LoadFailed("the gateway had not taken all events of its watch")
    took: float = marks["watch_opened"] - ended
    return took


def measure_relists(rig: Rig, rounds: int) -> list[Relist]:
    """Change objects behind the gateway's back and break its watch, while it serves."""
    traffic = rig.load()
    found = []
    for turn in range(rounds):
        found.append(_relist(rig, turn))
        print(f"scale: relist, {turn + 1} of {rounds}", file=sys.stderr)
    time.sleep(_SETTLE)
    seen = traffic.stop()
    return [
        Relist(waited, window.end - window.begin, Served.of(seen, window))
        for window, waited in found
    ]


def _relist(rig: Rig, turn: int) -> tuple[Window, float]:
    """Return when it happened and how long the gateway waited before the list."""
    first, step = REACHABLE + turn, (rig.api.count - REACHABLE) // CHANGES
    rig.api.ask(f"pause?first={first}&step={step}&count={CHANGES}")
    time.sleep(_STEADY)
    before = rig.gateway.program.cpu_seconds
    begin = rig.api.ask("expire")["at"]
    marks = rig.api.wait_watch(begin)
    window = Window(begin, marks["watch_opened"], rig.gateway.program.cpu_seconds - before)
    for place in (0, CHANGES // 2, CHANGES - 1):
        _check_paused(rig.gateway, first + step * place)
    return window, marks["list_began"] - begin


def _check_paused(gateway: Gateway, number: int) -> None:
    found = gateway.state_of(namespace_of(number), name_of(number))
    if found != "paused":
        raise LoadFailed(f"after the list {name_of(number)} is {found}, not paused")
