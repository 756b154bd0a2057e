"""API objects as their controllers write them, and the means to change one field."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

if TYPE_CHECKING:
    from gateway.dialects.base import Patch, RawObject

#: 2026-11-22T10:20:30Z
NOW = 1_795_342_830.0

Path = tuple[str | int, ...]


def kruise_object() -> RawObject:
    """Return an OpenKruise Sandbox that runs and is ready; every field that is read is there."""
    return {
        "apiVersion": "agents.kruise.io/v1alpha1",
        "kind": "Sandbox",
        "metadata": {
            "namespace": "team-a",
            "name": "box",
            "uid": "uid-1",
            "resourceVersion": "41",
            "deletionTimestamp": None,
            "labels": {"agents.kruise.io/sandbox-claimed": "true"},
            "annotations": {"agents.kruise.io/runtime-access-token": "secret"},
            "ownerReferences": [{"kind": "SandboxSet", "name": "pool", "controller": True}],
        },
        "spec": {
            "paused": False,
            "pauseTime": "2026-11-22T11:00:00Z",
            "shutdownTime": "2026-11-23T00:00:00Z",
            "autoPausePolicy": {"resume": {"onIngressTraffic": {"pauseTimeout": "10m"}}},
        },
        "status": {
            "phase": "Running",
            "podInfo": {"podIP": "10.0.0.7", "podUID": "pod-1", "nodeName": "node-1"},
            "sandboxIp": "10.0.0.8",
            "conditions": [
                {"type": "SandboxPaused", "status": "False"},
                {
                    "type": "Ready",
                    "status": "True",
                    "lastTransitionTime": "2026-11-22T10:00:00Z",
                },
            ],
        },
    }


def deployment_object(name: str = "box", **changes: Any) -> RawObject:
    """Return a Deployment that opted in and is available; `changes` are whole sections."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "namespace": "team-a",
            "name": name,
            "uid": f"uid-{name}",
            "generation": 3,
            "resourceVersion": "41",
            "deletionTimestamp": None,
            "labels": {"sandbox-gateway.dev/enabled": "true"},
            "annotations": {
                "sandbox-gateway.dev/replicas": "2",
                "sandbox-gateway.dev/service": "front",
            },
        },
        "spec": {"replicas": 2, "template": {"spec": {"containers": []}}},
        "status": {"observedGeneration": 3, "replicas": 2, "availableReplicas": 1},
    } | changes


def native_object() -> RawObject:
    """Return a native Sandbox that runs and is ready; every field that is read is there."""
    return {
        "apiVersion": "sandbox-gateway.dev/v1alpha1",
        "kind": "Sandbox",
        "metadata": {
            "namespace": "team-a",
            "name": "box",
            "uid": "uid-1",
            "resourceVersion": "41",
            "deletionTimestamp": None,
            "labels": {},
            "annotations": {},
        },
        "spec": {
            "desiredState": "Running",
            "wakeOnTraffic": {"enabled": True, "timeout": "90s"},
            "standby": {
                "enabled": True,
                "idle_timeout": "5m",
                "ignore_source_cidrs": ["10.0.0.0/8"],
                "ignore_destination_ports": [9100],
            },
            "shutdownTime": "2026-11-23T00:00:00Z",
            "ports": [8080, 9000],
            "process": {"port": 8080},
        },
        "status": {
            "phase": "Running",
            "podIP": "10.0.0.7",
            "podUID": "pod-1",
            "nodeName": "node-1",
            "conditions": [
                {
                    "type": "Ready",
                    "status": "True",
                    "lastTransitionTime": "2026-11-22T10:00:00Z",
                }
            ],
        },
    }


def agent_object(version: str = "v1beta1") -> RawObject:
    """Return an agent-sandbox Sandbox that runs and is ready; every field that is read is there."""
    wanted: RawObject = {"operatingMode": "Running"} if version == "v1beta1" else {"replicas": 1}
    return {
        "apiVersion": f"agents.x-k8s.io/{version}",
        "kind": "Sandbox",
        "metadata": {
            "namespace": "team-a",
            "name": "box",
            "uid": "uid-1",
            "generation": 3,
            "resourceVersion": "41",
            "deletionTimestamp": None,
            "labels": {},
            "annotations": {"sandbox-gateway.dev/wake-on-traffic": "true"},
        },
        "spec": wanted | {"shutdownTime": "2026-11-23T00:00:00Z"},
        "status": {
            "podIPs": ["10.0.0.7", "fd00::7"],
            "nodeName": "node-1",
            "conditions": [
                {
                    "type": "Suspended",
                    "status": "False",
                    "reason": "NotSuspended",
                    "observedGeneration": 3,
                },
                {
                    "type": "Ready",
                    "status": "True",
                    "reason": "DependenciesReady",
                    "observedGeneration": 3,
                    "lastTransitionTime": "2026-11-22T10:00:00Z",
                },
            ],
        },
    }


_ABSENT: Any = object()


def with_field(raw: RawObject, path: Path, value: object) -> RawObject:
    """Return a copy with this field set; objects on the way are made where they are missing."""
    changed = deepcopy(raw)
    at: Any = changed
    for step in path[:-1]:
        if isinstance(at, dict) and at.get(step) is None:
            at[step] = {}
        at = at[step]
    if value is _ABSENT:
        at.pop(path[-1], None)
    else:
        at[path[-1]] = value
    return changed


def without_field(raw: RawObject, path: Path) -> RawObject:
    """Return a copy in which this field is missing."""
    return with_field(raw, path, _ABSENT)


def with_condition(raw: RawObject, kind: str, status: str | None) -> RawObject:
    """Return a copy in which the condition has this status; None: there is no such condition."""
    others = [one for one in raw["status"]["conditions"] if one["type"] != kind]
    added = [] if status is None else [{"type": kind, "status": status}]
    return with_field(raw, ("status", "conditions"), others + added)


def with_annotations(raw: RawObject, **values: str) -> RawObject:
    """Return a copy with just these of our annotations; `_` stands for `-`."""
    named = {f"sandbox-gateway.dev/{name.replace('_', '-')}": text for name, text in values.items()}
    return with_field(raw, ("metadata", "annotations"), named)


def merged(raw: RawObject, patch: Patch) -> RawObject:
    """Return the object after a JSON merge patch (RFC 7396), written out as the RFC has it."""

    def merge(target: object, change: object) -> object:
        if not isinstance(change, dict):
            return change
        result = dict(target) if isinstance(target, dict) else {}
        for name, value in change.items():
            if value is None:
                result.pop(name, None)
            else:
                result[name] = merge(result.get(name), value)
        return result

    patched = merge(raw, json.loads(json.dumps(patch)))
    assert isinstance(patched, dict)
    return patched


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=6)
    | st.sampled_from(
        [
            "True", "true", "Paused", "Suspended", "Running",
            "2026-11-22T10:20:30Z", "10.0.0.9", "9" * 5000,
        ]
    ),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["type", "status", "kind", "a"]), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


def paths_of(raw: object, at: Path = ()) -> list[Path]:
    """Return where every value of an object lies, sections included."""
    steps: list[tuple[str | int, object]] = []
    if isinstance(raw, dict):
        steps = list(raw.items())
    elif isinstance(raw, list):
        steps = list(enumerate(raw))
    below = [path for step, value in steps for path in paths_of(value, (*at, step))]
    return ([at] if at else []) + below
