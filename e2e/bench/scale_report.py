"""What the scale suite measured, as tables, bars and goals. Pure."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from e2e.bench.model import Bars, Goal, Suite, Table
from e2e.bench.scale_busy import CHANGES, EVENT_RATE
from e2e.bench.scale_list import per_route
from e2e.bench.scale_objects import REACHABLE
from e2e.bench.scale_samples import median_of
from e2e.bench.scale_traffic import LOAD_RATE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from e2e.bench.scale_busy import Relist, Served, Streams
    from e2e.bench.scale_list import Reading, Round
    from e2e.bench.scale_samples import Latency
    from e2e.bench.scale_wrk import Rates

#: The goals: bytes, ratios, seconds.
MOST_PER_ROUTE: Final = 1.5 * 1024
MOST_LIST_RATIO: Final = 2.0
LEAST_THROUGHPUT_RATIO: Final = 0.95
MOST_LAG: Final = 0.020


@dataclass(frozen=True, slots=True)
class Lists:
    """First lists of `many` routes, beside gateways that have `few`.

    `held` are the bytes of a registry's objects, `object_bytes` those of one sandbox's JSON.
    """

    few: int
    many: int
    rounds: list[Round]
    held: int
    object_bytes: int


def show_memory(suite: Suite, lists: Lists) -> None:
    """Tell how much memory a route takes."""
    more = lists.many - lists.few
    each = [per_route([one], more) for one in lists.rounds]
    found = statistics.median(each)
    shown = f"{_kib(found)} ({_kib(min(each))} to {_kib(max(each))})"
    few = statistics.median(one.resident_few for one in lists.rounds)
    many = statistics.median(one.resident_many for one in lists.rounds)
    rows: list[tuple[str, ...]] = [
        (f"`serve`, {lists.few} routes", _mib(few)),
        (f"`serve`, {lists.many:,} routes", _mib(many)),
        ("each route", shown),
        ("of which objects of the registry", _kib(lists.held / lists.many)),
        ("for comparison: one sandbox as JSON", _kib(lists.object_bytes)),
    ]
    suite.tables.append(Table("Memory", ("", "median (range)"), rows))
    suite.goals.append(Goal("≤ 1.5 KiB per route", shown, found <= MOST_PER_ROUTE))


def show_lists(suite: Suite, lists: Lists) -> None:
    """Tell what the first list takes beside reading and decoding its pages."""
    rounds = lists.rounds
    wall, cpu = [one.wall_ratio for one in rounds], [one.cpu_ratio for one in rounds]
    bare, gateway = [one.bare for one in rounds], [one.gateway for one in rounds]
    rows: list[tuple[str, ...]] = [
        ("wall time", _seconds(_wall(bare)), _seconds(_wall(gateway)), _ratio(wall)),
        ("processor time", _seconds(_cpu(bare)), _seconds(_cpu(gateway)), _ratio(cpu)),
        ("the API's processor time", _seconds(_api(bare)), _seconds(_api(gateway)), "-"),
    ]
    columns = ("", "bare loop", "gateway", "ratio (range)")
    suite.tables.append(Table(f"First list of {lists.many:,}", columns, rows))
    series: dict[str, list[float | None]] = {
        "bare loop": [_wall(bare), _cpu(bare)],
        "gateway": [_wall(gateway), _cpu(gateway)],
    }
    groups = ("wall time", "processor time")
    suite.bars.append(Bars(f"First list of {lists.many:,} sandboxes", "s", groups, series))
    most = max(statistics.median(wall), statistics.median(cpu))
    suite.goals.append(
        Goal(
            f"list of {lists.many:,} ≤ 2 times the bare decode, by wall and by processor time",
            f"wall {_ratio(wall)}, processor {_ratio(cpu)}",
            most <= MOST_LIST_RATIO,
        )
    )


def _wall(readings: Sequence[Reading]) -> float:
    return statistics.median(one.wall for one in readings)


def _cpu(readings: Sequence[Reading]) -> float:
    return statistics.median(one.cpu for one in readings)


def _api(readings: Sequence[Reading]) -> float:
    return statistics.median(one.api_cpu for one in readings)


def show_rates(suite: Suite, rates: list[Rates], few: int, many: int) -> None:
    """Tell how the number of routes changes throughput."""
    ratios = [one.many / one.few for one in rates]
    spread = [one.many_spread / one.few for one in rates]
    small = statistics.median(one.few for one in rates)
    large = statistics.median(one.many for one in rates)
    large_spread = statistics.median(one.many_spread for one in rates)
    same, other = f"to the same {few} sandboxes", f"to {REACHABLE:,} sandboxes"
    rows: list[tuple[str, ...]] = [
        (same, _rate(small), _rate(large), _ratio(ratios)),
        (other, "-", _rate(large_spread), f"{_ratio(spread)}, to the {_rate(small)} above"),
    ]
    columns = ("traffic", f"{few} routes", f"{many:,} routes", "ratio (range)")
    suite.tables.append(Table("Throughput, GET, 64 connections", columns, rows))
    series: dict[str, list[float | None]] = {
        f"{few} routes": [small, None],
        f"{many:,} routes": [large, large_spread],
    }
    suite.bars.append(Bars("Throughput by routes", "requests/s", (same, other), series))
    suite.goals.append(
        Goal(
            f"throughput with {many:,} routes ≥ 0.95 times that with {few}",
            _ratio(ratios),
            statistics.median(ratios) >= LEAST_THROUGHPUT_RATIO,
        )
    )


def show_busy(suite: Suite, streams: Streams, relists: list[Relist]) -> None:
    """Tell how requests fare while routes change."""
    cases = {
        "no events": streams.quiet,
        f"{EVENT_RATE:,} events/s": streams.busy,
        f"relist, {CHANGES:,} changes": [one.served for one in relists],
    }
    columns = (
        *("", "request p50", "p99", "worst"),
        *("loop lag p50", "p99 (range)", "worst", "processor time"),
    )
    rows = [_served_row(name, rounds) for name, rounds in cases.items()]
    suite.tables.append(Table(f"Serving {LOAD_RATE:,} requests/s", columns, rows))
    series = {name: _latencies(rounds) for name, rounds in cases.items()}
    groups = ("request p50", "request p99", "loop lag p50", "loop lag p99")
    suite.bars.append(Bars("Latency while routes change", "ms", groups, series))
    lags = [one.probes.p99 for one in streams.busy]
    suite.goals.append(
        Goal(
            f"{EVENT_RATE:,} events/s: no request fails, loop lag p99 ≤ 20 ms",
            f"none failed, {_range(lags)}",
            statistics.median(lags) <= MOST_LAG,
        )
    )
    _show_relists(suite, streams, relists)


def _show_relists(suite: Suite, streams: Streams, relists: list[Relist]) -> None:
    took, waited = [one.took for one in relists], [one.waited for one in relists]
    stalls = [one.served.probes.worst for one in relists]
    rows: list[tuple[str, ...]] = [
        (f"{CHANGES:,} changes: from the 410 until all are known", _range(took)),
        ("of which waiting before the list", _range(waited)),
        ("longest stall of the loop meanwhile", _range(stalls)),
        ("after the last event, until the gateway watches on from it", _ms(streams.behind)),
        ("lateness of the load itself, p99", _ms(streams.late)),
    ]
    suite.tables.append(Table("Falling behind and catching up", ("", "median (range)"), rows))


def _served_row(name: str, rounds: Sequence[Served]) -> tuple[str, ...]:
    requests, probes = _split(rounds)
    return (
        name,
        *_latency_cells(requests, _ms(median_of(requests, lambda one: one.p99))),
        *_latency_cells(probes, _range([one.p99 for one in probes])),
        f"{statistics.median(one.cpu_share for one in rounds):.0%}",
    )


def _latency_cells(rounds: Sequence[Latency], p99: str) -> tuple[str, str, str]:
    return _ms(median_of(rounds, lambda one: one.p50)), p99, _ms(max(one.worst for one in rounds))


def _latencies(rounds: Sequence[Served]) -> list[float | None]:
    return [
        1e3 * median_of(kind, figure)
        for kind in _split(rounds)
        for figure in (lambda one: one.p50, lambda one: one.p99)
    ]


def _split(rounds: Sequence[Served]) -> tuple[list[Latency], list[Latency]]:
    return [one.requests for one in rounds], [one.probes for one in rounds]


def _ratio(ratios: Sequence[float]) -> str:
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def _range(seconds: Sequence[float]) -> str:
    return f"{_ms(statistics.median(seconds))} ({_ms(min(seconds))} to {_ms(max(seconds))})"


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:,.1f} ms" if seconds < 1 else _seconds(seconds)


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f} s"


def _rate(rate: float) -> str:
    return f"{rate:,.0f}/s"


def _kib(size: float) -> str:
    return f"{size / 1024:.2f} KiB"


def _mib(size: float) -> str:
    return f"{size / 1024**2:,.1f} MiB"
