"""Which replica has a role, as the settings say that it is settled."""

from __future__ import annotations

import time
from math import inf
from typing import TYPE_CHECKING

from gateway.cluster.lease import LeaseStore
from gateway.replicas.election import ElectionConfig
from gateway.replicas.leadership import Leadership, Sole, unique_identity

if TYPE_CHECKING:
    from gateway.cluster.client import KubeClient
    from gateway.settings import Settings
    from gateway.telemetry.instruments import Instruments


def leadership_of(
    settings: Settings, client: KubeClient, instruments: Instruments, role: str = ""
) -> Leadership | Sole:
    """Return who settles which replica has a role; each role has a Lease of its own."""
    if settings.lease_name is None or settings.pod_namespace is None:
        return Sole()
    name = f"{settings.lease_name}-{role}" if role else settings.lease_name
    return Leadership(
        LeaseStore(client, settings.pod_namespace, name, time.time),
        unique_identity(settings.pod_name),
        ElectionConfig(settings.lease_duration),
        instruments,
        role=role,
    )


def grace_of(settings: Settings) -> float:
    """Return in how many seconds what a leader begins has to be over; inf: nobody follows it."""
    if settings.lease_name is None or settings.pod_namespace is None:
        return inf
    return ElectionConfig(settings.lease_duration).grace
