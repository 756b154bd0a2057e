"""What to do next about one sandbox: a pure function of what is wanted and what is the case.

Every action is short and leaves a new `Observed`, after which the question is put again. So the
latest wish always wins, and what was begun is finished: only an ending can not be taken back.
"""

import enum
from dataclasses import dataclass

from gateway.local.runtime.config import RuntimeConfig
from gateway.local.runtime.model import (
    Command,
    Departure,
    Desired,
    Goal,
    Instant,
    Life,
    Observed,
    PauseMode,
    expired,
)

COMING_UP = frozenset({Life.STARTING, Life.THAWING})
ENDING = frozenset({Life.TERMINATING, Life.KILLING})
LOOK_AT_WALL_CLOCK = 30.0


class Action(enum.Enum):
    """One short thing to do."""

    REST = enum.auto()
    """Nothing, until something changes or the time of the step comes."""
    START = enum.auto()
    PROBE = enum.auto()
    """See that nothing is frozen, then try the port once."""
    FREEZE = enum.auto()
    CHECK_FROZEN = enum.auto()
    THAW = enum.auto()
    TERMINATE = enum.auto()
    CHECK_GONE = enum.auto()
    KILL = enum.auto()
    """Kill what is left, or see that nothing is."""
    LEAVE = enum.auto()
    """There is nothing left to look after."""


@dataclass(frozen=True, slots=True)
class Step:
    """An action; for REST, the monotonic time at which to ask again (None: when told)."""

    action: Action
    until: float | None = None


def next_step(observed: Observed, desired: Desired, now: Instant, config: RuntimeConfig) -> Step:
    """Decide the next action for one sandbox."""
    if observed.life is Life.ABSENT:
        return _without_process(observed, desired, now)
    if observed.life in ENDING:
        return _ending(observed, now, config)
    if must_end(observed, desired, now, config):
        return Step(Action.TERMINATE)
    if desired.goal is Goal.PAUSED:
        return _pausing(observed, desired, now)
    return _running(observed, desired, now, config)


def must_end(observed: Observed, desired: Desired, now: Instant, config: RuntimeConfig) -> bool:
    """Whether the processes that there are have to go."""
    return (
        observed.exited
        or desired.departure is not Departure.NONE
        or expired(desired, now)
        or observed.command != desired.workload
        or (desired.goal is Goal.PAUSED and desired.pause is PauseMode.STOP)
        or overdue(observed, desired, now, config)
    )


def overdue(observed: Observed, desired: Desired, now: Instant, config: RuntimeConfig) -> bool:
    """Whether a process had its time to open its port and did not."""
    return (
        desired.goal is Goal.RUNNING
        and observed.life in COMING_UP
        and now.monotonic >= observed.since + config.start_deadline
    )


def _without_process(observed: Observed, desired: Desired, now: Instant) -> Step:
    if desired.departure in {Departure.DELETED, Departure.RUNTIME_STOPS}:
        return Step(Action.LEAVE)
    if desired.departure is Departure.DELETING or expired(desired, now):
        return Step(Action.REST)
    asleep = desired.goal is Goal.PAUSED or not isinstance(desired.workload, Command)
    if asleep or observed.rival is not None:
        return _rest(desired, now)
    failure = observed.failure
    if failure is not None and failure.holds(desired.generation, now.monotonic):
        return _rest(desired, now, failure.retry_at)
    return Step(Action.START)


def _ending(observed: Observed, now: Instant, config: RuntimeConfig) -> Step:
    if observed.life is Life.KILLING:
        return _when_due(Action.KILL, observed, now)
    patience_ends = observed.since + config.grace
    if now.monotonic >= patience_ends:
        return Step(Action.KILL)
    if not observed.exited:
        return Step(Action.REST, patience_ends)
    if now.monotonic >= observed.due:
        return Step(Action.CHECK_GONE)
    return Step(Action.REST, min(observed.due, patience_ends))


def _pausing(observed: Observed, desired: Desired, now: Instant) -> Step:
    if observed.life is Life.FROZEN:
        return _rest(desired, now)
    if observed.life is not Life.FREEZING:
        return Step(Action.FREEZE)
    if now.monotonic >= observed.due:
        return Step(Action.CHECK_FROZEN)
    return _rest(desired, now, observed.due)


def _running(observed: Observed, desired: Desired, now: Instant, config: RuntimeConfig) -> Step:
    if observed.life is Life.SERVING:
        return _rest(desired, now)
    if observed.life not in COMING_UP:
        return Step(Action.THAW)
    if now.monotonic >= observed.due:
        return Step(Action.PROBE)
    return _rest(desired, now, observed.due, observed.since + config.start_deadline)


def _when_due(action: Action, observed: Observed, now: Instant) -> Step:
    if now.monotonic >= observed.due:
        return Step(action)
    return Step(Action.REST, observed.due)


def _rest(desired: Desired, now: Instant, *times: float | None) -> Step:
    """Rest until the first of these times, or until the sandbox expires."""
    known = [time for time in times if time is not None]
    if desired.shutdown_at is not None:
        # Not longer: the wall clock may be set meanwhile, or the machine sleep.
        known.append(now.monotonic + min(desired.shutdown_at - now.wall, LOOK_AT_WALL_CLOCK))
    return Step(Action.REST, min(known, default=None))
