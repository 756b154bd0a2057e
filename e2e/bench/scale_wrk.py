"""Throughput by wrk: the same requests to gateways with few and with very many routes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from e2e.bench.scale_objects import REACHABLE, id_of
from e2e.bench.scale_stage import LoadFailed
from e2e.bench.stage import LOAD_CORE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from e2e.bench.stage import Gateway

CONNECTIONS: Final = 64

#: Requests made beforehand, sent in turn.
_SCRIPT: Final = """
local ids, port = {{ {ids} }}, "{port}"
local requests, turn = {{}}, 0
function init()
  for i, id in ipairs(ids) do
    requests[i] = wrk.format("GET", "/", {{["e2b-sandbox-id"] = id, ["e2b-sandbox-port"] = port}})
  end
end
function request()
  turn = turn % #requests + 1
  return requests[turn]
end
"""


@dataclass(frozen=True, slots=True)
class Rates:
    """Requests a second of one round."""

    few: float
    many: float
    many_spread: float


class Wrk:
    """Runs wrk for so many seconds at a time, on gateways whose upstream has a port."""

    def __init__(self, place: Path, upstream: int, seconds: int) -> None:
        self._place = place
        self._upstream = upstream
        self._seconds = seconds

    def rate(self, gateway: Gateway, sandboxes: int) -> float:
        """Return requests/s to the first so many sandboxes; raise LoadFailed if one failed."""
        script = self._script([id_of(number) for number in range(sandboxes)])
        argv = ["taskset", "-c", LOAD_CORE, "wrk", "-t1", f"-c{CONNECTIONS}"]
        argv += [f"-d{self._seconds}", "-s", str(script), f"http://127.0.0.1:{gateway.port}/"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        found = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
        failed = "Non-2xx" in done.stdout or "Socket errors" in done.stdout
        if done.returncode or found is None or failed:
            raise LoadFailed(f"wrk on {gateway.program.name}:\n{done.stdout}{done.stderr}")
        return float(found[1])

    def _script(self, ids: Sequence[str]) -> Path:
        path = self._place / f"{len(ids)}.lua"
        listed = ", ".join(map(json.dumps, ids))
        path.write_text(_SCRIPT.format(ids=listed, port=self._upstream))
        return path


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
