"""One sandbox in one line of JSON, for the admin API and for `list -o json`. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.sandbox.model import State
from gateway.sandbox.texts import format_time

if TYPE_CHECKING:
    from gateway.admin.parts import Schema
    from gateway.sandbox.model import Route

_TEXT_OR_NULL: Final[Schema] = {"type": ["string", "null"]}
_PROPERTIES: Final[Schema] = {
    "namespace": {"type": "string"},
    "name": {"type": "string"},
    "dialect": {"type": "string", "description": "The Sandbox API of its object."},
    "uid": {"type": "string"},
    "id": {"type": "string", "description": "What requests name it by."},
    "state": {"enum": [state.value for state in State]},
    "reason": _TEXT_OR_NULL | {"description": "Why it is blocked or dead."},
    "address": _TEXT_OR_NULL | {"description": "Where it answers, while it runs."},
    "ports": {
        "type": ["array", "null"],
        "items": {"type": "integer"},
        "description": "The ports that requests may name; null: any.",
    },
    "wake_on_traffic": {"type": "boolean"},
    "wake_timeout": {
        "type": ["number", "null"],
        "description": "Seconds that a wake may take; null: as the gateway has it.",
    },
    "expires_at": _TEXT_OR_NULL | {"format": "date-time"},
    "has_credential": {"type": "boolean", "description": "Whether it has a token of its own."},
    "problems": {
        "type": "array",
        "description": "What of its object does not parse; the safe reading is used.",
        "items": {
            "type": "object",
            "required": ["field", "message"],
            "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
        },
    },
}
#: The schema of a summary.
SUMMARY: Final[Schema] = {
    "type": "object",
    "required": list(_PROPERTIES),
    "properties": _PROPERTIES,
}


def summary(route: Route, now: float) -> dict[str, object]:
    """Return what may be told of a sandbox: never its credential."""
    return {
        "namespace": route.key.namespace,
        "name": route.key.name,
        "dialect": route.key.dialect,
        "uid": route.uid,
        "id": route.id,
        "state": route.state_at(now).value,
        "reason": route.reason or None,
        "address": route.address,
        "ports": None if route.ports is None else sorted(route.ports),
        "wake_on_traffic": route.wake.enabled,
        "wake_timeout": route.wake.timeout,
        "expires_at": None if route.expires_at is None else format_time(route.expires_at),
        "has_credential": route.credential is not None,
        "problems": [{"field": one.field, "message": one.message} for one in route.problems],
    }
