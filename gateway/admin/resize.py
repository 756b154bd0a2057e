"""How a sandbox's size stands: what it has, what it should have, and what is in the way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.admin.parts import About, Answer, Operation, Schema, json_answer
from gateway.admin.problems import NAMED_PROBLEMS
from gateway.admin.sandboxes import DIALECT, ONE, asked_for
from gateway.resize.snapshot import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aiohttp import web

    from gateway.admin.access import AdminAccess
    from gateway.resize.snapshot import ResizeSnapshot
    from gateway.sandbox.model import Route
    from gateway.sandbox.registry import Registry


class ResizeRoutes:
    """Tells how a sandbox's size stands."""

    def __init__(self, registry: Registry, snapshot: Callable[[Route], ResizeSnapshot]) -> None:
        self._registry = registry
        self._snapshot = snapshot

    def operations(self, access: AdminAccess) -> Iterable[Operation]:  # noqa: ARG002 - no own rule
        """Return what it does."""
        yield Operation("GET", ONE + "/resize", self._shown, about=_SHOWN)

    async def _shown(self, request: web.Request) -> web.Response:
        return json_answer(self._snapshot(asked_for(self._registry, request)).as_json())


def _size(description: str) -> Schema:
    return {
        "type": ["object", "null"],
        "description": description,
        "required": ["cpu", "mem"],
        "properties": {"cpu": {"type": "string"}, "mem": {"type": "string"}},
    }


def _number(description: str) -> Schema:
    return {"type": ["number", "null"], "minimum": 0, "description": description}


_PROPERTIES: Final[Schema] = {
    "status": {
        "enum": [one.value for one in Status],
        "description": "How it stands. `elsewhere`: the replica that right-sizes knows; "
        "`preparing`: it is not right-sized yet; `frozen`: its size is not touched now; "
        "`uninformed`: no informant speaks for it, so that it is not shrunk; "
        "`limited`: it does not have what it needs, and the reason says why.",
    },
    "reason": {"type": ["string", "null"], "description": "What is in the way."},
    "scaling": {
        "type": ["object", "null"],
        "description": "Its bounds and configuration as they are understood; null: it has none.",
    },
    "actual": _size("What its container has in fact."),
    "desired": _size("What its container is to have."),
    "wanted": _size("What it should have by its load."),
    "permitted": _size("What its node has for it."),
    "approved": _size("What its guest agreed to, or was told of."),
    "load_1m": _number("Busy CPUs over one minute, as its informant reports them."),
    "load_5m": _number("The same over five minutes."),
    "memory_in_use_bytes": _number("As its informant reports it."),
}

_SHOWN: Final = About(
    id="getSandboxResize",
    summary="How a sandbox's size stands",
    text="Tells what a sandbox has of CPU and memory, what it should have by its load, and what is "
    "in the way: its node, its guest, its pod. Ask it where a sandbox is too small or too large.",
    answers={
        200: Answer(
            "How its size stands.",
            {"type": "object", "required": list(_PROPERTIES), "properties": _PROPERTIES},
        )
    },
    problems=NAMED_PROBLEMS,
    query=DIALECT,
)
