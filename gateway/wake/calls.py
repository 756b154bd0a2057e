"""The waker's calls to the Kubernetes API: tasks with an owner, one patch at a time per sandbox."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Protocol

from gateway.sandbox.errors import ClusterError, MalformedObject, NotResumable

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from gateway.sandbox.model import Key, Route
    from gateway.telemetry.tracing import Span

    #: Told how a call ended: the route, or what was raised.
    Done = Callable[[Route | BaseException], None]

logger = logging.getLogger(__name__)


class SandboxWriter(Protocol):
    """What the waker needs of the Kubernetes API. Every call ends by itself, within its own time.

    Both raise ClusterError or MalformedObject; a uid that is not `uid` is ObjectGone.
    """

    async def read(self, key: Key, uid: str) -> Route:
        """Return the route of the object as it is now."""

    async def wake(self, key: Key, uid: str) -> Route:
        """Ask for Running, if that is not asked for yet, and return the route after that.

        Raises NotResumable if the object, just read, may not be woken.
        """


class Calls:
    """Calls under way. Each tells its `done` how it ended, unless it was cancelled."""

    def __init__(self, writer: SandboxWriter) -> None:
        self._writer = writer
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[Route]] = set()
        self._patches: dict[str, asyncio.Task[Route]] = {}

    def read(self, key: Key, uid: str, done: Done) -> asyncio.Task[Route]:
        """Begin to read an object; the task is returned to be cancelled, not to be awaited."""
        return self._begin(self._read(key, uid), done)

    def patch(self, key: Key, uid: str, done: Done, wake: Span) -> None:
        """Begin to patch an object, after any patch of the same uid that is still under way.

        `wake` is the span that the patch is a part of.
        """
        task = self._begin(self._patch(key, uid, self._patches.get(uid), wake), done)
        self._patches[uid] = task
        task.add_done_callback(lambda ended: self._forget(uid, ended))

    def abandon_patch(self, uid: str) -> None:
        """Cancel the patch of this uid that is under way, if there is one."""
        task = self._patches.get(uid)
        if task is not None:
            task.cancel()

    async def close(self) -> None:
        """Cancel all calls and wait for their ends."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, call: Coroutine[None, None, Route], done: Done) -> asyncio.Task[Route]:
        task = self._loop.create_task(call)
        self._tasks.add(task)
        task.add_done_callback(lambda ended: self._ended(ended, done))
        return task

    async def _read(self, key: Key, uid: str) -> Route:
        return await self._writer.read(key, uid)

    async def _patch(
        self, key: Key, uid: str, earlier: asyncio.Task[Route] | None, wake: Span
    ) -> Route:
        if earlier is not None:
            await asyncio.wait({earlier})
        with wake.child("patch"):
            return await self._writer.wake(key, uid)

    def _ended(self, task: asyncio.Task[Route], done: Done) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            done(task.result())
            return
        if not isinstance(error, NotResumable | ClusterError | MalformedObject):
            logger.error("a call to the Kubernetes API broke", exc_info=error)
        done(error)

    def _forget(self, uid: str, task: asyncio.Task[Route]) -> None:
        if self._patches.get(uid) is task:
            del self._patches[uid]
