"""What the native Sandbox accepts and refuses, field by field."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.local.api import SANDBOXES, InvalidError, JsonObject, ObjectStore

from .support import sandbox


def refused_fields(store: ObjectStore, obj: JsonObject) -> dict[str, str]:
    with pytest.raises(InvalidError) as refused:
        store.create(SANDBOXES, "default", obj)
    causes = refused.value.status()["details"]["causes"]
    return {cause["field"]: cause["reason"] for cause in causes}


def test_every_field_of_the_contract_is_kept(store: ObjectStore) -> None:
    spec: dict[str, Any] = {
        "desiredState": "Paused",
        "wakeOnTraffic": {"enabled": True, "timeout": "1h30m"},
        "standby": {
            "enabled": True,
            "idle_timeout": "5m",
            "ignore_source_cidrs": ["10.0.0.0/8"],
            "ignore_destination_ports": [22],
        },
        "shutdownTime": "2027-01-01T00:00:00Z",
        "ports": [80, 8080],
        "process": {
            "command": ["python", "-m", "http.server"],
            "env": {"A": "b"},
            "cwd": "/srv",
            "port": 8080,
            "pause": "stop",
        },
    }
    created = store.create(SANDBOXES, "default", sandbox(**spec))
    assert created["spec"] == spec
    status = {
        "phase": "Something new",
        "podIP": "127.0.0.1",
        "podUID": "u",
        "observedGeneration": 1,
        "conditions": [
            {
                "type": "Ready",
                "status": "True",
                "reason": "Up",
                "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
                "observedGeneration": 1,
            }
        ],
    }
    written = store.update_status(
        SANDBOXES, "default", "demo", created["metadata"]["uid"], lambda s: s.update(status)
    )
    assert written["status"] == status


def test_a_sandbox_without_a_spec_is_to_run(store: ObjectStore) -> None:
    obj = sandbox()
    del obj["spec"]
    assert store.create(SANDBOXES, "default", obj)["spec"] == {"desiredState": "Running"}


def test_a_null_where_a_default_is_takes_the_default(store: ObjectStore) -> None:
    created = store.create(SANDBOXES, "default", sandbox(desiredState=None))
    assert created["spec"]["desiredState"] == "Running"


@pytest.mark.parametrize("timeout", ["90s", "5m", "1h30m", "1.5h", "500ms", "2h0m10s"])
def test_durations_are_spelled_as_in_go(store: ObjectStore, timeout: str) -> None:
    wake = {"enabled": True, "timeout": timeout}
    store.create(SANDBOXES, "default", sandbox(wakeOnTraffic=wake))


@pytest.mark.parametrize("timeout", ["", "5", "5 m", "-5m", "5d", "m", "5m\n", "1e3s"])
def test_what_is_no_duration_is_refused(store: ObjectStore, timeout: str) -> None:
    wake = {"enabled": True, "timeout": timeout}
    standby = {"enabled": True, "idle_timeout": timeout}
    fields = refused_fields(store, sandbox(wakeOnTraffic=wake, standby=standby))
    assert fields == {
        "spec.wakeOnTraffic.timeout": "FieldValueInvalid",
        "spec.standby.idle_timeout": "FieldValueInvalid",
    }


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"desiredState": "running"}, "spec.desiredState", "FieldValueNotSupported"),
    ({"ports": "80"}, "spec.ports", "FieldValueTypeInvalid"),
    ({"wakeOnTraffic": {}}, "spec.wakeOnTraffic.enabled", "FieldValueRequired"),
    ({"wakeOnTraffic": {"enabled": "yes"}}, "spec.wakeOnTraffic.enabled", "FieldValueTypeInvalid"),
    ({"standby": {"idle_timeout": "5m"}}, "spec.standby.enabled", "FieldValueRequired"),
    ({"standby": {"enabled": True}}, "spec.standby", "FieldValueInvalid"),
    ({"shutdownTime": "tomorrow"}, "spec.shutdownTime", "FieldValueTypeInvalid"),
    ({"shutdownTime": "2027-13-01T00:00:00Z"}, "spec.shutdownTime", "FieldValueTypeInvalid"),
    ({"ports": [0]}, "spec.ports[0]", "FieldValueInvalid"),
    ({"ports": [80, 65536]}, "spec.ports[1]", "FieldValueInvalid"),
    ({"ports": ["80"]}, "spec.ports[0]", "FieldValueTypeInvalid"),
    ({"ports": [True]}, "spec.ports[0]", "FieldValueTypeInvalid"),
    ({"ports": [80, 80]}, "spec.ports[1]", "FieldValueDuplicate"),
    ({"process": {}}, "spec.process.command", "FieldValueRequired"),
    ({"process": {"command": []}}, "spec.process.command", "FieldValueInvalid"),
    (
        {"process": {"command": ["x"], "env": {"A": 1}}},
        "spec.process.env.A",
        "FieldValueTypeInvalid",
    ),
    ({"process": {"command": ["x"], "port": 0}}, "spec.process.port", "FieldValueInvalid"),
    ({"process": {"command": ["x"], "pause": "x"}}, "spec.process.pause", "FieldValueNotSupported"),
]


@pytest.mark.parametrize(("spec", "field", "reason"), REFUSED)
def test_a_refusal_names_the_field(
    store: ObjectStore, spec: dict[str, Any], field: str, reason: str
) -> None:
    causes = refused_fields(store, sandbox(**spec))
    assert causes == {field: reason}


def test_all_violations_are_reported_at_once(store: ObjectStore) -> None:
    obj = sandbox("Bad_Name", desiredState="x", ports=[0], labels={"a": "?"})
    assert refused_fields(store, obj).keys() == {
        "metadata.name",
        "metadata.labels",
        "spec.desiredState",
        "spec.ports[0]",
    }


def test_a_standby_that_is_off_needs_no_timeout(store: ObjectStore) -> None:
    store.create(SANDBOXES, "default", sandbox(standby={"enabled": False}))


def test_one_condition_of_a_type_is_enough(store: ObjectStore) -> None:
    uid = store.create(SANDBOXES, "default", sandbox())["metadata"]["uid"]
    ready = {"type": "Ready", "status": "True"}
    with pytest.raises(InvalidError, match="Duplicate"):
        store.update_status(
            SANDBOXES,
            "default",
            "demo",
            uid,
            lambda status: status.update(conditions=[ready, ready]),
        )


def test_a_null_means_that_nothing_is_given(store: ObjectStore) -> None:
    nulls = sandbox(desiredState=None, wakeOnTraffic=None, ports=None)
    created = store.create(SANDBOXES, "default", nulls)
    assert created["spec"] == {"desiredState": "Running"}
