"""Why it is awake, or sleeps: what its object says of that, and what a gateway makes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.dialects import own
from gateway.sandbox.texts import format_duration, format_time
from gateway.standby.idle import Result
from gateway.standby.verdict import Reason, Status

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.explain.case import Case
    from gateway.replicas.peers import PeerUse
    from gateway.sandbox.standby import IdleRules, StandbyPolicy
    from gateway.standby.snapshot import Snapshot

_PLAIN: Final[Mapping[Reason, str]] = {
    Reason.UNSUPPORTED_PLATFORM: "this gateway puts nothing to sleep (its setting standby is off)",
    Reason.POLICY_MISSING: "this gateway does not put it to sleep: it has no standby policy",
    Reason.POLICY_DISABLED: "this gateway does not put it to sleep: its standby policy is disabled",
    Reason.ALWAYS_ON: "awake: its author rules sleep out",
    Reason.MISSING_IP: "awake: it has no address yet",
    Reason.PINNED: "awake: it is pinned, until somebody takes the pin off",
    Reason.OBSERVER_ERROR: "awake: connections that bypass the gateway cannot be seen now, so "
    "nobody knows whether it is used",
}

#: Annotations that keep it awake where they do not parse, by the reason that is given then.
_MISREAD: Final[Mapping[Reason, str]] = {
    Reason.PINNED: own.HOLD_UNTIL,
    Reason.ALWAYS_ON: own.STANDBY_CHECK,
}

#: Seconds beyond which nobody wants to know how long it is.
_LONGEST_TOLD: Final = 365 * 86400.0

FAILURES: Final[Mapping[Result, str]] = {
    Result.SILENT: "not all replicas answer whether it is used",
    Result.UNCERTAIN: "some replica cannot tell whether it is used",
    Result.CONFLICT: "somebody else wrote its object at the same time",
    Result.DENIED: "the gateway's account may not write its object",
    Result.INVALID: "the Kubernetes API takes no such write",
    Result.UNAVAILABLE: "the Kubernetes API could not be had",
}


def told_sleep(case: Case) -> Iterator[str]:
    """Tell why it is awake or sleeps, with the numbers behind it."""
    if case.standby is not None:
        yield from _standing(case, case.standby)
    yield from _rules(case)
    if case.standby is None and case.route.idle.policy is not None:
        yield "whether it is used now, only a gateway knows"


def _standing(case: Case, told: Snapshot) -> Iterator[str]:
    yield f"{told.status.value} ({told.reason.value}): {_why(case, told)}"
    if told.trouble is not None:
        yield (
            f"it should have slept {_span(told.overdue)} ago, but {FAILURES[told.trouble]}; "
            "this is tried again"
        )
    for one in told.uses:
        yield _use(one)
    if told.slept is not None:
        yield (
            f"this replica put it to sleep at {format_time(told.slept.at)}, when nobody had used "
            f"it for {_span(told.slept.idle_for)}"
        )


def _why(case: Case, told: Snapshot) -> str:
    now = case.now
    match told.status:
        case Status.ACTIVE:
            return f"awake: {told.active} requests, tunnels or connections use it now"
        case Status.IDLE_COUNTDOWN | Status.READY_FOR_STANDBY:
            return _countdown(told, now)
        case Status.STANDBY_REQUESTED:
            return "it is being put to sleep now"
    match told.reason:
        case Reason.LEASED:
            return f"awake: held until {_moment(told.until, now)}"
        case Reason.MIN_UPTIME:
            return f"awake: it has just begun to run; it may sleep at {_moment(told.until, now)}"
        case Reason.NOT_RUNNING:
            return f"it does not run; it was used last at {_time(told.last_used_at)}"
    misread = _MISREAD.get(told.reason)
    if misread is not None and _is_misread(case, misread):
        return f"awake: its {misread} does not parse, which keeps it awake until that is mended"
    return _PLAIN[told.reason]


def _countdown(told: Snapshot, now: float) -> str:
    assert told.policy is not None, "only a policy has it counted down"
    idle = "-" if told.idle_since is None else _span(now - told.idle_since)
    passed = f"idle for {idle} of {_span(told.policy.idle_timeout)}"
    if told.vetoed_until is not None:
        return (
            f"{passed}; the sandbox itself did not agree (standby-check); it is asked again at "
            f"{_moment(told.vetoed_until, now)}"
        )
    if told.status is Status.READY_FOR_STANDBY:
        return f"{passed}; it sleeps once all replicas have agreed"
    return f"awake: {passed}; unless somebody uses it, it sleeps at {_moment(told.until, now)}"


def _use(one: PeerUse) -> str:
    if one.silent:
        return (
            f"replica {one.replica} does not answer: nothing is put to sleep until it does, "
            "or its pod is gone"
        )
    if one.count:
        return f"replica {one.replica}: {one.count} use it now"
    if one.unused_for is None:
        return f"replica {one.replica} does not know it yet"
    return f"replica {one.replica}: not used for {_span(one.unused_for)}"


def _rules(case: Case) -> Iterator[str]:
    """Tell what the object says."""
    rules = case.route.idle
    yield _policy(rules.policy, case.standby)
    if rules.policy is not None and rules.policy.enabled and not case.route.wake.enabled:
        yield (
            "traffic cannot wake it again: wake on traffic is off, so it sleeps until somebody "
            "wakes it by hand"
        )
    yield from _holds(case, rules)
    if rules.check is not None:
        check = f"port {rules.check.port}, {rules.check.path}"
        yield f"before it sleeps, the sandbox itself is asked ({check}) and may say no"
    if rules.pause_at is not None:
        yield (
            f"its own controller pauses it at {format_time(rules.pause_at)}; while it is used, "
            "a gateway puts that off"
        )
    if rules.idle_since is not None:
        yield f"noted on it: idle since {format_time(rules.idle_since)}"
    if rules.last_activity_at is not None:
        yield f"noted on it: used last at {format_time(rules.last_activity_at)}"


def _holds(case: Case, rules: IdleRules) -> Iterator[str]:
    if _is_misread(case, own.STANDBY_CHECK):
        yield f"nothing puts it to sleep: its {own.STANDBY_CHECK} does not parse"
    elif rules.always_on:
        yield f"nothing puts it to sleep ({own.ALWAYS_ON})"
    if _is_misread(case, own.HOLD_UNTIL):
        yield f"held as by a pin: its {own.HOLD_UNTIL} does not parse; mend it or take it off"
    elif rules.pinned:
        yield (f"pinned: nothing puts it to sleep until: sandbox-gateway unpin {case.route.key}")
    if rules.hold_until is not None:
        tense = "was held" if rules.hold_until <= case.now else "held"
        yield f"{tense} until {_moment(rules.hold_until, case.now)}"


def _is_misread(case: Case, annotation: str) -> bool:
    return any(problem.field == annotation for problem in case.route.problems)


def _policy(policy: StandbyPolicy | None, told: Snapshot | None) -> str:
    if policy is None and told is not None and told.policy is not None:
        span = _span(told.policy.idle_timeout)
        return f"policy: sleeps after {span} without use (the gateway's idle_deployments_after)"
    if policy is None:
        return f"policy: none; {own.AUTO_STANDBY} would set one"
    if not policy.enabled:
        return "policy: disabled"
    return f"policy: sleeps after {_span(policy.idle_timeout)} without use"


def _moment(epoch: float | None, now: float) -> str:
    if epoch is None:
        return "an unknown time"
    return f"{format_time(epoch)} (in {_span(epoch - now)})" if epoch > now else format_time(epoch)


def _time(epoch: float | None) -> str:
    return "an unknown time" if epoch is None else format_time(epoch)


def _span(seconds: float) -> str:
    if seconds > _LONGEST_TOLD:
        return "more than a year"
    return format_duration(max(round(seconds), 0))
