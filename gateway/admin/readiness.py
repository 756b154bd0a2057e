"""Whether this replica should get traffic, and why not."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Readiness:
    """A moment of the gateway.

    `synced`: every list was read once. `stale`: the Kubernetes API has been silent for too long,
    so routes may be wrong; `serves_stale`: that is put up with. `draining`: it is shutting down.
    `reflectors`: the state of each, by its name, for people.
    """

    synced: bool
    stale: bool
    draining: bool
    serves_stale: bool = False
    reflectors: Mapping[str, str] = field(default_factory=dict)

    @property
    def ready(self) -> bool:
        """Whether traffic should come."""
        return self.synced and not self.draining and (self.serves_stale or not self.stale)

    def as_json(self) -> dict[str, object]:
        """Return it as values for JSON; every check is true where it is passed."""
        checks = {
            "synced": self.synced,
            "not_stale": not self.stale,
            "not_draining": not self.draining,
        }
        return {"ready": self.ready, "checks": checks, "reflectors": dict(self.reflectors)}
