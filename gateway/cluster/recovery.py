"""What a reflector does next, given what just happened. Pure: time and chance are arguments.

- A list is followed by a watch from its version; a watch that ends is followed by another from the
  last version seen. Only a version that the API does not honour leads to a new list, or a watch
  that was silent from its beginning: lists then bring the news that watches do not.
- Whatever fails, or ends sooner than `STEADY`, is tried again after a full-jitter backoff (Marc
  Brooker, "Exponential Backoff and Jitter"): many replicas lose one API server at one moment. Only
  a watch that lasted resets it, so no sequence of quick successes and failures runs hot.
- Nothing is fatal: denied and not-installed are states that end by themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from gateway.cluster.errors import ApiNotInstalled, ApiUnreachable, Expired, Garbled, Silence
from gateway.sandbox.errors import AccessDenied, ApiUnavailable, ClusterError

#: A watch that lasted this long proves that watching works: seconds.
STEADY: Final = 5.0
#: How often to ask for an API that is not installed, and how long one that was there may be missing
#: before its objects are given up (a starting API server does not know custom resources): seconds.
MISSING_RETRY: Final = 10.0
MISSING_GRACE: Final = 300.0
#: A watch that the API refuses this often in a row may be asking for the impossible.
RELIST_AFTER: Final = 5
#: The longest wait for an API that does not answer, and for a list that is known to be needed: both
#: mean that news is missed, and neither costs a server that is alive much. Seconds.
SOON: Final = 5.0
#: Share by which a watch's time-out varies, so that not all end at once.
TIMEOUT_JITTER: Final = 0.2


class Phase(Enum):
    """What a reflector is doing, as far as the API's last answer tells."""

    STARTING = "starting"
    LISTING = "listing"
    WATCHING = "watching"
    BACKING_OFF = "backing_off"
    NOT_INSTALLED = "not_installed"
    DENIED = "denied"


class Reason(Enum):
    """Why a list or watch was begun again."""

    ENDED = "ended"
    SILENCE = "silence"
    EXPIRED = "expired"
    UNREACHABLE = "unreachable"
    UNAVAILABLE = "unavailable"
    GARBLED = "garbled"
    DENIED = "denied"
    NOT_INSTALLED = "not_installed"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Backoff:
    """Bounds of the waiting time after failures: seconds."""

    least: float
    most: float

    def delay(self, failures: int, chance: float) -> float:
        """Return how long to wait after this many failures in a row; `chance` is in [0, 1)."""
        if failures == 0:
            return 0.0
        return chance * min(self.most, self.least * 2.0 ** min(failures - 1, 32))

    def at_most(self, seconds: float) -> Backoff:
        """Return one that never waits for longer."""
        return replace(self, most=min(self.most, seconds))


@dataclass(frozen=True, slots=True)
class Progress:
    """What is remembered from step to step. `version` None: there is nothing to watch from."""

    version: int | None = None
    failures: int = 0
    #: How many of the last ones were refusals by an API that answers.
    refusals: int = 0
    listed: bool = False
    missing_since: float | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """A complete list was taken at `version`."""

    version: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The API ended a watch that had reached `version` after `lasted` seconds."""

    version: int
    lasted: float


@dataclass(frozen=True, slots=True)
class Failed:
    """A list (`version` None) or a watch that had reached `version` failed after `lasted` s."""

    error: ClusterError
    version: int | None = None
    lasted: float = 0.0


Event = Listed | Ended | Failed


@dataclass(frozen=True, slots=True)
class Step:
    """Wait `delay` seconds, then list (`version` None) or watch from `version`.

    `forget`: the API is gone, and with it everything listed from it. `phase` and `reason` say what
    the reflector is in and why; None leaves the phase to the next answer.
    """

    delay: float = 0.0
    version: int | None = None
    forget: bool = False
    phase: Phase | None = None
    reason: Reason | None = None


FIRST: Final = Step(phase=Phase.STARTING)

#: First match wins: subclasses stand before their bases.
_REASONS: Final[tuple[tuple[type[ClusterError], Reason], ...]] = (
    (Silence, Reason.SILENCE),
    (Expired, Reason.EXPIRED),
    (Garbled, Reason.GARBLED),
    (ApiUnreachable, Reason.UNREACHABLE),
    (ApiUnavailable, Reason.UNAVAILABLE),
    (AccessDenied, Reason.DENIED),
    (ApiNotInstalled, Reason.NOT_INSTALLED),
    (ClusterError, Reason.REFUSED),
)
#: After these the version is of no more use.
_VERSION_LOST: Final = frozenset(
    {Reason.EXPIRED, Reason.GARBLED, Reason.NOT_INSTALLED, Reason.REFUSED}
)
_URGENT: Final = frozenset({Reason.UNREACHABLE, Reason.SILENCE, Reason.EXPIRED})


def next_step(
    progress: Progress, event: Event, backoff: Backoff, now: float, chance: float
) -> tuple[Progress, Step]:
    """Return what to remember and what to do; `chance` is drawn anew from [0, 1) each time."""
    if isinstance(event, Listed):
        listed = Progress(event.version, progress.failures, listed=True)
        return listed, Step(version=event.version)
    if isinstance(event, Ended):
        return _after_end(progress, event, backoff, chance)
    if isinstance(event.error, ApiNotInstalled):
        return _after_missing(progress, backoff, now, chance)
    return _after_failure(progress, event, backoff, chance)


def watch_timeout(usual: float, chance: float) -> float:
    """Return how long to ask the API to keep a watch open: seconds."""
    return usual * (1.0 - TIMEOUT_JITTER + 2.0 * TIMEOUT_JITTER * chance)


def _after_end(
    progress: Progress, event: Ended, backoff: Backoff, chance: float
) -> tuple[Progress, Step]:
    failures = 0 if event.lasted >= STEADY else progress.failures + 1
    kept = replace(
        progress, version=event.version, failures=failures, refusals=0, missing_since=None
    )
    delay = backoff.delay(failures, chance)
    phase = Phase.BACKING_OFF if failures > 1 else None
    return kept, Step(delay, event.version, phase=phase, reason=Reason.ENDED)


def _after_failure(
    progress: Progress, event: Failed, backoff: Backoff, chance: float
) -> tuple[Progress, Step]:
    reason = next(reason for kind, reason in _REASONS if isinstance(event.error, kind))
    failures = 1 if event.lasted >= STEADY else progress.failures + 1
    refusals = progress.refusals + 1 if reason is Reason.UNAVAILABLE else 0
    hopeless = refusals >= RELIST_AFTER
    # A watch that works brings bookmarks, which count, even where nothing ever changes.
    mute = reason is Reason.SILENCE and event.version == progress.version
    version = None if reason in _VERSION_LOST or hopeless or mute else event.version
    hint = event.error.retry_after if isinstance(event.error, ApiUnavailable) else None
    patience = backoff.at_most(SOON) if reason in _URGENT else backoff
    step = Step(
        # Jitter is added to the API's hint: all who got it got the same.
        delay=(hint or 0.0) + patience.delay(failures, chance),
        version=version,
        phase=Phase.DENIED if reason is Reason.DENIED else Phase.BACKING_OFF,
        reason=reason,
    )
    kept = replace(
        progress, version=version, failures=failures, refusals=refusals, missing_since=None
    )
    return kept, step


def _after_missing(
    progress: Progress, backoff: Backoff, now: float, chance: float
) -> tuple[Progress, Step]:
    since = now if progress.missing_since is None else progress.missing_since
    failures = progress.failures + 1
    in_grace = progress.listed and now - since < MISSING_GRACE
    kept = replace(progress, version=None, failures=failures, listed=in_grace, missing_since=since)
    step = Step(
        delay=backoff.delay(failures, chance) if in_grace else MISSING_RETRY * (1.0 + chance),
        forget=progress.listed and not in_grace,
        phase=Phase.BACKING_OFF if in_grace else Phase.NOT_INSTALLED,
        reason=Reason.NOT_INSTALLED,
    )
    return kept, step
