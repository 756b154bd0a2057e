"""Gives running pods another size: the subresource `resize` of pods."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final, Protocol

from gateway.cluster.client import LAST_ANSWER
from gateway.cluster.errors import ApiNotInstalled, Garbled
from gateway.cluster.pod_facts import resize_patch
from gateway.cluster.pod_reading import read_pod
from gateway.cluster.pods import PODS
from gateway.sandbox.errors import MalformedObject

if TYPE_CHECKING:
    from gateway.cluster.pod_facts import PodFacts
    from gateway.dialects.base import Patch, RawObject, Resource
    from gateway.sandbox.scaling import Size

SUBRESOURCE: Final = "resize"
#: Seconds for which a resize may be written at most.
WRITE_TIME: Final = 5.0


class ResizeClient(Protocol):
    """What is needed of the client; every method raises a ClusterError."""

    async def served_beside(self, resource: Resource) -> frozenset[str]:
        """Return what the API serves in the version of its group that a resource is of."""

    async def strategic_patch(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        patch: Patch,
        subresource: str,
        within: float,
    ) -> RawObject:
        """Change a subresource of an object: `within` so many seconds, or not at all."""


class Resizer:
    """Asks the API for sizes; whether and when the kubelet gives them, pods tell."""

    def __init__(self, client: ResizeClient, within: float = inf) -> None:
        """`within`: a resize, with the wait for its answer, is over after so many seconds.

        It is written within 5 s at most.
        """
        self._client = client
        self._within = min(max(within - LAST_ANSWER, within / 2), WRITE_TIME)

    async def supported(self) -> bool:
        """Return whether pods can be resized at all: from Kubernetes 1.33 on.

        Raises a ClusterError where that cannot be known.
        """
        try:
            served = await self._client.served_beside(PODS)
        except ApiNotInstalled:
            return False
        return f"{PODS.plural}/{SUBRESOURCE}" in served

    async def resize(self, pod: PodFacts, target: Size) -> PodFacts:
        """Ask for another size of a pod that has no obstacle; return the pod after that.

        Raises ObjectGone, also where another pod has its name now; Conflict where too many write at
        once; AccessDenied, also where a quota or a policy is against it; InvalidWrite where this
        pod may not have this size, NodeTooSmall where that is for its node; ApiUnavailable.
        """
        patch = resize_patch(pod, target)
        written = await self._client.strategic_patch(
            PODS, pod.namespace, pod.name, patch, SUBRESOURCE, self._within
        )
        try:
            return read_pod(written)
        except MalformedObject as error:
            raise Garbled(f"what a resize has returned is no pod: {error}") from error
