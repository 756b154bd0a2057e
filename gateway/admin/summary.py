"""One sandbox in one line of JSON, for the admin API and for `list -o json`. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.sandbox.texts import format_time

if TYPE_CHECKING:
    from gateway.sandbox.model import Route


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
