"""Status writes at a fixed rate all over the sandboxes, as a process of its own.

`python -m e2e.scale.churn KUBECONFIG COUNT RATE FILE` says "writing" once it does, and at SIGTERM
writes how it went to the file (`Churned`). Writes fall due at times that were fixed beforehand; an
API that is too slow for the rate is seen by `behind`.
"""

from __future__ import annotations

import asyncio
import random
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import aiohttp
import msgspec
import uvloop

from e2e.bench.model import rank
from e2e.scale.client import Client, RefusedError
from e2e.scale.figures import Churned
from e2e.scale.objects import FIRST_OTHER, heartbeat

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Writes that are under way at a time, at most.
_WRITERS: Final = 64
#: How often it is seen what is due, in seconds.
_TICK: Final = 0.002
#: So that each run writes the same sandboxes in the same order.
_SEED: Final = 1


class Churn:
    """The writes, and who does them."""

    def __init__(self, client: Client, count: int) -> None:
        self._client = client
        self._count = count
        self._due: asyncio.Queue[int] = asyncio.Queue()
        self._taken: list[float] = []
        self._failed = 0

    def _numbers(self) -> Iterator[int]:
        chance = random.Random(_SEED)
        while True:
            yield chance.randrange(FIRST_OTHER, self._count)

    async def run(self, rate: float, stop: asyncio.Event) -> Churned:
        """Write until `stop` is set; what was begun by then is finished."""
        writers = [asyncio.create_task(self._write()) for _ in range(_WRITERS)]
        began = time.monotonic()
        await self._pace(rate, stop)
        lasted, behind = time.monotonic() - began, self._due.qsize()
        while not self._due.empty():
            self._due.get_nowait()
            self._due.task_done()
        await self._due.join()
        for writer in writers:
            writer.cancel()
        await asyncio.gather(*writers, return_exceptions=True)
        taken = sorted(self._taken) or [0.0]
        p50, p99 = rank(taken, 0.5), rank(taken, 0.99)
        return Churned(rate, lasted, len(self._taken), self._failed, behind, p50, p99)

    async def _pace(self, rate: float, stop: asyncio.Event) -> None:
        numbers = self._numbers()
        following = time.monotonic()
        while not stop.is_set():
            while following <= time.monotonic():
                self._due.put_nowait(next(numbers))
                following += 1.0 / rate
            await asyncio.sleep(_TICK)

    async def _write(self) -> None:
        while True:
            number = await self._due.get()
            began = time.monotonic()
            try:
                # What is written must be new: what changes nothing is told to no watch.
                await self._client.change_status(number, heartbeat(number, time.time_ns()))
                self._taken.append(time.monotonic() - began)
            except (RefusedError, aiohttp.ClientError, TimeoutError):
                self._failed += 1
            finally:
                self._due.task_done()


async def main(kubeconfig: Path, count: int, rate: float, out: Path) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with Client.connect(kubeconfig) as client:
        print("writing", flush=True)
        churned = await Churn(client, count).run(rate, stop)
    out.write_bytes(msgspec.json.encode(churned))


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), Path(sys.argv[4])))
