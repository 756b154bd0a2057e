"""ObjectMeta: types, names, labels, annotations, finalizers, owners."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.local.api import SANDBOXES, BadRequestError, InvalidError, ObjectStore

from .support import sandbox

OWNER = {"apiVersion": "v1", "kind": "X", "name": "x", "uid": "u"}


def with_metadata(**metadata: Any) -> dict[str, Any]:
    obj = sandbox()
    obj["metadata"] |= metadata
    return obj


@pytest.mark.parametrize(
    "metadata",
    [
        {"labels": {"a": 1}},
        {"labels": {"a": True}},
        {"labels": []},
        {"annotations": {"a": {}}},
        {"name": 5},
        {"generation": "1"},
        {"generation": True},
        {"finalizers": "x"},
        {"finalizers": [1]},
        {"ownerReferences": ["x"]},
    ],
)
def test_a_value_of_a_wrong_type_is_a_bad_request(
    store: ObjectStore, metadata: dict[str, Any]
) -> None:
    with pytest.raises(BadRequestError):
        store.create(SANDBOXES, "default", with_metadata(**metadata))


def test_metadata_must_be_an_object(store: ObjectStore) -> None:
    with pytest.raises(BadRequestError):
        store.create(SANDBOXES, "default", sandbox() | {"metadata": "x"})


@pytest.mark.parametrize(
    ("metadata", "field"),
    [
        ({"name": "Upper"}, "metadata.name"),
        ({"name": "a" * 254}, "metadata.name"),
        ({"name": "a\n"}, "metadata.name"),
        ({"labels": {"a b": "x"}}, "metadata.labels"),
        ({"labels": {"a/b/c": "x"}}, "metadata.labels"),
        ({"labels": {"UPPER.example/x": "x"}}, "metadata.labels"),
        ({"labels": {"a": "x" * 64}}, "metadata.labels"),
        ({"labels": {"a": "-x"}}, "metadata.labels"),
        ({"annotations": {"a b": "x"}}, "metadata.annotations"),
        ({"annotations": {"a": "x" * 262_144}}, "metadata.annotations"),
        ({"finalizers": ["a b"]}, "metadata.finalizers"),
        ({"ownerReferences": [{**OWNER, "uid": ""}]}, "metadata.ownerReferences.uid"),
        (
            {"ownerReferences": [{**OWNER, "apiVersion": "a/b/c"}]},
            "metadata.ownerReferences.apiVersion",
        ),
        ({"ownerReferences": [{**OWNER, "kind": "Event"}]}, "metadata.ownerReferences"),
        (
            {
                "ownerReferences": [
                    {**OWNER, "controller": True},
                    {**OWNER, "uid": "v", "controller": True},
                ]
            },
            "metadata.ownerReferences",
        ),
    ],
)
def test_a_value_that_breaks_a_rule_names_its_field(
    store: ObjectStore, metadata: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidError) as refused:
        store.create(SANDBOXES, "default", with_metadata(**metadata))
    assert [cause.field for cause in refused.value.details.causes] == [field]


def test_what_follows_the_rules_is_kept(store: ObjectStore) -> None:
    metadata = {
        "labels": {"a": "", "example.dev/role": "x.y_Z-1"},
        "annotations": {"Example.dev/Note": "anything: \n \u00e9", "a": ""},
        "finalizers": ["example.dev/f"],
        "ownerReferences": [OWNER | {"controller": True, "blockOwnerDeletion": False}],
    }
    created = store.create(SANDBOXES, "default", with_metadata(**metadata))
    assert {key: created["metadata"][key] for key in metadata} == metadata


def test_null_means_left_out(store: ObjectStore) -> None:
    created = store.create(SANDBOXES, "default", with_metadata(labels=None, creationTimestamp=None))
    assert "labels" not in created["metadata"]
    assert created["metadata"]["creationTimestamp"]
