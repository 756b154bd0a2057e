"""What so many sandboxes take, computed from what a run of `e2e.scale` measured.

Every line says what it is made of: names in `code` are the constants below the table, or what was
asked for. Nothing here was measured at that size; README.md says where straight lines end.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from e2e.scale import results, texts
from e2e.scale.constants import Constants, NotMeasuredError

#: etcd's own default for the size of its file, and the most that its documentation suggests
#: (etcd.io, "System limits"): bytes.
ETCD_DEFAULT_QUOTA: Final = 2 << 30
ETCD_QUOTA: Final = 8 << 30
#: How much of a replica's core is planned for: the rest is for peaks, and for one that is away.
PLANNED: Final = 0.6


@dataclass(frozen=True, slots=True)
class Case:
    """What is asked about. `replicas` are those of all shards, `events` and `requests` a second.

    A shard is a fleet of gateways with a part of the namespaces; all shards share one API server.
    """

    sandboxes: int
    replicas: int
    events: float
    requests: float
    shards: int = 1

    @property
    def watched(self) -> float:
        """How many sandboxes each replica watches."""
        return self.sandboxes / self.shards

    @property
    def watches(self) -> float:
        """How many replicas each event goes to."""
        return self.replicas / self.shards


@dataclass(frozen=True, slots=True)
class Line:
    """One result, as a number, as it is shown, and how it was made."""

    what: str
    value: float
    shown: str
    formula: str


def per_replica(case: Case, one: Constants) -> list[Line]:
    """Return what each gateway needs."""
    share = min(1.0, case.events / case.shards * one.event_gateway_cpu)
    memory = one.base_memory + case.watched * one.route_memory
    peak = one.base_memory + case.watched * one.peak_memory
    pages = math.ceil(case.watched / one.page_objects)
    listed = case.watched * one.list_time
    return [
        Line("sandboxes watched", case.watched, f"{case.watched:,.0f}", "`sandboxes / shards`"),
        Line(
            "memory",
            memory,
            texts.size(memory),
            "`base_memory + sandboxes / shards * route_memory`",
        ),
        Line(
            "memory, peak of a relist",
            peak,
            texts.size(peak),
            "`base_memory + sandboxes / shards * peak_memory`",
        ),
        Line(
            "pages of a list",
            pages,
            f"{pages:,}",
            "`sandboxes / shards / page_objects`, rounded up",
        ),
        Line(
            "a list, until ready or in step",
            listed,
            texts.duration(listed),
            "`sandboxes / shards * list_time`",
        ),
        Line(
            "of its core for events",
            share,
            f"{share:.1%}",
            "`events / shards * event_gateway_cpu`",
        ),
        _replicas(case, one, share),
    ]


def _replicas(case: Case, one: Constants, share: float) -> Line:
    what = "replicas for the requests"
    formula = (
        f"`requests / ((1 - share of its core for events) * replica_requests * {PLANNED})`, "
        "rounded up, at least one for each shard"
    )
    free = (1.0 - share) * one.replica_requests * PLANNED
    if not free:
        return Line(what, math.inf, "events alone take its core: more shards", formula)
    needed = max(case.shards, math.ceil(case.requests / free))
    return Line(what, needed, f"{needed:,} of {case.replicas:,}", formula)


def of_the_api(case: Case, one: Constants) -> list[Line]:
    """Return what the API server and its etcd have to bear."""
    stored = case.sandboxes * one.stored_bytes
    memory = one.api_base + case.sandboxes * one.api_memory
    writes = case.events * one.write_api_cpu
    fan = case.events * case.watches * one.watch_api_cpu
    sent = case.events * case.watches * one.event_bytes
    rolled = case.replicas * case.watched
    return [
        Line("etcd's file", stored, _quota(stored), "`sandboxes * stored_bytes`"),
        Line("memory with etcd", memory, texts.size(memory), "`api_base + sandboxes * api_memory`"),
        Line("status writes", writes, texts.cores(writes), "`events * write_api_cpu`"),
        Line(
            "their way to all watches",
            fan,
            texts.cores(fan),
            "`events * replicas / shards * watch_api_cpu`",
        ),
        Line(
            "sent to all watches",
            sent,
            f"{texts.size(sent)}/s",
            "`events * replicas / shards * event_bytes`",
        ),
        Line(
            "all replicas list at once: cpu",
            rolled * one.list_api_cpu,
            f"{texts.duration(rolled * one.list_api_cpu)} of one core",
            "`replicas * sandboxes / shards * list_api_cpu`",
        ),
        Line(
            "all replicas list at once: sent",
            rolled * one.object_bytes,
            texts.size(rolled * one.object_bytes),
            "`replicas * sandboxes / shards * object_bytes`",
        ),
    ]


def _quota(stored: float) -> str:
    shown = texts.size(stored)
    if stored > ETCD_QUOTA:
        return f"{shown}: **more than etcd's {texts.size(ETCD_QUOTA)}**"
    if stored > ETCD_DEFAULT_QUOTA:
        return f"{shown}: needs a larger quota than etcd's own {texts.size(ETCD_DEFAULT_QUOTA)}"
    return shown


def page(case: Case, one: Constants, measured: str) -> str:
    """Return all of it in Markdown; `measured` says when and on what the constants were."""
    columns = ("", "", "made of")

    def rows(lines: list[Line]) -> list[tuple[str, str, str]]:
        return [(line.what, line.shown, line.formula) for line in lines]

    asked = (
        f"{case.sandboxes:,} sandboxes, {case.replicas:,} replicas in {case.shards:,} shards, "
        f"{case.events:,.0f} events/s, {case.requests:,.0f} requests/s"
    )
    return "\n\n".join(
        (
            f"# {asked}",
            f"Computed from {measured}.",
            "## Each replica",
            texts.table(columns, rows(per_replica(case, one))),
            "## The API server",
            texts.table(columns, rows(of_the_api(case, one))),
            "## Constants",
            texts.table(("name", "value", "what", "phase"), one.rows()),
        )
    )


def main() -> int:
    """Print the page for what the arguments ask about; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m e2e.scale.arithmetic", description=__doc__)
    add = parser.add_argument
    add("--sandboxes", type=int, default=1_000_000, help="how many (%(default)s)")
    add("--replicas", type=int, default=10, help="gateways of all shards (%(default)s)")
    add("--events", type=float, default=1_000.0, help="status writes a second (%(default)s)")
    add("--requests", type=float, default=50_000.0, help="requests a second (%(default)s)")
    add("--shards", type=int, default=1, help="fleets that share the namespaces (%(default)s)")
    add("--results", type=Path, default=results.DIRECTORY / results.FIGURES, help="of a run")
    add("--relist", type=Path, help="of another run, for the phase relist if the first has none")
    asked = parser.parse_args()
    if min(asked.sandboxes, asked.replicas, asked.shards) < 1 or asked.replicas < asked.shards:
        parser.error("each shard needs a replica, and there must be one of everything")
    try:
        found = results.load(asked.results)
        constants = Constants.of(found, results.load(asked.relist) if asked.relist else None)
    except (OSError, msgspec.MsgspecError) as error:
        parser.error(f"{asked.results}: {error}")
    except NotMeasuredError as error:
        parser.error(f"{asked.results}: the phase {error} was not run")
    case = Case(asked.sandboxes, asked.replicas, asked.events, asked.requests, asked.shards)
    told = found.machine
    measured = f"{found.asked['sandboxes']:,} sandboxes on {told['date']}, commit {told['commit']}"
    print(page(case, constants, measured))
    return 0


if __name__ == "__main__":
    sys.exit(main())
