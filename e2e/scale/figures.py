"""What each phase showed. Durations are seconds, sizes are bytes, `cpu` is processor seconds."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Filled:
    """How fast the API took the sandboxes, two writes each; the times are of one write."""

    sandboxes: int
    seconds: float
    writes_per_second: float
    write_p50: float
    write_p99: float


@dataclass(frozen=True, slots=True)
class Stored:
    """What the sandboxes take at the API, etcd in the same process; `empty`: before there were any.

    etcd's file holds both writes of each, since nothing was compacted yet.
    """

    filled: Filled
    api_empty: int
    api_full: int
    etcd_empty: int
    etcd_full: int


@dataclass(frozen=True, slots=True)
class Use:
    """What gateways (all together) and the API used during some seconds.

    Memory is that in the end, `gateway_peak` the most of the first gateway meanwhile.
    """

    seconds: float
    gateway_cpu: float
    api_cpu: float
    gateway_resident: int
    gateway_peak: int
    api_resident: int


@dataclass(frozen=True, slots=True)
class Served:
    """How requests fared that fell due in some stretch of time; times count from when they were.

    `wrong` were answered by another than their sandbox; `failed` had no answer or not status 200,
    and `failure` is what the first of them had.
    """

    requests: int
    seconds: float
    p50: float
    p99: float
    worst: float
    failed: int
    wrong: int
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Lists:
    """What lists cost the API by its own metrics: answers, bytes of them, seconds spent on them."""

    pages: int
    bytes: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Start:
    """A gateway's start: from the start of its process until it was ready, and what it used."""

    ready: float
    use: Use


@dataclass(frozen=True, slots=True)
class Listed:
    """A gateway's start with all sandboxes there; `empty`: that of one when there were none."""

    empty: Start
    full: Start
    routes: int
    lists: Lists


@dataclass(frozen=True, slots=True)
class Most:
    """As many requests as possible, by wrk over 64 connections."""

    per_second: float
    p50: float
    p99: float


@dataclass(frozen=True, slots=True)
class Steady:
    """Traffic at a fixed rate, then as much as possible, with nothing else going on.

    `late` is the lateness of the load itself, p99: by so much its latencies may be too long.
    """

    served: Served
    use: Use
    most: Most
    late: float


@dataclass(frozen=True, slots=True)
class Churned:
    """Status writes that were asked for at a rate; `behind` fell due and were not even begun."""

    asked: float
    seconds: float
    written: int
    failed: int
    behind: int
    p50: float
    p99: float

    @property
    def per_second(self) -> float:
        """How many were written a second."""
        return self.written / self.seconds


@dataclass(frozen=True, slots=True)
class Lag:
    """Moves of a sandbox: the write's own time, and from its acknowledgement to the first answer
    of the new server, 0 where that came first. A request is sent every millisecond.
    """

    moves: int
    write_p50: float
    write_p99: float
    p50: float
    p99: float
    worst: float


@dataclass(frozen=True, slots=True)
class Churn:
    """Traffic at a fixed rate during status writes; then moves; then as much traffic as possible.

    All three under the same writes.
    """

    served: Served
    use: Use
    churned: Churned
    lag: Lag
    most: Most
    late: float


@dataclass(frozen=True, slots=True)
class Span:
    """Some times, by percentiles."""

    p50: float
    p99: float
    worst: float


@dataclass(frozen=True, slots=True)
class Wakes:
    """Wakes of paused sandboxes, one at a time, by a controller that reacts at once.

    `asked`: from the request to the wake's write as a watch shows it. `run`: from there to the
    status Running as the same watch shows it. `answered`: from there to the response's first byte.
    """

    count: int
    asked: Span
    run: Span
    answered: Span
    whole: Span
    use: Use


@dataclass(frozen=True, slots=True)
class Fan:
    """What writes cost without traffic, while so many gateways watch."""

    gateways: int
    churned: Churned
    use: Use
    events: int
    event_bytes: float


@dataclass(frozen=True, slots=True)
class FanOut:
    """The same writes with one gateway and with three; `idle`: one, and no writes.

    `started` is how long the two that came later took to be ready, both begun at once; `lists` are
    their lists, and `start_api_cpu` is what the API used meanwhile.
    """

    idle: Use
    started: float
    start_api_cpu: float
    lists: Lists
    one: Fan
    three: Fan


@dataclass(frozen=True, slots=True)
class Relist:
    """The API went away, and came back without the history that the gateway's watch needs.

    It was `away` so long; meanwhile, `changed` sandboxes came to their end and `deleted` were
    deleted. From its return until the gateway had a page of its list: `first_page`, which is mostly
    the pause between its attempts; until it had the whole and watched again: `in_step`. `expired`
    is how often its watch was told 410, `wrong` how many of the changed and deleted it shows as
    they were.
    """

    away: float
    changed: int
    deleted: int
    first_page: float
    in_step: float
    expired: int
    wrong: int
    lists: Lists
    resident_before: int
    use: Use
    served_away: Served
    served_listing: Served
    late: float


@dataclass(slots=True)
class Results:
    """One run: what on, what was asked for, and what each phase showed; None: it was not run."""

    machine: dict[str, str]
    asked: dict[str, int]
    stored: Stored | None = None
    listed: Listed | None = None
    steady: Steady | None = None
    churn: Churn | None = None
    wakes: Wakes | None = None
    fan_out: FanOut | None = None
    relist: Relist | None = None
    #: Phases that failed, and why.
    failed: dict[str, str] = field(default_factory=dict)
