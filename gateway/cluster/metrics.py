"""What the cluster layer counts. One of each in a gateway, whatever is watched."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.telemetry.instruments import Instruments


class ClusterCounters:
    """The counters that feeds and the writer share."""

    def __init__(self, instruments: Instruments) -> None:
        self.malformed = instruments.counter(
            "malformed_objects", "Objects that could not be judged, by news of them.", "dialect"
        )
        self.problems = instruments.counter(
            "object_problems", "Fields that did not parse; the safe reading is used.", "dialect"
        )
        self.writes = instruments.counter(
            "cluster_writes", "Intents to change a sandbox, by outcome.", "verb", "outcome"
        )
        self.events = instruments.counter(
            "cluster_events", "Kubernetes Events about sandboxes, by outcome.", "outcome"
        )
