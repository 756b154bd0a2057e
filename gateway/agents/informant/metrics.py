"""What an informant tells in Prometheus' text format, read when it is asked for."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client.core import Metric

    from gateway.resize.guest.load import Load
    from gateway.resize.guest.pressure import Memory

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST


@dataclass(slots=True)
class Counts:
    """What has happened so far; downscales by whether they were agreed to."""

    upscale_requests: int = 0
    downscales: Counter[str] = field(default_factory=Counter)


class Metrics(Collector):
    """The exposition, without what is not known: nobody is to shrink for a guess."""

    def __init__(
        self,
        counts: Counts,
        load: Callable[[], Load | None],
        memory: Callable[[], Memory | None],
        agents: Callable[[], int],
    ) -> None:
        """`load` is in busy CPUs, `memory` in bytes, `agents` how many are registered."""
        self._counts = counts
        self._load = load
        self._memory = memory
        self._agents = agents
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def exposition(self) -> bytes:
        """Return the text."""
        return generate_latest(self._registry)

    def describe(self) -> Iterator[Metric]:
        """Give nothing: what there is need not be measured for the sake of its names."""
        yield from ()

    def collect(self) -> Iterator[Metric]:
        """Give all metrics as of now."""
        load, memory = self._load(), self._memory()
        if load is not None:
            yield GaugeMetricFamily("host_load1", "Busy CPUs, over one minute.", load.one)
            yield GaugeMetricFamily("host_load5", "Busy CPUs, over five minutes.", load.five)
        if memory is not None:
            yield GaugeMetricFamily(
                "host_memory_total_bytes", "Memory that there is.", memory.total
            )
            yield GaugeMetricFamily(
                "host_memory_available_bytes", "Memory that is not in use.", memory.available
            )
        yield GaugeMetricFamily("informant_agents", "Registered agents.", self._agents())
        yield CounterMetricFamily(
            "informant_upscale_requests_total",
            "Requests for more that were sent to agents.",
            self._counts.upscale_requests,
        )
        downscales = CounterMetricFamily(
            "informant_downscales_total",
            "Requests to agree to have less, by the answer.",
            labels=["outcome"],
        )
        for outcome, count in sorted(self._counts.downscales.items()):
            downscales.add_metric([outcome], count)
        yield downscales
