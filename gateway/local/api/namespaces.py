"""Namespaces, read-only: `default`, and every one that holds objects.

A namespace is nothing but a name here. It comes into being with its first object and cannot be
created, changed, deleted or watched.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from gateway.local.api.definitions import Definition, GroupResource, PrinterColumn
from gateway.local.api.errors import BadRequestError, Details, NotFoundError
from gateway.local.api.listing import ListOptions, ObjectList
from gateway.local.api.schema import ObjectSchema
from gateway.local.api.timestamps import format_timestamp

if TYPE_CHECKING:
    from gateway.local.api.objects import JsonObject
    from gateway.local.api.store import ObjectStore

_SPACE = uuid.UUID("8f5b3f0e-6c1f-4a0e-9d5a-2f6f3b1f6f51")

NAMESPACES = Definition(
    resource=GroupResource("", "namespaces"),
    version="v1",
    singular="namespace",
    kind="Namespace",
    list_kind="NamespaceList",
    short_names=("ns",),
    categories=(),
    built_in=True,
    has_status=False,
    schema=ObjectSchema({"type": "object"}),
    columns=(
        PrinterColumn("Status", "string", ".status.phase"),
        PrinterColumn("Age", "date", ".metadata.creationTimestamp"),
    ),
    selectable_fields=(),
)


def list_namespaces(store: ObjectStore, options: ListOptions) -> ObjectList:
    """All that the selector picks, on one page. Raises `BadRequestError` for a token: there is
    never a second page.
    """
    if options.continue_from:
        raise BadRequestError("continue key is not valid")
    found = (_namespace(store, name) for name in store.namespaces())
    items = [obj for obj in found if options.selector.matches(obj)]
    return ObjectList(items, store.resource_version)


def get_namespace(store: ObjectStore, name: str) -> JsonObject:
    """Raises `NotFoundError` for a namespace that holds nothing."""
    if name not in store.namespaces():
        details = Details(name=name, kind="namespaces")
        raise NotFoundError(f'namespaces "{name}" not found', details)
    return _namespace(store, name)


def _namespace(store: ObjectStore, name: str) -> JsonObject:
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": name,
            "uid": str(uuid.uuid5(_SPACE, name)),
            "resourceVersion": store.resource_version,
            "creationTimestamp": format_timestamp(store.created),
            "labels": {"kubernetes.io/metadata.name": name},
        },
        "spec": {"finalizers": ["kubernetes"]},
        "status": {"phase": "Active"},
    }
