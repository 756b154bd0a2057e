"""What waking counts. Labels are the values of enums, shown from the start."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from gateway.sandbox.errors import SandboxNotWakeable, WakeOverloaded, WakeTimeout
from gateway.wake.limits import Refusal

if TYPE_CHECKING:
    from gateway.sandbox.errors import GatewayError
    from gateway.telemetry.instruments import Instruments


class Ending(Enum):
    """How an episode ended."""

    WOKEN = "woken"
    FAILED = "failed"
    TIMEOUT = "timeout"
    OVERLOADED = "overloaded"
    NOT_WAKEABLE = "not_wakeable"
    CLOSED = "closed"
    """The gateway stopped first."""


def ending_of(error: GatewayError) -> Ending:
    """Return what an episode that fails like this counts as."""
    match error:
        case WakeTimeout():
            return Ending.TIMEOUT
        case WakeOverloaded():
            return Ending.OVERLOADED
        case SandboxNotWakeable():
            return Ending.NOT_WAKEABLE
        case _:
            return Ending.FAILED


class WakeCounters:
    """The counters and histograms of one waker."""

    def __init__(self, instruments: Instruments) -> None:
        self._episodes = instruments.counter(
            "wake_episodes", "Wake episodes that ended, by outcome.", "outcome"
        )
        self._refusals = instruments.counter(
            "wake_refusals", "Requests that were not let wait, by cause.", "cause"
        )
        self.patches = instruments.counter("wake_patches", "Wake patches done.")
        self.conflicts = instruments.counter("wake_conflicts", "Wake patches that met a conflict.")
        self._patch = instruments.histogram(
            "wake_patch_seconds", "From the start of an episode to its last patch."
        )
        self._resume = instruments.histogram(
            "wake_resume_seconds", "From the last patch of an episode to a running sandbox."
        )
        self._total = instruments.histogram(
            "wake_seconds", "From the start of an episode to a running sandbox."
        )
        for ending in Ending:
            self._episodes.prime(ending.value)
        for cause in Refusal:
            self._refusals.prime(cause.value)
        self.patches.prime()
        self.conflicts.prime()

    def ended(self, ending: Ending) -> None:
        """Count an episode."""
        self._episodes.inc(ending.value)

    def refused(self, cause: Refusal) -> None:
        """Count a request that was not let wait."""
        self._refusals.inc(cause.value)

    def woken(self, started: float, sent: float | None, now: float) -> None:
        """Count the phases of an episode that succeeded; `sent`: when its last patch went out."""
        self._total.observe(now - started)
        if sent is not None:
            self._patch.observe(sent - started)
            self._resume.observe(now - sent)
