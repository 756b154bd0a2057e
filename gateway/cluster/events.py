"""Kubernetes Events about what the gateway did to a sandbox: `kubectl describe` shows them.

Best effort: they are written beside what they tell of and never before it, no more often than a
budget allows, and a failure is counted and nothing else.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

from gateway.dialects.base import Resource
from gateway.sandbox.errors import ClusterError
from gateway.sandbox.texts import format_time
from gateway.sandbox.token_bucket import TokenBucket

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.cluster.metrics import ClusterCounters
    from gateway.dialects.base import RawObject
    from gateway.sandbox.model import Route

EVENTS: Final = Resource("", "v1", "events", "Event")
COMPONENT: Final = "sandbox-gateway"

#: Events each second over time, and at once. Events cost the API server as much as any object.
RATE: Final = 5.0
BURST: Final = 50.0
#: Events being written at one moment.
CONCURRENT: Final = 16
#: metadata.name is a DNS subdomain of at most 253; the server appends 5 characters to the prefix.
NAME_PREFIX_LIMIT: Final = 247


class Creator(Protocol):
    """The one thing that is needed of the client."""

    async def create(self, resource: Resource, namespace: str, body: RawObject) -> RawObject:
        """Create an object; raise a ClusterError."""


class EventRecorder:
    """Writes Events, and owns the tasks that do."""

    def __init__(
        self, client: Creator, clock: Callable[[], float], counters: ClusterCounters
    ) -> None:
        """`clock` gives epoch seconds."""
        self._client = client
        self._clock = clock
        self._counters = counters
        self._budget = TokenBucket(RATE, BURST, clock())
        self._tasks: set[asyncio.Task[None]] = set()

    def record(
        self, resource: Resource, route: Route, reason: str, message: str, *, warning: bool = False
    ) -> None:
        """Record an event on a sandbox, later and perhaps never; `message` is shown to users."""
        now = self._clock()
        if len(self._tasks) >= CONCURRENT or not self._budget.take(now):
            self._counters.events.inc("dropped")
            return
        body = event_object(resource, route, reason, message, now, warning=warning)
        task = asyncio.create_task(self._write(route.key.namespace, body))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Wait for what is being written; each is bounded by the request time-out."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _write(self, namespace: str, body: RawObject) -> None:
        try:
            await self._client.create(EVENTS, namespace, body)
        except ClusterError:
            self._counters.events.inc("failed")
        else:
            self._counters.events.inc("recorded")


def event_object(
    resource: Resource, route: Route, reason: str, message: str, now: float, *, warning: bool
) -> RawObject:
    """Return a core/v1 Event about the object that `route` was made of."""
    at = format_time(now)
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "generateName": f"{route.key.name[:NAME_PREFIX_LIMIT]}.",
            "namespace": route.key.namespace,
        },
        "involvedObject": {
            "apiVersion": f"{resource.group}/{resource.version}",
            "kind": resource.kind,
            "namespace": route.key.namespace,
            "name": route.key.name,
            "uid": route.uid,
            "resourceVersion": str(route.version),
        },
        "type": "Warning" if warning else "Normal",
        "reason": reason,
        "message": message,
        "count": 1,
        "firstTimestamp": at,
        "lastTimestamp": at,
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "reportingInstance": COMPONENT,
    }
