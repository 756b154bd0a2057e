"""`pin`, `unpin` and `hold`: keeping a sandbox awake though nobody uses it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from gateway.cli.cluster import (
    ClientOptions,
    SandboxName,
    SandboxNameType,
    client_options,
    judged,
    open_cluster,
)
from gateway.cli.failures import Failed
from gateway.cli.kinds import Duration
from gateway.cli.program import PROGRAM
from gateway.cluster import marks
from gateway.sandbox.model import State
from gateway.sandbox.texts import format_time

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.cluster.marks import Changes
    from gateway.dialects.base import Patch, RawObject
    from gateway.sandbox.model import Route


@click.command()
@client_options
@click.argument("name", type=SandboxNameType(), metavar="NAMESPACE/NAME")
def pin(options: ClientOptions, name: SandboxName) -> None:
    """Keep a sandbox awake until it is unpinned, whatever its standby policy says.

    For work that no request shows: a build, a migration, a debugger that waits. A pin has no end
    of its own; where you know how long it takes, `hold` does. It wakes nothing, and whoever pauses
    the sandbox by hand still can.

    \b
    Example:  sandbox-gateway pin default/demo
    Then:     sandbox-gateway unpin default/demo
    """
    marked = _mark(options, name, lambda _: marks.PIN)
    if marked.written:
        click.echo(f"{name} is pinned{_but(marked.route)}")
        click.echo(f"To take the pin off again: {PROGRAM} unpin {name}")
    else:
        click.echo(f"{name} is pinned already")


@click.command()
@client_options
@click.argument("name", type=SandboxNameType(), metavar="NAMESPACE/NAME")
def unpin(options: ClientOptions, name: SandboxName) -> None:
    """Take the pin off a sandbox: it may sleep again once it is idle.

    Requests under way and holds still keep it awake.

    \b
    Example:  sandbox-gateway unpin default/demo
    """
    marked = _mark(options, name, lambda _: marks.UNPIN)
    more = " any more" if marked.written else ""
    click.echo(f"{name} is not pinned{more}{_still_held(marked.route)}")


@click.command()
@client_options
@click.argument("name", type=SandboxNameType(), metavar="NAMESPACE/NAME")
@click.option("--for", "seconds", type=Duration(), required=True, help="How long: 90s, 15m, 2h.")
def hold(options: ClientOptions, name: SandboxName, seconds: float) -> None:
    """Keep a sandbox awake for a while, whatever its standby policy says.

    A hold is only ever extended: a shorter one changes nothing, and several people need not know
    of each other. It ends by itself. It wakes nothing, and whoever pauses the sandbox by hand
    still can.

    \b
    Example:  sandbox-gateway hold default/demo --for 15m
    """
    if seconds <= 0:
        raise click.UsageError("--for: hold it for some time, such as 15m")
    until = marks.end_of_hold(time.time(), seconds)

    def changes(route: Route) -> Changes:
        if marks.is_held_by_mistake(route):
            raise Failed(
                "its annotation hold-until does not parse, so it is held until that is mended\n"
                f"Everything about it: {PROGRAM} explain {name}"
            )
        return marks.hold(until) if marks.extends(route, until) else {}

    marked = _mark(options, name, changes)
    held = marked.route.idle.hold_until
    assert held is not None, "it was written, or a later one was there"
    already = "" if marked.written else " already"
    click.echo(f"{name} is held{already} until {format_time(held)}{_but(marked.route)}")


@dataclass(frozen=True, slots=True)
class _Marked:
    """A sandbox whose annotations are as was asked, and whether that took a write."""

    route: Route
    written: bool


def _mark(
    options: ClientOptions, name: SandboxName, changes: Callable[[Route], Changes]
) -> _Marked:
    """Make a sandbox's annotations so."""
    patch: Patch | None = None

    with open_cluster(options) as cluster:
        found = cluster.find(name)

        def decide(raw: RawObject) -> Patch | None:
            nonlocal patch
            patch = marks.difference(raw, changes(judged(found.dialect, raw).route))
            return patch

        raw = cluster.client.change(found.dialect.resource, found.raw, decide)
    return _Marked(judged(found.dialect, raw).route, patch is not None)


def _still_held(route: Route) -> str:
    """Return what else keeps a sandbox awake, if anything does."""
    if marks.is_held_by_mistake(route):
        return ", but held: its annotation hold-until does not parse"
    until = route.idle.hold_until
    if until is None or until <= time.time():
        return ""
    return f", but held until {format_time(until)}"


def _but(route: Route) -> str:
    """Return what somebody may not expect who keeps a sandbox awake."""
    asleep = route.state_at(time.time()) in (State.PAUSED, State.PAUSING)
    return "; it sleeps now, and is not woken by that" if asleep else ""
