"""Patch documents and their content types."""

from __future__ import annotations

from functools import partial

import orjson
import pytest

from gateway.local.api import (
    EVENTS,
    LEASES,
    SANDBOXES,
    ApiError,
    BadRequestError,
    InvalidError,
    JsonObject,
    ObjectStore,
)
from gateway.local.api.errors import UnsupportedMediaTypeError
from gateway.local.api.patches import PatchType, accepted_patch_type, apply_patch

CURRENT = {"metadata": {"labels": {"a": "b"}}, "spec": {"x": 1, "list": [1, 2]}}


def patched(kind: PatchType, document: object) -> JsonObject:
    return apply_patch(kind, orjson.dumps(document), CURRENT)


def test_a_merge_patch_merges_objects_replaces_lists_and_removes_nulls() -> None:
    document = {"metadata": {"labels": {"a": None, "c": "d"}}, "spec": {"list": [3]}}
    assert patched(PatchType.MERGE, document) == {
        "metadata": {"labels": {"c": "d"}},
        "spec": {"x": 1, "list": [3]},
    }
    assert CURRENT["spec"] == {"x": 1, "list": [1, 2]}


def test_a_merge_patch_leaves_no_null_in_what_it_adds() -> None:
    assert patched(PatchType.MERGE, {"new": {"a": None, "b": {"c": None}}})["new"] == {"b": {}}
    assert patched(PatchType.MERGE, {"spec": {"x": {"y": None}}})["spec"]["x"] == {}


def test_a_json_patch_is_applied_in_order() -> None:
    operations = [
        {"op": "test", "path": "/spec/x", "value": 1},
        {"op": "add", "path": "/spec/list/-", "value": 3},
        {"op": "remove", "path": "/metadata/labels/a"},
    ]
    assert patched(PatchType.JSON, operations) == {
        "metadata": {"labels": {}},
        "spec": {"x": 1, "list": [1, 2, 3]},
    }
    assert CURRENT["spec"] == {"x": 1, "list": [1, 2]}


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "test", "path": "/spec/x", "value": 2},
        {"op": "remove", "path": "/spec/nothing"},
        {"op": "replace", "path": "/spec/nothing", "value": 1},
    ],
)
def test_a_json_patch_that_does_not_apply_is_invalid(operation: JsonObject) -> None:
    with pytest.raises(InvalidError):
        patched(PatchType.JSON, [operation])


@pytest.mark.parametrize(
    ("kind", "raw"),
    [
        (PatchType.JSON, b"{}"),
        (PatchType.JSON, b"["),
        (PatchType.JSON, b"[1]"),
        (PatchType.JSON, b'[{"op": "x", "path": "/a"}]'),
        (PatchType.JSON, b'[{"op": "add"}]'),
        (PatchType.JSON, b'[{"op": "add", "path": "a", "value": 1}]'),
        (PatchType.JSON, b'[{"op": "add", "path": "/a"}]'),
        (PatchType.JSON, b'[{"op": "add", "path": 1, "value": 1}]'),
        (PatchType.JSON, b'[{"op": "add", "path": "/spec/list/x", "value": 1}]'),
        (PatchType.JSON, b'[{"op": "add", "path": "/spec/x/y", "value": 1}]'),
        (PatchType.JSON, b'[{"op": "replace", "path": "", "value": 1}]'),
        (PatchType.JSON, b"[" + b",".join([b"{}"] * 10_001) + b"]"),
        (PatchType.MERGE, b"[]"),
        (PatchType.MERGE, b"1"),
        (PatchType.MERGE, b"{"),
        (PatchType.MERGE, b""),
    ],
)
def test_what_is_no_patch_is_refused(kind: PatchType, raw: bytes) -> None:
    with pytest.raises(ApiError) as refused:
        apply_patch(kind, raw, CURRENT)
    assert refused.value.code in (400, 422)


def test_a_custom_resource_takes_no_strategic_merge(store: ObjectStore) -> None:
    definition = store.definition(SANDBOXES)
    for kind in (PatchType.STRATEGIC, PatchType.APPLY, "application/json", ""):
        with pytest.raises(UnsupportedMediaTypeError):
            accepted_patch_type(definition, kind)
    assert accepted_patch_type(definition, PatchType.MERGE) is PatchType.MERGE


@pytest.mark.parametrize("resource", [EVENTS, LEASES])
def test_a_built_in_takes_strategic_merge_where_it_means_merge(
    store: ObjectStore, resource: object
) -> None:
    definition = store.definition(LEASES if resource == LEASES else EVENTS)
    assert accepted_patch_type(definition, PatchType.STRATEGIC) is PatchType.STRATEGIC
    assert patched(PatchType.STRATEGIC, {"spec": {"x": None}})["spec"] == {"list": [1, 2]}
    documents: list[JsonObject] = [
        {"metadata": {"finalizers": ["x"]}},
        {"metadata": {"ownerReferences": [{}]}},
        {"spec": {"$patch": "replace"}},
        {"spec": {"list": [{"$patch": "delete"}]}},
    ]
    for document in documents:
        with pytest.raises(UnsupportedMediaTypeError):
            patched(PatchType.STRATEGIC, document)


def test_a_patch_cannot_take_away_what_makes_the_object(store: ObjectStore) -> None:
    store.create(LEASES, "default", {"metadata": {"name": "l"}})
    nothings: list[JsonObject] = [{"metadata": {}}, {"metadata": None}]
    for nothing in nothings:
        with pytest.raises(BadRequestError):
            store.patch(LEASES, "default", "l", partial(_changed, nothing))


def _changed(change: JsonObject, obj: JsonObject) -> JsonObject:
    return obj | change
