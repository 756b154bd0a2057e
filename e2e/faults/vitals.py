"""What gateways hold: memory, descriptors, tasks, and everything that is counted while it lasts."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from e2e.gateways import Gateway

#: Gauges of what is under way; all are 0 once nobody asks anything.
COUNTS: Final = (
    "requests_in_flight",
    "client_connections",
    "wake_episodes_active",
    "wake_waiting_requests",
    "wake_waiting_bytes",
    "upstream_connections_awaited",
)
#: How much more memory the end of a run may take than its second quarter: share, and bytes.
_GROWTH: Final = 1.1
_NOISE: Final = 4 * 2**20


@dataclass(slots=True)
class Memory:
    """What one gateway took, sample after sample, in bytes."""

    samples: list[int] = field(default_factory=list)

    def sample(self, gateway: Gateway) -> None:
        self.samples.append(gateway.program.resident_bytes)

    @property
    def quarters(self) -> tuple[float, float]:
        """The medians of the quarter after the warm-up, which is the first, and of the last."""
        quarter = max(1, len(self.samples) // 4)
        after = self.samples[quarter : 2 * quarter] or self.samples
        return statistics.median(after), statistics.median(self.samples[-quarter:])

    @property
    def flat(self) -> bool:
        after, last = self.quarters
        return last <= after * _GROWTH + _NOISE


@dataclass(frozen=True, slots=True)
class Vitals:
    """What a gateway holds at one moment."""

    descriptors: int
    tasks: int
    counts: dict[str, float]
    #: Connections to sandboxes, idle ones included.
    upstream: float

    @property
    def at_rest(self) -> bool:
        """Whether nothing is under way, and no connection but those to the API stands."""
        return not self.upstream and not any(self.counts.values())

    @classmethod
    def of(cls, gateway: Gateway) -> Vitals:
        descriptors = len(list(Path(f"/proc/{gateway.program.pid}/fd").iterdir()))
        counts = {name: gateway.metric(name) for name in COUNTS}
        tasks = int(gateway.metric("asyncio_tasks"))
        assert tasks, "there is always one"
        upstream = gateway.metric("upstream_connections_open")
        return cls(descriptors, tasks, counts, upstream)

    def left_since(self, before: Vitals) -> dict[str, float]:
        """Return what is left over that was not there before anybody asked anything.

        A few descriptors may be there more: connections to the API come and go.
        """
        left = {name: count for name, count in self.counts.items() if count}
        if self.tasks > before.tasks + 2:
            left["tasks"] = self.tasks - before.tasks
        if self.descriptors > before.descriptors + 4:
            left["descriptors"] = self.descriptors - before.descriptors
        return left
