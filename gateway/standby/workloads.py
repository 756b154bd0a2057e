"""Deployments and StatefulSets that sleep when idle by a default policy: what becomes of them.

They are put to sleep like all others. Only they are counted for themselves: who turns that on for a
whole cluster wants to see what it does. Every outcome is counted by the replica that leads.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from gateway.sandbox.model import State
from gateway.standby.idle import Result
from gateway.standby.judging import WORKLOADS

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.sandbox.model import Key, Route
    from gateway.telemetry.instruments import Instruments


class Outcome(Enum):
    """What became of one."""

    SCALED_DOWN = "scaled_down"
    WOKE_UP = "woke_up"
    WAKE_FAILED = "wake_failed"
    SCALE_FAILED = "scale_failed"


_FAILURES = frozenset({Result.DENIED, Result.INVALID, Result.UNAVAILABLE})
_ASLEEP = frozenset({State.PAUSING, State.PAUSED})


class Workloads:
    """Counts workloads that go to zero and come back."""

    def __init__(self, instruments: Instruments, leads: Callable[[], bool]) -> None:
        self._leads = leads
        self._asleep: set[Key] = set()
        self._outcomes = instruments.counter(
            "scaled_to_zero",
            "Deployments and StatefulSets that were put to sleep or woken, by outcome.",
            "outcome",
        )
        for outcome in Outcome:
            self._outcomes.prime(outcome.value)
        instruments.gauge(
            "workloads_asleep",
            "Deployments and StatefulSets that are at zero now.",
            lambda: len(self._asleep),
        )

    def heed(self, before: Route | None, after: Route | None) -> None:
        """Take news of a sandbox, as a registry tells it."""
        one = after or before
        if one is None or one.key.dialect not in WORKLOADS:
            return
        if after is not None and after.state in _ASLEEP:
            self._asleep.add(after.key)
        else:
            self._asleep.discard(one.key)
        woken = before is not None and before.state is State.RESUMING
        if woken and (after is None or after.state is not State.RESUMING):
            ready = after is not None and after.state is State.RUNNING
            self._count(Outcome.WOKE_UP if ready else Outcome.WAKE_FAILED)

    def settle(self, route: Route, result: Result) -> None:
        """Take what became of a standby."""
        if route.key.dialect not in WORKLOADS:
            return
        if result is Result.SLEPT:
            self._count(Outcome.SCALED_DOWN)
        elif result in _FAILURES:
            self._count(Outcome.SCALE_FAILED)

    def _count(self, outcome: Outcome) -> None:
        if self._leads():
            self._outcomes.inc(outcome.value)
