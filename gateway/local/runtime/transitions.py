"""How an action changes what is the case: pure functions, one an outcome."""

from dataclasses import replace

from gateway.local.runtime.config import RuntimeConfig
from gateway.local.runtime.model import (
    Command,
    Departure,
    Desired,
    Failure,
    Goal,
    Instant,
    Life,
    Listener,
    Observed,
    Problem,
    Reason,
    Rival,
    expired,
)

CHECK_FIRST = 0.005
CHECK_MAX = 0.25


def _pause_after(tries: int, first: float, growth: float, longest: float) -> float:
    # The exponent is bounded: a float overflows long before anyone stops waiting.
    return min(first * growth ** min(tries, 64), longest)


def _enter(observed: Observed, life: Life, now: float) -> Observed:
    return replace(observed, life=life, since=now, due=now, tries=0)


def asked(observed: Observed, desired: Desired, rival: Rival | None) -> Observed:
    """The wish and the other sandboxes as they are now."""
    slept = observed.slept or desired.goal is Goal.PAUSED
    if slept == observed.slept and rival == observed.rival:
        return observed
    return replace(observed, slept=slept, rival=rival)


def started(observed: Observed, command: Command, incarnation: str, now: float) -> Observed:
    """A process has been started: a new incarnation."""
    return replace(
        _enter(observed, Life.STARTING, now),
        command=command,
        incarnation=incarnation,
        exited=False,
        listener=Listener.NOBODY,
        served_at=None,
        failure=None,
    )


def probed(
    observed: Observed, listener: Listener, *, accepts: bool, now: float, config: RuntimeConfig
) -> Observed:
    """The port was tried, and `listener` is who was found there."""
    seen = replace(observed, listener=listener)
    if accepts and listener.trusted:
        served_at = now if observed.served_at is None else observed.served_at
        serving = _enter(seen, Life.SERVING, now)
        return replace(serving, served_at=served_at, slept=False)
    pause = _pause_after(observed.tries, config.probe_first, 1.5, config.probe_max)
    return replace(seen, tries=observed.tries + 1, due=now + pause)


def freezing(observed: Observed, now: float) -> Observed:
    """The processes are about to be told to stop in their tracks."""
    return _enter(observed, Life.FREEZING, now)


def frozen(observed: Observed, now: float) -> Observed:
    """All processes have been seen to be stopped."""
    return _enter(observed, Life.FROZEN, now)


def thawed(observed: Observed, now: float) -> Observed:
    """All processes have been told to continue."""
    return _enter(observed, Life.THAWING, now)


def checked_in_vain(observed: Observed, now: float) -> Observed:
    """What was looked for is not so yet: look again, a little later each time."""
    pause = _pause_after(observed.tries, CHECK_FIRST, 2.0, CHECK_MAX)
    return replace(observed, tries=observed.tries + 1, due=now + pause)


def exited(observed: Observed, now: float) -> Observed:
    """The first process has ended."""
    return replace(observed, exited=True, due=now)


def terminating(
    observed: Observed, desired: Desired, exit_text: str, now: Instant, config: RuntimeConfig
) -> Observed:
    """The processes are about to be ended; if nobody asked for that, it is a failure."""
    ending = _enter(observed, Life.TERMINATING, now.monotonic)
    cause = _unasked_end(observed, desired, exit_text, now, config)
    return ending if cause is None else failed(ending, cause, desired, now.monotonic, config)


def _unasked_end(
    observed: Observed, desired: Desired, exit_text: str, now: Instant, config: RuntimeConfig
) -> Problem | None:
    if desired.departure is not Departure.NONE or expired(desired, now):
        return None
    if desired.goal is Goal.PAUSED or observed.command != desired.workload:
        return None
    if observed.exited:
        return Problem(Reason.PROCESS_EXITED, f"the process {exit_text}")
    # What is left of the causes of `must_end` is the deadline.
    waited = f"within {config.start_deadline:g} s"
    if observed.listener is Listener.FOREIGN:
        text = f"the process did not get its port {waited}: a foreign one answers there"
    else:
        text = f"the port did not accept a connection {waited}"
    return Problem(Reason.START_DEADLINE_EXCEEDED, text)


def killing(observed: Observed, now: float) -> Observed:
    """The time to end in order is over."""
    if observed.life is Life.KILLING:
        return observed
    return _enter(observed, Life.KILLING, now)


def gone(observed: Observed, now: float) -> Observed:
    """No process is left."""
    return replace(
        _enter(observed, Life.ABSENT, now),
        command=None,
        incarnation=None,
        exited=False,
        listener=Listener.NOBODY,
        served_at=None,
    )


def failed(
    observed: Observed,
    problem: Problem,
    desired: Desired,
    now: float,
    config: RuntimeConfig,
) -> Observed:
    """An attempt failed; the next one follows after a pause that doubles each time."""
    healthy = observed.served_at is not None and now - observed.served_at >= config.healthy_after
    before = 0 if healthy else observed.failures
    pause = _pause_after(before, config.backoff_first, 2.0, config.backoff_max)
    failure = Failure(problem.reason, problem.message, desired.generation, now + pause)
    return replace(observed, failure=failure, failures=before + 1)


def refused(observed: Observed, message: str, desired: Desired) -> Observed:
    """The command can not be started, and trying again would not change that."""
    failure = Failure(Reason.START_FAILED, message, desired.generation, retry_at=None)
    return replace(observed, failure=failure)
