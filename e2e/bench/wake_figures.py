"""The figures of wakes as tables, bars and goals."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Final

from e2e.bench.model import Bars, Goal, Table
from e2e.bench.wake_latency import ASYNCIO, GATEWAY, UVLOOP, median_ratios

if TYPE_CHECKING:
    from collections.abc import Sequence

    from e2e.bench.model import Suite
    from e2e.bench.wake_latency import Latencies
    from e2e.bench.wake_release import Memory, Release, Releases

#: What a wake may cost, as times what the bare loop takes.
MOST_P50: Final = 4.0
MOST_P99: Final = 10.0
#: The crowd that has a goal, and its times.
JUDGED_CROWD: Final = 1_000
MOST_RELEASE: Final = 2.0
#: KiB for each waiting request, its connection included.
MOST_MEMORY: Final = 25.0

NO_FIGURE: Final = "no figure"
BARE: Final = "bare loop, a connection each"
BARE_REUSING: Final = "bare loop, the gateway's number of connections"

# ---- latency ------------------------------------------------------------------------------------


def show_latencies(suite: Suite, taken: dict[str, Latencies] | None) -> None:
    """Show the added latency of a wake."""
    suite.goals += [
        _latency_goal(taken, 50, MOST_P50),
        _latency_goal(taken, 99, MOST_P99),
    ]
    if taken is None:
        return
    samples = len(taken[GATEWAY].all)
    columns = ("", "p50 µs", "p90 µs", "p99 µs", "gateway's p50", "gateway's p99", "p50 by rounds")
    rows = [_latency_row(name, taken[GATEWAY], taken[name]) for name in taken]
    title = f"From Running on the wire to the first byte at the sandbox, {samples:,} wakes each"
    suite.tables.append(Table(title, columns, rows))
    microseconds: dict[str, list[float | None]] = {
        name: [one.percentile(50) * 1e6, one.percentile(99) * 1e6] for name, one in taken.items()
    }
    suite.bars.append(Bars("Wake: Running to first byte", "µs", ("p50", "p99"), microseconds))


def _latency_row(name: str, gateway: Latencies, other: Latencies) -> tuple[str, ...]:
    times = tuple(f"{other.percentile(percent) * 1e6:.0f}" for percent in (50, 90, 99))
    if other is gateway:
        return (name, *times, "", "", "")
    p50, p99 = (gateway.percentile(one) / other.percentile(one) for one in (50, 99))
    return (name, *times, f"{p50:.2f} x", f"{p99:.2f} x", spread(median_ratios(gateway, other)))


def _latency_goal(taken: dict[str, Latencies] | None, percent: int, most: float) -> Goal:
    text = f"added wake latency, p{percent}: at most {most:g} x the bare loop's"
    if taken is None:
        return Goal(text, NO_FIGURE, holds=False)
    ratio = taken[GATEWAY].percentile(percent) / taken[UVLOOP].percentile(percent)
    plain = taken[GATEWAY].percentile(percent) / taken[ASYNCIO].percentile(percent)
    return Goal(text, f"{ratio:.2f} x on uvloop ({plain:.2f} x on asyncio)", ratio <= most)


# ---- crowds -------------------------------------------------------------------------------------


def show_releases(suite: Suite, taken: Sequence[Releases]) -> None:
    """Show how soon crowds are let go."""
    suite.goals.append(_release_goal(taken))
    if not taken:
        return
    columns = (
        "", "first byte ms", "last request ms", "connections", "last answer ms", "gateway's time",
    )  # fmt: skip
    rows = [row for each in taken for row in _release_rows(each)]
    title = "From Running on the wire to the last waiting request at the sandbox"
    suite.tables.append(Table(title, columns, rows))
    series: dict[str, list[float | None]] = {
        GATEWAY: [_middle(each.gateway) for each in taken],
        BARE: [_middle(each.bare) for each in taken],
        BARE_REUSING: [_middle(each.bare_reusing) for each in taken],
    }
    crowds = tuple(f"{each.crowd:,} requests" for each in taken)
    suite.bars.append(Bars("Wake: Running to the last request", "ms", crowds, series))


def _release_rows(each: Releases) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for name, releases in (
        (GATEWAY, each.gateway),
        (BARE, each.bare),
        (BARE_REUSING, each.bare_reusing),
    ):
        answers = [one.answered * 1e3 for one in releases if one.answered is not None]
        rows.append((
            f"{each.crowd:,}: {name}",
            f"{median(one.first for one in releases) * 1e3:.1f}",
            f"{_middle(releases):.0f}",
            f"{median(one.connections for one in releases):.0f}",
            f"{median(answers):.0f}" if answers else "",
            "" if releases is each.gateway else spread(release_ratios(each.gateway, releases)),
        ))  # fmt: skip
    return rows


def _release_goal(taken: Sequence[Releases]) -> Goal:
    text = (
        f"{JUDGED_CROWD:,} waiters are let go in at most {MOST_RELEASE:g} x the time of a bare "
        "loop that opens a connection for each"
    )
    for each in taken:
        if each.crowd == JUDGED_CROWD:
            ratios = release_ratios(each.gateway, each.bare)
            reusing = median(release_ratios(each.gateway, each.bare_reusing))
            seen = f"{spread(ratios)}; {reusing:.2f} x with no more connections than the gateway's"
            return Goal(text, seen, median(ratios) <= MOST_RELEASE)
    return Goal(text, NO_FIGURE, holds=False)


def release_ratios(gateway: Sequence[Release], other: Sequence[Release]) -> list[float]:
    """Return for each round how many times as long the gateway took."""
    return [one.last / two.last for one, two in zip(gateway, other, strict=True)]


def _middle(releases: Sequence[Release]) -> float:
    """Return the median milliseconds until the last request."""
    return median(one.last for one in releases) * 1e3


# ---- memory -------------------------------------------------------------------------------------


def show_memory(suite: Suite, taken: Sequence[Memory]) -> None:
    """Show what a waiting request holds."""
    suite.goals.append(_memory_goal(taken))
    if not taken:
        return
    columns = ("requests", "KiB each", "of which idle connection", "of which waiting")
    rows: list[tuple[str, ...]] = [
        (
            f"{one.crowd:,}",
            f"{_kib(one.per_waiting_request):.1f}",
            f"{_kib(one.per_idle_connection):.1f}",
            f"{_kib(one.per_waiting_request - one.per_idle_connection):.1f}",
        )
        for one in taken
    ]
    suite.tables.append(Table("Memory of a waiting request", columns, rows))


def _memory_goal(taken: Sequence[Memory]) -> Goal:
    text = f"a waiting request holds at most {MOST_MEMORY:g} KiB, its connection included"
    if not taken:
        return Goal(text, NO_FIGURE, holds=False)
    seen = [_kib(one.per_waiting_request) for one in taken]
    told = ", ".join(
        f"{kib:.1f} KiB of {one.crowd:,}" for kib, one in zip(seen, taken, strict=True)
    )
    return Goal(text, told, max(seen) <= MOST_MEMORY)


def _kib(size: float) -> float:
    return size / 1024


# ---- texts --------------------------------------------------------------------------------------


def spread(ratios: Sequence[float]) -> str:
    """Return the median of ratios and how far they lie apart."""
    return f"{median(ratios):.2f} x ({min(ratios):.2f}-{max(ratios):.2f})"
