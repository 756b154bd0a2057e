"""Discovery documents: which groups, versions and resources there are.

Aggregated discovery is not offered; a client that asks for it gets, as its Accept allows, the
plain documents (media type `application/json` without parameters) and works with them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.local.api.definitions import Definition
    from gateway.local.api.objects import JsonObject

_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
_STATUS_VERBS = ("get", "patch", "update")

# The API machinery that this server imitates; clients judge their version skew by it.
VERSION = {
    "major": "1",
    "minor": "37",
    "gitVersion": "v1.37.0+sandbox-gateway-local",
    "gitCommit": "",
    "gitTreeState": "",
    "buildDate": "",
    "goVersion": "",
    "compiler": "",
    "platform": "",
}

_NAMESPACES = {
    "name": "namespaces",
    "singularName": "namespace",
    "namespaced": False,
    "kind": "Namespace",
    "verbs": ["get", "list"],
    "shortNames": ["ns"],
}


def core_versions() -> JsonObject:
    """The document at `/api`. Which address serves whom it leaves out: there is one."""
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [],
    }


def group_list(definitions: Iterable[Definition]) -> JsonObject:
    """The document at `/apis`."""
    groups = {
        definition.resource.group: _without_kind(group(definition))
        for definition in definitions
        if definition.resource.group
    }
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": list(groups.values())}


def _without_kind(document: JsonObject) -> JsonObject:
    return {key: value for key, value in document.items() if key not in ("kind", "apiVersion")}


def group(definition: Definition) -> JsonObject:
    """The document at `/apis/{group}`."""
    version = {"groupVersion": definition.api_version, "version": definition.version}
    return {
        "kind": "APIGroup",
        "apiVersion": "v1",
        "name": definition.resource.group,
        "versions": [version],
        "preferredVersion": version,
    }


def resource_list(api_version: str, definitions: Iterable[Definition]) -> JsonObject:
    """The document at `/api/v1` and `/apis/{group}/{version}`."""
    resources = [_NAMESPACES] if api_version == "v1" else []
    for definition in definitions:
        resources += _resources(definition)
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": api_version,
        "resources": resources,
    }


def _resources(definition: Definition) -> list[JsonObject]:
    plural = definition.resource.plural
    main: JsonObject = {
        "name": plural,
        "singularName": definition.singular,
        "namespaced": True,
        "kind": definition.kind,
        "verbs": list(_VERBS),
    }
    if definition.short_names:
        main["shortNames"] = list(definition.short_names)
    if definition.categories:
        main["categories"] = list(definition.categories)
    if not definition.has_status:
        return [main]
    status = {
        "name": f"{plural}/status",
        "singularName": "",
        "namespaced": True,
        "kind": definition.kind,
        "verbs": list(_STATUS_VERBS),
    }
    return [main, status]
