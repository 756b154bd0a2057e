"""Native Sandboxes as a cluster with a hundred thousand of them would hold, by their number.

Every text that differs between sandboxes in a real cluster differs here, addresses too: equal ones
could be kept once, and a route would look smaller than it is. Only the first `REACHABLE` share the
address at which the upstream listens. Pure.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

GROUP_VERSION: Final = "sandbox-gateway.dev/v1alpha1"
#: The path of the collection, for all namespaces.
PATH: Final = f"/apis/{GROUP_VERSION}/sandboxes"

#: These many, from number 0, can take traffic.
REACHABLE: Final = 1_000
#: Sandboxes of one namespace.
PER_NAMESPACE: Final = 1_000
#: What stands for the resourceVersion in a template, and for a heartbeat that moves along with it.
VERSION: Final = b"@version@"

_PLATFORM: Final = "platform.example.com"
_CREATED: Final = "2025-03-01T08:00:00Z"
_RUNNING: Final = (b'"desiredState":"Running"', b'"phase":"Running"')
_PAUSED: Final = (b'"desiredState":"Paused"', b'"phase":"Paused"')


def namespace_of(number: int) -> str:
    return f"team-{number // PER_NAMESPACE:04d}"


def name_of(number: int) -> str:
    return f"sandbox-{number:07d}"


def id_of(number: int) -> str:
    """Return the id by which requests name a sandbox: its label."""
    return "i" + hashlib.blake2s(b"%d" % number, digest_size=10).hexdigest()


def template(number: int) -> bytes:
    """Return the JSON of a running sandbox, with `VERSION` where its version stands."""
    chance = hashlib.shake_128(b"%d" % number).hexdigest(99)
    return _FORM % {
        b"name": name_of(number).encode(),
        b"namespace": namespace_of(number).encode(),
        b"id": id_of(number).encode(),
        b"user": chance[:6].encode(),
        b"uid": _uuid(chance[6:38]),
        b"pod": _uuid(chance[38:70]),
        b"token": chance[70:134].encode(),
        b"image": chance[134:198].encode(),
        b"end": _end(number),
        b"address": _address(number),
    }


def render(one: bytes, version: int) -> bytes:
    """Return the JSON of a template at a version."""
    return one.replace(VERSION, b"%d" % version)


def paused(one: bytes) -> bytes:
    """Return the template of the same sandbox, put to sleep."""
    for awake, asleep in zip(_RUNNING, _PAUSED, strict=True):
        one = one.replace(awake, asleep)
    return one


def _address(number: int) -> bytes:
    if number < REACHABLE:
        return b"127.0.0.1"
    return b"127.%d.%d.%d" % (1 + (number >> 16), number >> 8 & 255, number & 255)


def _end(number: int) -> bytes:
    """Return a time of its own for each of two million."""
    minutes, second = divmod(number, 60)
    hours, minute = divmod(minutes, 60)
    return b"2099-01-%02dT%02d:%02d:%02dZ" % (1 + hours // 24 % 28, hours % 24, minute, second)


def _uuid(text: str) -> bytes:
    parts = (text[:8], text[8:12], "4" + text[13:16], "8" + text[17:20], text[20:])
    return "-".join(parts).encode()


def _metadata() -> dict[str, Any]:
    return {
        "annotations": {
            f"{_PLATFORM}/heartbeat": VERSION.decode(),
            f"{_PLATFORM}/image": "python-3.12@sha256:%(image)s",
            "sandbox-gateway.dev/access-token-sha256": "%(token)s",
        },
        "creationTimestamp": _CREATED,
        "finalizers": [f"{_PLATFORM}/cleanup"],
        "generation": 2,
        "labels": {
            "app.kubernetes.io/managed-by": "sandbox-platform",
            f"{_PLATFORM}/template": "python-3.12",
            f"{_PLATFORM}/user": "user-%(user)s",
            "sandbox-gateway.dev/id": "%(id)s",
        },
        "managedFields": _managed_fields(),
        "name": "%(name)s",
        "namespace": "%(namespace)s",
        "resourceVersion": VERSION.decode(),
        "uid": "%(uid)s",
    }


def _conditions() -> list[dict[str, Any]]:
    told = {
        "PodScheduled": ("Scheduled", "The pod was assigned to a node."),
        "Ready": ("SandboxReady", "The sandbox answers its readiness probe."),
    }
    return [
        {
            "lastTransitionTime": "2025-03-01T08:00:03Z",
            "message": message,
            "observedGeneration": 2,
            "reason": reason,
            "status": "True",
            "type": kind,
        }
        for kind, (reason, message) in told.items()
    ]


def _managed_fields() -> list[dict[str, Any]]:
    """Return who owns which field, as an API server keeps it."""
    names = (f"{_PLATFORM}/heartbeat", f"{_PLATFORM}/image")
    metadata: dict[str, Any] = {"f:annotations": {".": {}} | {f"f:{name}": {} for name in names}}
    waking: dict[str, Any] = {".": {}, "f:enabled": {}, "f:timeout": {}}
    spec = {"f:desiredState": {}, "f:shutdownTime": {}, "f:wakeOnTraffic": waking}
    ready: dict[str, Any] = {
        ".": {},
        "f:lastTransitionTime": {},
        "f:reason": {},
        "f:status": {},
        "f:type": {},
    }
    conditions = {".": {}, 'k:{"type":"Ready"}': ready}
    status = {"f:conditions": conditions, "f:phase": {}, "f:podIP": {}, "f:podUID": {}}
    owner = {"apiVersion": GROUP_VERSION, "fieldsType": "FieldsV1", "time": _CREATED}
    return [
        owner
        | {
            "fieldsV1": {"f:metadata": metadata, "f:spec": spec},
            "manager": "platform-api",
            "operation": "Update",
        },
        owner
        | {
            "fieldsV1": {"f:status": status},
            "manager": "platform-controller",
            "operation": "Update",
            "subresource": "status",
        },
    ]


def _form() -> bytes:
    sandbox = {
        "apiVersion": GROUP_VERSION,
        "kind": "Sandbox",
        "metadata": _metadata(),
        "spec": {
            "desiredState": "Running",
            "shutdownTime": "%(end)s",
            "standby": {"enabled": True, "idle_timeout": "10m"},
            "wakeOnTraffic": {"enabled": True, "timeout": "90s"},
        },
        "status": {
            "conditions": _conditions(),
            "observedGeneration": 2,
            "phase": "Running",
            "podIP": "%(address)s",
            "podUID": "%(pod)s",
        },
    }
    return json.dumps(sandbox, separators=(",", ":")).encode()


#: One JSON for all, with a place for each text of its own: to make each anew would take minutes.
_FORM: Final = _form()
