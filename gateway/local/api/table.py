"""Objects as `meta.k8s.io/v1` Table, for `kubectl get`."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from gateway.local.api.jsonpath import find
from gateway.local.api.timestamps import human_age, parse_timestamp

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from gateway.local.api.definitions import PrinterColumn
    from gateway.local.api.objects import JsonObject


class IncludeObject(StrEnum):
    """What of its object a row carries."""

    NONE = "None"
    METADATA = "Metadata"
    OBJECT = "Object"


_NAME_COLUMN = {
    "name": "Name",
    "type": "string",
    "format": "name",
    "description": "Name must be unique within a namespace.",
    "priority": 0,
}


def metadata_of(obj: JsonObject) -> JsonObject:
    """The object's metadata alone."""
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": obj["metadata"],
    }


class TablePrinter:
    """Prints objects of one kind. Over a stream only its first table carries the column
    definitions, as those of the real server do.
    """

    def __init__(self, columns: tuple[PrinterColumn, ...], include: IncludeObject) -> None:
        self._columns = columns
        self._include = include
        self._has_printed = False

    def table(
        self, objects: Iterable[JsonObject], metadata: JsonObject, now: datetime
    ) -> JsonObject:
        """A table of rows; `metadata` is the list's, or that of the one object."""
        header = None if self._has_printed else [_NAME_COLUMN, *map(_header, self._columns)]
        self._has_printed = True
        return {
            "kind": "Table",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": metadata,
            "columnDefinitions": header,
            "rows": [self._row(obj, now) for obj in objects],
        }

    def _row(self, obj: JsonObject, now: datetime) -> JsonObject:
        cells = [
            obj["metadata"].get("name", ""),
            *(_cell(column, obj, now) for column in self._columns),
        ]
        row: JsonObject = {"cells": cells, "object": None}
        if self._include is IncludeObject.OBJECT:
            row["object"] = obj
        elif self._include is IncludeObject.METADATA:
            row["object"] = metadata_of(obj)
        return row


def _header(column: PrinterColumn) -> JsonObject:
    return {
        "name": column.name,
        "type": column.type,
        "format": column.format,
        "description": column.description,
        "priority": column.priority,
    }


def _cell(column: PrinterColumn, obj: JsonObject, now: datetime) -> object:
    try:
        found = find(column.json_path, obj)
    except ValueError:
        return None
    value = found[0] if found else None
    if value is None:
        return None
    if column.type == "date":
        return _age(value, now)
    if isinstance(value, str | int | float):
        return str(value) if column.type == "string" else value
    return ",".join(map(str, found)) if len(found) > 1 else str(value)


def _age(value: object, now: datetime) -> str:
    if not isinstance(value, str):
        return "<unknown>"
    try:
        return human_age((now - parse_timestamp(value)).total_seconds())
    except ValueError:
        return "<invalid>"
