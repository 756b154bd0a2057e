"""Keeps the routes of workloads behind Services joined with the places where they are.

Workloads, Services and EndpointSlices come by watches of their own, in any order. What the registry
has is all that is kept of the workloads: a joined route tells enough to be joined anew.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

from gateway.cluster.answers import EventType
from gateway.cluster.places import SERVICE_LABEL, SERVICES, SLICES, Places, Table, join
from gateway.cluster.selection import Selection
from gateway.sandbox.model import State

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gateway.cluster.answers import Page
    from gateway.cluster.places import Name
    from gateway.dialects.base import RawObject
    from gateway.sandbox.model import Key, Route
    from gateway.sandbox.registry import Registry


class Lists(Protocol):
    """What is needed of the client."""

    async def list_page(self, selection: Selection, token: str | None) -> Page:
        """Read one page of a list; raise a ClusterError."""


class Placing:
    """Joins the routes of one registry with places."""

    def __init__(self, registry: Registry) -> None:
        self.places = Places()
        self._registry = registry
        self._users: dict[Name, set[Key]] = {}
        #: The version at which a workload was last seen to have no pod.
        self._slept_at: dict[Key, int] = {}
        registry.subscribe(self._heed)

    def joined(self, bare: Route) -> Route:
        """Return what a dialect made of a workload with the place where that is."""
        known = self._registry.get(bare.key)
        same = known is not None and known.uid == bare.uid
        return self._join(bare, known.address if known is not None and same else None)

    def changed(self, services: Iterable[Name]) -> None:
        """Join anew the workloads behind Services of which something else is told now."""
        for service in services:
            for key in tuple(self._users.get(service, ())):
                known = self._registry.get(key)
                assert known is not None, "who is gone uses no Service"
                route = self._join(known, known.address)
                if route != known:
                    self._registry.amend(known, route)

    async def look_up(self, lists: Lists, route: Route) -> None:
        """Read anew where a workload is; raise a ClusterError. The registry knows it then."""
        backing = route.backing
        assert backing is not None, "only what a Service is for is looked up by it"
        namespace, name = service = (route.key.namespace, backing.service)
        if backing.named:
            chosen = Selection(SERVICES, namespace, field_selector=f"metadata.name={name}")
            await self._renew(self.places.services, service, lists, chosen)
        chosen = Selection(SLICES, namespace, label_selector=f"{SERVICE_LABEL}={name}")
        await self._renew(self.places.slices, service, lists, chosen)

    async def _renew(self, table: Table, service: Name, lists: Lists, chosen: Selection) -> None:
        page = first = await lists.list_page(chosen, None)
        objects = list(first.items)
        while page.next_token is not None:
            page = await lists.list_page(chosen, page.next_token)
            objects += page.items
        self.changed(table.renew(service, objects, first.version))

    def _join(self, route: Route, now_at: str | None) -> Route:
        if route.backing is None:
            return route
        places = self.places.of(route.key.namespace, route.backing)
        return join(route, places, now_at, self._slept_at.get(route.key, -1))

    def _heed(self, before: Route | None, after: Route | None) -> None:
        """Know which workloads there are, what they are behind, and when they slept."""
        old, new = _service_of(before), _service_of(after)
        if old is not None and before is not None and old != new:
            self._leave(old, before.key)
        if after is None and before is not None:
            self._slept_at.pop(before.key, None)
        if new is not None and after is not None:
            self._users.setdefault(new, set()).add(after.key)
            if after.state is State.PAUSED:
                self._slept_at[after.key] = after.version

    def _leave(self, service: Name, key: Key) -> None:
        users = self._users[service]
        users.discard(key)
        if not users:
            del self._users[service]


def _service_of(route: Route | None) -> Name | None:
    if route is None or route.backing is None:
        return None
    return route.key.namespace, route.backing.service


class PlaceFeed:
    """The sink of one reflector: one table of places, in one namespace (None: all)."""

    def __init__(self, placing: Placing, table: Table, namespace: str | None = None) -> None:
        self._placing = placing
        self._table = table
        self._namespace = namespace
        self._listed: set[Name] = set()

    def begin(self) -> None:
        """A list begins."""
        self._listed = set()

    def page(self, items: Iterable[RawObject]) -> None:
        """Enter a part of the list."""
        for raw in items:
            self._listed.add(self._table.name_of(raw))
            self._placing.changed(self._table.put(raw))

    def complete(self, version: int) -> Iterator[None]:
        """Remove what the list lacked, in short steps for the caller to take."""
        for services in self._table.sweep(self._listed, version, self._namespace):
            self._placing.changed(services)
            yield
        self.begin()

    def event(self, kind: EventType, raw: RawObject) -> None:
        """Take news of one object."""
        table = self._table
        self._placing.changed(table.drop(raw) if kind is EventType.DELETED else table.put(raw))

    def forget(self) -> None:
        """The API is not installed any more."""
        for services in self._table.sweep((), math.inf, self._namespace):
            self._placing.changed(services)
