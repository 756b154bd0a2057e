"""The figures of a day of right-sized sandboxes as tables, bars and goals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from e2e.bench.model import Bars, Goal, Table, rank
from e2e.bench.resize_loads import DAY, GIB, HOUR, KINDS
from e2e.bench.resize_tally import fixed, total
from gateway.resize.sizing import DEFAULT_UNIT
from gateway.sandbox.quantities import MILLI
from gateway.sandbox.scaling import Size

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from e2e.bench.model import Suite
    from e2e.bench.resize_day import Cluster, Outcome
    from e2e.bench.resize_loads import Life
    from e2e.bench.resize_tally import Tally

#: The share of time for which a sandbox of this fixed size has enough.
ENOUGH_FOR: Final = 0.95
#: What may be held of what sizes fixed at the maximum hold.
MOST_HELD: Final = 0.5


@dataclass(slots=True)
class Baselines:
    """The same sandboxes at fixed sizes: each at its maximum, and at its 95th percentile."""

    highest: Tally
    enough: Tally


def baselines(lives: Iterable[Life]) -> Baselines:
    """Return what fixed sizes would have come to."""
    both = [(fixed(one, one.scaling.high), fixed(one, enough(one))) for one in lives]
    return Baselines(total(one for one, _ in both), total(other for _, other in both))


def enough(life: Life) -> Size:
    """Return the least size in whole units that has enough for ENOUGH_FOR of the time, of each."""
    cpu = _exceeded_for([(need.cpu * MILLI, until - need.at) for need, until in life.spans()])
    memory = _exceeded_for([(need.memory, until - need.at) for need, until in life.spans()])
    scaling = life.scaling
    return Size(
        max(-int(-cpu // DEFAULT_UNIT.cpu) * DEFAULT_UNIT.cpu, scaling.low.cpu),
        max(-int(-memory // scaling.slot) * scaling.slot, scaling.low.memory),
    )


def _exceeded_for(spans: Sequence[tuple[float, int]]) -> float:
    """Return the least of the values that all others exceed for no more than the rest of time."""
    left = ENOUGH_FOR * sum(seconds for _, seconds in spans)
    for value, seconds in sorted(spans):
        left -= seconds
        if left <= 0:
            return value
    raise AssertionError("shares add up to all of it")


# ---- the whole cluster --------------------------------------------------------------------------


def show_day(suite: Suite, cluster: Cluster, outcome: Outcome, base: Baselines) -> None:
    """Show what right-sizing came to, beside fixed sizes."""
    sum_of_all = total(outcome.tallies.values())
    rows = {
        "fixed at the maximum": base.highest,
        "fixed at the 95th percentile": base.enough,
        "right-sized": sum_of_all,
    }
    title = f"{cluster.sandboxes:,} sandboxes on {cluster.nodes} nodes for a day"
    suite.tables.append(_capacity_table(title, rows, base))
    suite.tables.append(_kinds_table(outcome.tallies))
    suite.goals += _goals(cluster, outcome, sum_of_all, base)


def _capacity_table(title: str, rows: Mapping[str, Tally], base: Baselines) -> Table:
    columns = (
        "",
        "core-hours",
        "saved",
        "GiB-hours",
        "saved",
        "CPU short, of the time",
        "CPU missing, of the need",
        "memory short, of the time",
        "memory overruns",
        "resizes of a sandbox a day",
    )
    needed = base.highest
    hours = (f"{needed.cpu.needed / HOUR:,.0f}", "", f"{needed.memory.needed / HOUR / GIB:,.0f}")
    need = ("needed", *hours, *("",) * (len(columns) - 4))
    return Table(title, columns, [need, *(_row(name, rows[name], base) for name in rows)])


def _row(name: str, tally: Tally, base: Baselines) -> tuple[str, ...]:
    cpu, memory, highest = tally.cpu, tally.memory, base.highest
    return (
        name,
        f"{cpu.sized / HOUR:,.0f}",
        f"{1 - cpu.sized / highest.cpu.sized:.0%}",
        f"{memory.sized / HOUR / GIB:,.0f}",
        f"{1 - memory.sized / highest.memory.sized:.0%}",
        f"{cpu.short / tally.seconds:.2%}",
        f"{cpu.missing / cpu.needed:.2%}",
        f"{memory.short / tally.seconds:.4%}",
        f"{tally.overruns:,}",
        f"{_a_day(tally.resizes, tally):,.0f}",
    )


def _kinds_table(tallies: Mapping[str, Tally]) -> Table:
    columns = (
        "kind",
        "sandboxes",
        "CPU needed, had",
        "GiB needed, had",
        "CPU short, of the time",
        "resizes a day: p50, p95, most",
        "wishes",
        "asked for more",
        "denied",
        "less than wanted, of the time",
        "refusals",
    )
    groups = {kind: [one for name, one in tallies.items() if _is(name, kind)] for kind in KINDS}
    rows = [_kind_row(KINDS[kind].about, these) for kind, these in groups.items() if these]
    rows.append(_kind_row("all", list(tallies.values())))
    return Table(
        "What was done, by kind of sandbox; counts are of one sandbox a day", columns, rows
    )


def _is(name: str, kind: str) -> bool:
    return name.partition("-")[0] == kind


def _kind_row(about: str, these: Sequence[Tally]) -> tuple[str, ...]:
    tally = total(these)
    resizes = sorted(_a_day(one.resizes, one) for one in these)
    cpu, memory, seconds = tally.cpu, tally.memory, tally.seconds
    return (
        about,
        f"{len(these):,}",
        f"{cpu.needed / seconds:.2f}, {cpu.sized / seconds:.2f}",
        f"{memory.needed / seconds / GIB:.2f}, {memory.sized / seconds / GIB:.2f}",
        f"{cpu.short / seconds:.2%}",
        f"{rank(resizes, 0.5):,.0f}, {rank(resizes, 0.95):,.0f}, {resizes[-1]:,.0f}",
        f"{_a_day(tally.wishes, tally):,.1f}",
        f"{_a_day(tally.asked, tally):,.1f}",
        f"{_a_day(tally.denied, tally):,.1f}",
        f"{tally.held / seconds:.2%}",
        f"{_a_day(tally.refusals, tally):,.1f}",
    )


def _a_day(count: float, tally: Tally) -> float:
    """Return how often something happened to one sandbox in a day."""
    return count * DAY / tally.seconds


def _goals(cluster: Cluster, outcome: Outcome, tally: Tally, base: Baselines) -> list[Goal]:
    node, highest, enough = cluster.node, base.highest, base.enough
    cpu = max(one.cpu for one in outcome.fullest) / node.cpu
    memory = max(one.memory for one in outcome.fullest) / node.memory
    held_cpu = tally.cpu.sized / highest.cpu.sized
    held_memory = tally.memory.sized / highest.memory.sized
    short, short_fixed = tally.cpu.short / tally.seconds, enough.cpu.short / enough.seconds
    return [
        Goal(
            "no node ever promises more than it has",
            f"the fullest: {cpu:.0%} of its CPU, {memory:.0%} of its memory",
            max(cpu, memory) <= 1,
        ),
        Goal("no sandbox ever has more than its maximum", f"{tally.above}", tally.above == 0),
        Goal(
            f"right-sized sandboxes hold at most {MOST_HELD:.0%} of what they would at their "
            "maximum, for a day",
            f"{held_cpu:.0%} of the core-hours, {held_memory:.0%} of the GiB-hours",
            max(held_cpu, held_memory) <= MOST_HELD,
        ),
        Goal(
            "they lack CPU for less of the time than at sizes fixed at their 95th percentile",
            f"{short:.2%}, and {short_fixed:.2%} at fixed sizes",
            short < short_fixed,
        ),
    ]


# ---- variants -----------------------------------------------------------------------------------


def show_variants(
    suite: Suite, tried: Mapping[str, Mapping[str, Tally]], base: Baselines, nodes: int
) -> None:
    """Show how other rules would have done."""
    tallies = {name: total(each.values()) for name, each in tried.items()}
    title = f"Other rules, on {nodes} of the nodes"
    rows = {"fixed at the maximum": base.highest, "fixed at the 95th percentile": base.enough}
    suite.tables.append(_capacity_table(title, rows | tallies, base))
    held: dict[str, list[float | None]] = {
        "CPU": [100 * one.cpu.sized / base.highest.cpu.sized for one in tallies.values()],
        "memory": [100 * one.memory.sized / base.highest.memory.sized for one in tallies.values()],
    }
    title = "Capacity held, of what is held at fixed maximum sizes"
    suite.bars.append(Bars(title, "%", tuple(tallies), held))
