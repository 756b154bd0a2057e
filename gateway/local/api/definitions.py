"""What the server serves: resource definitions, read from CustomResourceDefinition documents.

The built-in Events and Leases are described by documents of the same form, so that one
mechanism validates, prunes, prints and documents everything.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

import yaml

from gateway.local.api.errors import ApiDefinitionError
from gateway.local.api.schema import ObjectSchema

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.local.api.objects import JsonObject


@dataclass(frozen=True, slots=True, order=True)
class GroupResource:
    """Names a kind of object, whatever its version: `sandboxes` in `sandbox-gateway.dev`."""

    group: str
    plural: str

    def __str__(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural


SANDBOXES = GroupResource("sandbox-gateway.dev", "sandboxes")
EVENTS = GroupResource("", "events")
LEASES = GroupResource("coordination.k8s.io", "leases")


@dataclass(frozen=True, slots=True)
class PrinterColumn:
    """One column of `kubectl get` (`additionalPrinterColumns`)."""

    name: str
    type: str
    json_path: str
    description: str = ""
    format: str = ""
    priority: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Definition:
    """One served resource in the one version that is served and stored."""

    resource: GroupResource
    version: str
    singular: str
    kind: str
    list_kind: str
    short_names: tuple[str, ...]
    categories: tuple[str, ...]
    built_in: bool
    has_status: bool
    schema: ObjectSchema
    columns: tuple[PrinterColumn, ...]
    selectable_fields: tuple[str, ...]

    @property
    def api_version(self) -> str:
        group = self.resource.group
        return f"{group}/{self.version}" if group else self.version

    @property
    def qualified_kind(self) -> str:
        """`Sandbox.sandbox-gateway.dev`, as error messages name it."""
        return f"{self.kind}.{self.resource.group}" if self.resource.group else self.kind

    @property
    def counts_generations(self) -> bool:
        """Custom resources count spec changes; Events and Leases have no spec to observe."""
        return not self.built_in

    @property
    def unconditional_update(self) -> bool:
        """Whether PUT may come without a resourceVersion: for Events alone, as in Kubernetes."""
        return self.resource == EVENTS


def load_native_crd() -> JsonObject:
    """The CustomResourceDefinition of `sandbox-gateway.dev/v1alpha1`, as packaged."""
    path = resources.files("gateway.dialects") / "crds" / "native.yaml"
    document: JsonObject = yaml.safe_load(path.read_text(encoding="utf-8"))
    return document


def load_definitions(crds: Iterable[JsonObject]) -> dict[GroupResource, Definition]:
    """The built-in definitions and those of `crds`, by resource.

    Raises `ApiDefinitionError` for a document that cannot be served as it stands, and for two
    documents of one resource.
    """
    served = {definition.resource: definition for definition in built_in_definitions()}
    for crd in crds:
        definition = parse_definition(crd, built_in=False)
        if definition.resource in served:
            raise ApiDefinitionError(f"{definition.resource} is defined twice")
        served[definition.resource] = definition
    return served


@cache
def built_in_definitions() -> tuple[Definition, ...]:
    path = resources.files("gateway.local.api") / "builtin.yaml"
    documents = yaml.safe_load_all(path.read_text(encoding="utf-8"))
    return tuple(parse_definition(document, built_in=True) for document in documents)


def parse_definition(crd: JsonObject, *, built_in: bool) -> Definition:
    """Read one CustomResourceDefinition (apiextensions.k8s.io/v1).

    Raises `ApiDefinitionError` where faithful service is impossible: another kind of document,
    cluster scope, or several served versions (conversion is not implemented here).
    """
    if crd.get("kind") != "CustomResourceDefinition":
        raise ApiDefinitionError("not a CustomResourceDefinition")
    try:
        return _definition(crd["spec"], built_in=built_in)
    except (KeyError, TypeError) as error:
        raise ApiDefinitionError(f"malformed CustomResourceDefinition: {error!r}") from error


def _definition(spec: JsonObject, *, built_in: bool) -> Definition:
    names = spec["names"]
    version = _served_version(spec)
    if spec["scope"] != "Namespaced":
        raise ApiDefinitionError(f"{names['plural']}: only namespaced resources are served")
    return Definition(
        resource=GroupResource(spec["group"], names["plural"]),
        version=version["name"],
        singular=names.get("singular", names["kind"].lower()),
        kind=names["kind"],
        list_kind=names.get("listKind", f"{names['kind']}List"),
        short_names=tuple(names.get("shortNames", ())),
        categories=tuple(names.get("categories", ())),
        built_in=built_in,
        has_status="status" in version.get("subresources", {}),
        schema=ObjectSchema(version["schema"]["openAPIV3Schema"]),
        columns=_columns(version.get("additionalPrinterColumns")),
        selectable_fields=tuple(
            field["jsonPath"].removeprefix(".") for field in version.get("selectableFields", ())
        ),
    )


def _served_version(spec: JsonObject) -> JsonObject:
    served: list[JsonObject] = [version for version in spec["versions"] if version["served"]]
    if len(served) != 1 or not served[0]["storage"]:
        raise ApiDefinitionError(
            f"{spec['names']['plural']}: exactly one version, served and stored, is supported"
        )
    return served[0]


def _columns(declared: list[dict[str, Any]] | None) -> tuple[PrinterColumn, ...]:
    """Kubernetes prints the age of a resource that declares no columns of its own."""
    if not declared:
        return (PrinterColumn("Age", "date", ".metadata.creationTimestamp"),)
    return tuple(
        PrinterColumn(
            name=column["name"],
            type=column["type"],
            json_path=column["jsonPath"],
            description=column.get("description", ""),
            format=column.get("format", ""),
            priority=column.get("priority", 0),
        )
        for column in declared
    )
