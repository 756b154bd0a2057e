"""What the runtime needs of whoever stores the Sandbox objects."""

from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

SandboxObject = Mapping[str, Any]
"""A Sandbox as it stands in the API: decoded JSON, validated by nobody yet."""


class ObjectGoneError(Exception):
    """The Sandbox that a status was meant for is gone, or another one has its name."""


class Objects(Protocol):
    """The Sandboxes of the local API, as the runtime uses them."""

    def subscribe(self) -> AsyncIterator[tuple[str, SandboxObject]]:
        """Yield `("ADDED" | "MODIFIED" | "DELETED", object)`: what is there first, then changes.

        What is there comes oldest first, so that of two sandboxes that claim one port the same
        one has it after a restart. The objects are not changed by the runtime and must not be
        changed under it.
        """
        ...

    def update_status(self, namespace: str, name: str, uid: str, status: SandboxObject) -> None:
        """Replace the status of the Sandbox of this uid; ObjectGoneError if it is not there."""
        ...

    def record_event(self, obj: SandboxObject, event_type: str, reason: str, message: str) -> None:
        """Tell people about `obj`; `event_type` is `Normal` or `Warning`."""
        ...
