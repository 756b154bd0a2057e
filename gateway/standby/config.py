"""Every knob of the idle controller, with its default."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class IdleConfig:
    """When sandboxes are put to sleep. Durations are seconds."""

    #: Sandboxes that are put to sleep at one time, and guests that are asked at one time.
    concurrency: int = 16
    #: How long a sandbox runs at least before it sleeps again.
    min_uptime: float = 10.0
    #: How long one is held on after its pin was taken off or its lease has ended.
    cooldown: float = 1.0
    #: The idle time of Deployments and StatefulSets without a policy of their own that
    #: traffic may wake; None: they have none.
    deployments_after: float | None = None
    #: How many objects a second are told since when their sandbox is idle, or that it is no more.
    notes_per_second: float = 10.0
