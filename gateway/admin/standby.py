"""How a sandbox stands between use and sleep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.admin.parts import About, Answer, Operation, Schema, json_answer
from gateway.admin.problems import NAMED_PROBLEMS
from gateway.admin.sandboxes import DIALECT, ONE, asked_for
from gateway.standby.idle import Result
from gateway.standby.snapshot import VETOED
from gateway.standby.verdict import Reason, Status

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from aiohttp import web

    from gateway.admin.access import AdminAccess
    from gateway.sandbox.model import Route
    from gateway.sandbox.registry import Registry
    from gateway.standby.snapshot import Snapshot


class AutoStandby:
    """Tells when a sandbox sleeps, or what keeps it awake."""

    def __init__(
        self, registry: Registry, snapshot: Callable[[Route], Awaitable[Snapshot]]
    ) -> None:
        self._registry = registry
        self._snapshot = snapshot

    def operations(self, access: AdminAccess) -> Iterable[Operation]:  # noqa: ARG002 - no own rule
        """Return what it does."""
        yield Operation("GET", ONE + "/auto-standby", self._shown, about=_SHOWN)

    async def _shown(self, request: web.Request) -> web.Response:
        snapshot = await self._snapshot(asked_for(self._registry, request))
        return json_answer(snapshot.as_json())


def _text(description: str, *, optional: bool = False) -> Schema:
    kind = ["string", "null"] if optional else "string"
    return {"type": kind, "description": description}


def _time(description: str) -> Schema:
    return {"type": ["string", "null"], "format": "date-time", "description": description}


def _number(description: str) -> Schema:
    return {"type": "integer", "minimum": 0, "description": description}


def _flag(description: str) -> Schema:
    return {"type": "boolean", "description": description}


_LAST_STANDBY: Final[Schema] = {
    "type": ["object", "null"],
    "description": "The last standby that the replica asked made, if it remembers one.",
    "required": ["at", "idle_for"],
    "properties": {
        "at": {"type": "string", "format": "date-time"},
        "idle_for": _text("How long nobody had used it, as a Go duration."),
    },
}
_REPLICA: Final[Schema] = {
    "type": "object",
    "required": ["replica", "active_count", "unused_for", "silent"],
    "properties": {
        "replica": _text("Its pod's name."),
        "active_count": _number("Requests, tunnels and connections under way on it."),
        "unused_for": _text(
            "For how long nobody has used the sandbox there, as a Go duration; null: it does not "
            "know the sandbox.",
            optional=True,
        ),
        "silent": _flag("It did not answer. As long as one does not, nothing is put to sleep."),
    },
}
_PROPERTIES: Final[Schema] = {
    "supported": _flag("Whether this gateway puts sandboxes to sleep."),
    "configured": _flag("Whether a standby policy applies to it."),
    "enabled": _flag("Whether that policy is enabled."),
    "eligible": _flag("Whether it sleeps once nobody uses or holds it."),
    "status": {"enum": [one.value for one in Status], "description": "How it stands."},
    "reason": {"enum": [one.value for one in Reason], "description": "Why it stands so."},
    "active_inbound_count": _number("Requests, tunnels and connections under way."),
    "idle_timeout": _text(
        "How long nobody must have used it before it sleeps, as a Go duration; null: no policy is "
        "enabled.",
        optional=True,
    ),
    "idle_since": _time("Since when nobody uses it; null: somebody does, or it does not run."),
    "last_inbound_activity_at": _time("When it was used last, as far as is known."),
    "next_standby_at": _time(
        "When it sleeps if nobody uses it until then; null: something else keeps it awake, or it "
        "sleeps already."
    ),
    "countdown_remaining": _text("How long it is until then, as a Go duration.", optional=True),
    "tracking_mode": {
        "enum": ["proxy", "proxy+conntrack"],
        "description": "What counts as use: only what goes through the gateway, or connections "
        "that bypass it, too.",
    },
    "hold_until": _time("Until when it is held at least; null: nobody holds it for a time."),
    "pinned": _flag("Whether it is kept awake until somebody takes the pin off."),
    "last_standby": _LAST_STANDBY,
    "last_failure": {
        "enum": [None, VETOED, *(one.value for one in Result)],
        "description": "Why it is awake though it should sleep, where the replica asked puts "
        "sandboxes to sleep; null: it should not. `vetoed`: the sandbox itself did not agree "
        "(its annotation standby-check), and is asked again.",
    },
    "replicas": {
        "type": "array",
        "items": _REPLICA,
        "description": "How each replica uses it, the one asked first.",
    },
}

_SHOWN: Final = About(
    id="getAutoStandby",
    summary="When does this sandbox sleep, and what keeps it awake?",
    text="Tells how a sandbox stands between use and sleep, with the numbers behind it; for this "
    "all replicas are asked. Ask it when a sandbox sleeps too soon or not at all. To keep one "
    "awake, see `/scaletozero/disable` and `/hold`; for the whole story in words, `/explain`.",
    query=DIALECT,
    answers={
        200: Answer(
            "How it stands.",
            {"type": "object", "required": list(_PROPERTIES), "properties": _PROPERTIES},
        )
    },
    problems=NAMED_PROBLEMS,
)
