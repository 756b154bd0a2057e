"""CRDs of others: the parts of structural schemas that the native one does not use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gateway.local.api import GroupResource, InvalidError, JsonObject, ObjectStore, load_native_crd

if TYPE_CHECKING:
    from collections.abc import Iterator

THINGS = GroupResource("example.dev", "things")
SCHEMA: JsonObject = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "properties": {
                "amount": {"x-kubernetes-int-or-string": True},
                "maybe": {"type": "string", "nullable": True, "enum": ["a", "b"]},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                "template": {"type": "object", "x-kubernetes-embedded-resource": True},
                "items": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {
                            "mode": {"type": "string", "default": "x"},
                            "size": {"type": "integer", "format": "int32"},
                        },
                    },
                },
                "byName": {
                    "type": "object",
                    "additionalProperties": {
                        "type": "object",
                        "properties": {"mode": {"type": "string", "default": "y"}},
                    },
                },
                "any": {"type": "object", "additionalProperties": True},
                "half": {"type": "number", "minimum": 0, "exclusiveMinimum": True},
                "choice": {
                    "type": "object",
                    "oneOf": [{"required": ["a"]}, {"required": ["b"]}],
                    "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
                },
            },
        },
        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    },
}
CRD: JsonObject = {
    "kind": "CustomResourceDefinition",
    "spec": {
        "group": "example.dev",
        "scope": "Namespaced",
        "names": {"kind": "Thing", "plural": "things"},
        "versions": [
            {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": SCHEMA}}
        ],
    },
}


@pytest.fixture
def things() -> Iterator[ObjectStore]:
    store = ObjectStore(":memory:", [load_native_crd(), CRD])
    yield store
    store.close()


def create(store: ObjectStore, **spec: Any) -> JsonObject:
    obj = {"apiVersion": "example.dev/v1", "kind": "Thing", "metadata": {"name": "t"}}
    return store.create(THINGS, "default", obj | {"spec": spec})


def test_names_that_a_crd_leaves_out_are_derived(things: ObjectStore) -> None:
    definition = things.definition(THINGS)
    assert (definition.singular, definition.list_kind) == ("thing", "ThingList")
    assert [column.name for column in definition.columns] == ["Age"]


def test_without_a_status_subresource_status_is_a_part_like_any(things: ObjectStore) -> None:
    obj = {"apiVersion": "example.dev/v1", "kind": "Thing", "metadata": {"name": "t"}}
    created = things.create(THINGS, "default", obj | {"status": {"any": 1}})
    assert created["status"] == {"any": 1}
    changed = things.update(THINGS, "default", "t", created | {"status": {"any": 2}})
    assert changed["metadata"]["generation"] == 2


SPEC: dict[str, Any] = {
    "amount": "5%",
    "maybe": None,
    "free": {"a": {"b": [1]}},
    "template": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}},
    "any": {"x": [1, {"y": 2}]},
    "half": 0.5,
    "choice": {"a": "x"},
}


def test_open_ended_parts_are_kept_as_they_are(things: ObjectStore) -> None:
    assert create(things, **SPEC)["spec"] == SPEC


def test_defaults_reach_into_lists_and_maps(things: ObjectStore) -> None:
    created = create(things, items=[{}, {"mode": "z"}], byName={"n": {}})
    assert created["spec"] == {
        "items": [{"mode": "x"}, {"mode": "z"}],
        "byName": {"n": {"mode": "y"}},
    }


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"amount": 1.5}, "spec.amount"),
        ({"maybe": "c"}, "spec.maybe"),
        ({"items": [{"size": 2**31}]}, "spec.items[0].size"),
        ({"half": 0}, "spec.half"),
        ({"choice": {}}, "spec.choice"),
        ({"choice": {"a": "x", "b": "x"}}, "spec.choice"),
        ({"free": True}, "spec.free"),
    ],
)
def test_values_that_the_schema_forbids(
    things: ObjectStore, spec: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidError) as refused:
        create(things, **spec)
    assert [cause.field for cause in refused.value.details.causes] == [field]
