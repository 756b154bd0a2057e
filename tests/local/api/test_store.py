"""The rules of writes: identity, versions, generations, finalizers, status."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from gateway.local.api import (
    EVENTS,
    LEASES,
    SANDBOXES,
    AlreadyExistsError,
    ApiDefinitionError,
    BadRequestError,
    ConflictError,
    EventType,
    FieldValidation,
    GroupResource,
    InvalidError,
    JsonObject,
    NotFoundError,
    ObjectStore,
    Preconditions,
    StoreLockedError,
    Subresource,
    WriteOptions,
    load_native_crd,
    new_event,
)

from .support import memory_store, sandbox

if TYPE_CHECKING:
    from pathlib import Path


def create(store: ObjectStore, obj: JsonObject) -> JsonObject:
    return store.create(SANDBOXES, "default", obj)


def versions(obj: JsonObject) -> tuple[int, int]:
    return int(obj["metadata"]["resourceVersion"]), obj["metadata"]["generation"]


def test_a_created_object_gets_identity_version_generation_and_defaults(store: ObjectStore) -> None:
    created = create(store, sandbox())
    metadata = created["metadata"]
    assert metadata["namespace"] == "default"
    assert len(metadata["uid"]) == 36
    assert datetime.fromisoformat(metadata["creationTimestamp"]).tzinfo is not None
    assert versions(created) == (1, 1)
    assert created["spec"] == {"desiredState": "Running"}
    assert store.get(SANDBOXES, "default", "demo") == created


def test_what_a_client_sends_as_server_owned_metadata_is_not_taken(store: ObjectStore) -> None:
    obj = sandbox(uid="mine")
    obj["metadata"] |= {
        "generation": 7,
        "deletionTimestamp": "2020-01-01T00:00:00Z",
        "creationTimestamp": "2020-01-01T00:00:00Z",
        "managedFields": [{"manager": "x"}],
    }
    metadata = create(store, obj)["metadata"]
    assert metadata["uid"] != "mine"
    assert metadata["generation"] == 1
    assert not metadata["creationTimestamp"].startswith("2020")
    assert not {"deletionTimestamp", "managedFields"} & metadata.keys()


def test_a_version_on_create_is_refused(store: ObjectStore) -> None:
    with pytest.raises(BadRequestError):
        create(store, sandbox(resourceVersion="1"))


def test_two_objects_of_one_name_cannot_be(store: ObjectStore) -> None:
    create(store, sandbox())
    with pytest.raises(AlreadyExistsError):
        create(store, sandbox())
    store.create(SANDBOXES, "other", sandbox())


def test_generate_name_makes_names_that_differ(store: ObjectStore) -> None:
    names = {create(store, sandbox("", generateName="job-"))["metadata"]["name"] for _ in range(20)}
    assert len(names) == 20
    assert all(name.startswith("job-") and len(name) == 9 for name in names)


def test_a_generated_name_stays_within_63_characters(store: ObjectStore) -> None:
    created = create(store, sandbox("", generateName="x" * 80))
    assert len(created["metadata"]["name"]) == 63


def test_an_object_without_any_name_is_refused(store: ObjectStore) -> None:
    with pytest.raises(InvalidError) as refused:
        create(store, sandbox(""))
    assert refused.value.details.causes[0].field == "metadata.name"


@pytest.mark.parametrize("namespace", ["Upper", "a.b", "-a", "x" * 64, "a_b"])
def test_a_namespace_must_be_a_dns_label(store: ObjectStore, namespace: str) -> None:
    with pytest.raises(InvalidError):
        store.create(SANDBOXES, namespace, sandbox())


def test_an_object_of_another_kind_namespace_or_name_is_refused(store: ObjectStore) -> None:
    created = create(store, sandbox())
    with pytest.raises(InvalidError):
        create(store, sandbox("x") | {"kind": "Pod"})
    with pytest.raises(BadRequestError):
        create(store, sandbox("x") | {"apiVersion": "v1"})
    elsewhere = sandbox("x")
    elsewhere["metadata"]["namespace"] = "other"
    with pytest.raises(BadRequestError):
        create(store, elsewhere)
    created["metadata"]["name"] = "renamed"
    with pytest.raises(BadRequestError):
        store.update(SANDBOXES, "default", "demo", created)


def test_an_unknown_resource_is_not_found(store: ObjectStore) -> None:
    with pytest.raises(NotFoundError):
        store.list(GroupResource("", "pods"))


def test_a_spec_change_bumps_version_and_generation(store: ObjectStore) -> None:
    created = create(store, sandbox())
    created["spec"]["desiredState"] = "Paused"
    updated = store.update(SANDBOXES, "default", "demo", created)
    assert versions(updated) == (2, 2)
    assert store.resource_version == "2"


def test_metadata_and_status_changes_bump_the_version_alone(store: ObjectStore) -> None:
    created = create(store, sandbox())
    created["metadata"]["labels"] = {"a": "b"}
    assert versions(store.update(SANDBOXES, "default", "demo", created)) == (2, 1)
    uid = created["metadata"]["uid"]
    updated = store.update_status(
        SANDBOXES, "default", "demo", uid, lambda status: status.update(phase="Running")
    )
    assert versions(updated) == (3, 1)
    assert updated["status"] == {"phase": "Running"}


def test_a_write_that_changes_nothing_leaves_the_version(store: ObjectStore) -> None:
    created = create(store, sandbox())
    assert store.update(SANDBOXES, "default", "demo", created) == created
    assert store.patch(SANDBOXES, "default", "demo", lambda obj: obj) == created
    uid = created["metadata"]["uid"]
    store.update_status(SANDBOXES, "default", "demo", uid, lambda _: None)
    store.update_status(SANDBOXES, "default", "demo", uid, lambda _: None)
    assert int(store.resource_version) <= 2


def test_an_update_from_an_old_version_conflicts(store: ObjectStore) -> None:
    created = create(store, sandbox())
    store.update(SANDBOXES, "default", "demo", created | {"spec": {"desiredState": "Paused"}})
    with pytest.raises(ConflictError):
        store.update(SANDBOXES, "default", "demo", created)


def test_an_update_must_say_its_version_unless_it_is_of_an_event(store: ObjectStore) -> None:
    created = create(store, sandbox())
    with pytest.raises(InvalidError) as refused:
        store.update(SANDBOXES, "default", "demo", sandbox())
    assert refused.value.details.causes[0].field == "metadata.resourceVersion"
    event = store.create(EVENTS, "default", an_event(created))
    name = event["metadata"]["name"]
    del event["metadata"]["resourceVersion"]
    event["count"] = 2
    assert store.update(EVENTS, "default", name, event)["count"] == 2
    lease = {"metadata": {"name": "l"}, "spec": {"holderIdentity": "a"}}
    store.create(LEASES, "default", lease)
    with pytest.raises(InvalidError):
        store.update(LEASES, "default", "l", lease)


def test_an_update_of_another_uid_conflicts(store: ObjectStore) -> None:
    created = create(store, sandbox())
    created["metadata"]["uid"] = "another"
    with pytest.raises(ConflictError):
        store.update(SANDBOXES, "default", "demo", created)


def test_creation_time_and_generation_cannot_be_written(store: ObjectStore) -> None:
    created = create(store, sandbox())
    proposed = {**created, "metadata": {**created["metadata"], "labels": {"a": "b"}}}
    proposed["metadata"] |= {"creationTimestamp": "2020-01-01T00:00:00Z", "generation": 9}
    updated = store.update(SANDBOXES, "default", "demo", proposed)
    for field in ("creationTimestamp", "generation", "uid"):
        assert updated["metadata"][field] == created["metadata"][field]


def test_the_main_resource_ignores_status_and_status_ignores_the_rest(store: ObjectStore) -> None:
    created = create(store, sandbox() | {"status": {"phase": "Running"}})
    assert "status" not in created
    proposed = created | {"status": {"phase": "Running"}, "spec": {"desiredState": "Paused"}}
    updated = store.update(SANDBOXES, "default", "demo", proposed)
    assert "status" not in updated
    proposed = updated | {"status": {"phase": "Paused"}, "spec": {"desiredState": "Running"}}
    proposed["metadata"]["labels"] = {"a": "b"}
    updated = store.update(SANDBOXES, "default", "demo", proposed, subresource=Subresource.STATUS)
    assert updated["status"] == {"phase": "Paused"}
    assert updated["spec"]["desiredState"] == "Paused"
    assert "labels" not in updated["metadata"]


def test_status_of_a_successor_under_the_same_name_is_not_written(store: ObjectStore) -> None:
    uid = create(store, sandbox())["metadata"]["uid"]
    store.delete(SANDBOXES, "default", "demo")
    create(store, sandbox())
    with pytest.raises(NotFoundError):
        store.update_status(SANDBOXES, "default", "demo", uid, lambda s: s.update(phase="x"))


def test_a_dry_run_answers_but_stores_nothing(store: ObjectStore) -> None:
    dry = WriteOptions(dry_run=True)
    assert "resourceVersion" not in store.create(SANDBOXES, "default", sandbox(), dry)["metadata"]
    with pytest.raises(NotFoundError):
        store.get(SANDBOXES, "default", "demo")
    created = create(store, sandbox())
    changed = created | {"spec": {"desiredState": "Paused"}}
    answer = store.update(SANDBOXES, "default", "demo", changed, options=dry)
    assert answer["spec"]["desiredState"] == "Paused"
    store.delete(SANDBOXES, "default", "demo", options=dry)
    assert store.get(SANDBOXES, "default", "demo") == created


def test_finalizers_hold_an_object_until_the_last_is_gone(store: ObjectStore) -> None:
    create(store, sandbox(finalizers=["example.dev/a", "example.dev/b"]))
    marked = store.delete(SANDBOXES, "default", "demo")
    assert marked["metadata"]["deletionTimestamp"]
    assert marked["metadata"]["deletionGracePeriodSeconds"] == 0
    assert store.delete(SANDBOXES, "default", "demo") == marked
    marked["metadata"]["finalizers"] = ["example.dev/b"]
    held = store.update(SANDBOXES, "default", "demo", marked)
    assert held["metadata"]["deletionTimestamp"]
    held["metadata"]["finalizers"] = []
    store.update(SANDBOXES, "default", "demo", held)
    with pytest.raises(NotFoundError):
        store.get(SANDBOXES, "default", "demo")


def test_a_terminating_object_takes_no_new_finalizer(store: ObjectStore) -> None:
    create(store, sandbox(finalizers=["example.dev/a"]))
    marked = store.delete(SANDBOXES, "default", "demo")
    marked["metadata"]["finalizers"].append("example.dev/b")
    with pytest.raises(InvalidError) as refused:
        store.update(SANDBOXES, "default", "demo", marked)
    assert refused.value.details.causes[0].reason == "FieldValueForbidden"


@pytest.mark.parametrize(
    "wrong", [Preconditions(uid="another"), Preconditions(resource_version="99")]
)
def test_a_precondition_that_fails_keeps_the_object(
    store: ObjectStore, wrong: Preconditions
) -> None:
    metadata = create(store, sandbox())["metadata"]
    with pytest.raises(ConflictError):
        store.delete(SANDBOXES, "default", "demo", wrong)
    right = Preconditions(metadata["uid"], metadata["resourceVersion"])
    store.delete(SANDBOXES, "default", "demo", right)


def test_unknown_fields_are_pruned_reported_or_refused_as_asked(store: ObjectStore) -> None:
    obj = sandbox(unknown=1, process={"command": ["x"], "prt": 2})
    obj["metadata"]["extra"] = "x"
    with pytest.raises(BadRequestError, match=r'unknown field "spec\.process\.prt"'):
        create(store, obj)
    heard: list[str] = []
    options = WriteOptions(field_validation=FieldValidation.WARN, warn=heard.append)
    created = store.create(SANDBOXES, "default", obj, options)
    assert sorted(heard) == [
        'unknown field "metadata.extra"',
        'unknown field "spec.process.prt"',
        'unknown field "spec.unknown"',
    ]
    assert "unknown" not in created["spec"]
    assert "prt" not in created["spec"]["process"]
    ignoring = WriteOptions(field_validation=FieldValidation.IGNORE, warn=heard.append)
    store.create(SANDBOXES, "other", obj, ignoring)
    assert len(heard) == 3


def test_what_is_no_json_is_refused(store: ObjectStore) -> None:
    nested: object = "end"
    for _ in range(300):
        nested = [nested]
    for value in (object(), nested):
        with pytest.raises(BadRequestError):
            create(store, sandbox(process=value))


def test_old_events_expire(tmp_path: Path) -> None:
    clock = [datetime(2026, 1, 1, tzinfo=UTC)]
    store = memory_store(now=lambda: clock[0])
    about = create(store, sandbox())
    store.create(EVENTS, "default", an_event(about))
    clock[0] += timedelta(minutes=30)
    store.create(EVENTS, "default", an_event(about))
    clock[0] += timedelta(minutes=31)
    assert store.expire(EVENTS, 3600.0) == 1
    assert len(store.list(EVENTS).items) == 1
    store.close()


def an_event(about: JsonObject) -> JsonObject:
    return new_event(
        about,
        type=EventType.WARNING,
        reason="Started",
        message="The process runs.",
        component="tests",
        now=datetime.now(UTC),
    )


def test_objects_history_and_version_survive_reopening(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    first = ObjectStore(path, [load_native_crd()])
    created = create(first, sandbox())
    create(first, sandbox("gone"))
    first.delete(SANDBOXES, "default", "gone")
    opened_first = first.created
    first.close()
    second = ObjectStore(path, [load_native_crd()])
    assert second.resource_version == "3"
    assert second.get(SANDBOXES, "default", "demo") == created
    assert second.created == opened_first
    assert create(second, sandbox("next"))["metadata"]["resourceVersion"] == "4"
    second.close()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_compacted_store_keeps_its_version_over_reopening(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    first = ObjectStore(path, [load_native_crd()])
    create(first, sandbox())
    first.compact()
    first.close()
    second = ObjectStore(path, [load_native_crd()])
    assert second.resource_version == "1"
    second.close()


def test_a_store_has_one_owner(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    first = ObjectStore(path, [load_native_crd()])
    with pytest.raises(StoreLockedError):
        ObjectStore(path, [load_native_crd()])
    first.close()
    ObjectStore(path, [load_native_crd()]).close()


def test_namespaces_are_default_and_those_that_hold_objects(store: ObjectStore) -> None:
    store.create(SANDBOXES, "team", sandbox())
    assert store.namespaces() == ["default", "team"]


def test_a_definition_that_cannot_be_served_is_refused() -> None:
    twice = [load_native_crd(), load_native_crd()]
    cluster = load_native_crd()
    cluster["spec"]["scope"] = "Cluster"
    unserved = load_native_crd()
    unserved["spec"]["versions"][0]["served"] = False
    for crds in (twice, [cluster], [unserved], [{"kind": "Pod"}], [{"kind": cluster["kind"]}]):
        with pytest.raises(ApiDefinitionError):
            ObjectStore(":memory:", crds)


@pytest.mark.parametrize(
    "time", ["2026-01-01T00:00:00Z", "2026-01-01T00:00:00.123Z", "2026-01-01T00:00:00.123456789Z"]
)
def test_times_of_a_lease_have_microseconds(store: ObjectStore, time: str) -> None:
    lease = {"metadata": {"name": "l"}, "spec": {"renewTime": time}}
    with pytest.raises(BadRequestError):
        store.create(LEASES, "default", lease)


def test_an_event_lies_where_its_object_does(store: ObjectStore) -> None:
    event = {"metadata": {"name": "e"}, "involvedObject": {"name": "demo"}}
    with pytest.raises(InvalidError):
        store.create(EVENTS, "elsewhere", event)
    store.create(EVENTS, "default", event)
