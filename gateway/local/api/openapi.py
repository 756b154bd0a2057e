"""OpenAPI documents: what kubectl needs to validate on the server, and to explain.

kubectl leaves validation to a server whose PATCH has a `fieldValidation` parameter, finds it by
the kind that each operation is marked with, and explains a resource by the schema that bears the
same mark (`x-kubernetes-group-version-kind`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.local.api.discovery import VERSION

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.local.api.definitions import Definition
    from gateway.local.api.objects import JsonObject

_OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_INFO = {"title": "sandbox-gateway local", "version": VERSION["gitVersion"]}
_STRING = {"type": "string"}
_STRING_MAP = {"type": "object", "additionalProperties": _STRING}

_OBJECT_META_SCHEMA: JsonObject = {
    "description": "ObjectMeta is metadata that all persisted objects have.",
    "type": "object",
    "properties": {
        "name": _STRING | {"description": "Unique within a namespace."},
        "generateName": _STRING | {"description": "Prefix for a name that the server makes."},
        "namespace": _STRING | {"description": "The space in which the name is unique."},
        "labels": _STRING_MAP | {"description": "Keys and values to select objects by."},
        "annotations": _STRING_MAP | {"description": "Keys and values for tools."},
        "finalizers": {"type": "array", "items": _STRING, "description": "Hold up deletion."},
        "ownerReferences": {"type": "array", "items": {"type": "object"}},
        "uid": _STRING | {"description": "Tells objects of one name apart. Read-only."},
        "resourceVersion": _STRING | {"description": "The version of this object. Read-only."},
        "generation": {"type": "integer", "description": "Counts changes of spec. Read-only."},
        "creationTimestamp": _STRING | {"format": "date-time", "description": "Read-only."},
        "deletionTimestamp": _STRING | {"format": "date-time", "description": "Read-only."},
    },
}


_FIELD_VALIDATION = {"name": "fieldValidation", "in": "query"}
_DRY_RUN = {"name": "dryRun", "in": "query"}


def root(definitions: Iterable[Definition]) -> JsonObject:
    """The document at `/openapi/v3`: where each group version is described."""
    prefixes = {path_prefix(definition) for definition in definitions}
    return {
        "paths": {
            prefix: {"serverRelativeURL": f"/openapi/v3/{prefix}"} for prefix in sorted(prefixes)
        }
    }


def path_prefix(definition: Definition) -> str:
    """`api/v1` or `apis/{group}/{version}`."""
    return f"apis/{definition.api_version}" if definition.resource.group else "api/v1"


def document_v3(definitions: Iterable[Definition]) -> JsonObject:
    """The document of one group version (OpenAPI 3.0)."""
    served = list(definitions)
    query = [{**parameter, "schema": _STRING} for parameter in (_DRY_RUN, _FIELD_VALIDATION)]
    return {
        "openapi": "3.0.0",
        "info": _INFO,
        "paths": _paths(served, query),
        "components": {"schemas": _schemas(served, "#/components/schemas/")},
    }


def document_v2(definitions: Iterable[Definition]) -> JsonObject:
    """The document at `/openapi/v2`: everything (Swagger 2.0)."""
    served = list(definitions)
    query = [{**parameter, **_STRING} for parameter in (_DRY_RUN, _FIELD_VALIDATION)]
    return {
        "swagger": "2.0",
        "info": _INFO,
        "paths": _paths(served, query),
        "definitions": _schemas(served, "#/definitions/"),
    }


def _schemas(definitions: list[Definition], reference: str) -> JsonObject:
    schemas = {_OBJECT_META: _OBJECT_META_SCHEMA}
    for definition in definitions:
        root_schema = definition.schema.open_api
        metadata = {"description": "Standard object metadata.", "$ref": reference + _OBJECT_META}
        common = {"apiVersion": _STRING, "kind": _STRING}
        schemas[_schema_name(definition)] = {
            **root_schema,
            "properties": common | root_schema.get("properties", {}) | {"metadata": metadata},
            "x-kubernetes-group-version-kind": [_kind(definition)],
        }
    return schemas


def _schema_name(definition: Definition) -> str:
    """The group in reverse DNS order, as in the real server's documents."""
    group = ".".join(reversed((definition.resource.group or "core.api.k8s.io").split(".")))
    return f"{group}.{definition.version}.{definition.kind}"


def _kind(definition: Definition) -> JsonObject:
    return {
        "group": definition.resource.group,
        "version": definition.version,
        "kind": definition.kind,
    }


def _paths(definitions: list[Definition], query: list[JsonObject]) -> JsonObject:
    paths: JsonObject = {}
    for definition in definitions:
        base = f"/{path_prefix(definition)}"
        collection = f"{base}/namespaces/{{namespace}}/{definition.resource.plural}"
        paths[f"{base}/{definition.resource.plural}"] = _operations(definition, query, "get")
        paths[collection] = _operations(definition, query, "get", "post", "delete")
        paths[f"{collection}/{{name}}"] = _operations(
            definition, query, "get", "put", "patch", "delete"
        )
    return paths


def _operations(definition: Definition, query: list[JsonObject], *methods: str) -> JsonObject:
    operations: JsonObject = {}
    for method in methods:
        operation: JsonObject = {
            "responses": {"200": {"description": "OK"}},
            "x-kubernetes-group-version-kind": _kind(definition),
        }
        if method in {"post", "put", "patch"}:
            operation["parameters"] = query
        operations[method] = operation
    return operations
