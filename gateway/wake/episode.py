"""One wake episode: from a sandbox that sleeps to one that runs, or to the reason why not.

`begin` starts it, `step` moves it: events in, commands out (`messages`), no I/O, no clock. Whoever
drives it does what the commands say, and hands in `Tick` at `due`.

The newest route decides what is to be done (the table of `sandbox.policy`):

    running                           succeed
    paused                            patch, within the budget; at most so many times
    pausing                           wait: it can be woken once it is paused
    creating, resuming                wait: it comes up without us
    paused or pausing, wake off       fail: SandboxNotWakeable
    blocked, dead, expired, gone      fail: WakeFailed

"Newest" is by resourceVersion: a late event that still says paused, from before our own patch,
says nothing. Everything is for one uid: another uid under the same name is "gone".
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Final, TypeAlias, assert_never

from gateway.sandbox.errors import (
    AccessDenied,
    ApiUnavailable,
    Conflict,
    GatewayError,
    InvalidWrite,
    MalformedObject,
    ObjectGone,
    SandboxDead,
    SandboxIsPausing,
    SandboxIsTerminating,
    SandboxNotWakeable,
    SandboxPhaseNotAllowed,
    ShutdownTimeReached,
    WakeFailed,
    WakeOverloaded,
    WakeTimeout,
)
from gateway.sandbox.model import Route, State
from gateway.sandbox.policy import Verdict, outcome
from gateway.wake.messages import (
    Command,
    Event,
    Fail,
    Granted,
    Order,
    Patched,
    PatchFailed,
    Reread,
    RereadFailed,
    RouteChanged,
    Succeed,
    Tick,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.wake.config import WakeConfig


class Phase(Enum):
    """What an episode waits for."""

    QUEUED = "queued"
    """The sandbox is asleep; its patch waits for the budget."""
    PATCHING = "patching"
    """The patch is under way."""
    WAITING = "waiting"
    """Somebody works on the sandbox: news comes by watch, else by a re-read."""
    BACKING_OFF = "backing_off"
    """A patch or a read did not go through: the object is read again in a moment."""
    READING = "reading"
    """The object is being read."""
    ENDED = "ended"


class Trouble(Enum):
    """What stands between an episode and its patch."""

    CONFLICT = "conflict"
    API_UNAVAILABLE = "api_unavailable"
    STILL_PAUSING = "still_pausing"


# ---- state ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Episode:
    """Where one episode stands. Times are seconds since the epoch.

    `pace` (1 or a little more) stretches every pause, so that the episodes of replicas and of
    sandboxes that began together do not go on in step. `patches` counts those that went through,
    `setbacks` what failed since and may be tried again, `rereads` the reads since.
    """

    config: WakeConfig
    uid: str
    route: Route
    phase: Phase
    since: float
    started: float
    deadline: float
    pace: float = 1.0
    reread_at: float | None = None
    sent_at: float | None = None
    patches: int = 0
    setbacks: int = 0
    rereads: int = 0
    trouble: Trouble | None = None

    @property
    def due(self) -> float:
        """When to hand in the next Tick, at the latest."""
        times = (self.deadline, self.route.expires_at, self.reread_at)
        return min(time for time in times if time is not None)


Step: TypeAlias = tuple[Episode, tuple[Command, ...]]


def begin(config: WakeConfig, route: Route, now: float, pace: float = 1.0) -> Step:
    """Start an episode for `route` and say what to do first."""
    timeout = config.timeout if route.wake.timeout is None else route.wake.timeout
    episode = Episode(
        config=config,
        uid=route.uid,
        route=route,
        phase=Phase.WAITING,
        since=now,
        started=now,
        deadline=now + timeout,
        pace=pace,
    )
    return _follow(episode, now)


def step(episode: Episode, event: Event, now: float) -> Step:
    """Take one event and return the new state and what to do. Late events change nothing."""
    if episode.phase is Phase.ENDED:
        return episode, ()
    after, commands = _react(episode, event, now)
    if episode.phase is Phase.QUEUED and after.phase not in (Phase.QUEUED, Phase.PATCHING):
        return after, (Order.WITHDRAW, *commands)
    return after, commands


def overdue(episode: Episode) -> GatewayError:
    """Return what to tell those whose time is up while the episode stands like this."""
    if episode.trouble is Trouble.API_UNAVAILABLE:
        return WakeFailed("The Kubernetes API could not be reached in time.")
    if episode.phase is Phase.QUEUED:
        return WakeOverloaded("Too many sandboxes are being woken at once.")
    if episode.trouble is Trouble.CONFLICT:
        return WakeTimeout("Others kept changing the sandbox until the time was up.")
    return WakeTimeout(_NOT_READY.get(episode.route.state))


# ---- the rules --------------------------------------------------------------------------------


class _Move(Enum):
    """What a route asks for."""

    SUCCEED = "succeed"
    PATCH = "patch"
    WAIT = "wait"


#: Moves that news does not cause, since what the phase waits for comes first. While a patch is
#: under way nothing but an end matters; while backing off, a sandbox that is still asleep is no
#: reason to hurry (each write of somebody else would cause one of ours).
_HELD_BACK: Final[Mapping[Phase, frozenset[_Move]]] = {
    Phase.QUEUED: frozenset({_Move.PATCH}),
    Phase.PATCHING: frozenset({_Move.PATCH, _Move.WAIT}),
    Phase.WAITING: frozenset({_Move.WAIT}),
    Phase.BACKING_OFF: frozenset({_Move.PATCH}),
    Phase.READING: frozenset({_Move.WAIT}),
}

_NOT_READY: Final[Mapping[State, str]] = {
    State.PAUSED: "The sandbox was still asleep when the time was up.",
    State.PAUSING: "The sandbox was still being put to sleep when the time was up.",
    State.CREATING: "The sandbox was still being created when the time was up.",
    State.RESUMING: "The sandbox was told to run, but was not ready in time.",
}

_GONE: Final = "The sandbox was deleted while it was being woken."
_DEAD: Final = "The sandbox ended while it was being woken."
_BLOCKED: Final = "The sandbox entered a state that takes no traffic while it was being woken."
_PUT_BACK: Final = "The sandbox was put back to sleep each time it was woken."

#: Failures of a patch or a read that no second attempt mends.
_FINAL: Final[Mapping[type[BaseException], str]] = {
    ObjectGone: _GONE,
    SandboxIsTerminating: _DEAD,
    ShutdownTimeReached: _DEAD,
    SandboxPhaseNotAllowed: _BLOCKED,
    AccessDenied: "The gateway's own credentials do not allow it to wake this sandbox.",
    InvalidWrite: "The Kubernetes API refused the change that would wake the sandbox.",
    MalformedObject: "The sandbox's object cannot be read.",
}


def _react(episode: Episode, event: Event, now: float) -> Step:
    match event:
        case RouteChanged(route):
            return _hear(episode, route, now)
        case Granted():
            return _send(episode, now)
        case Patched(route):
            patches = episode.patches + 1
            done = replace(episode, patches=patches, setbacks=0, rereads=0, trouble=None)
            return _see(done, route, now)
        case Reread(route) if episode.phase is Phase.READING:
            return _see(episode, route, now)
        case Reread(route):
            return _hear(episode, route, now)
        case PatchFailed(error):
            return _stumble(episode, error, now)
        case RereadFailed(error):
            # The answer to a read that is not waited for any more says nothing.
            if episode.phase is Phase.READING:
                return _stumble(episode, error, now)
            return episode, ()
        case Tick():
            return _tick(episode, now)
    assert_never(event)


def _hear(episode: Episode, route: Route | None, now: float) -> Step:
    """Take news that nobody asked for."""
    if route is None or route.uid != episode.uid:
        return _fail(episode, WakeFailed(_GONE), now)
    if not _is_news(route, episode.route):
        return episode, ()
    episode = replace(episode, route=route)
    if _move(route, now) in _HELD_BACK[episode.phase]:
        return episode, ()
    return _follow(episode, now)


def _is_news(route: Route, known: Route) -> bool:
    """Return whether a route tells more than the known one: where its workload is now, perhaps."""
    if route.version == known.version and route.backing is not None:
        return route != known
    return route.version > known.version


def _see(episode: Episode, route: Route, now: float) -> Step:
    """Take an answer that was asked for: whatever is newest now, it is judged again."""
    if route.uid != episode.uid:
        return _fail(episode, WakeFailed(_GONE), now)
    if route.version > episode.route.version:
        episode = replace(episode, route=route)
    return _follow(episode, now)


def _stumble(episode: Episode, error: BaseException, now: float) -> Step:
    """Take a failed patch or read."""
    match error:
        case SandboxIsPausing():
            return _wait(replace(episode, trouble=Trouble.STILL_PAUSING), now)
        case Conflict():
            return _back_off(replace(episode, trouble=Trouble.CONFLICT), 0.0, now)
        case ApiUnavailable(retry_after=hint):
            return _back_off(replace(episode, trouble=Trouble.API_UNAVAILABLE), hint or 0.0, now)
        case _:
            return _fail(episode, WakeFailed(_FINAL.get(type(error))), now)


def _tick(episode: Episode, now: float) -> Step:
    move = _move(episode.route, now)
    if isinstance(move, GatewayError):  # its shutdownTime has passed
        return _fail(episode, move, now)
    if now >= episode.deadline:
        return _fail(episode, overdue(episode), now)
    if episode.reread_at is not None and now >= episode.reread_at:
        episode = replace(episode, rereads=episode.rereads + 1)
        return _enter(episode, Phase.READING, now), (Order.READ,)
    return episode, ()


def _move(route: Route, now: float) -> _Move | GatewayError:
    """Return what the route asks for, or the error that ends the episode."""
    verdict = outcome(route, now)
    if verdict is Verdict.FORWARD:
        return _Move.SUCCEED
    if verdict is Verdict.WAIT or (verdict is Verdict.WAKE and route.state is State.PAUSING):
        return _Move.WAIT
    if verdict is Verdict.WAKE:
        return _Move.PATCH
    if verdict is SandboxNotWakeable:
        return SandboxNotWakeable()
    return WakeFailed(_DEAD if verdict is SandboxDead else _BLOCKED)


def _follow(episode: Episode, now: float) -> Step:
    """Do what the newest route asks for."""
    match _move(episode.route, now):
        case _Move.SUCCEED:
            return _enter(episode, Phase.ENDED, now), (Succeed(episode.route),)
        case _Move.WAIT:
            return _wait(replace(episode, trouble=None), now)
        case GatewayError() as error:
            return _fail(episode, error, now)
        case _Move.PATCH if episode.patches >= episode.config.max_patches_per_episode:
            return _fail(episode, WakeFailed(_PUT_BACK), now)
        case _Move.PATCH:
            return _enter(episode, Phase.QUEUED, now), (Order.ASK_BUDGET,)


def _send(episode: Episode, now: float) -> Step:
    if episode.phase is not Phase.QUEUED:
        return episode, ()
    return replace(_enter(episode, Phase.PATCHING, now), sent_at=now), (Order.PATCH,)


def _wait(episode: Episode, now: float) -> Step:
    config = episode.config
    pause = _ladder(config.reread_min, config.reread_max, episode.rereads) * episode.pace
    return _enter(episode, Phase.WAITING, now, reread_at=now + pause), ()


def _back_off(episode: Episode, at_least: float, now: float) -> Step:
    config = episode.config
    pause = _ladder(config.retry_min, config.retry_max, episode.setbacks) * episode.pace
    episode = replace(episode, setbacks=episode.setbacks + 1)
    return _enter(episode, Phase.BACKING_OFF, now, reread_at=now + max(pause, at_least)), ()


def _fail(episode: Episode, error: GatewayError, now: float) -> Step:
    return _enter(episode, Phase.ENDED, now), (Fail(error),)


def _enter(episode: Episode, phase: Phase, now: float, reread_at: float | None = None) -> Episode:
    return replace(episode, phase=phase, since=now, reread_at=reread_at)


def _ladder(first: float, last: float, rung: int) -> float:
    """Return the pause on this rung: it doubles from the first to the last."""
    return min(last, first * 2.0 ** min(rung, 64))
