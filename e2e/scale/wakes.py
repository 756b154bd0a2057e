"""Wakes of paused sandboxes by requests, one at a time, with a controller that reacts at once."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from e2e.scale.objects import ROLE, SLEEPER, SLEEPERS, address_of, request
from e2e.scale.traffic import Connection
from e2e.waiting import DEADLINE

if TYPE_CHECKING:
    from e2e.scale.client import Client
    from e2e.scale.objects import Object


@dataclass(frozen=True, slots=True)
class Wake:
    """One wake, in seconds; see `figures.Wakes` for what the parts are."""

    asked: float
    run: float
    answered: float

    @property
    def whole(self) -> float:
        """From the request to its answer."""
        return self.asked + self.run + self.answered


class Controller:
    """Reports each sleeper as running once that is asked for, and notes when it saw what."""

    def __init__(self, client: Client) -> None:
        #: When a watch showed that it is to run, and that it runs, by number.
        self.asked: dict[int, float] = {}
        self.runs: dict[int, asyncio.Future[float]] = {}
        self._client = client

    async def work(self, version: str) -> None:
        """Watch from a version until cancelled."""
        async with asyncio.TaskGroup() as group:
            async for sandbox in self._client.changes(version, f"{ROLE}={SLEEPER}"):
                now = time.monotonic()
                number = int(sandbox["metadata"]["name"].rpartition("-")[2])
                if sandbox["status"]["phase"] == "Running":
                    self._saw_running(number, now)
                elif sandbox["spec"]["desiredState"] == "Running" and number not in self.asked:
                    self.asked[number] = now
                    # Not waited for: what the watch shows next must be seen when it comes.
                    group.create_task(self._report(number, sandbox))

    def seen_running(self, number: int) -> asyncio.Future[float]:
        """Return what will be the moment when the watch shows it running."""
        return self.runs.setdefault(number, asyncio.get_running_loop().create_future())

    def _saw_running(self, number: int, now: float) -> None:
        seen = self.seen_running(number)
        if not seen.done():
            seen.set_result(now)

    async def _report(self, number: int, sandbox: Object) -> None:
        status = sandbox["status"] | {"phase": "Running", "podIP": address_of(number)}
        await self._client.replace_status(number, sandbox | {"status": status})


async def measure(client: Client, data_port: int, server_port: int, count: int) -> list[Wake]:
    """Wake so many sleepers, which all must be paused."""
    controller = Controller(client)
    working = asyncio.create_task(controller.work(await client.newest_version()))
    connection = await Connection.open(data_port)
    try:
        found = []
        for number in SLEEPERS[:count]:
            async with asyncio.timeout(DEADLINE):
                began = time.monotonic()
                told = await connection.ask(request(number, server_port))
                ended = time.monotonic()
                runs = await controller.seen_running(number)
            if told != address_of(number):
                raise AssertionError(f"sandbox {number} was answered for by {told}")
            asked = controller.asked[number]
            # The gateway may see it running before this watch does.
            found.append(Wake(asked - began, runs - asked, max(0.0, ended - runs)))
        return found
    finally:
        connection.close()
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
