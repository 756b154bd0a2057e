"""Whether a platform that sleeps by its own clock may do so: off while a sandbox is held.

It is held while somebody uses it, and while it is pinned. Pure: `step` takes an event and when it
happened, and returns the next state and commands. Who drives it makes the writes commanded, one at
a time, and hands in their ends, and `DUE` at the time scheduled last.

    Acquire     the first hold is told to the platform (off); if that fails, all holds that waited
                for it are taken back, and that is reported: who held owes no release then
    Release     the last one begins the cooldown; then the platform is told (on). A surplus one does
                nothing, and none takes a pin off
    Disable     pins, which is one more hold
    Enable      takes the pin off; it ends no hold. Without a pin it does nothing. If the platform
                cannot be told, the pin stays, so that it can be tried again
    cooldown    a new hold ends it without a word; if the platform cannot be told after it, that is
                tried again, later each time
    Lapses      off lasts only so long on such a platform: until the cooldown is over it is told
                again
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Final, TypeAlias, assert_never

if TYPE_CHECKING:
    from gateway.sandbox.errors import ClusterError

#: Seconds before what failed is tried again; each failure in a row doubles them.
RETRY_MIN: Final = 1.0
RETRY_MAX: Final = 30.0


class Toggle(Enum):
    """What a platform is told."""

    OFF = "off"
    """It must not put the sandbox to sleep."""
    ON = "on"
    """It may, by its own rule."""


class Happened(Enum):
    """An event that says no more than its name."""

    ACQUIRED = "acquired"
    RELEASED = "released"
    DISABLED = "disabled"
    ENABLED = "enabled"
    DUE = "due"
    """The time has come that was scheduled, or may have."""
    LAPSES = "lapses"
    """What the platform was told last wears off soon."""
    WRITTEN = "written"


@dataclass(frozen=True, slots=True)
class Failed:
    """The platform could not be told."""

    error: ClusterError


Event: TypeAlias = Happened | Failed


@dataclass(frozen=True, slots=True)
class Write:
    """Tell the platform; no other write is under way."""

    toggle: Toggle


@dataclass(frozen=True, slots=True)
class Schedule:
    """Hand in `DUE` at this time, and not at one scheduled before."""

    at: float


@dataclass(frozen=True, slots=True)
class Report:
    """A write failed, so many in a row by now."""

    toggle: Toggle
    error: ClusterError
    failures: int


Command: TypeAlias = Write | Schedule | Report


@dataclass(frozen=True, slots=True)
class Holds:
    """What holds one sandbox, and what its platform knows of it.

    `told` is what the platform was told last, as far as is known, and `writing` what it is being
    told. `enabling`: the pin goes once the platform was told. `cooled_at`: the end of the cooldown.
    Times are of any one clock, durations are seconds; a cooldown of 0 or less is none.
    """

    cooldown: float = 1.0
    count: int = 0
    pinned: bool = False
    told: Toggle = Toggle.ON
    writing: Toggle | None = None
    enabling: bool = False
    cooled_at: float = 0.0
    failures: int = 0

    @property
    def held(self) -> bool:
        """Whether anything holds it."""
        return self.pinned or self.count > 0

    @property
    def pause(self) -> float:
        """How long to wait after the last failure, in seconds."""
        return min(RETRY_MIN * 2.0 ** min(max(self.failures - 1, 0), 10), RETRY_MAX)


Step: TypeAlias = tuple[Holds, tuple[Command, ...]]


def step(holds: Holds, event: Event, at: float) -> Step:
    """Return what becomes of the holds by an event that happened `at` a time."""
    match event:
        case Failed(error):
            return _failed(holds, error, at)
        case Happened.WRITTEN:
            return _written(holds, at)
        case Happened.ACQUIRED:
            return _settle(replace(holds, count=holds.count + 1), at)
        case Happened.RELEASED:
            return _released(holds, at)
        case Happened.DISABLED:
            return _settle(replace(holds, pinned=True, enabling=False), at)
        case Happened.ENABLED:
            return _enabled(holds, at)
        case Happened.DUE:
            return _settle(holds, at)
        case Happened.LAPSES:
            return _renewed(holds, at)
    assert_never(event)


def _released(holds: Holds, at: float) -> Step:
    if holds.count == 0:
        return holds, ()
    cooled_at = at + max(holds.cooldown, 0.0)
    return _settle(replace(holds, count=holds.count - 1, cooled_at=cooled_at), at)


def _enabled(holds: Holds, at: float) -> Step:
    if not holds.pinned:
        return holds, ()
    if holds.count:
        return replace(holds, pinned=False, enabling=False), ()
    return _settle(replace(holds, enabling=True, cooled_at=at), at)


def _renewed(holds: Holds, at: float) -> Step:
    off = holds.told is Toggle.OFF and (holds.held or at < holds.cooled_at)
    return _write(holds, Toggle.OFF) if off and holds.writing is None else (holds, ())


def _settle(holds: Holds, at: float) -> Step:
    """Tell the platform what it does not know yet, once that is due."""
    if holds.writing is not None:
        return holds, ()
    if holds.enabling and holds.count:
        holds = replace(holds, pinned=False, enabling=False)
    wanted = Toggle.OFF if holds.held and not holds.enabling else Toggle.ON
    if holds.told is wanted:
        return holds, ()
    if wanted is Toggle.ON and at < holds.cooled_at:
        return holds, (Schedule(holds.cooled_at),)
    return _write(holds, wanted)


def _write(holds: Holds, toggle: Toggle) -> Step:
    return replace(holds, writing=toggle), (Write(toggle),)


def _written(holds: Holds, at: float) -> Step:
    assert holds.writing is not None, "only what is being written can have been"
    told = replace(holds, told=holds.writing, writing=None, failures=0)
    if told.enabling and told.told is Toggle.ON:
        told = replace(told, pinned=False, enabling=False)
    return _settle(told, at)


def _failed(holds: Holds, error: ClusterError, at: float) -> Step:
    assert holds.writing is not None, "only what is being written can fail"
    after = replace(holds, writing=None, failures=holds.failures + 1)
    report = Report(holds.writing, error, after.failures)
    if holds.told is Toggle.ON:  # then nothing held it before: all that does has waited for this
        return replace(after, count=0, pinned=False, enabling=False), (report,)
    if holds.writing is Toggle.ON and holds.enabling:
        return replace(after, enabling=False), (report,)
    return after, (report, Schedule(at + after.pause))
