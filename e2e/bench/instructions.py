"""Instructions per request: a figure that a busy machine does not blur."""

from __future__ import annotations

import statistics
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from e2e.bench.counters import Asked, Callgrind, Perf
from e2e.bench.lockstep import NUMBER
from e2e.bench.model import Bars, Goal, Suite, Table
from e2e.bench.stage import Stage

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.bench.counters import InstructionCounter
    from e2e.bench.model import Options
    from e2e.gateways import Gateway

_SANDBOX: Final = "bench"
#: Two counts of requests; their difference has none of what starting and ending to count costs.
_FEW: Final = 80  # both are multiples of all cases' connections
_MANY: Final = 680
#: Of so many counts the middle one is taken: now and then one meets what is not part of a request,
#: such as a collection of all garbage or a watch that is renewed.
_COUNTS: Final = 3
#: Each time with a gateway that was started anew, as it is for the next commit's figure.
_REPEATS: Final = 2
#: How far repeats may differ for a change of 3 % to show.
_STEADY: Final = 0.015

_ABOUT: Final = """\
Instructions that the gateway executes in user space for one request; the kernel's are not in it.
Exactly {few} and {many} requests are sent on connections that stay open, all in step, after some
that warm up; the figure is the difference, divided by {more}; of {counts} such the median counts.
It is taken of {repeats} gateways, started one after the other with the same hash seed; the spread
is how far they differ. Requests are all the same, but where a field differs. Counted by
{counter}."""

#: Which part a shared library is, by a piece of its path; the first match counts.
_PARTS: Final = (
    ("libpython", "interpreter"),
    ("/bin/python", "interpreter"),
    ("/lib-dynload/", "interpreter"),
    ("/uvloop/", "uvloop"),
    ("/httptools/", "httptools"),
    ("libc.so", "libc"),
    ("libc-2", "libc"),
)
_OTHER: Final = "other"
_ORDER: Final = (*dict.fromkeys(part for _, part in _PARTS), _OTHER)


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of request. `body`: None is a GET, else a POST with so many bytes.

    `numbered` ones have a field with another value each time, the others are all the same. With
    `standby` each request is counted as a use of its sandbox.
    """

    name: str
    connections: int
    body: int | None = None
    access_log: bool = False
    numbered: bool = False
    standby: bool = False

    @property
    def settings(self) -> tuple[tuple[str, str], ...]:
        """Return what the gateway is told for it."""
        return ("access_log", str(self.access_log).lower()), ("standby", str(self.standby).lower())

    def asked(self, upstream: int) -> Asked:
        """Return what is sent for it to a sandbox on this port."""
        method, body = ("GET", b"") if self.body is None else ("POST", b"x" * self.body)
        head = [
            f"{method} / HTTP/1.1",
            "Host: bench.example.com",
            f"e2b-sandbox-id: default--{_SANDBOX}",
            f"e2b-sandbox-port: {upstream}",
            *([f"X-Request-ID: {NUMBER.decode()}"] if self.numbered else []),
            *([f"Content-Length: {len(body)}"] if body else []),
        ]
        return Asked("\r\n".join([*head, "", ""]).encode() + body, self.connections)


CASES: Final = (
    Case("GET, 1 connection", 1),
    Case("GET, 8 connections", 8),
    Case("GET, 1 connection, a field differs each time", 1, numbered=True),
    Case("POST 1 KiB, 1 connection", 1, body=1024),
    Case("POST 1 KiB, 8 connections", 8, body=1024),
    Case("GET, 1 connection, access log on", 1, access_log=True),
    Case("GET, 8 connections, access log on", 8, access_log=True),
    Case("GET, 1 connection, uses counted", 1, standby=True),
    Case("GET, 1 connection, a field differs, uses counted", 1, numbered=True, standby=True),
)


@dataclass(frozen=True, slots=True)
class Count:
    """Instructions per request, and those of each part."""

    per_request: float
    parts: dict[str, float]


@dataclass(slots=True)
class Seen:
    """All counts of a case, those of each gateway on their own."""

    repeats: list[list[Count]] = field(default_factory=list)

    @property
    def middles(self) -> list[Count]:
        """Return the median count of each gateway."""
        ordered = (sorted(counts, key=lambda one: one.per_request) for counts in self.repeats)
        return [counts[len(counts) // 2] for counts in ordered]

    @property
    def typical(self) -> float:
        return statistics.fmean(one.per_request for one in self.middles)

    @property
    def parts(self) -> dict[str, float]:
        """Return the parts as the first gateway's median count has them."""
        return self.middles[0].parts

    @property
    def spread(self) -> float:
        """Return how far the gateways differ, as a part of the figure."""
        figures = [one.per_request for one in self.middles]
        return (max(figures) - min(figures)) / self.typical


def run(options: Options) -> Suite:
    """Count each case with each gateway."""
    counter = _counter(options.place)
    name = counter.name if counter is not None else "nothing"
    numbers = {"few": _FEW, "many": _MANY, "more": _MANY - _FEW, "counts": _COUNTS}
    suite = Suite("instructions", _ABOUT.format(**numbers, repeats=_REPEATS, counter=name))
    if counter is None:
        suite.missing.append("instructions: perf cannot count them here, valgrind is not installed")
        return suite
    if not isinstance(counter, Perf):
        suite.missing.append("the processor's own count: perf cannot count instructions here")
    _fill(suite, _measured(counter, options.place))
    suite.raw["counter"] = counter.name
    return suite


def part_of(path: str) -> str:
    """Return the part that a shared library belongs to."""
    return next((part for piece, part in _PARTS if piece in path), _OTHER)


def _counter(place: Path) -> InstructionCounter | None:
    if Perf.works():
        return Perf()
    return Callgrind(place) if Callgrind.works() else None


def _measured(counter: InstructionCounter, place: Path) -> dict[Case, Seen]:
    seen = {case: Seen() for case in CASES}
    for repeat in range(_REPEATS):
        with Stage(place / f"stage{repeat}") as stage:
            upstream, kubeconfig = stage.upstream(), stage.api(_SANDBOX)
            for number, settings in enumerate(dict.fromkeys(case.settings for case in CASES)):
                gateway = stage.gateway(
                    kubeconfig, f"gateway{number}", counter.under, **dict(settings)
                )
                for case in (one for one in CASES if one.settings == settings):
                    asked = case.asked(upstream)
                    counts = [_count(counter, gateway, asked) for _ in range(_COUNTS)]
                    seen[case].repeats.append(counts)
                    print(f"instructions: {repeat + 1} of {_REPEATS}: {case.name}", file=sys.stderr)
    return seen


def _count(counter: InstructionCounter, gateway: Gateway, asked: Asked) -> Count:
    few, many = (counter.count(gateway, asked, requests) for requests in (_FEW, _MANY))
    requests = _MANY - _FEW
    parts: Counter[str] = Counter()
    for path, cost in many.by_object.items():
        parts[part_of(path)] += cost - few.by_object.get(path, 0)
    shares = {part: cost / requests for part, cost in parts.items()}
    return Count((many.total - few.total) / requests, shares)


def _fill(suite: Suite, seen: dict[Case, Seen]) -> None:
    worst = max(one.spread for one in seen.values())
    parts = [part for part in _ORDER if any(part in one.parts for one in seen.values())]
    suite.tables.append(
        Table(
            "Instructions per request",
            ("request", "instructions", "spread", *parts),
            [_row(case, one, parts) for case, one in seen.items()],
        )
    )
    suite.bars.append(
        Bars(
            "Instructions per request",
            "thousand instructions in user space",
            tuple(case.name for case in seen),
            {"gateway": [one.typical / 1000 for one in seen.values()]},
        )
    )
    suite.goals.append(
        Goal(
            f"repeats differ by at most {_STEADY * 100:.1f} %, so that a change of 3 % shows",
            f"at most {_percent(worst)}",
            worst <= _STEADY,
        )
    )
    suite.raw["cases"] = {
        case.name: {
            "per_request": [[count.per_request for count in counts] for counts in one.repeats],
            "parts": one.parts,
        }
        for case, one in seen.items()
    }


def _row(case: Case, seen: Seen, parts: list[str]) -> tuple[str, ...]:
    own = [f"{seen.parts.get(part, 0.0):,.0f}" for part in parts]
    return (case.name, f"{seen.typical:,.0f}", _percent(seen.spread), *own)


def _percent(part: float) -> str:
    return f"{part * 100:.2f} %"
