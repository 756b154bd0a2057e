"""Reading and changing sandboxes, one call at a time."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import quote

from gateway.cluster.answers import page_of
from gateway.cluster.errors import ApiNotInstalled
from gateway.dialects.base import RawObject, required_text, section
from gateway.sandbox.errors import Conflict, ObjectGone

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from gateway.cluster.direct.connection import Connection
    from gateway.dialects.base import Patch, Resource

PAGE: Final = 500
#: Writers that get in between are few: losing more often than this means something fights us.
ATTEMPTS: Final = 5

T = TypeVar("T")


class DirectClient:
    """A synchronous client for the few calls that commands make. Raises ClusterError."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._served: dict[Resource, Resource] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._connection.close()

    def list(
        self, resource: Resource, namespace: str | None = None, label_selector: str = ""
    ) -> list[RawObject]:
        """Return all objects of one namespace (None: of all); raise ApiNotInstalled."""
        query = {"labelSelector": label_selector} if label_selector else {}
        try:
            return self._first_served(
                resource, lambda one: _objects(self._connection, _collection(one, namespace), query)
            )
        except ObjectGone as error:
            raise ApiNotInstalled(str(error)) from error

    def get(self, resource: Resource, namespace: str, name: str) -> RawObject:
        """Return one object."""
        return self._first_served(
            resource,
            lambda one: self._connection.request("GET", _object_path(one, namespace, name)),
        )

    def _first_served(self, resource: Resource, read: Callable[[Resource], T]) -> T:
        """Read in the first version that has it, which is the one to write in; raise ObjectGone."""
        missing = ObjectGone()
        for candidate in resource.candidates:
            try:
                found = read(candidate)
            except ObjectGone as error:
                missing = error
                continue
            self._served[resource] = candidate
            return found
        raise missing

    def patch(self, resource: Resource, namespace: str, name: str, patch: Patch) -> RawObject:
        """Send a merge patch; return the object as it is then."""
        return self._connection.request(
            "PATCH",
            _object_path(self._served.get(resource, resource), namespace, name),
            body=json.dumps(patch).encode(),
            content_type="application/merge-patch+json",
        )

    def change(
        self,
        resource: Resource,
        raw: RawObject,
        decide: Callable[[RawObject], Patch | None],
    ) -> RawObject:
        """Write what `decide` makes of the object, if the object is still as it was judged.

        Where somebody else wrote in between, the object is read and judged again. None from
        `decide` writes nothing. Another object that took the name meanwhile raises ObjectGone.
        """
        metadata = section(raw, "metadata")
        namespace, name, uid = (
            required_text(metadata, one, "metadata") for one in ("namespace", "name", "uid")
        )
        for _ in range(ATTEMPTS):
            patch = decide(raw)
            if patch is None:
                return raw
            try:
                return self.patch(resource, namespace, name, _guarded(patch, raw))
            except Conflict:
                raw = self.get(resource, namespace, name)
            if section(raw, "metadata").get("uid") != uid:
                raise ObjectGone("another object has taken this name")
        raise Conflict(f"the object changed {ATTEMPTS} times while it was written")


def _objects(connection: Connection, path: str, query: dict[str, str]) -> list[RawObject]:
    """Read all pages of a collection."""
    asked = query | {"limit": str(PAGE)}
    found: list[RawObject] = []
    while True:
        page = page_of(connection.request("GET", path, query=asked))
        found += page.items
        if page.next_token is None:
            return found
        asked["continue"] = page.next_token


def _guarded(patch: Patch, raw: RawObject) -> Patch:
    version = required_text(section(raw, "metadata"), "resourceVersion", "metadata")
    return patch | {"metadata": patch.get("metadata", {}) | {"resourceVersion": version}}


def _collection(resource: Resource, namespace: str | None) -> str:
    within = f"/namespaces/{quote(namespace, safe='')}" if namespace else ""
    return f"{resource.path}{within}/{resource.plural}"


def _object_path(resource: Resource, namespace: str, name: str) -> str:
    return f"{_collection(resource, namespace)}/{quote(name, safe='')}"
