"""Reads what processes use, and what an API server counts."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from e2e.clusters import connect
from e2e.scale.figures import Lists, Use

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from e2e.gateways import Gateway
    from e2e.programs import Program
    from e2e.real_api import RealApi

#: What sandboxes are called in the API's metrics.
_RESOURCE: Final = 'resource="sandboxes"'


class Meter:
    """Measures what gateways and the API use from its making until asked."""

    def __init__(self, api: Program, gateways: Sequence[Gateway]) -> None:
        self._api = api
        self._gateways = [one.program for one in gateways]
        self._began = time.monotonic()
        self._api_before = api.cpu_seconds
        self._gateways_before = [one.cpu_seconds for one in self._gateways]
        if self._gateways:
            _forget_peak(self._gateways[0])

    @classmethod
    def of_start(cls, api: Program, start: Callable[[], Gateway]) -> tuple[Meter, Gateway]:
        """Start a gateway; return what measures since then, and the gateway."""
        meter = cls(api, [])
        gateway = start()
        meter._gateways, meter._gateways_before = [gateway.program], [0.0]
        return meter, gateway

    def read(self) -> Use:
        """Return what was used so far."""
        used = [
            one.cpu_seconds - before
            for one, before in zip(self._gateways, self._gateways_before, strict=True)
        ]
        return Use(
            seconds=time.monotonic() - self._began,
            gateway_cpu=sum(used),
            api_cpu=self._api.cpu_seconds - self._api_before,
            gateway_resident=sum(one.resident_bytes for one in self._gateways),
            gateway_peak=_peak(self._gateways[0]) if self._gateways else 0,
            api_resident=self._api.resident_bytes,
        )


def _peak(program: Program) -> int:
    """Return the most memory that it had since the peak was last forgotten (proc(5))."""
    status = Path(f"/proc/{program.pid}/status").read_text()
    found = re.search(r"^VmHWM:\s*(\d+) kB$", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


def _forget_peak(program: Program) -> None:
    """Let the peak be what it has now (proc(5))."""
    Path(f"/proc/{program.pid}/clear_refs").write_text("5")


@dataclass(frozen=True, slots=True)
class Counters:
    """What an API server process has counted of sandboxes since its start."""

    pages: float
    list_bytes: float
    list_seconds: float
    events: float
    event_bytes: float

    @classmethod
    def read(cls, api: RealApi) -> Counters:
        with connect(api.kubeconfig) as client:
            text = client.get("/metrics").raise_for_status().text
        return cls.parse(text)

    @classmethod
    def parse(cls, text: str) -> Counters:
        """Read the API server's exposition; it is megabytes, so only what counts is looked at."""
        lines = [line for line in text.splitlines() if _RESOURCE in line]
        listed = 'verb="LIST"'
        return cls(
            pages=_sum(lines, "apiserver_request_total", listed),
            list_bytes=_sum(lines, "apiserver_response_sizes_sum", listed),
            list_seconds=_sum(lines, "apiserver_request_duration_seconds_sum", listed),
            events=_sum(lines, "apiserver_watch_events_total"),
            event_bytes=_sum(lines, "apiserver_watch_events_sizes_sum"),
        )

    def lists_since(self, before: Counters) -> Lists:
        """Return what lists were answered between two readings."""
        return Lists(
            int(self.pages - before.pages),
            self.list_bytes - before.list_bytes,
            self.list_seconds - before.list_seconds,
        )


def _sum(lines: Sequence[str], name: str, label: str = "") -> float:
    return sum(
        float(line.rpartition(" ")[2])
        for line in lines
        if line.startswith(name + "{") and label in line
    )


def etcd_bytes(home: Path) -> int:
    """Return the size of etcd's file of an API whose directory this is."""
    return (home / "etcd" / "member" / "snap" / "db").stat().st_size
