"""What agents work with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.cluster.pod_facts import PodFacts
    from gateway.resize.link_state import LinkEnd, LinkEvent
    from gateway.resize.messages import DownscaleResult
    from gateway.resize.metrics import ResizeCounters
    from gateway.resize.permits import Permits
    from gateway.resize.scrape import Scraped
    from gateway.sandbox.model import Route
    from gateway.sandbox.scaling import Size


class Surgeon(Protocol):
    """Who resizes pods."""

    async def resize(self, pod: PodFacts, target: Size) -> PodFacts:
        """Have a pod resized; return it as it is then. Raise a ClusterError."""


class Journal(Protocol):
    """Who tells users what was done to their sandboxes."""

    def note(self, route: Route, reason: str, message: str, *, warning: bool = False) -> None:
        """Put it down."""


class Conversation(Protocol):
    """What an agent has to do with one informant."""

    async def run(self) -> LinkEnd:
        """Register, and keep in touch; return why that is over."""

    async def downscale(self, size: Size) -> DownscaleResult:
        """Ask whether the guest can do with so much; raise LinkFailed."""

    async def upscale(self, size: Size) -> None:
        """Tell the guest that it has so much; raise LinkFailed."""

    async def metrics(self) -> Scraped:
        """Return what the informant reports now; raise LinkFailed or BadMetrics."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What all agents work with.

    `link` begins a conversation with the informant of a pod; what it says is told by a call.
    `interval`: seconds from one look at the metrics to the next.
    """

    permits: Permits
    surgeon: Surgeon
    journal: Journal
    link: Callable[[PodFacts, Callable[[LinkEvent], None]], Conversation]
    counters: ResizeCounters
    clock: Callable[[], float]
    interval: float
