"""What one sandbox's agent knows.

Sizes are in slots. What is used is what the pod has in fact, never what was asked of it: a resize
is over only when the pod's status says so. Times are seconds of one monotonic clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final

from gateway.resize.amounts import NOTHING, Resources
from gateway.resize.sizing import DEFAULT_UNIT

if TYPE_CHECKING:
    from gateway.resize.sizing import Metrics, Refusal, Rules, Wish


class Phase(Enum):
    """What may be done to a sandbox.

    `AWAKE`: it has what its load needs. `DROWSY`: so it does, but nobody uses it, and it may have
    as little as its floor. `ASLEEP`: it is paused, and its pod still there. `WAKING`: it is asked
    to run again.
    `CHANGING`: between two states, or leaving its node: it is left alone.
    """

    AWAKE = "awake"
    DROWSY = "drowsy"
    ASLEEP = "asleep"
    WAKING = "waking"
    CHANGING = "changing"


class Denial(Enum):
    """What a node says of a size that was asked of it: not now, or never."""

    DEFERRED = "deferred"
    INFEASIBLE = "infeasible"


@dataclass(frozen=True, slots=True)
class Timing:
    """How long things last, in seconds.

    `permit_tick`: between two words to who permits. `permit_denied`: until more is asked for that
    was not granted; where a node itself denied it, twice as long each time, `node_denied` at most.
    `refused`: for which a guest's refusal to shrink counts. `wished`: for which what it asked for
    is sought. `wish_kept`: for which what it got by that is kept, since its load average shows only
    by then what it needs; twice as long each time that it has to ask again for what it had got and
    lost, `wish_kept_most` at most: a load average does not show all that is needed, and the size
    would go up and down for ever. `wish_forgotten`: after which that is forgotten. `regained`: in
    which what its load asks for again, and had to give up, is kept like that too.
    `failed`: until what failed is tried again; where the API took no resize, twice as long each
    time, `node_denied` at most. `measured`: for which metrics count.
    `settling`: for which a node is left to do what was asked of it, but for more still. `capped`:
    for which what a node can never give is not asked for again. `lifted`: for which a sandbox that
    was at its floor has what it had before: a load average needs a minute.
    """

    permit_tick: float = 15.0
    permit_denied: float = 2.0
    node_denied: float = 60.0
    refused: float = 5.0
    wished: float = 10.0
    wish_kept: float = 120.0
    wish_kept_most: float = 3600.0
    wish_forgotten: float = 900.0
    regained: float = 300.0
    failed: float = 3.0
    measured: float = 20.0
    settling: float = 60.0
    capped: float = 300.0
    lifted: float = 60.0


TIMING: Final = Timing()


@dataclass(frozen=True, slots=True)
class Asked:
    """So much was asked for, or given up, then."""

    at: float
    resources: Resources


@dataclass(frozen=True, slots=True)
class Permit:
    """How it stands with who permits. `granted` None: nobody has answered yet.

    `denied_until`: more than was granted is not asked for until then. `failed_at`: when the last
    request came to nothing, if it did.
    """

    asked: Asked | None = None
    under_way: bool = False
    granted: Resources | None = None
    unit: Resources = DEFAULT_UNIT
    denied_until: float = 0.0
    failed_at: float | None = None


@dataclass(frozen=True, slots=True)
class Guest:
    """How it stands with the informant.

    `approved`: the most that the guest may count on, since it agreed to that or was told of it, if
    it heard; None: nobody speaks for it. `heard`: the least that it may count on, which is another
    size only where a call has come to nothing. `elsewhere`: it listens to another agent, which is
    the newer one, and so the only one to act. `telling`, `asking`: what a call under way is about.
    """

    approved: Resources | None = None
    heard: Resources | None = None
    elsewhere: bool = False
    telling: Resources | None = None
    asking: Resources | None = None
    tell_failed_at: float | None = None
    ask_failed_at: float | None = None
    wish: Wish | None = None
    wished_at: float = 0.0
    refusal: Refusal | None = None
    refused_at: float = 0.0

    @property
    def is_busy(self) -> bool:
        """Whether a call is under way."""
        return self.telling is not None or self.asking is not None


@dataclass(frozen=True, slots=True)
class Pod:
    """What the pod is to have (`desired`), and has (`actual`).

    `target`: what it is resized to, since `since`; `sent`: the API has taken that; `failed_at`: it
    has not, or nobody knows, `failures` times in a row. `cap`: more it is not given, until
    `cap_until`; `denials`: how often in a row it did not. `kept`: less it may not have, until
    `kept_until`, as the API has refused that `keeps` times in a row. `uneven`: its memory is no
    whole number of slots, and so less than is reckoned; it is brought to whole ones once.
    """

    desired: Resources
    actual: Resources
    target: Resources | None = None
    sent: bool = False
    since: float = 0.0
    failed_at: float | None = None
    failures: int = 0
    cap: Resources | None = None
    cap_until: float = 0.0
    denials: int = 0
    kept: Resources = NOTHING
    kept_until: float = 0.0
    keeps: int = 0
    uneven: bool = False

    def retry_at(self, timing: Timing) -> float:
        """Return when the same may be asked of the API again: later each time that it failed."""
        if self.failed_at is None:
            return 0.0
        pause = timing.failed * 2.0 ** (self.failures - 1)
        return self.failed_at + min(pause, timing.node_denied)

    def cap_at(self, now: float) -> Resources | None:
        """Return the cap that counts now."""
        return self.cap if now < self.cap_until else None

    def kept_at(self, now: float) -> Resources:
        """Return what it has to keep now."""
        return self.kept if now < self.kept_until else NOTHING


@dataclass(frozen=True, slots=True)
class Lift:
    """At least so much, until then, whatever the load says."""

    size: Resources
    until: float


@dataclass(frozen=True, slots=True)
class Gain:
    """What a guest has got by asking for more, and for how many seconds that is `kept`.

    So it is with what its load asks for again, soon after it was shrunk from that. It counts from
    `asked_at`, when it asked last. `lost`: what it had got so before, until that was taken back for
    want of a load; of a kind that it has not asked for since, what it had got before that.
    """

    size: Resources
    asked_at: float
    kept: float
    lost: Resources | None = None

    @property
    def kept_until(self) -> float:
        """When it may be taken back."""
        return self.asked_at + self.kept

    @property
    def had(self) -> Resources:
        """What it got last of each kind."""
        lost, size = self.lost or NOTHING, self.size
        return Resources(size.cpu or lost.cpu, size.memory or lost.memory)


@dataclass(frozen=True, slots=True)
class State:
    """All that is known of one sandbox.

    `used`: what its load asked for when it was awake last, if it is not; `before`: so it was when
    it was used last, if it has been drowsy or asleep since. `gain` outlives a conversation: it is
    the guest that asked, and not its informant. `given_up`: the most that it was shrunk from
    lately, and when last.
    """

    rules: Rules
    pod: Pod
    timing: Timing = TIMING
    phase: Phase = Phase.AWAKE
    migrating: bool = False
    permit: Permit = field(default_factory=Permit)
    guest: Guest = field(default_factory=Guest)
    metrics: Metrics | None = None
    measured_at: float = 0.0
    gain: Gain | None = None
    given_up: Asked | None = None
    used: Resources | None = None
    before: Resources | None = None
    lift: Lift | None = None

    def given_up_at(self, now: float) -> Resources | None:
        """Return what it was shrunk from lately."""
        given_up = self.given_up
        if given_up is None or now >= given_up.at + self.timing.regained:
            return None
        return given_up.resources

    @property
    def using(self) -> Resources:
        """What the sandbox has in fact."""
        return self.pod.actual

    def held(self, now: float) -> Resources:
        """Return what is taken of its node for it: what it has, and what it is to have."""
        held, coming = self.pod.actual.max(self.pod.desired), self._coming(now)
        return held if coming is None else held.max(coming)

    def kept(self, now: float) -> Resources:
        """Return what the sandbox has in fact, and is not about to lose."""
        kept, coming = self.pod.actual.min(self.pod.desired), self._coming(now)
        return kept if coming is None else kept.min(coming)

    def _coming(self, now: float) -> Resources | None:
        """Return what it is resized to; a resize that failed may have been taken all the same."""
        failed_at = self.pod.failed_at
        is_over = failed_at is not None and now >= failed_at + self.timing.failed
        return None if is_over else self.pod.target
