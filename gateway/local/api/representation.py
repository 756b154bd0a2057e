"""How objects go out: as they are, or as rows of a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from gateway.local.api.negotiation import Representation, negotiate
from gateway.local.api.query import Query, include_object
from gateway.local.api.table import TablePrinter, metadata_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from gateway.local.api.definitions import Definition
    from gateway.local.api.listing import ObjectList
    from gateway.local.api.objects import JsonObject


#: On every answer: no intermediary may keep what the next write outdates.
UNCACHED = {"Cache-Control": "no-cache, private"}


class Printer(Protocol):
    """Turns what the store holds into what a client asked for."""

    def one(self, obj: JsonObject) -> JsonObject: ...

    def many(self, listed: ObjectList) -> JsonObject: ...

    def bookmark(self, obj: JsonObject) -> JsonObject: ...


class ObjectPrinter:
    """Objects as they are."""

    def __init__(self, definition: Definition) -> None:
        self._definition = definition

    def one(self, obj: JsonObject) -> JsonObject:
        return obj

    def many(self, listed: ObjectList) -> JsonObject:
        metadata, items = list_metadata(listed), listed.items
        if self._definition.built_in:
            # The list's own kind tells theirs; those of custom resources tell it nevertheless.
            items = [_without_kind(obj) for obj in items]
        else:
            metadata = {"continue": ""} | metadata
        return {
            "kind": self._definition.list_kind,
            "apiVersion": self._definition.api_version,
            "metadata": metadata,
            "items": items,
        }

    def bookmark(self, obj: JsonObject) -> JsonObject:
        return obj


class RowPrinter:
    """Objects as rows; over a stream only the first table names the columns."""

    def __init__(self, table: TablePrinter, now: Callable[[], datetime]) -> None:
        self._table = table
        self._now = now

    def one(self, obj: JsonObject) -> JsonObject:
        version = obj["metadata"].get("resourceVersion", "")
        return self._table.table([obj], {"resourceVersion": version}, self._now())

    def many(self, listed: ObjectList) -> JsonObject:
        return self._table.table(listed.items, list_metadata(listed), self._now())

    def bookmark(self, obj: JsonObject) -> JsonObject:
        return self.one(obj)


class MetadataPrinter:
    """Of each object its metadata alone (PartialObjectMetadata)."""

    def one(self, obj: JsonObject) -> JsonObject:
        return metadata_of(obj)

    def many(self, listed: ObjectList) -> JsonObject:
        return {
            "kind": "PartialObjectMetadataList",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": list_metadata(listed),
            "items": [metadata_of(obj) for obj in listed.items],
        }

    def bookmark(self, obj: JsonObject) -> JsonObject:
        return metadata_of(obj)


def _without_kind(obj: JsonObject) -> JsonObject:
    return {key: value for key, value in obj.items() if key not in ("kind", "apiVersion")}


def make_printer(
    definition: Definition, accept: str, query: Query, now: Callable[[], datetime]
) -> Printer:
    """The printer that an Accept header asks for. Raises `NotAcceptableError`."""
    match negotiate(accept):
        case Representation.TABLE:
            return RowPrinter(TablePrinter(definition.columns, include_object(query)), now)
        case Representation.METADATA:
            return MetadataPrinter()
        case Representation.OBJECT:
            return ObjectPrinter(definition)


def list_metadata(listed: ObjectList) -> JsonObject:
    """`metav1.ListMeta` of a page."""
    metadata: JsonObject = {"resourceVersion": listed.resource_version}
    if listed.continue_from:
        metadata["continue"] = listed.continue_from
    if listed.remaining is not None:
        metadata["remainingItemCount"] = listed.remaining
    return metadata
