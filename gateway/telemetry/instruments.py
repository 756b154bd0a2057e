"""Counters, gauges and histograms that cost a fraction of a microsecond on the hot path.

prometheus_client's own take a lock and a dictionary of labels per step, about 2 µs a request.
These are plain integers of a single-threaded program, shown to prometheus_client when it scrapes.
Labels take few, fixed values: never a sandbox, a path or an address.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

PREFIX: Final = "sandbox_gateway_"

#: Seconds: from a proxied request in a millisecond to a cold start in minutes.
LATENCY_BUCKETS: Final = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0,
)  # fmt: skip


#: Durations that are put into their buckets at once: to sort them is cheaper than one by one.
_AT_ONCE: Final = 1024


class Cell:
    """The count of one set of label values; the hot path adds to it directly."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


class Counter:
    """Counts events by label values, which are given in the order of the label names."""

    def __init__(self, name: str, meaning: str, labels: tuple[str, ...]) -> None:
        self.name = name
        self.meaning = meaning
        self.labels = labels
        self._cells: dict[tuple[str, ...], Cell] = {}

    def inc(self, *values: str, by: int = 1) -> None:
        """Add to the count of these label values."""
        self.cell(*values).count += by

    def prime(self, *values: str) -> None:
        """Show these label values from the start, at zero, so that a rate can be taken at once."""
        self.cell(*values)

    def cell(self, *values: str) -> Cell:
        """Return the count of these label values, to be added to; it is shown from now on."""
        found = self._cells.get(values)
        if found is None:
            found = self._cells[values] = Cell()
        return found

    @property
    def counts(self) -> dict[tuple[str, ...], int]:
        """All counts by their label values."""
        return {values: cell.count for values, cell in self._cells.items()}

    def collect(self) -> Metric:
        family = CounterMetricFamily(PREFIX + self.name, self.meaning, labels=self.labels)
        for values, cell in self._cells.items():
            family.add_metric(values, cell.count)
        return family


class Gauge:
    """Shows numbers that are read when asked for: label values → number."""

    def __init__(
        self,
        name: str,
        meaning: str,
        labels: tuple[str, ...],
        read: Callable[[], Mapping[tuple[str, ...], float]],
    ) -> None:
        self.name = name
        self.meaning = meaning
        self.labels = labels
        self._read = read

    def collect(self) -> Metric:
        family = GaugeMetricFamily(PREFIX + self.name, self.meaning, labels=self.labels)
        for values, number in self._read().items():
            family.add_metric(values, number)
        return family


class Histogram:
    """Counts durations in seconds by bucket."""

    def __init__(self, name: str, meaning: str, bounds: tuple[float, ...]) -> None:
        self.name = name
        self.meaning = meaning
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0
        self._new: list[float] = []

    def observe(self, seconds: float) -> None:
        """Count one duration; it is put into its bucket together with many others."""
        self._new.append(seconds)
        if len(self._new) >= _AT_ONCE:
            self._sort_in()

    def _sort_in(self) -> None:
        new, self._new = sorted(self._new), []
        self._sum += sum(new)
        before = 0
        for bucket, bound in enumerate(self._bounds):
            upto = bisect_right(new, bound, before)
            self._counts[bucket] += upto - before
            before = upto
        self._counts[-1] += len(new) - before

    def collect(self) -> Metric:
        self._sort_in()
        buckets, total = [], 0
        for bound, count in zip((*map(str, self._bounds), "+Inf"), self._counts, strict=True):
            total += count
            buckets.append((bound, total))
        family = HistogramMetricFamily(PREFIX + self.name, self.meaning)
        family.add_metric([], buckets, self._sum)
        return family


class Instruments(Collector):
    """All instruments of one gateway, as one collector for prometheus_client."""

    def __init__(self) -> None:
        self._all: list[Counter | Gauge | Histogram] = []

    def counter(self, name: str, meaning: str, *labels: str) -> Counter:
        """Make a counter; its exported name gets the prefix and `_total`."""
        made = Counter(name, meaning, labels)
        self._all.append(made)
        return made

    def gauge(self, name: str, meaning: str, read: Callable[[], float]) -> None:
        """Show one number, read when asked for."""
        self._all.append(Gauge(name, meaning, (), lambda: {(): read()}))

    def gauges(
        self, name: str, meaning: str, label: str, read: Callable[[], Mapping[str, float]]
    ) -> None:
        """Show numbers by the values of one label, read when asked for."""
        self._all.append(
            Gauge(name, meaning, (label,), lambda: {(k,): v for k, v in read().items()})
        )

    def histogram(
        self, name: str, meaning: str, bounds: tuple[float, ...] = LATENCY_BUCKETS
    ) -> Histogram:
        """Make a histogram of seconds."""
        made = Histogram(name, meaning, bounds)
        self._all.append(made)
        return made

    def collect(self) -> Iterable[Metric]:
        return [one.collect() for one in self._all]
