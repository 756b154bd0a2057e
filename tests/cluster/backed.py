"""Workloads, Services and EndpointSlices as an API has them, for tests of where workloads are."""

from __future__ import annotations

from typing import Any

from gateway.dialects.deployment import REPLICAS, SERVICE
from tests.dialects.objects import deployment_object

RawObject = dict[str, Any]


def deployment(
    version: int, name: str = "web", service: str | None = None, generation: int = 3, **counts: int
) -> RawObject:
    """Return a Deployment, asleep unless `counts` say else: wanted, left, available."""
    raw = deployment_object(
        name,
        spec={"replicas": counts.get("wanted", 0)},
        status={
            "observedGeneration": generation,
            "replicas": counts.get("left", 0),
            "availableReplicas": counts.get("available", 0),
        },
    )
    raw["metadata"] |= {
        "resourceVersion": str(version),
        "generation": generation,
        "annotations": {REPLICAS: "1"} | ({} if service is None else {SERVICE: service}),
    }
    return raw


def awake(
    version: int, name: str = "web", service: str | None = None, generation: int = 3
) -> RawObject:
    return deployment(version, name, service, generation, wanted=1, left=1, available=1)


def endpoint(address: str, pod: str | None = None, **conditions: object) -> RawObject:
    """Return an endpoint, ready unless `conditions` say else."""
    target = {} if pod is None else {"targetRef": {"kind": "Pod", "uid": pod}}
    return {"addresses": [address], "conditions": {"ready": True} | conditions} | target


def endpoint_slice(
    version: int, *endpoints: RawObject, service: str = "web", name: str = "", **changes: Any
) -> RawObject:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "metadata": {
            "namespace": "team-a",
            "name": name or f"{service}-1",
            "uid": f"uid-of-{name or service}",
            "resourceVersion": str(version),
            "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": "IPv4",
        "endpoints": list(endpoints),
    } | changes


def service_object(version: int, address: str | None, name: str = "front") -> RawObject:
    return {
        "apiVersion": "v1",
        "metadata": {
            "namespace": "team-a",
            "name": name,
            "uid": f"uid-of-{name}",
            "resourceVersion": str(version),
        },
        "spec": {} if address is None else {"clusterIP": address},
    }
