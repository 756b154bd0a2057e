"""Stands for election until SIGTERM: `candidate.py KUBECONFIG NAMESPACE IDENTITY DURATION RECORD`.

Whenever it may act it adds a line to RECORD: identity, which of its terms, and the machine's time.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from typing import Final

import uvloop

from gateway.cluster.client import KubeClient
from gateway.cluster.config import ClusterConfig
from gateway.cluster.lease import LeaseStore
from gateway.replicas.election import ElectionConfig
from gateway.replicas.leadership import Leadership
from gateway.telemetry import logs
from gateway.telemetry.instruments import Instruments

#: Between two acts, in seconds.
_PAUSE: Final = 0.01


async def stand(
    kubeconfig: str, namespace: str, identity: str, duration: float, record: int
) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with KubeClient.connect(ClusterConfig(kubeconfig=kubeconfig)) as client:
        store = LeaseStore(client, namespace, "leader", time.time)
        config = ElectionConfig(duration)
        async with Leadership(store, identity, config, Instruments()) as leadership:
            acting = asyncio.create_task(act(leadership, identity, record))
            await stop.wait()
            acting.cancel()


async def act(leadership: Leadership, identity: str, record: int) -> None:
    term = 0
    while True:
        await leadership.wait_won()
        term += 1
        # The time of an act is that before the question: whoever is stopped after it acts late.
        while (at := time.monotonic()) and leadership.acting:
            os.write(record, f"{identity} {term} {at}\n".encode())
            await asyncio.sleep(_PAUSE)
        await leadership.wait_lost()


if __name__ == "__main__":
    logs.configure(logs.LogConfig())
    _, where, namespace, who, seconds, path = sys.argv
    opened = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    uvloop.run(stand(where, namespace, who, float(seconds), opened))
