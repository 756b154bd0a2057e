"""`wake` and `pause`: asking a sandbox to run or to sleep, by hand."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import click

from gateway.cli.cluster import (
    ClientOptions,
    Found,
    OpenCluster,
    SandboxName,
    SandboxNameType,
    client_options,
    open_cluster,
)
from gateway.cli.failures import Failed
from gateway.cli.kinds import Duration
from gateway.cli.program import PROGRAM
from gateway.explain import NOT_RESUMABLE
from gateway.sandbox.errors import NotResumable, ObjectGone, SandboxIsPausing
from gateway.sandbox.model import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.dialects.base import Dialect, Patch, RawObject

#: Seconds between two looks while waiting: short at first, since a thawed process is ready at once.
FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 1.0

wait_option = click.option("--wait", is_flag=True, help="Stay until it is done.")


timeout_option = click.option(
    "--timeout", type=Duration(), default="2m", show_default=True, help="Longest --wait."
)


@dataclass(frozen=True, slots=True)
class Change:
    """One kind of change: its words, its goal, and what to write for it (None: nothing)."""

    asked: str
    goal: State
    undone: str
    patch: Callable[[Dialect, RawObject, float], Patch | None]


def _wake_patch(dialect: Dialect, raw: RawObject, now: float) -> Patch | None:
    if dialect.route(raw).state is State.CREATING:
        return None
    dialect.check_resumable(raw, now)
    return dialect.wake_patch(raw, now)


def _pause_patch(dialect: Dialect, raw: RawObject, now: float) -> Patch | None:
    state = dialect.route(raw).state_at(now)
    if state in (State.CREATING, State.BLOCKED, State.DEAD):
        raise Failed(f"it is {state.value}, and only a sandbox that runs can be paused")
    return dialect.standby_patch(raw, now)


WAKE: Final = Change("waking", State.RUNNING, "paused", _wake_patch)
PAUSE: Final = Change("pausing", State.PAUSED, "woken", _pause_patch)


@click.command()
@client_options
@click.argument("name", type=SandboxNameType(), metavar="NAMESPACE/NAME")
@wait_option
@timeout_option
def wake(options: ClientOptions, name: SandboxName, wait: bool, timeout: float) -> None:
    """Wake a sandbox by hand, whether or not traffic may wake it.

    \b
    Example:  sandbox-gateway wake default/demo --wait
    """
    with open_cluster(options) as cluster:
        _carry_out(WAKE, cluster, name, timeout if wait else None)


@click.command()
@client_options
@click.argument("name", type=SandboxNameType(), metavar="NAMESPACE/NAME")
@wait_option
@timeout_option
def pause(options: ClientOptions, name: SandboxName, wait: bool, timeout: float) -> None:
    """Put a sandbox to sleep by hand. A request to it may wake it again.

    \b
    Example:  sandbox-gateway pause default/demo --wait
    """
    with open_cluster(options) as cluster:
        _carry_out(PAUSE, cluster, name, timeout if wait else None)


def _carry_out(
    change: Change, cluster: OpenCluster, name: SandboxName, timeout: float | None
) -> None:
    """Ask for the change and, with a timeout in seconds, wait until it is done."""
    asked = False
    for found, elapsed in _looks(cluster, name, timeout or 0.0):
        if found.route.state_at(time.time()) is change.goal:
            click.echo(f"{name} is {change.goal.value}" + (f" ({elapsed:.1f} s)" if asked else ""))
            return
        if asked:
            _check_still_wanted(change, found, name)
        else:
            asked = _ask(change, cluster, found, wait=timeout is not None)
        if asked and timeout is None:
            click.echo(f"{name} is {change.asked}; see how it goes: {PROGRAM} explain {name}")
            return
    raise Failed(
        f"{name} is not {change.goal.value} after {timeout:g} s\n"
        f"It may still become so. What it is at: {PROGRAM} explain {name}"
    )


def _looks(
    cluster: OpenCluster, name: SandboxName, timeout: float
) -> Iterator[tuple[Found, float]]:
    """Give the sandbox and the seconds passed, again and again; tell each change of its state."""
    start, pause_for = time.monotonic(), FIRST_PAUSE
    found = cluster.find(name)
    uid, told = found.route.uid, None
    while True:
        elapsed = time.monotonic() - start
        if found.route.uid != uid:
            raise ObjectGone("another sandbox has taken this name")
        if found.route.state is not told:
            told = found.route.state
            click.echo(f"{name}: {told.value} ({elapsed:.1f} s)", err=True)
        yield found, elapsed
        if elapsed >= timeout:
            return
        time.sleep(pause_for)
        pause_for = min(pause_for * 1.5, LONGEST_PAUSE)
        found = cluster.get(found.dialect, name)


def _ask(change: Change, cluster: OpenCluster, found: Found, *, wait: bool) -> bool:
    """Write the change; return False where a pause has to finish first and may be waited for."""
    dialect = found.dialect
    try:
        cluster.client.change(
            dialect.resource, found.raw, lambda raw: change.patch(dialect, raw, time.time())
        )
    except SandboxIsPausing as error:
        if not wait:
            raise Failed(
                "its pause is not finished yet\nWait for it and wake it then: add --wait"
            ) from error
        return False
    except NotResumable as error:
        raise Failed(_refusal(error, found)) from error
    return True


def _refusal(error: NotResumable, found: Found) -> str:
    return (
        f"it cannot be woken, {NOT_RESUMABLE[type(error)]}\n"
        f"Everything about it: {PROGRAM} explain {found.route.key}"
    )


def _check_still_wanted(change: Change, found: Found, name: SandboxName) -> None:
    """Raise if what was asked for cannot come any more."""
    more = f"Everything about it: {PROGRAM} explain {name}"
    state = found.route.state_at(time.time())
    if state in (State.BLOCKED, State.DEAD):
        raise Failed(f"{name} became {state.value} meanwhile\n{more}")
    write = found.dialect.wake_patch if change is WAKE else found.dialect.standby_patch
    if write(found.raw, time.time()) is not None:
        raise Failed(f"{name} was {change.undone} again meanwhile, by somebody else\n{more}")
