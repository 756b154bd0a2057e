"""Writes all sandboxes to an empty API."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Final

from e2e.bench.model import rank
from e2e.scale.client import Client
from e2e.scale.figures import Filled
from e2e.scale.objects import collection_of, manifest, namespaces

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Sandboxes that are written at a time.
_WRITERS: Final = 32
#: Sandboxes between two lines of progress.
_SHOWN: Final = 5_000


async def fill(kubeconfig: Path, count: int) -> Filled:
    """Create so many sandboxes with a status each: two writes, as by a platform and a controller.

    Raise RefusedError where the API takes one not.
    """
    async with Client.connect(kubeconfig) as client:
        for name in namespaces(count):
            await client.create_namespace(name)
        taken: list[float] = []
        numbers = iter(range(count))
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for _ in range(_WRITERS):
                group.create_task(_write(client, numbers, taken))
        lasted = time.monotonic() - began
    taken.sort()
    return Filled(count, lasted, len(taken) / lasted, rank(taken, 0.5), rank(taken, 0.99))


async def _write(client: Client, numbers: Iterator[int], taken: list[float]) -> None:
    """Write sandboxes until there are no more; note the seconds of each write."""
    for number in numbers:
        sandbox = manifest(number)
        began = time.monotonic()
        created = await client.create(collection_of(number), sandbox)
        middle = time.monotonic()
        reported = created | {"status": sandbox["status"]}
        await client.replace_status(number, reported)
        taken += (middle - began, time.monotonic() - middle)
        if (number + 1) % _SHOWN == 0:
            print(f"scale: {number + 1:,} sandboxes written", file=sys.stderr)
