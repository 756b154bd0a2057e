"""What the throughput suite's samples say: tables, bars and goals. Pure."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from itertools import compress
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from e2e.bench.loads import GET_1, GET_1M, GET_64, POST_1K, POST_1M, WEBSOCKET_64
from e2e.bench.model import Bars, Goal, Table
from e2e.bench.proxies import ENVOY, GATEWAY, GATEWAY_LOGGING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from e2e.bench.loads import Load, Sample

#: A proxy that limits the throughput uses at least this part of its core's time.
BUSY: Final = 0.9
_NOTHING: Final = "-"

_PER_SECOND: Final = attrgetter("per_second")
_P50: Final = attrgetter("p50_us")


@dataclass(frozen=True, slots=True)
class Ratio:
    """The ratios of two proxies' figures, one of each round."""

    median: float
    least: float
    most: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.least:.2f} to {self.most:.2f})"


@dataclass(frozen=True, slots=True)
class Result:
    """What one load showed: each proxy's samples, one of each round. One that failed has none."""

    load: Load
    samples: dict[str, list[Sample]]

    def median(self, proxy: str, figure: Callable[[Sample], float]) -> float:
        """Return the median of a figure over the rounds."""
        return statistics.median(map(figure, self.samples[proxy]))

    def ratio(self, proxy: str, base: str, figure: Callable[[Sample], float]) -> Ratio | None:
        """Compare two proxies round by round; None if one of them has no figures."""
        if proxy not in self.samples or base not in self.samples:
            return None
        pairs = zip(self.samples[proxy], self.samples[base], strict=True)
        ratios = [figure(one) / figure(other) for one, other in pairs]
        return Ratio(statistics.median(ratios), min(ratios), max(ratios))

    def saturated(self, *proxies: str) -> Result:
        """Return this without the rounds in which one of these did not have its core to itself.

        A proxy that should be busy all the time and was not had something else beside it.
        """
        if not self.load.saturates or not all(name in self.samples for name in proxies):
            return self
        rounds = zip(*(self.samples[name] for name in proxies), strict=True)
        good = [all(round(one.busy, 2) >= BUSY for one in samples) for samples in rounds]
        kept = {name: list(compress(self.samples[name], good)) for name in proxies}
        return Result(self.load, kept if any(good) else self.samples)

    def busy(self, proxy: str) -> float:
        """Return the part of its core's time that a proxy used, the median of the rounds."""
        return self.median(proxy, attrgetter("busy"))

    def was_limit(self, proxy: str) -> bool:
        """Return whether it is the proxy that limited its throughput, as far as that is meant."""
        return not self.load.saturates or round(self.busy(proxy), 2) >= BUSY


@dataclass(frozen=True, slots=True)
class _Wanted:
    """How a figure of one proxy must compare with another's: at least or at most by `bound`."""

    load: Load
    what: str
    figure: Callable[[Sample], float]
    bound: float
    at_most: bool = False
    proxy: str = GATEWAY
    base: str = ENVOY

    def goal(self, result: Result) -> Goal:
        side = "at most" if self.at_most else "at least"
        subject = f"{self.load.name}: {self.what} of {self.proxy}"
        text = f"{subject}, {side} {self.bound:g} times {self.base}'s"
        counted = result.saturated(self.proxy, self.base)
        ratio = counted.ratio(self.proxy, self.base, self.figure)
        if ratio is None:
            return Goal(text, "not measured", holds=False)
        of, taken = len(result.samples[self.proxy]), len(counted.samples[self.proxy])
        rounds = [f"{taken} of {of} rounds: something else had a core in the others"]
        idle = [name for name in (self.proxy, self.base) if not counted.was_limit(name)]
        notes = rounds if taken < of else []
        notes += [f"{name} was {counted.busy(name):.0%} busy, not the limit" for name in idle]
        reached = ratio.median <= self.bound if self.at_most else ratio.median >= self.bound
        return Goal(text, "; ".join([str(ratio), *notes]), holds=None if idle else reached)


_WANTED: Final = (
    _Wanted(GET_64, "requests/s", _PER_SECOND, 1.4),
    _Wanted(POST_1K, "requests/s", _PER_SECOND, 1.2),
    _Wanted(GET_1M, "requests/s", _PER_SECOND, 1.0),
    _Wanted(POST_1M, "requests/s", _PER_SECOND, 1.0),
    _Wanted(WEBSOCKET_64, "messages/s", _PER_SECOND, 1.0),
    _Wanted(GET_1, "p50 latency", _P50, 0.75, at_most=True),
    _Wanted(GET_64, "requests/s", _PER_SECOND, 0.75, proxy=GATEWAY_LOGGING, base=GATEWAY),
)


def goals(results: Sequence[Result]) -> list[Goal]:
    """Judge the loads that were run."""
    by_load = {result.load: result for result in results}
    return [wanted.goal(by_load[wanted.load]) for wanted in _WANTED if wanted.load in by_load]


def tables(results: Sequence[Result], proxies: Sequence[str]) -> list[Table]:
    """Return one table of all ratios, and one of each load."""
    title = f"Requests (messages) per second, ratio to {ENVOY}'s: median (least to most)"
    rows = [
        (result.load.name, *(_ratio_text(result, name) for name in proxies)) for result in results
    ]
    overview = Table(title, ("load", *proxies), rows)
    return [overview, *(_details(result, proxies) for result in results)]


def bars(results: Sequence[Result], proxies: Sequence[str]) -> list[Bars]:
    """Return charts of the throughput of all loads, and of the latency at one connection."""
    throughput = {name: [_throughput(result, name) for result in results] for name in proxies}
    names = tuple(result.load.name for result in results)
    charts = [Bars(f"Requests per second, ratio to {ENVOY}", f"of {ENVOY}'s", names, throughput)]
    for result in results:
        if result.load is GET_1:
            latency = {name: [_latency(result, name)] for name in proxies}
            charts.append(Bars("p50 latency", "µs", (result.load.name,), latency))
    return charts


def _throughput(result: Result, proxy: str) -> float | None:
    ratio = result.ratio(proxy, ENVOY, _PER_SECOND)
    return None if ratio is None else ratio.median


def _latency(result: Result, proxy: str) -> float | None:
    return result.median(proxy, _P50) if proxy in result.samples else None


def _ratio_text(result: Result, proxy: str) -> str:
    return str(result.ratio(proxy, ENVOY, _PER_SECOND) or _NOTHING)


def _details(result: Result, proxies: Sequence[str]) -> Table:
    """Return the medians of all that was measured under one load."""
    unit = "message" if result.load.websocket else "request"
    columns = (
        "proxy",
        f"{unit}s/s",
        f"ratio to {ENVOY}",
        "p50, µs",
        "p99, µs",
        f"CPU, µs/{unit}",
        "busy",
    )
    return Table(result.load.name, columns, [_row(result, name) for name in proxies])


def _row(result: Result, proxy: str) -> tuple[str, ...]:
    if proxy not in result.samples:
        return (proxy, *[_NOTHING] * 6)
    busy = f"{result.busy(proxy):.0%}"
    return (
        proxy,
        f"{result.median(proxy, _PER_SECOND):,.0f}",
        _ratio_text(result, proxy),
        f"{result.median(proxy, _P50):,.0f}",
        f"{result.median(proxy, attrgetter('p99_us')):,.0f}",
        f"{result.median(proxy, attrgetter('cpu_us_per_request')):,.1f}",
        busy if result.was_limit(proxy) else f"{busy}: not the limit",
    )
