"""The object store: Kubernetes' verbs, without HTTP.

All methods are synchronous and take well under a millisecond each for objects of usual size; a
store belongs to one event loop's thread. Objects given out are copies, objects taken in are not
kept. Errors are `ApiError`s, as the wire would show them.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import orjson

from gateway.local.api.database import Change, ChangeType, Database
from gateway.local.api.definitions import Definition, GroupResource, load_definitions
from gateway.local.api.errors import (
    AlreadyExistsError,
    BadRequestError,
    Cause,
    Details,
    NotFoundError,
    too_large,
)
from gateway.local.api.listing import ListOptions, ObjectList, check_reached, list_objects
from gateway.local.api.objectmeta import is_dns_label
from gateway.local.api.objects import OBJECT_LIMIT, JsonObject, clone, decode, encode, meta
from gateway.local.api.selectors import EVERYTHING, Selector
from gateway.local.api.strategy import (
    Preconditions,
    Subresource,
    WriteOptions,
    check_identity,
    check_same,
    decode_object,
    invalid,
    is_finalized,
    prepare_create,
    prepare_deletion,
    prepare_update,
    validate_object,
)
from gateway.local.api.subscription import Subscription
from gateway.local.api.timestamps import parse_timestamp

if TYPE_CHECKING:
    from pathlib import Path

_SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_SUFFIX_LENGTH = 5
_GENERATED_BASE = 63 - _SUFFIX_LENGTH
_NAME_ATTEMPTS = 8
_DEFAULTS = WriteOptions()
_ANY = Preconditions()

Mutation = Callable[[JsonObject], JsonObject | None]
"""Makes the proposed object of a copy of the stored one; may change it in place instead."""


class ObjectStore:
    """Objects of the built-in resources and of `crds`, in a SQLite file or in memory.

    `path` may be ":memory:". `history_limit` is how many writes a watch can be behind at least.
    Raises `ApiDefinitionError` for a CRD that cannot be served and `StoreLockedError` if another
    process has the file open.
    """

    def __init__(
        self,
        path: Path | str,
        crds: Iterable[JsonObject],
        *,
        history_limit: int = 10_000,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._definitions = load_definitions(crds)
        self._database = Database(path, history_limit=history_limit)
        self._now = now
        self._subscriptions: set[Subscription] = set()

    def close(self) -> None:
        """End all subscriptions and close the file."""
        for subscription in list(self._subscriptions):
            subscription.close()
        self._database.close()

    @property
    def definitions(self) -> list[Definition]:
        """What is served, sorted by group and plural."""
        return [self._definitions[resource] for resource in sorted(self._definitions)]

    def definition(self, resource: GroupResource) -> Definition:
        """Raises `NotFoundError` for a resource that is not served."""
        found = self._definitions.get(resource)
        if found is None:
            raise NotFoundError("the server could not find the requested resource")
        return found

    @property
    def resource_version(self) -> str:
        """The version of the newest write."""
        return str(self._database.current)

    @property
    def created(self) -> datetime:
        """When this store was first opened."""
        return parse_timestamp(self._database.created)

    @property
    def subscriptions(self) -> int:
        """How many subscriptions are open."""
        return len(self._subscriptions)

    def namespaces(self) -> list[str]:
        """`default`, and every namespace that holds objects, sorted."""
        return sorted({"default", *self._database.namespaces()})

    def compact(self, version: int | None = None) -> None:
        """Forget the history up to a version (of all, if None): older watches get 410."""
        self._database.compact(self._database.current if version is None else version)

    def check_reached(self, version: int) -> None:
        """Raises `FutureVersionError` for a version that the store has not reached."""
        check_reached(self._database, version)

    def get(self, resource: GroupResource, namespace: str, name: str) -> JsonObject:
        """The object. Raises `NotFoundError`."""
        definition = self.definition(resource)
        raw = self._database.read(resource, namespace, name)
        if raw is None:
            raise _not_found(definition, name)
        return decode(raw)

    def list(self, resource: GroupResource, options: ListOptions | None = None) -> ObjectList:
        """A page of objects; without options, all there are."""
        self.definition(resource)
        return list_objects(self._database, resource, options or ListOptions())

    def subscribe(
        self,
        resource: GroupResource,
        since: int | None = None,
        *,
        namespace: str = "",
        selector: Selector = EVERYTHING,
        replays: bool = False,
    ) -> Subscription:
        """Follow a resource: the present objects as ADDED and then every change, or, with
        `since`, the changes after that version unless it `replays`. Close it when done.

        Raises `ExpiredError` for a version that was compacted away.
        """
        self.definition(resource)
        subscription = Subscription(
            self._database,
            resource,
            namespace=namespace,
            selector=selector,
            since=since,
            replays=replays,
            on_close=self._subscriptions.discard,
        )
        self._subscriptions.add(subscription)
        return subscription

    def create(
        self,
        resource: GroupResource,
        namespace: str,
        obj: JsonObject,
        options: WriteOptions = _DEFAULTS,
    ) -> JsonObject:
        """Store a new object. Raises `AlreadyExistsError`, `InvalidError`, `BadRequestError`."""
        definition = self.definition(resource)
        obj = _copy(obj)
        decode_object(definition, obj, options)
        check_identity(namespace, "", obj)
        name = self._pick_name(definition, namespace, meta(obj))
        prepare_create(definition, namespace, obj, uid=str(uuid.uuid4()), now=self._now())
        _check_namespace(definition, name, namespace)
        validate_object(definition, obj)
        if self._database.read(resource, namespace, name) is not None:
            raise _already_exists(definition, name)
        return self._write(ChangeType.ADDED, definition, obj, None, options)

    def update(
        self,
        resource: GroupResource,
        namespace: str,
        name: str,
        obj: JsonObject,
        *,
        subresource: Subresource = Subresource.MAIN,
        options: WriteOptions = _DEFAULTS,
    ) -> JsonObject:
        """Replace an object, or its status alone. Raises `ConflictError` if the object has
        another version (or uid) than the one that `obj` says it was made from.
        """
        definition = self.definition(resource)
        stored = self.get(resource, namespace, name)
        obj = _copy(obj)
        decode_object(definition, obj, options)
        check_same(definition, stored, obj)
        return self._replace(definition, stored, obj, subresource, options)

    def patch(
        self,
        resource: GroupResource,
        namespace: str,
        name: str,
        change: Mutation,
        *,
        subresource: Subresource = Subresource.MAIN,
        options: WriteOptions = _DEFAULTS,
    ) -> JsonObject:
        """Read, change and write back in one step; what `change` raises passes through.

        It conflicts only if `change` itself sets another resourceVersion or uid.
        """
        definition = self.definition(resource)
        stored = self.get(resource, namespace, name)
        copy = clone(stored)
        proposed = change(copy)
        proposed = _copy(copy if proposed is None else proposed)
        decode_object(definition, proposed, options)
        return self._replace(definition, stored, proposed, subresource, options)

    def update_status(
        self,
        resource: GroupResource,
        namespace: str,
        name: str,
        uid: str,
        mutate: Callable[[JsonObject], None],
    ) -> JsonObject:
        """Change the status, in place, of the very object with this uid.

        Raises `NotFoundError` if it is gone, also when another one took its name since.
        """

        def change(obj: JsonObject) -> None:
            if obj["metadata"]["uid"] != uid:
                raise _not_found(self.definition(resource), name)
            mutate(obj.setdefault("status", {}))

        return self.patch(resource, namespace, name, change, subresource=Subresource.STATUS)

    def delete(
        self,
        resource: GroupResource,
        namespace: str,
        name: str,
        preconditions: Preconditions = _ANY,
        *,
        options: WriteOptions = _DEFAULTS,
    ) -> JsonObject:
        """Delete an object, or mark it if finalizers hold it; returns its last state.

        Raises `NotFoundError`, and `ConflictError` if a precondition does not hold.
        """
        definition = self.definition(resource)
        stored = self.get(resource, namespace, name)
        preconditions.check(definition, stored)
        if not meta(stored).get("finalizers"):
            return self._write(ChangeType.DELETED, definition, stored, stored, options)
        if "deletionTimestamp" in meta(stored):
            return stored
        marked = prepare_deletion(definition, stored, self._now())
        return self._write(ChangeType.MODIFIED, definition, marked, stored, options)

    def expire(self, resource: GroupResource, max_age: float) -> int:
        """Delete the objects that were created more than `max_age` seconds ago; says how many."""
        oldest = self._now() - timedelta(seconds=max_age)
        stale = [
            meta(obj)
            for obj in self.list(resource).items
            if parse_timestamp(meta(obj)["creationTimestamp"]) < oldest
        ]
        for metadata in stale:
            self.delete(resource, metadata["namespace"], metadata["name"])
        return len(stale)

    def _replace(
        self,
        definition: Definition,
        stored: JsonObject,
        proposed: JsonObject,
        subresource: Subresource,
        options: WriteOptions,
    ) -> JsonObject:
        namespace, name = meta(stored)["namespace"], meta(stored)["name"]
        check_identity(namespace, name, proposed)
        updated = prepare_update(definition, stored, proposed, subresource)
        validate_object(definition, updated, stored)
        if updated == stored:
            return stored
        if is_finalized(updated):
            # What is stored last is the state before: the real server's watch shows that one too.
            self._write(ChangeType.DELETED, definition, stored, stored, options)
            return updated
        return self._write(ChangeType.MODIFIED, definition, updated, stored, options)

    def _write(
        self,
        kind: ChangeType,
        definition: Definition,
        obj: JsonObject,
        stored: JsonObject | None,
        options: WriteOptions,
    ) -> JsonObject:
        if options.dry_run:
            return obj
        version = self._database.current + 1
        metadata = {**meta(obj), "resourceVersion": str(version)}
        obj = {**obj, "metadata": metadata}
        previous = None if stored is None else encode(stored)
        namespace, name = metadata["namespace"], metadata["name"]
        body = encode(obj)
        if len(body) > OBJECT_LIMIT:
            raise too_large()
        change = Change(version, definition.resource, kind, namespace, name, body, previous)
        self._database.commit(change)
        for subscription in self._subscriptions:
            if subscription.resource == definition.resource:
                subscription.notify()
        return obj

    def _pick_name(self, definition: Definition, namespace: str, metadata: JsonObject) -> str:
        """The name asked for, or a free one made of `generateName`."""
        if metadata.get("name"):
            return str(metadata["name"])
        base = metadata.get("generateName")
        if not base:
            message = "Required value: name or generateName is required"
            cause = Cause("FieldValueRequired", "metadata.name", message)
            raise invalid(definition, "", [cause])
        for _ in range(_NAME_ATTEMPTS):
            suffix = "".join(secrets.choice(_SUFFIX_ALPHABET) for _ in range(_SUFFIX_LENGTH))
            name = metadata["name"] = base[:_GENERATED_BASE] + suffix
            if self._database.read(definition.resource, namespace, name) is None:
                break
        return str(metadata["name"])


def _copy(obj: JsonObject) -> JsonObject:
    """A copy of what came from outside. Raises `BadRequestError` if it is not plain JSON."""
    try:
        return clone(obj)
    except (orjson.JSONEncodeError, orjson.JSONDecodeError) as error:
        raise BadRequestError(f"the object cannot be stored as JSON: {error}") from error


def _check_namespace(definition: Definition, name: str, namespace: str) -> None:
    if not is_dns_label(namespace):
        message = f'Invalid value: "{namespace}": must be a lowercase RFC 1123 label'
        cause = Cause("FieldValueInvalid", "metadata.namespace", message)
        raise invalid(definition, name, [cause])


def _not_found(definition: Definition, name: str) -> NotFoundError:
    return NotFoundError(
        f'{definition.resource} "{name}" not found',
        Details(name, definition.resource.group, definition.resource.plural),
    )


def _already_exists(definition: Definition, name: str) -> AlreadyExistsError:
    return AlreadyExistsError(
        f'{definition.resource} "{name}" already exists',
        Details(name, definition.resource.group, definition.resource.plural),
    )
