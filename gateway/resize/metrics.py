"""What right-sizing counts. Labels take few, fixed values, shown from the start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from gateway.sandbox.quantities import MILLI

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from gateway.sandbox.scaling import Size
    from gateway.telemetry.instruments import Instruments

_RESIZES: Final = ("grown", "shrunk", "deferred", "infeasible", "refused", "failed")
_PERMITS: Final = ("granted", "partial", "failed")
_CALLS: Final = (
    ("upscale", "done"),
    ("upscale", "failed"),
    ("downscale", "done"),
    ("downscale", "denied"),
    ("downscale", "failed"),
    ("metrics", "done"),
    ("metrics", "failed"),
)


class ResizeCounters:
    """The counters of all agents of one replica."""

    def __init__(self, instruments: Instruments) -> None:
        self.resizes = instruments.counter(
            "resizes",
            "Resizes of pods that are over, by outcome; deferred and infeasible: by their node, "
            "refused: by the API.",
            "outcome",
        )
        self.permits = instruments.counter(
            "resize_permits", "Requests for permits, by outcome; partial: not all of it.", "outcome"
        )
        self.calls = instruments.counter(
            "resize_informant_calls", "Calls of informants, by outcome.", "call", "outcome"
        )
        self.wishes = instruments.counter(
            "resize_upscales_requested", "Times that a guest asked for more at once."
        )
        self.wish_seconds = instruments.histogram(
            "resize_requested_seconds",
            "From a guest's request for more until it was told that it has more, in seconds.",
        )
        for outcome in _RESIZES:
            self.resizes.prime(outcome)
        for outcome in _PERMITS:
            self.permits.prime(outcome)
        for call, outcome in _CALLS:
            self.calls.prime(call, outcome)
        self.wishes.prime()


class Sizes(Protocol):
    """The sizes of all sandboxes that this replica right-sizes."""

    @property
    def agents(self) -> int:
        """How many they are."""

    def standing(self) -> Mapping[str, float]:
        """Return how many of them stand in each way."""

    def totals(self) -> Mapping[str, Size]:
        """Return what they have, what they should have, and what they might have, together."""


def show_sizes(
    instruments: Instruments, sizes: Sizes, pressures: Callable[[], Iterable[Size]]
) -> None:
    """Show how the sizes of all sandboxes stand. `pressures`: what they lack, node by node."""
    instruments.gauge(
        "resize_agents",
        "Running sandboxes that this replica right-sizes: it leads.",
        lambda: sizes.agents,
    )
    instruments.gauges(
        "resize_sandboxes", "Those of them by how they stand.", "status", sizes.standing
    )
    instruments.gauges(
        "resize_cpu_cores",
        "CPUs of those sandboxes together: what they have, what they should have, what they "
        "would have at their bounds' maximum.",
        "what",
        lambda: {name: size.cpu / MILLI for name, size in sizes.totals().items()},
    )
    instruments.gauges(
        "resize_memory_bytes",
        "Memory of those sandboxes together, in the same way.",
        "what",
        lambda: {name: float(size.memory) for name, size in sizes.totals().items()},
    )
    instruments.gauge(
        "resize_pressure_cpu_cores",
        "CPUs that sandboxes were not permitted, since their nodes do not have them.",
        lambda: sum(one.cpu for one in pressures()) / MILLI,
    )
    instruments.gauge(
        "resize_pressure_memory_bytes",
        "Memory that they were not permitted.",
        lambda: float(sum(one.memory for one in pressures())),
    )
