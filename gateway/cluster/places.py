"""Where the workloads behind Services are, by their EndpointSlices and addresses. Pure, no I/O.

A place is believed as of the version of the object that tells of it. Of each object its newest
state counts, in whatever order news arrives.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec.structs import replace

from gateway.dialects import base
from gateway.sandbox.errors import MalformedObject
from gateway.sandbox.model import State

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator

    from gateway.dialects.base import RawObject
    from gateway.sandbox.model import Backing, Route

_log = logging.getLogger(__name__)

SLICES: Final = base.Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
SERVICES: Final = base.Resource("", "v1", "services", "Service")
#: On an EndpointSlice: the Service that it is of.
SERVICE_LABEL: Final = "kubernetes.io/service-name"

#: spec.clusterIP of a headless Service; one that is a name outside the cluster has none at all.
_HEADLESS: Final = "None"
#: Others are names.
_ADDRESS_TYPES: Final = frozenset({"IPv4", "IPv6"})

#: The namespace and the name of an object.
Name = tuple[str, str]


class Place(msgspec.Struct, frozen=True, gc=False):
    """An address that is ready; `pod` is the uid of the one pod that is there.

    It is told of since `version`: further news that says the same is of no newer pod.
    """

    address: str
    version: int
    pod: str | None = None


class Entry(msgspec.Struct, frozen=True, gc=False):
    """What one object tells of a Service."""

    name: Name
    service: Name
    version: int
    places: tuple[Place, ...]


def read_slice(raw: RawObject) -> Entry:
    """Read an EndpointSlice; raise MalformedObject."""
    (namespace, name), version = _identity(raw)
    service = base.string_map(raw, "labels").get(SERVICE_LABEL, "")
    has_addresses = base.text(raw, "addressType", "object") in _ADDRESS_TYPES
    endpoints = raw.get("endpoints") if has_addresses else None
    if not isinstance(endpoints, list | None):
        raise MalformedObject("endpoints", "is not a list")
    found = (_ready_place(base.mapping(one, "endpoints[]"), version) for one in endpoints or [])
    places = tuple(one for one in found if one is not None)
    return Entry((namespace, name), (namespace, service), version, places)


def _ready_place(endpoint: RawObject, version: int) -> Place | None:
    """Return where an endpoint is if it is ready: unknown is, terminating is not.

    Where a Service publishes addresses that are not ready, all are called ready, and `serving`
    tells. Of several addresses only the first is looked at, as the API asks for.
    """
    conditions = base.mapping(endpoint.get("conditions"), "endpoints[].conditions")
    ready, serving = (
        conditions.get(name) is None or base.flag(conditions, name, "conditions")
        for name in ("ready", "serving")
    )
    if not (ready and serving) or base.flag(conditions, "terminating", "conditions"):
        return None
    addresses = endpoint.get("addresses")
    if not isinstance(addresses, list) or not addresses or not isinstance(addresses[0], str):
        raise MalformedObject("endpoints[].addresses", "is not a list of addresses")
    address = base.ip_address(addresses[0], "endpoints[].addresses")
    assert address is not None, "a text is an address, or raises"
    target = base.mapping(endpoint.get("targetRef"), "endpoints[].targetRef")
    return Place(address, version, base.text(target, "uid", "endpoints[].targetRef"))


def read_service(raw: RawObject) -> Entry:
    """Read a Service, which is a place if it has an address of its own; raise MalformedObject."""
    name, version = _identity(raw)
    value = base.text(base.section(raw, "spec"), "clusterIP", "spec")
    address = base.ip_address(None if value == _HEADLESS else value, "spec.clusterIP")
    return Entry(name, name, version, () if address is None else (Place(address, version),))


def _identity(raw: RawObject) -> tuple[Name, int]:
    metadata = base.section(raw, "metadata")
    return _name(metadata), base.version_in(metadata)


def _name(metadata: RawObject) -> Name:
    return (
        base.required_text(metadata, "namespace", "metadata"),
        base.required_text(metadata, "name", "metadata"),
    )


class Table:
    """All objects of one kind that tell of Services. Methods return the Services concerned."""

    def __init__(self, read: Callable[[RawObject], Entry]) -> None:
        self._read = read
        self._entries: dict[Name, Entry] = {}
        self._by_service: dict[Name, set[Name]] = {}
        #: As of when all that is told of a Service was read at once: older news is no news.
        self._read_at: dict[Name, int] = {}

    def of(self, service: Name) -> list[Entry]:
        """Return what the objects of a Service tell."""
        return [self._entries[name] for name in self._by_service.get(service, ())]

    def put(self, raw: RawObject) -> set[Name]:
        """Take news of an object; one that cannot be read tells of no place."""
        try:
            entry = self._read(raw)
        except MalformedObject as error:
            _log.warning("an object that tells of a Service is not read: %s", error)
            return self.drop(raw)
        known = self._entries.get(entry.name)
        oldest = self._read_at.get(entry.service, -1) if known is None else known.version
        if entry.version <= oldest:
            return set()
        left = self._remove(entry.name)
        self._entries[entry.name] = entry if known is None else _told_since(known, entry)
        self._by_service.setdefault(entry.service, set()).add(entry.name)
        return left | {entry.service}

    def drop(self, raw: RawObject) -> set[Name]:
        """Take news of a deletion."""
        try:
            name, version = _identity(raw)
        except MalformedObject:
            _log.warning("an object that tells of a Service has no readable identity")
            return set()
        known = self._entries.get(name)
        return self._remove(name) if known is not None and known.version <= version else set()

    def renew(self, service: Name, raws: Iterable[RawObject], version: int) -> set[Name]:
        """Take all that is told of one Service as of `version`."""
        concerned, listed = set[Name](), set[Name]()
        for raw in raws:
            concerned |= self.put(raw)
            listed.add(self.name_of(raw))
        for entry in self.of(service):
            if entry.name not in listed and entry.version <= version:
                concerned |= self._remove(entry.name)
        self._read_at[service] = max(version, self._read_at.get(service, -1))
        return concerned

    def sweep(
        self, listed: Container[Name], version: float, namespace: str | None
    ) -> Iterator[set[Name]]:
        """Remove what a complete list of a namespace (None: all) as of `version` lacks."""
        for entry in tuple(self._entries.values()):
            missing = entry.name not in listed and entry.version <= version
            within = namespace in (None, entry.name[0])
            still = self._entries.get(entry.name) is entry
            yield self._remove(entry.name) if missing and within and still else set()
        self._read_at = {
            service: at
            for service, at in self._read_at.items()
            if at > version or namespace not in (None, service[0])
        }

    def name_of(self, raw: RawObject) -> Name:
        """Return the name of an object; one that nothing has where it cannot be read."""
        try:
            return _name(base.section(raw, "metadata"))
        except MalformedObject:
            return ("", "")

    def _remove(self, name: Name) -> set[Name]:
        entry = self._entries.pop(name, None)
        if entry is None:
            return set()
        names = self._by_service[entry.service]
        names.discard(name)
        if not names:
            del self._by_service[entry.service]
        return {entry.service}


def _told_since(known: Entry, entry: Entry) -> Entry:
    """Return an entry whose places are as old as the object that first told of them."""
    since = {(one.address, one.pod): one.version for one in known.places}
    places = (
        replace(one, version=since.get((one.address, one.pod), one.version)) for one in entry.places
    )
    return replace(entry, places=tuple(places))


class Places:
    """What EndpointSlices and Services tell."""

    def __init__(self) -> None:
        self.slices = Table(read_slice)
        self.services = Table(read_service)

    def of(self, namespace: str, backing: Backing) -> list[Place]:
        """Return the places of a workload in a namespace that are ready."""
        service = (namespace, backing.service)
        if backing.named:
            fronts = self.services.of(service)
            if not fronts or fronts[0].places:
                return [place for front in fronts for place in front.places]
        return [place for entry in self.slices.of(service) for place in entry.places]


def join(
    route: Route, places: Iterable[Place], now_at: str | None = None, slept_at: int = -1
) -> Route:
    """Return a route, joined or not, with one of these places; it runs if there is any.

    `now_at` is the address it has now: that is kept while it is ready. A pod that was there when
    the workload last slept, at version `slept_at`, is none of this life.
    """
    backing = route.backing
    if backing is None or not backing.available:
        return route
    found = [one for one in places if one.pod is None or one.version > slept_at]
    if not found:
        return replace(
            route,
            state=State.RESUMING,
            incarnation=f"{route.uid}/{backing.life}",
            address=None,
        )
    place = min(found, key=lambda one: (one.address != now_at, ":" in one.address, one.address))
    return replace(
        route,
        state=State.RUNNING,
        incarnation=f"{route.uid}/{place.pod or f'{place.address}@{backing.life}'}",
        address=place.address,
    )
