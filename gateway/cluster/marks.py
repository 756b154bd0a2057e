"""Our annotations on a sandbox's object: what a pin and a hold write. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from gateway.dialects import own
from gateway.dialects.base import string_map
from gateway.sandbox.texts import format_moment, format_time

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.dialects.base import Patch, RawObject
    from gateway.sandbox.model import Route

    #: Annotations by name, and what they are to say; None: one is to go.
    Changes = Mapping[str, str | None]

PIN: Final[Changes] = {own.PINNED: "true"}
UNPIN: Final[Changes] = {own.PINNED: None}


def difference(raw: RawObject, changes: Changes) -> Patch | None:
    """Return the merge patch that makes an object's annotations so; None if they are already."""
    present = string_map(raw, "annotations")
    differing = {name: value for name, value in changes.items() if present.get(name) != value}
    return {"metadata": {"annotations": differing}} if differing else None


def claim(now: float) -> Patch:
    """Return the merge patch that says it is used now, and is a change each time it is written."""
    return {
        "metadata": {
            "annotations": {own.LAST_ACTIVITY_AT: format_moment(now), own.IDLE_SINCE: None}
        }
    }


def asleep(raw: RawObject, standby: Patch) -> Patch:
    """Return a standby's patch that also takes off the note since when the sandbox is idle.

    Woken again it would be there by mistake, until a replica sees to it.
    """
    if own.IDLE_SINCE not in string_map(raw, "annotations"):
        return standby
    metadata = standby.get("metadata", {})
    annotations = metadata.get("annotations", {}) | {own.IDLE_SINCE: None}
    return standby | {"metadata": metadata | {"annotations": annotations}}


def end_of_hold(now: float, seconds: float) -> float:
    """Return until when to hold: annotations have whole seconds, and no hold is shorter than asked.

    Times are seconds since the epoch.
    """
    return float(math.ceil(now + seconds))


def hold(until: float) -> Changes:
    """Return what holds a sandbox until a time."""
    return {own.HOLD_UNTIL: format_time(until)}


def extends(route: Route, until: float) -> bool:
    """Return whether a hold until then would be longer than what is there: none is shortened.

    One that does not parse holds until somebody mends it.
    """
    if is_held_by_mistake(route):
        return False
    return route.idle.hold_until is None or route.idle.hold_until < until


def is_held_by_mistake(route: Route) -> bool:
    """Return whether its hold does not parse, and so has no end."""
    return any(problem.field == own.HOLD_UNTIL for problem in route.problems)
