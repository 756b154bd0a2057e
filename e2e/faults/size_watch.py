"""Reads every version of what sizes depend on, from the real API, and puts it before the judge."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from contextlib import aclosing, asynccontextmanager, contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from e2e.kube_api import session_of, version_of, watched
from e2e.manifests import NATIVE
from e2e.waiting import soon

from .size_judge import Kind, Seen

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from .size_judge import SizeJudge

    Object = dict[str, Any]

#: Seconds by which one watch may bring a version later than another watch brings one after it.
_LAG: Final = 15.0
_EVERY: Final = 0.25


class SizeWatch:
    """Reads as an administrator, by a way that no fault is on. Use `over`."""

    def __init__(self, session: aiohttp.ClientSession, namespace: str, judge: SizeJudge) -> None:
        self._session = session
        self._judge = judge
        within = f"namespaces/{namespace}"
        self._paths = {
            Kind.POD: f"/api/v1/{within}/pods",
            Kind.SANDBOX: f"/apis/{NATIVE}/{within}/sandboxes",
            Kind.NODE: "/api/v1/nodes",
            Kind.LEASE: f"/apis/coordination.k8s.io/v1/{within}/leases",
        }
        #: What was read and not judged yet, in order.
        self._unjudged: list[tuple[int, int, Seen]] = []
        self._turn = itertools.count()
        #: The versions of what is there, as far as was read.
        self._read: dict[str, int] = {}

    @classmethod
    @asynccontextmanager
    async def over(
        cls, kubeconfig: Path, namespace: str, judge: SizeJudge
    ) -> AsyncIterator[SizeWatch]:
        """Have all judged that is written to a namespace and to nodes during the body."""
        async with session_of(kubeconfig) as session:
            watch = cls(session, namespace, judge)
            reading = [watch._follow(kind, path) for kind, path in watch._paths.items()]
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one) for one in (*reading, watch._judge_on())]
                try:
                    yield watch
                finally:
                    for task in tasks:
                        task.cancel()

    async def catch_up(self) -> None:
        """Return once all is judged that has been written up to now."""
        for kind, path in self._paths.items():
            listed = await self._list(path)
            for obj in listed["items"]:
                seen = Seen(version_of(obj), 0.0, kind, obj)
                what = f"{kind.value} {seen.name} at {seen.version} was read"
                await soon(lambda: self._read.get(seen.uid, 0) >= seen.version, what)  # noqa: B023
        self._judge_until(float("inf"))

    async def _follow(self, kind: Kind, path: str) -> None:
        listed = await self._list(path)
        for obj in listed["items"]:
            self._note(kind, "ADDED", obj)
        version = listed["metadata"]["resourceVersion"]
        while True:
            with _patience():
                async with aclosing(watched(self._session, path, version)) as events:
                    async for told, obj in events:
                        version = obj["metadata"]["resourceVersion"]
                        self._note(kind, told, obj)
            await asyncio.sleep(_EVERY)

    async def _list(self, path: str) -> Object:
        found: Object = {}
        while not found:
            with _patience():
                async with self._session.get(path) as response:
                    response.raise_for_status()
                    found = await response.json()
            if not found:
                await asyncio.sleep(_EVERY)
        return found

    def _note(self, kind: Kind, told: str, obj: Object) -> None:
        version = version_of(obj)
        seen = Seen(version, time.monotonic(), kind, obj, gone=told == "DELETED")
        self._read[seen.uid] = version
        heapq.heappush(self._unjudged, (version, next(self._turn), seen))

    async def _judge_on(self) -> None:
        while True:
            await asyncio.sleep(_EVERY)
            self._judge_until(time.monotonic() - _LAG)

    def _judge_until(self, moment: float) -> None:
        while self._unjudged and self._unjudged[0][2].at <= moment:
            self._judge.take(heapq.heappop(self._unjudged)[2])


@contextmanager
def _patience() -> Iterator[None]:
    """Let what may come to nothing be tried again.

    That the API has forgotten a version is nothing of the kind: there would be a gap.
    """
    try:
        yield
    except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError):
        pass
    except aiohttp.ClientResponseError as error:
        if error.status != HTTPStatus.TOO_MANY_REQUESTS:  # as one that has just started says
            raise
