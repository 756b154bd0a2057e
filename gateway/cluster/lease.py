"""The Lease that says which replica leads: read, and written by compare-and-set alone.

Its times are for people and other tools. Nothing here reads them: they are of another machine's
clock.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.cluster.errors import Garbled
from gateway.dialects.base import Resource
from gateway.sandbox.errors import ObjectGone
from gateway.sandbox.texts import format_moment

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.cluster.client import KubeClient
    from gateway.dialects.base import RawObject

LEASES: Final = Resource("coordination.k8s.io", "v1", "leases", "Lease")

#: Who holds a Lease that was just made; no replica is called so.
UNKNOWN: Final = "unknown"
#: spec.leaseTransitions is an int32.
_MOST_TRANSITIONS: Final = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Lease:
    """What of a Lease decides.

    `version` changes with every write. `holder` is empty once it was given up. `duration` is how
    many seconds the holder asks to be believed; None if the Lease does not say.
    """

    version: str
    holder: str = ""
    duration: int | None = None
    transitions: int = 0


def lease_of(raw: RawObject) -> Lease:
    """Read a Lease; raise Garbled where it cannot be known which one it is or who holds it."""
    metadata, spec = raw.get("metadata"), raw.get("spec")
    version = metadata.get("resourceVersion") if isinstance(metadata, dict) else None
    if not isinstance(version, str) or not version:
        raise Garbled("the Lease has no resourceVersion")
    if not isinstance(spec, dict | None):
        raise Garbled("the Lease's spec is not an object")
    spec = spec or {}
    holder = spec.get("holderIdentity")
    if not isinstance(holder, str | None):
        raise Garbled("the Lease's holder is not a string")
    return Lease(
        version,
        holder or "",
        _natural(spec.get("leaseDurationSeconds")) or None,
        _natural(spec.get("leaseTransitions")),
    )


def _natural(value: object) -> int:
    """Return a number that counts something; anything else is 0."""
    return max(value, 0) if type(value) is int else 0


class LeaseStore:
    """One Lease of the API. Every method raises a ClusterError where it fails.

    Who writes says which Lease it is written over. Conflict: that is not the Lease any more.
    """

    def __init__(
        self, client: KubeClient, namespace: str, name: str, clock: Callable[[], float]
    ) -> None:
        """`clock` gives epoch seconds."""
        self._client = client
        self._namespace = namespace
        self._name = name
        self._clock = clock

    async def read(self) -> Lease | None:
        """Return the Lease as it is now, or None if there is none."""
        try:
            return lease_of(await self._client.get(LEASES, self._namespace, self._name))
        except ObjectGone:
            return None

    async def create(self, duration: float) -> Lease:
        """Make the Lease, held by `UNKNOWN`."""
        body = {
            "apiVersion": f"{LEASES.group}/{LEASES.version}",
            "kind": LEASES.kind,
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": {"holderIdentity": UNKNOWN} | self._renewed(duration),
        }
        return lease_of(await self._client.create(LEASES, self._namespace, body))

    async def acquire(self, over: Lease, identity: str, duration: float) -> Lease:
        """Become the holder."""
        spec = self._renewed(duration)
        spec["acquireTime"] = spec["renewTime"]
        spec["holderIdentity"] = identity
        spec["leaseTransitions"] = min(over.transitions + 1, _MOST_TRANSITIONS)
        return await self._write(over, spec)

    async def renew(self, over: Lease, duration: float) -> Lease:
        """Stay the holder."""
        return await self._write(over, self._renewed(duration))

    async def release(self, over: Lease) -> Lease:
        """Leave it to whoever comes first."""
        spec = {"holderIdentity": "", "renewTime": format_moment(self._clock())}
        return await self._write(over, spec)

    def _renewed(self, duration: float) -> RawObject:
        return {
            "leaseDurationSeconds": math.ceil(duration),
            "renewTime": format_moment(self._clock()),
        }

    async def _write(self, over: Lease, spec: RawObject) -> Lease:
        patch = {"metadata": {"resourceVersion": over.version}, "spec": spec}
        return lease_of(await self._client.merge_patch(LEASES, self._namespace, self._name, patch))
