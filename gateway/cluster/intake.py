"""Raw objects of one dialect, judged and entered into the registry.

A watch must outlive any object. One that cannot be judged is reported and loses its route, since
an address from an earlier reading may belong to somebody else by now.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from gateway.dialects.base import identity, version_of
from gateway.sandbox.errors import MalformedObject
from gateway.sandbox.model import Key

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from gateway.cluster.metrics import ClusterCounters
    from gateway.dialects.base import Dialect, RawObject
    from gateway.sandbox.model import Problem, Route
    from gateway.sandbox.registry import Registry

_log = logging.getLogger(__name__)

#: Malformed objects and reported problems remembered. More than that is a broken controller, and
#: the log has said so.
MEMORY: Final = 1_000
#: Characters of an object's own text that a report quotes.
QUOTED: Final = 300

#: What a dialect raises only through a mistake of ours. One object must not stop the others.
JUDGING_MISTAKES: Final = (
    TypeError,
    ValueError,
    AttributeError,
    LookupError,
    ArithmeticError,
    RecursionError,
)

T = TypeVar("T", bound="Hashable")


@dataclass(frozen=True, slots=True)
class Malformed:
    """An object that has no route because it cannot be judged. `key`, `uid`: where readable."""

    dialect: str
    key: Key | None
    uid: str
    version: int | None
    field: str
    message: str


class _Recent(Generic[T]):
    """The last `MEMORY` values that were seen."""

    def __init__(self) -> None:
        self._seen: OrderedDict[T, None] = OrderedDict()

    def add(self, value: T) -> bool:
        """Remember a value; return whether it is new."""
        new = value not in self._seen
        self._seen[value] = None
        self._seen.move_to_end(value)
        if len(self._seen) > MEMORY:
            self._seen.popitem(last=False)
        return new


class Intake:
    """Judges one dialect's objects; all that read them share it."""

    def __init__(
        self,
        dialect: Dialect,
        registry: Registry,
        counters: ClusterCounters,
        join: Callable[[Route], Route] | None = None,
    ) -> None:
        """`join` gives a route what its object does not tell."""
        self.dialect = dialect
        self.registry = registry
        self._counters = counters
        self._join = join
        self._malformed: OrderedDict[str, Malformed] = OrderedDict()
        self._told: _Recent[tuple[str, Problem]] = _Recent()
        counters.malformed.prime(dialect.name)
        counters.problems.prime(dialect.name)

    @property
    def malformed(self) -> tuple[Malformed, ...]:
        """The objects that have no route because they cannot be judged, `MEMORY` at most."""
        return tuple(self._malformed.values())

    def take(self, raw: RawObject) -> Route | None:
        """Enter an object into the registry; None if it cannot be judged."""
        try:
            route = self.dialect.route(raw)
        except MalformedObject as error:
            self._refuse(raw, error)
            return None
        except JUDGING_MISTAKES as error:
            _log.exception("the %s dialect failed over an object", self.dialect.name)
            self._refuse(raw, MalformedObject("object", type(error).__name__))
            return None
        self._malformed.pop(route.uid, None)
        if route.problems:
            self._report_problems(route)
        if self._join is not None:
            route = self._join(route)
        self.registry.apply(route)
        return route

    def known(self, raw: RawObject) -> Route | None:
        """Return the route that was made of this very state of the object, if it is there."""
        try:
            metadata = raw["metadata"]
            route = self.registry.get(
                Key(self.dialect.name, metadata["namespace"], metadata["name"])
            )
        except (KeyError, TypeError):
            return None  # the dialect tells what is wrong with it
        if route is None or route.uid != metadata.get("uid"):
            return None
        return route if str(route.version) == metadata.get("resourceVersion") else None

    def drop(self, raw: RawObject) -> None:
        """Take the news that an object was deleted, or that it has left the selection."""
        key, uid, version = self._identify(raw)
        if key is None:
            _log.warning("a deleted %s object has no readable identity", self.dialect.name)
            return
        self._malformed.pop(uid, None)
        self._remove(key, uid, version)

    def keep_malformed(self, namespace: str | None, uids: set[str]) -> None:
        """After a complete list: forget the malformed that it lacked."""
        for uid, one in list(self._malformed.items()):
            within = one.key is None or namespace in (None, one.key.namespace)
            if within and uid not in uids:
                del self._malformed[uid]

    def _refuse(self, raw: RawObject, error: MalformedObject) -> None:
        self._counters.malformed.inc(self.dialect.name)
        key, uid, version = self._identify(raw)
        message = str(error)[:QUOTED]
        before = self._malformed.pop(uid, None)
        found = Malformed(self.dialect.name, key, uid, version, error.field[:QUOTED], message)
        self._malformed[uid] = found
        if len(self._malformed) > MEMORY:
            self._malformed.popitem(last=False)
        if before != found:
            _log.warning("%s %s is not routed: %r", self.dialect.name, key or "object", message)
        if key is not None:
            self._remove(key, uid, version)

    def _identify(self, raw: RawObject) -> tuple[Key | None, str, int | None]:
        try:
            key, uid = identity(raw, self.dialect.name)
        except MalformedObject:
            return None, "", None
        try:
            return key, uid, version_of(raw)
        except MalformedObject:
            return key, uid, None

    def _remove(self, key: Key, uid: str, version: int | None) -> None:
        known = self.registry.get(key)
        if version is None and known is not None:
            version = known.version
        if version is not None:
            self.registry.remove(key, uid, version)

    def _report_problems(self, route: Route) -> None:
        for problem in route.problems:
            if self._told.add((route.uid, problem)):
                self._counters.problems.inc(self.dialect.name)
                _log.warning("%s %s: %s", self.dialect.name, route.key, problem)
