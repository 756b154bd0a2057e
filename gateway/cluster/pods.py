"""The pods of all replicas, as the API has them now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.cluster.errors import Garbled
from gateway.cluster.selection import Selection
from gateway.dialects.base import Resource

if TYPE_CHECKING:
    from gateway.cluster.answers import Page
    from gateway.cluster.client import KubeClient
    from gateway.dialects.base import RawObject

PODS: Final = Resource("", "v1", "pods", "Pod")

#: Phases of a pod all of whose containers have ended for good.
_ENDED: Final = frozenset({"Succeeded", "Failed"})


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod that may be serving. `address` None: the API knows none yet, and sends nobody there."""

    name: str
    address: str | None


class Pods:
    """The pods of one namespace that have some labels."""

    def __init__(self, client: KubeClient, namespace: str, selector: str) -> None:
        """`selector` is a label selector, as the API takes it."""
        self._client = client
        self._selection = Selection(PODS, namespace, selector)

    async def living(self) -> tuple[Pod, ...]:
        """Return all that are there and have not ended; raise a ClusterError.

        Without a resourceVersion the API answers by a consistent read: what it does not have now is
        gone, or is still to be made.
        """
        page = await self._client.list_page(self._selection, None)
        found = _read(page)
        while page.next_token is not None:
            page = await self._client.list_page(self._selection, page.next_token)
            found += _read(page)
        return tuple(found)


def _read(page: Page) -> list[Pod]:
    return [pod for raw in page.items if (pod := _pod_of(raw)) is not None]


def _pod_of(raw: RawObject) -> Pod | None:
    """Return a pod, None if it has ended; raise Garbled."""
    metadata, status = raw.get("metadata"), raw.get("status") or {}
    if not isinstance(metadata, dict) or not isinstance(status, dict):
        raise Garbled("a pod has no metadata, or no status")
    name, address = metadata.get("name"), status.get("podIP") or None
    if not isinstance(name, str) or not isinstance(address, str | None):
        raise Garbled("a pod has no name, or no readable address")
    return None if status.get("phase") in _ENDED else Pod(name, address)
