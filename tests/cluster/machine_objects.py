"""Pods and nodes as an API has them, for tests of how much room there is."""

from __future__ import annotations

from typing import Any

RawObject = dict[str, Any]

GI = 2**30


def amounts(cpu: str, memory: str) -> dict[str, str]:
    return {"cpu": cpu, "memory": memory}


def container(name: str = "web", **fields: Any) -> RawObject:
    """Return a container of 1 CPU and 1 GiB, without limits, unless `fields` say else."""
    return {"name": name, "resources": {"requests": amounts("1", "1Gi")}} | fields


def told(name: str = "web", cpu: str = "1", memory: str = "1Gi", **fields: Any) -> RawObject:
    """Return the status of a container that runs and has what it was promised."""
    return {
        "name": name,
        "state": {"running": {"startedAt": "2026-11-22T10:20:30Z"}},
        "resources": {"requests": amounts(cpu, memory)},
        "allocatedResources": amounts(cpu, memory),
    } | fields


def pod_object(
    version: int = 41,
    name: str = "web-0",
    *,
    uid: str = "",
    node: str | None = "node-1",
    address: str | None = "10.0.0.7",
    metadata: RawObject | None = None,
    spec: RawObject | None = None,
    status: RawObject | None = None,
) -> RawObject:
    """Return a pod that runs in one container; `metadata`, `spec` and `status` replace fields."""
    placed = {} if node is None else {"nodeName": node}
    found = {} if address is None else {"podIP": address, "podIPs": [{"ip": address}]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "namespace": "team-a",
            "name": name,
            "uid": uid or f"uid-{name}",
            "generation": 3,
            "resourceVersion": str(version),
            "ownerReferences": [{"kind": "ReplicaSet", "name": "web", "uid": "uid-of-owner"}],
        }
        | (metadata or {}),
        "spec": placed | {"containers": [container()]} | (spec or {}),
        "status": found | {"phase": "Running", "containerStatuses": [told()]} | (status or {}),
    }


def full_pod_object() -> RawObject:
    """Return a pod in which every field is there that is read."""
    pending = {"type": "PodResizePending", "status": "True", "reason": "Deferred"}
    return pod_object(
        metadata={
            "deletionTimestamp": None,
            "annotations": {"kubectl.kubernetes.io/default-container": "web"},
        },
        spec={
            "hostNetwork": False,
            "os": {"name": "linux"},
            "overhead": amounts("10m", "16Mi"),
            "resources": {"requests": amounts("4", "8Gi"), "limits": amounts("4", "8Gi")},
            "containers": [
                container(
                    resources={"requests": amounts("1", "1Gi"), "limits": amounts("2", "1Gi")},
                    resizePolicy=[{"resourceName": "cpu", "restartPolicy": "NotRequired"}],
                )
            ],
            "initContainers": [container("proxy", restartPolicy="Always"), container("set-up")],
        },
        status={
            "resize": "",
            "resources": {"requests": amounts("4", "8Gi")},
            "allocatedResources": amounts("4", "8Gi"),
            "nodeAllocatableResourceClaimStatuses": [],
            "initContainerStatuses": [told("proxy")],
            "conditions": [
                pending | {"message": "no room", "observedGeneration": 3},
                {"type": "PodResizeInProgress", "status": "True", "message": "in use"},
            ],
        },
    )


def node_object(name: str = "node-1", **fields: Any) -> RawObject:
    """Return a node with room for 4 CPUs and 8 GiB; `fields` are those of its spec."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "uid": f"uid-{name}", "resourceVersion": "7"},
        "spec": fields,
        "status": {"allocatable": amounts("4", "8Gi") | {"pods": "110"}},
    }
