"""Pins and holds: what keeps a sandbox from being put to sleep though nobody uses it.

Both are annotations of the sandbox's object, so they bind every replica and outlive them all. A
sandbox may ask for them itself, with its own credential.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Final, Protocol

from aiohttp import web
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema

from gateway.admin.parts import About, Answer, Guard, Operation, Schema, json_answer
from gateway.admin.problems import (
    NAMED_PROBLEMS,
    AdminError,
    Conflicting,
    NotDone,
    NotFound,
    Unavailable,
)
from gateway.admin.sandboxes import DIALECT, ONE
from gateway.cluster import marks
from gateway.sandbox.errors import AccessDenied, ApiUnavailable, ClusterError, Conflict, ObjectGone
from gateway.sandbox.texts import format_duration, format_time, parse_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from gateway.admin.access import AdminAccess, SandboxAccess
    from gateway.cluster.marks import Changes
    from gateway.sandbox.model import Key, Route

_log = logging.getLogger(__name__)

SCALE_TO_ZERO: Final = ONE + "/scaletozero"


class Marker(Protocol):
    """What is needed of the writer."""

    async def annotate(
        self,
        key: Key,
        uid: str,
        changes: Changes,
        if_: Callable[[Route], bool] | None = None,
    ) -> Route:
        """Make annotations say this; raise a ClusterError."""


def _seconds(value: object) -> float:
    seconds = parse_duration(value) if isinstance(value, str) else 0.0
    if seconds <= 0:
        raise ValueError("must be a duration over 0")
    return seconds


_Duration = Annotated[
    float,
    BeforeValidator(_seconds),
    WithJsonSchema({"type": "string", "description": "A Go duration over 0.", "examples": ["15m"]}),
]


class HoldRequest(BaseModel):
    """For how long a sandbox is to be kept awake."""

    model_config = ConfigDict(extra="forbid")

    seconds: _Duration = Field(alias="for")


class Holds:
    """Pins a sandbox, takes the pin off, and holds it for a while."""

    def __init__(
        self,
        writer: Marker,
        callers: SandboxAccess,
        longest: float,
        clock: Callable[[], float],
    ) -> None:
        """`longest`: for how many seconds one call may hold. `clock` gives epoch seconds."""
        self._writer = writer
        self._callers = callers
        self._longest = longest
        self._clock = clock

    def operations(self, access: AdminAccess) -> Iterable[Operation]:
        """Return what it does."""

        async def pin(request: web.Request) -> web.Response:
            await self._mark(await self._callers.named(request, access), marks.PIN)
            return web.Response(status=204)

        async def unpin(request: web.Request) -> web.Response:
            await self._mark(await self._callers.named(request, access), marks.UNPIN)
            return web.Response(status=204)

        async def hold(request: web.Request) -> web.Response:
            route = await self._callers.named(request, access)
            return await self._hold(route, await self._asked(request))

        yield Operation("POST", SCALE_TO_ZERO + "/disable", pin, Guard.OWN, _PIN)
        yield Operation("POST", SCALE_TO_ZERO + "/enable", unpin, Guard.OWN, _UNPIN)
        yield Operation("POST", ONE + "/hold", hold, Guard.OWN, _HOLD)

    async def _asked(self, request: web.Request) -> float:
        """Return the seconds that a body asks for; raise AdminError."""
        try:
            seconds = HoldRequest.model_validate_json(await request.read()).seconds
        except ValidationError as error:
            raise AdminError(
                'The body must be {"for": DURATION}, such as {"for": "15m"}.'
            ) from error
        if seconds > self._longest:
            longest = format_duration(self._longest)
            raise AdminError(f"One call holds for {longest} at most (hold_max): ask again in time.")
        return seconds

    async def _hold(self, route: Route, seconds: float) -> web.Response:
        until = marks.end_of_hold(self._clock(), seconds)
        held = await self._mark(route, marks.hold(until), lambda now: marks.extends(now, until))
        if marks.is_held_by_mistake(held) or held.idle.hold_until is None:
            raise Conflicting("Its annotation hold-until does not parse: it is held until mended.")
        return json_answer({"hold_until": format_time(held.idle.hold_until)})

    async def _mark(
        self, route: Route, changes: Changes, if_: Callable[[Route], bool] | None = None
    ) -> Route:
        with _told(route):
            marked = await self._writer.annotate(route.key, route.uid, changes, if_)
        _log.info("marked", extra={"sandbox": str(route.key), "changes": dict(changes)})
        return marked


@contextmanager
def _told(route: Route) -> Iterator[None]:
    """Turn what writing may raise into problems."""
    try:
        yield
    except ObjectGone as error:
        raise NotFound("The sandbox is gone.") from error
    except Conflict as error:
        raise Unavailable(
            "Others change the sandbox's object again and again: nothing was done. Ask again."
        ) from error
    except ApiUnavailable as error:
        raise Unavailable(
            "The Kubernetes API did not answer: nobody knows whether it was done. "
            "To ask again does no harm."
        ) from error
    except ClusterError as error:
        _log.warning("%s cannot be marked: %s", route.key, error)
        raise NotDone(
            "The gateway's own account may not change this sandbox's annotations."
            if isinstance(error, AccessDenied)
            else "The Kubernetes API refuses this change. The gateway's log says why."
        ) from error


# ---- what callers are told ----------------------------------------------------------------------

_WRITING_PROBLEMS: Final = {
    **NAMED_PROBLEMS,
    429: "The sandbox asks about itself more than once a second.",
    500: "The Kubernetes API refuses to write it, until somebody mends that.",
    503: "It could not be written now. To ask again does no harm.",
}
_HELD: Final[Schema] = {
    "type": "object",
    "required": ["hold_until"],
    "properties": {"hold_until": {"type": "string", "format": "date-time"}},
}

_PIN: Final = About(
    id="disableScaleToZero",
    summary="Keep this sandbox awake until I say otherwise",
    text="Pins the sandbox: from the answer on it is not put to sleep for being idle, whatever its "
    "policy says, through restarts of gateways too. Call it before work that no request shows: a "
    "build, a migration, a debugger that waits. Call `/scaletozero/enable` when that is over: a "
    "pin that is forgotten keeps the sandbox awake, and paid for, until somebody takes it off. "
    "Where you know how long it takes, a `/hold` ends by itself. It may be repeated, wakes "
    "nothing, and stops nobody who puts the sandbox to sleep by hand. A sandbox may pin itself.",
    query=DIALECT,
    answers={204: Answer("It is pinned.", None, None)},
    problems=_WRITING_PROBLEMS,
    by_sandbox=True,
)
_UNPIN: Final = About(
    id="enableScaleToZero",
    summary="This sandbox may sleep again",
    text="Takes the pin off that `/scaletozero/disable` put on, and nothing else: requests under "
    "way and holds still keep it awake, and it sleeps once it has been idle for as long as its "
    "policy says. Without a pin it does nothing. It may be repeated.",
    query=DIALECT,
    answers={204: Answer("It has no pin.", None, None)},
    problems=_WRITING_PROBLEMS,
    by_sandbox=True,
)
_HOLD: Final = About(
    id="holdSandbox",
    summary="Keep this sandbox awake for a while",
    text="Holds the sandbox: it is not put to sleep for being idle before `hold_until`. Call it "
    "before work that no request shows and that ends in time, and again while it goes on: a hold "
    "is only ever extended, so several callers need not know of each other. Nothing has to be "
    "called at the end. The gateway's hold_max bounds one call. For work without an end that is "
    "known, `/scaletozero/disable` pins. A sandbox may hold itself.",
    query=DIALECT,
    body=HoldRequest.model_json_schema(by_alias=True),
    answers={200: Answer("Until when it is held, by this call or a longer one.", _HELD)},
    problems=_WRITING_PROBLEMS
    | {
        400: "The body makes no sense, or asks for longer than hold_max.",
        409: "Two sandboxes have this name, or its hold was written by hand and does not parse.",
    },
    by_sandbox=True,
)
