"""What the idle controller counts. Labels are the values of enums, shown from the start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.standby.idle import IdleLoop, Result

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.telemetry.instruments import Instruments


class IdleCounters:
    """The counters, gauges and histograms of one controller."""

    def __init__(
        self, instruments: Instruments, idle: IdleLoop, clock: Callable[[], float]
    ) -> None:
        self._standbys = instruments.counter(
            "standbys", "Idle sandboxes that were to be put to sleep, by outcome.", "outcome"
        )
        for result in Result:
            self._standbys.prime(result.value)
        self._vetoes = instruments.counter(
            "standby_vetoes", "Times that a guest was asked and did not say that it may sleep."
        )
        self._vetoes.prime()
        self._late = instruments.histogram(
            "standby_late_seconds", "From the end of an idle time to the standby, in seconds."
        )
        self._look = 0.0
        gauge = instruments.gauge
        gauge(
            "standby_watched",
            "Sandboxes whose idle time this replica watches: it leads.",
            lambda: idle.watched,
        )
        gauge(
            "standby_in_progress",
            "Sandboxes that are being put to sleep, or whose guest is being asked.",
            lambda: idle.in_progress,
        )
        gauge(
            "standby_overdue",
            "Sandboxes that should sleep but could not be put to sleep.",
            lambda: idle.overdue,
        )
        gauge(
            "standby_overdue_seconds",
            "For how long the one of them that waits longest should sleep.",
            lambda: idle.late(clock()),
        )
        gauge(
            "standby_look_seconds",
            "How long the last look at all that were due took.",
            lambda: self._look,
        )

    def settled(self, result: Result, late: float) -> None:
        """Count what became of one that should have slept for so many seconds."""
        self._standbys.inc(result.value)
        if result is Result.SLEPT:
            self._late.observe(late)

    def vetoed(self) -> None:
        """Count a guest that did not agree."""
        self._vetoes.inc()

    def looked(self, seconds: float) -> None:
        """Show how long a look took."""
        self._look = seconds
