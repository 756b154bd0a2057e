"""The exposition of all metrics, for Prometheus: the gateway's own, and those of its process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder

if TYPE_CHECKING:
    from gateway.telemetry.instruments import Instruments


class Metrics:
    """One registry of its own: the library's global one is everybody's."""

    def __init__(self, instruments: Instruments) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(instruments)
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """Return the text and its Content-Type, by what the Accept header asks for."""
        try:
            encode, content_type = choose_encoder(accept)
        except (ValueError, TypeError):  # a version or an escaping that nobody knows
            encode, content_type = choose_encoder("")
        return encode(self._registry), content_type
