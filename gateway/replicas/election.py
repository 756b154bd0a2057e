"""Which of several replicas may act, decided over one Lease.

`begin` starts an election, `step` moves it: events in, commands out (`messages`), no I/O, no clock.
Whoever drives it does what the commands say, and hands in `Tick` at `due`.

Times are of this machine's own monotonic clock. Nobody's clock is compared with another's: the
times that stand in the Lease decide nothing. With D the duration of the lease, the Lease is

    held by us                       renewed several times in D, each time over its last version
    held by another                  read as often, and free once it was seen unchanged for D
    held by nobody                   free: whoever held it has given it up
    free                             acquired, over the version that was seen
    not there                      made, as one that somebody unknown holds

Never two act, however late requests and answers arrive:

- What is written lands only over the version that its writer saw last.
- The right to act ends `right` after the last renewal known to have landed was *sent*; the others
  see it land no earlier than that, and only then begin to count D.
- `right` is two thirds of D. The rest is for clocks that do not run alike, and for what was begun
  in the last moment of the right: with clocks within 1 % of each other it has `grace` to end in.
- A Lease that was deleted makes nobody a leader sooner: who held it may still act. How long it is
  missing tells nothing, since it may have been made and deleted unseen; what was made can be seen.
- A replica that was stopped for a while finds its right ended when it asks `acting`, whether or not
  it was told already.

No clock helps a replica that is stopped between asking and acting, nor one whose clock is stopped
with it, as a virtual machine's is that is frozen from outside: what it writes then has to be
compare-and-set itself. And the Lease is taken at its word: whoever empties its holder by hand, or
brings an older one back with the whole API's data, says that nobody acts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeAlias

from gateway.replicas.messages import (
    Answered,
    Ask,
    Change,
    Command,
    Event,
    Failed,
    Stop,
    Tick,
    Verb,
)
from gateway.sandbox.errors import ApiUnavailable, ClusterError, Conflict, ObjectGone

if TYPE_CHECKING:
    from gateway.cluster.lease import Lease

#: How much longer a pause may be than planned: replicas that began together must not stay in step.
JITTER: Final = 0.25
#: After a refusal that only a person can mend: how long to wait before asking again, in seconds.
REFUSED_PAUSE: Final = 30.0

#: Failures after which the next attempt may well succeed.
_PASSING: Final = (ApiUnavailable, Conflict, ObjectGone)


@dataclass(frozen=True, slots=True)
class ElectionConfig:
    """How long a lease lasts, and what follows from that. All durations are seconds.

    A leader that is lost without a word is replaced within `lease_duration` and a pause or two.
    """

    lease_duration: float = 15.0

    @property
    def right(self) -> float:
        """How long a renewal lets its sender act."""
        return self.lease_duration * 2 / 3

    @property
    def grace(self) -> float:
        """How long after a right has run out nobody else has one."""
        return self.lease_duration / 4

    @property
    def pause(self) -> float:
        """The time between two requests, which `JITTER` stretches."""
        return self.lease_duration * 2 / 15

    @property
    def patience(self) -> float:
        """How long a request may take; two fit into a right."""
        return self.lease_duration / 3


# ---- state ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Election:
    """What one replica knows. Times are seconds of its own monotonic clock.

    `lease` (None: there is none) has been seen as it is since `since`; `current`: and nothing
    failed after that. The next request is to be made at `next_at`, unless `asked` is under way,
    since `asked_at`. `acts_until` is the end of its right to act, None without one. `trouble` is
    what the last request failed by.
    """

    config: ElectionConfig
    identity: str
    next_at: float
    asked: Ask | None = None
    asked_at: float = 0.0
    asks: int = 0
    lease: Lease | None = None
    since: float = 0.0
    current: bool = False
    acts_until: float | None = None
    trouble: ClusterError | None = None
    stopping: bool = False
    ended: bool = False

    def acting(self, now: float) -> bool:
        """Return whether this replica may act at `now`: to be asked right before each act."""
        return self.acts_until is not None and now < self.acts_until

    @property
    def due(self) -> float:
        """When to hand in the next Tick, at the latest."""
        ours = self.next_at if self.asked is None else self.asked_at + self.config.patience
        return ours if self.acts_until is None else min(ours, self.acts_until)

    @property
    def holds(self) -> bool:
        """Whether the Lease was this replica's when last seen."""
        return self.lease is not None and self.lease.holder == self.identity


Step: TypeAlias = tuple[Election, tuple[Command, ...]]


def begin(config: ElectionConfig, identity: str, now: float) -> Election:
    """Stand for election as `identity`, which no other process has or had; a Tick is due."""
    return Election(config, identity, next_at=now)


def step(election: Election, event: Event, now: float, chance: float) -> Step:
    """Take one event; return the new state and what to do, in this order.

    `chance` is drawn anew from [0, 1) each time. Answers to what is not asked any more change
    nothing.
    """
    if election.ended:
        return election, ()
    after = _ask_next(_react(_lapse(election, now), event, now, chance), now)
    commands: list[Command] = []
    led, leads = election.acts_until is not None, after.acts_until is not None
    if led is not leads:
        commands.append(Change.LEAD if leads else Change.STEP_DOWN)
    if after.asked is not None and after.asks != election.asks:
        commands.append(after.asked)
    return after, tuple(commands)


# ---- the rules --------------------------------------------------------------------------------


def _lapse(election: Election, now: float) -> Election:
    return election if election.acting(now) else replace(election, acts_until=None)


def _react(election: Election, event: Event, now: float, chance: float) -> Election:
    asked = election.asked
    match event:
        case Answered(number, lease) if asked is not None and asked.number == number:
            return _learn(election, asked, lease, now, chance)
        case Failed(number, error) if asked is not None and asked.number == number:
            return _stumble(election, asked, error, now, chance)
        case Tick() if asked is not None and now >= election.asked_at + election.config.patience:
            error = ApiUnavailable(f"{asked.verb.value}: no answer in time")
            return _stumble(election, asked, error, now, chance)
        case Stop():
            # A write is waited for, so as to give up what it may bring.
            kept = None if asked is not None and asked.verb is Verb.READ else asked
            return replace(election, stopping=True, acts_until=None, asked=kept)
    return election


def _learn(
    election: Election, asked: Ask, lease: Lease | None, now: float, chance: float
) -> Election:
    """Take the answer to what was asked."""
    after = replace(_see(election, lease, now), asked=None, current=True, trouble=None)
    next_at = now + _pause(after, chance)
    if asked.verb is Verb.READ:
        return replace(after, next_at=now if after.holds else min(next_at, _free_at(after)))
    if asked.verb is Verb.RELEASE:
        return replace(after, ended=True)
    # A write that changed nothing (the wall clock may stand still) is one that nobody can see.
    if after.holds and after.lease != asked.over and not after.stopping:
        until = election.asked_at + after.config.right
        after = replace(after, acts_until=until if now < until else None)
    return replace(after, next_at=next_at)


def _see(election: Election, lease: Lease | None, now: float) -> Election:
    """Take the Lease as it was somewhen up to `now`."""
    if lease != election.lease:
        election = replace(election, lease=lease, since=now)
    return election if election.holds else replace(election, acts_until=None)


def _stumble(
    election: Election, asked: Ask, error: ClusterError, now: float, chance: float
) -> Election:
    """Take the failure of what was asked: after a pause, the Lease is looked at again."""
    gone = isinstance(error, ObjectGone)
    after = _see(election, None, now) if gone else election
    pause = _pause(after, chance)
    if isinstance(error, ApiUnavailable):
        pause += min(error.retry_after or 0.0, REFUSED_PAUSE)
    elif not isinstance(error, _PASSING) and after.acts_until is None:
        pause = max(pause, REFUSED_PAUSE * (1.0 + JITTER * chance))
    return replace(
        after,
        asked=None,
        current=gone,
        trouble=error,
        next_at=now + pause,
        ended=asked.verb is Verb.RELEASE,
    )


def _pause(election: Election, chance: float) -> float:
    return election.config.pause * (1.0 + JITTER * chance)


def _free_at(election: Election) -> float:
    """Return from when on the Lease, as it was seen last, may be acquired or made."""
    lease = election.lease
    if lease is None or not lease.holder:
        return election.since
    return election.since + max(election.config.lease_duration, lease.duration or 0)


def _ask_next(election: Election, now: float) -> Election:
    """Begin the next request, if it is time."""
    if election.asked is not None or election.ended:
        return election
    if election.stopping:
        return (
            _ask(election, Verb.RELEASE, now) if election.holds else replace(election, ended=True)
        )
    if now < election.next_at:
        return election
    if not election.current:
        return _ask(election, Verb.READ, now)
    if election.holds:
        return _ask(election, Verb.RENEW, now)
    if election.lease is None:
        return _ask(election, Verb.CREATE, now)
    return _ask(election, Verb.ACQUIRE if now >= _free_at(election) else Verb.READ, now)


def _ask(election: Election, verb: Verb, now: float) -> Election:
    asks = election.asks + 1
    asked = Ask(asks, verb, election.lease)
    return replace(election, asked=asked, asked_at=now, asks=asks)
