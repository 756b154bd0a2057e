"""The figures of a run as a page in Markdown. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from e2e.scale.texts import cores, duration, rate, size, table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from e2e.scale.figures import (
        Churn,
        Churned,
        FanOut,
        Lag,
        Listed,
        Lists,
        Most,
        Relist,
        Results,
        Served,
        Span,
        Start,
        Steady,
        Stored,
        Use,
        Wakes,
    )

    Row = tuple[str, str]

_HEAD: Final = """\
# Very many Sandboxes on a real API server

Written by `python -m e2e.scale`; do not edit. What the phases are and what the figures mean:
[README](../README.md). All times and sizes are of this one run."""


def page(found: Results) -> str:
    """Return the page: what was measured on, then a section for each phase that ran."""
    parts = [_HEAD, _measured(found)]
    for name, why in found.failed.items():
        first = why.partition("\n")[0]
        parts.append(f"**The phase {name} failed, and ended the run**: {first}")
    for title, rows in _sections(found):
        parts += [f"## {title}", table(("", ""), rows)]
    return "\n\n".join(parts) + "\n"


def _measured(found: Results) -> str:
    told, asked = found.machine, found.asked
    return (
        f"{asked['sandboxes']:,} Sandboxes, {asked['churn']:,} status writes/s, "
        f"{asked['rate']:,} requests/s, {asked['seconds']} s for each measurement. Measured on "
        f"{told['date']} at commit {told['commit']}: {told['cpu']}, {told['cores']} cores, "
        f"{told['kernel']}; Python {told['python']}, uvloop {told['uvloop']}."
    )


def _sections(found: Results) -> Iterator[tuple[str, Iterable[Row]]]:
    if found.stored is not None:
        yield "Store", _stored(found.stored)
    if found.listed is not None:
        yield "List", _listed(found.listed)
    if found.steady is not None:
        yield "Steady", _steady(found.steady)
    if found.churn is not None:
        yield "Churn", _churn(found.churn)
    if found.wakes is not None:
        yield "Wake", _wakes(found.wakes)
    if found.fan_out is not None:
        yield "Fan-out", _fan_out(found.fan_out)
    if found.relist is not None:
        yield "Relist", _relist(found.relist)


def _stored(one: Stored) -> Iterator[Row]:
    filled = one.filled
    yield "writes, two for each sandbox", _number(2 * filled.sandboxes)
    yield "in", f"{duration(filled.seconds)}: {rate(filled.writes_per_second)}"
    yield "one write, p50 and p99", _two(filled.write_p50, filled.write_p99)
    yield "the API server's memory, with etcd", f"{size(one.api_empty)} → {size(one.api_full)}"
    yield "etcd's file", f"{size(one.etcd_empty)} → {size(one.etcd_full)}"


def _listed(one: Listed) -> Iterator[Row]:
    yield "a gateway without sandboxes", _start(one.empty)
    yield f"with {_number(one.routes)}", _start(one.full)
    grown = one.full.use.gateway_resident - one.empty.use.gateway_resident
    yield "each sandbox", size(grown / one.routes)
    yield "peak of its memory", size(one.full.use.gateway_peak)
    yield "its list", _lists(one.lists)
    yield "the API server meanwhile", _api(one.full.use)


def _start(one: Start) -> str:
    use = one.use
    return (
        f"ready after {duration(one.ready)}, {duration(use.gateway_cpu)} of processor time, "
        f"{size(use.gateway_resident)}"
    )


def _steady(one: Steady) -> Iterator[Row]:
    yield from _serving("requests", one.served)
    yield from _usage(one.use)
    yield "lateness of the load itself, p99", duration(one.late)
    yield "most requests", _most(one.most)


def _churn(one: Churn) -> Iterator[Row]:
    yield "status writes", _writes(one.churned)
    yield from _serving("requests", one.served)
    yield from _usage(one.use)
    yield "lateness of the load itself, p99", duration(one.late)
    yield from _lag(one.lag)
    yield "most requests", _most(one.most)


def _lag(one: Lag) -> Iterator[Row]:
    yield f"a sandbox moves, {one.moves} times: the write", _two(one.write_p50, one.write_p99)
    yield "from the API's answer to the first request at its new place", _three(one)


def _wakes(one: Wakes) -> Iterator[Row]:
    yield "wakes, one after the other", _number(one.count)
    yield "request → the wake's write is on a watch", _three(one.asked)
    yield "→ the status Running, written at once, is on a watch", _three(one.run)
    yield "→ the answer", _three(one.answered)
    yield "all of it", _three(one.whole)


def _fan_out(one: FanOut) -> Iterator[Row]:
    yield "no writes, one gateway", _pair(one.idle)
    yield "two gateways more, begun at once", f"ready after {duration(one.started)}"
    yield "the API server's processor time meanwhile", duration(one.start_api_cpu)
    yield "their lists", _lists(one.lists)
    for fan in (one.one, one.three):
        yield f"{fan.gateways} watching: status writes", _writes(fan.churned)
        yield f"{fan.gateways} watching: used", _pair(fan.use)
        yield (
            f"{fan.gateways} watching: events",
            (f"{_number(fan.events)} of {size(fan.event_bytes)}"),
        )


def _relist(one: Relist) -> Iterator[Row]:
    yield "the API server was away", duration(one.away)
    yield "meanwhile ended, deleted", f"{_number(one.changed)}, {_number(one.deleted)}"
    yield "its watch was told 410", f"{one.expired} times"
    yield "back → first page of the list", duration(one.first_page)
    yield "back → whole list taken, watching", duration(one.in_step)
    yield "changes that the gateway does not show then", _number(one.wrong)
    yield "the list", _lists(one.lists)
    yield (
        "memory before, peak, after",
        (
            f"{size(one.resident_before)}, {size(one.use.gateway_peak)}, "
            f"{size(one.use.gateway_resident)}"
        ),
    )
    yield (
        "processor time of gateway and API server",
        (f"{duration(one.use.gateway_cpu)}, {duration(one.use.api_cpu)}"),
    )
    yield from _serving("requests before the list", one.served_away)
    yield from _serving("requests during the list", one.served_listing)
    yield "lateness of the load itself, p99", duration(one.late)


# ---- parts --------------------------------------------------------------------------------------


def _serving(what: str, one: Served) -> Iterator[Row]:
    yield what, f"{_number(one.requests)} in {duration(one.seconds)}"
    yield f"{what}: failed, answered by a wrong sandbox", f"{one.failed}, {one.wrong}"
    if one.failure:
        yield f"{what}: the first failure", f"`{' '.join(one.failure.split())}`"
    yield f"{what}: p50, p99, worst", _three(one)


def _usage(use: Use) -> Iterator[Row]:
    yield (
        "the gateway meanwhile",
        (f"{cores(use.gateway_cpu / use.seconds)}, {size(use.gateway_resident)}"),
    )
    yield "the API server meanwhile", _api(use)


def _api(use: Use) -> str:
    return f"{cores(use.api_cpu / use.seconds)}, {size(use.api_resident)}"


def _pair(use: Use) -> str:
    return f"gateways {cores(use.gateway_cpu / use.seconds)}; API server {_api(use)}"


def _lists(one: Lists) -> str:
    return (
        f"{_number(one.pages)} pages, {size(one.bytes)}; the API server worked "
        f"{duration(one.seconds)} on them"
    )


def _most(one: Most) -> str:
    return f"{rate(one.per_second)}; p50 and p99 {_two(one.p50, one.p99)}"


def _writes(one: Churned) -> str:
    return (
        f"{rate(one.per_second)} of {rate(one.asked)}, {one.failed} failed, {one.behind} never "
        f"begun; p50 and p99 {_two(one.p50, one.p99)}"
    )


def _two(p50: float, p99: float) -> str:
    return f"{duration(p50)}, {duration(p99)}"


def _three(one: Served | Lag | Span) -> str:
    return f"{duration(one.p50)}, {duration(one.p99)}, {duration(one.worst)}"


def _number(count: float) -> str:
    return f"{count:,.0f}"
