"""Throughput by wrk: the same requests to gateways with few and with very many routes."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from e2e.bench.loads import Load, run
from e2e.bench.scale_objects import REACHABLE, id_of

if TYPE_CHECKING:
    from e2e.gateways import Gateway

CONNECTIONS: Final = 64


@dataclass(frozen=True, slots=True)
class Rates:
    """Requests a second of one round."""

    few: float
    many: float
    many_spread: float


class Wrk:
    """Runs wrk for so many seconds at a time, on gateways whose upstream has a port."""

    def __init__(self, upstream: int, seconds: int) -> None:
        self._upstream = upstream
        self._seconds = seconds

    def rate(self, gateway: Gateway, sandboxes: int) -> float:
        """Return requests/s to the first so many sandboxes; raise LoadFailed if one failed."""
        ids = tuple(id_of(number) for number in range(sandboxes))
        load = Load(f"{sandboxes} sandboxes in turn", CONNECTIONS, ids=ids)
        told = run(load.argv(gateway.data_port, self._upstream, self._seconds), self._seconds)
        return float(told["requests"] / told["duration"] * 1e6)


def measure(wrk: Wrk, few: Gateway, many: Gateway, sandboxes: int, rounds: int) -> list[Rates]:
    """Load both in turn with requests to the first `sandboxes`, which both have.

    And the one with many with requests to `REACHABLE` of them.
    """
    found = []
    for turn in range(rounds):
        loads = {"few": (few, sandboxes), "many": (many, sandboxes)}
        # Who goes first changes, so that what the machine does meanwhile hits both alike.
        order = sorted(loads, reverse=turn % 2 == 1)
        rates = {name: wrk.rate(*loads[name]) for name in order}
        found.append(Rates(rates["few"], rates["many"], wrk.rate(many, REACHABLE)))
        print(f"scale: throughput, {turn + 1} of {rounds}", file=sys.stderr)
    return found
