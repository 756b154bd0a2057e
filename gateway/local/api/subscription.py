"""Subscriptions: the changes of one resource, in order, for as long as somebody listens.

A subscription holds no queue of its own. It remembers the version it has come to and reads on
from the history in small batches, so a slow listener costs no memory; if the history is
compacted before it catches up, it ends with `ExpiredError` and the listener starts again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from gateway.local.api.database import Change, ChangeType, Database
from gateway.local.api.listing import ListOptions, check_reached, expired, list_objects
from gateway.local.api.objects import JsonObject, decode

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.local.api.definitions import GroupResource
    from gateway.local.api.selectors import Selector

_BATCH = 64


class Event(NamedTuple):
    """One step of a watch; of a deletion, `object` is the last state."""

    type: ChangeType
    object: JsonObject


class Subscription:
    """An asynchronous iterator of events; made by `ObjectStore.subscribe`.

    With `since` None, or 0, or if it `replays`, the present objects come first, as ADDED; else what
    was written after that version. Under a selector or namespace, an object that begins to match is
    ADDED and one that ceases to match is DELETED. Iteration ends after `close`.
    Raises `ExpiredError`, now or later, when the history no longer reaches back far enough;
    `FutureVersionError` for a version that the store has not reached.
    """

    def __init__(
        self,
        database: Database,
        resource: GroupResource,
        *,
        namespace: str,
        selector: Selector,
        since: int | None,
        replays: bool,
        on_close: Callable[[Subscription], None],
    ) -> None:
        self._database = database
        self.resource = resource
        self._namespace = namespace
        self._selector = selector
        self._on_close = on_close
        self._closed = False
        self._written = asyncio.Event()
        self._pending: deque[tuple[int, Event]] = deque()
        if since and not replays:
            self._position = since
            self._check_window()
        else:
            check_reached(database, since or 0)
            self._position = database.current
            self._pending.extend(self._present())
        self._delivered = 0 if self._pending else self._position

    def _present(self) -> list[tuple[int, Event]]:
        options = ListOptions(self._namespace, self._selector)
        listed = list_objects(self._database, self.resource, options)
        # Version 0: none of these alone stands for the state up to a version.
        return [(0, Event(ChangeType.ADDED, obj)) for obj in listed.items]

    def take_present(self) -> list[Event]:
        """The present objects that come first; the iteration goes on behind them."""
        events = [event for _, event in self._pending]
        self._pending.clear()
        return events

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Event:
        while not self._closed:
            if not self._pending:
                self._read_on()
            if self._pending:
                self._delivered, event = self._pending.popleft()
                return event
            await self._written.wait()
        raise StopAsyncIteration

    @property
    def resource_version(self) -> str:
        """The version up to which everything was delivered; empty while the start is not."""
        version = self._delivered if self._pending else self._position
        return str(version) if version else ""

    def notify(self) -> None:
        """Tell the listener that the history has grown (called by the store)."""
        self._written.set()

    def close(self) -> None:
        """End the iteration; safe to call again, and from within it."""
        if not self._closed:
            self._closed = True
            self._on_close(self)
            self._written.set()

    def _read_on(self) -> None:
        self._written.clear()
        self._check_window()
        changes = self._database.changes(self.resource, self._position, _BATCH)
        full = len(changes) == _BATCH
        self._position = changes[-1].version if full else self._database.current
        if full:
            self._written.set()
        for change in changes:
            event = self._event(change)
            if event is not None:
                self._pending.append((change.version, event))

    def _check_window(self) -> None:
        if self._position < self._database.compacted:
            raise expired(self._position, self._database)
        check_reached(self._database, self._position)

    def _event(self, change: Change) -> Event | None:
        if self._namespace and change.namespace != self._namespace:
            return None
        obj = decode(change.body)
        if self._selector.selects_all:
            return Event(change.type, obj)
        before = decode(change.previous) if change.previous is not None else None
        matched = before is not None and self._selector.matches(before)
        matches = change.type is not ChangeType.DELETED and self._selector.matches(obj)
        match (matched, matches):
            case (False, True):
                return Event(ChangeType.ADDED, obj)
            case (True, True):
                return Event(ChangeType.MODIFIED, obj)
            case (True, False):
                return Event(ChangeType.DELETED, _as_it_left(obj, before))
            case _:
                return None


def _as_it_left(obj: JsonObject, before: JsonObject | None) -> JsonObject:
    """What a selection has lost: as it was in it, of the version in which it is not any more."""
    last = before if before is not None else obj
    version = obj["metadata"]["resourceVersion"]
    return {**last, "metadata": {**last["metadata"], "resourceVersion": version}}
