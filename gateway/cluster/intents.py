"""One write at a time for each sandbox.

Who asks for what is being done already shares its result. The work belongs to `Intents` and not
to those who wait for it: a caller that leaves neither ends it for the others nor leaves it behind.
A wake beats a standby: it waits for one that has begun and then follows it, and a standby that
comes while a wake is under way is refused as a conflict. A mark is each its own: it follows what is
under way, and nothing but the next mark waits for it; whoever writes meanwhile, one of the two
meets a conflict.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from gateway.sandbox.errors import ApiUnavailable, Conflict

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.sandbox.model import Route

    Work = Callable[[], Awaitable[Route]]


class Verb(Enum):
    """What is wanted of a sandbox."""

    WAKE = "wake"
    PAUSE = "pause"
    MARK = "mark"


@dataclass(frozen=True, slots=True)
class _Running:
    verb: Verb
    task: asyncio.Task[Route]


class Intents:
    """The writes under way, by uid."""

    def __init__(self) -> None:
        self._latest: dict[str, _Running] = {}
        self._marks: dict[str, _Running] = {}
        self._tasks: set[asyncio.Task[Route]] = set()
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether nothing more is taken."""
        return self._closed

    async def run(self, uid: str, verb: Verb, work: Work) -> Route:
        """Do `work`, or wait for the same that is being done; raise Conflict if outranked."""
        if self._closed:
            raise ApiUnavailable("the gateway is closing")
        running = self._latest.get(uid)
        if verb is Verb.MARK:
            before = (running, self._marks.get(uid))
            return await asyncio.shield(self._start(self._marks, uid, verb, work, *before))
        if running is not None and running.verb is verb:
            return await asyncio.shield(running.task)
        if running is not None and verb is Verb.PAUSE:
            raise Conflict("a wake is under way")
        return await asyncio.shield(self._start(self._latest, uid, verb, work, running))

    async def close(self) -> None:
        """Take no more, and wait for what is under way; each is bounded by its requests.

        Cancelling this cancels them, and still waits for them.
        """
        self._closed = True
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(
        self,
        latest: dict[str, _Running],
        uid: str,
        verb: Verb,
        work: Work,
        *before: _Running | None,
    ) -> asyncio.Task[Route]:
        tasks = {one.task for one in before if one is not None}
        task = asyncio.create_task(_follow(tasks, work), name=f"{verb.value} {uid}")
        running = _Running(verb, task)
        latest[uid] = running
        self._tasks.add(task)

        def finish(done: asyncio.Task[Route]) -> None:
            self._tasks.discard(done)
            if latest.get(uid) is running:
                del latest[uid]
            if not done.cancelled():
                done.exception()  # Nobody may be left to take it.

        task.add_done_callback(finish)
        return task


async def _follow(before: set[asyncio.Task[Route]], work: Work) -> Route:
    if before:
        await asyncio.wait(before)
    return await work()
