"""What one reflector brings, turned into routes of the registry.

Pages of a list are entered as they come: each route in them is true as of the list's version, so
only what is missing has to wait for the list to be complete, and no raw object is held. What has
not changed since it was last heard of, which is most of any list but the first, is not judged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.cluster.answers import EventType
from gateway.dialects.base import identity
from gateway.sandbox.errors import MalformedObject

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gateway.cluster.intake import Intake
    from gateway.dialects.base import RawObject


class Feed:
    """The sink of one reflector: one dialect in one namespace (None: all)."""

    def __init__(self, intake: Intake, namespace: str | None = None) -> None:
        self._intake = intake
        self._namespace = namespace
        self._listed: set[str] = set()
        self._malformed: set[str] = set()

    def begin(self) -> None:
        """A list begins."""
        self._listed, self._malformed = set(), set()

    def page(self, items: Iterable[RawObject]) -> None:
        """Enter a part of the list."""
        intake = self._intake
        for raw in items:
            route = intake.known(raw)
            if route is None and (route := intake.take(raw)) is not None:
                intake.registry.unseen(route.key)
            if route is not None:
                self._listed.add(route.uid)
            else:
                self._malformed.add(self._uid_of(raw))

    def complete(self, version: int) -> Iterator[None]:
        """Remove what the list lacked, in short steps for the caller to take."""
        intake = self._intake
        name, namespace = intake.dialect.name, self._namespace
        yield from intake.registry.retain(name, self._listed, version, namespace)
        intake.keep_malformed(self._namespace, self._malformed)
        self.begin()

    def event(self, kind: EventType, raw: RawObject) -> None:
        """Take news of one object."""
        if kind is EventType.DELETED:
            self._intake.drop(raw)
        else:
            self._intake.take(raw)

    def forget(self) -> None:
        """The API is not installed any more."""
        intake = self._intake
        intake.registry.forget(intake.dialect.name, self._namespace)
        intake.keep_malformed(self._namespace, set())

    def _uid_of(self, raw: RawObject) -> str:
        try:
            return identity(raw, self._intake.dialect.name)[1]
        except MalformedObject:
            return ""
