"""What the process runtime wants of the embedded API's store: the runtime knows no API."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from gateway.local.api import (
    SANDBOXES,
    ChangeType,
    EventType,
    ExpiredError,
    NotFoundError,
    ObjectStore,
    new_event,
)
from gateway.local.api.definitions import EVENTS
from gateway.local.runtime import ObjectGoneError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from gateway.local.api import JsonObject

COMPONENT: Final = "sandbox-gateway-runtime"


class StoredSandboxes:
    """The runtime's `Objects`, over a store."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def subscribe(self) -> AsyncIterator[tuple[str, Mapping[str, Any]]]:
        """Yield what is there, oldest first, then each change; a lost history is made up for."""
        known: dict[str, JsonObject] = {}
        while True:
            listed = self._store.list(SANDBOXES)
            for change in _difference(known, listed.items):
                yield change
            known = {obj["metadata"]["uid"]: obj for obj in listed.items}
            try:
                subscription = self._store.subscribe(SANDBOXES, since=int(listed.resource_version))
                async for event in subscription:
                    _follow(known, event.type, event.object)
                    yield event.type.value, event.object
            except ExpiredError:
                continue
            return

    def update_status(self, namespace: str, name: str, uid: str, status: Mapping[str, Any]) -> None:
        """Replace the status; raise ObjectGoneError if this sandbox is no more."""

        def replace(stored: JsonObject) -> None:
            stored.clear()
            stored.update(status)

        try:
            self._store.update_status(SANDBOXES, namespace, name, uid, replace)
        except NotFoundError as error:
            raise ObjectGoneError from error

    def record_event(
        self, obj: Mapping[str, Any], event_type: str, reason: str, message: str
    ) -> None:
        """Tell people about a sandbox, for `kubectl describe`."""
        event = new_event(
            dict(obj),
            type=EventType(event_type),
            reason=reason,
            message=message,
            component=COMPONENT,
            now=datetime.now(UTC),
        )
        self._store.create(EVENTS, obj["metadata"]["namespace"], event)


def _difference(
    known: Mapping[str, JsonObject], listed: list[JsonObject]
) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the changes that lead from what was known to what is listed."""
    present = {obj["metadata"]["uid"] for obj in listed}
    gone = [(ChangeType.DELETED.value, obj) for uid, obj in known.items() if uid not in present]
    oldest_first = sorted(listed, key=lambda obj: obj["metadata"]["creationTimestamp"])
    return [*gone, *((ChangeType.ADDED.value, obj) for obj in oldest_first)]


def _follow(known: dict[str, JsonObject], kind: ChangeType, obj: JsonObject) -> None:
    uid = obj["metadata"]["uid"]
    if kind is ChangeType.DELETED:
        known.pop(uid, None)
    else:
        known[uid] = obj
