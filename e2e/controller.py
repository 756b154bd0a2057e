"""A platform's controller: it looks after sandboxes as the real ones do, and tests can hold it up.

When a sandbox pauses its pod ends; when it resumes it has another pod at another address.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import aiohttp

from .kube_api import GoneError, version_of
from .platforms import Stage
from .waiting import soon

if TYPE_CHECKING:
    from .kube_api import Object, SandboxApi
    from .platforms import Platform
    from .pods import Pod, Pods

#: Between two attempts to watch an API that is away, in seconds.
_PAUSE: Final = 0.05


def _opened() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


@dataclass(slots=True)
class Gates:
    """What a sandbox passes on its way. All are open; a test clears one to hold it up there."""

    observes: asyncio.Event = field(default_factory=_opened)
    """From a change of the spec to the first thing done about it."""
    pauses: asyncio.Event = field(default_factory=_opened)
    """From the wish to pause to the end of its pod."""
    settles: asyncio.Event = field(default_factory=_opened)
    """From there to the word that it sleeps."""
    resumes: asyncio.Event = field(default_factory=_opened)
    """From Resuming to a pod that runs."""
    readies: asyncio.Event = field(default_factory=_opened)
    """From a pod that runs to Ready."""
    opens: asyncio.Event = field(default_factory=_opened)
    """From Ready to a port that listens. Open, the port listens before it is Ready."""


@dataclass(slots=True, eq=False)
class Life:
    """One sandbox that is looked after."""

    obj: Object
    stage: Stage = Stage.NEW
    pod: Pod | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def learn(self, obj: Object) -> None:
        """Take an object as it is now; what a watch tells late changes nothing."""
        if version_of(obj) > version_of(self.obj):
            self.obj = obj
            self.changed.set()

    @property
    def name(self) -> str:
        name: str = self.obj["metadata"]["name"]
        return name

    @property
    def uid(self) -> str:
        uid: str = self.obj["metadata"]["uid"]
        return uid

    @property
    def pauses_in(self) -> float | None:
        """Seconds until its pauseTime, which only OpenKruise has."""
        at = self.obj["spec"].get("pauseTime")
        if at is None:
            return None
        return (datetime.fromisoformat(at) - datetime.now(UTC)).total_seconds()


class Controller:
    """Looks after the sandboxes of one namespace for as long as `run` runs."""

    def __init__(self, api: SandboxApi, platform: Platform, pods: Pods, namespace: str) -> None:
        self._api = api
        self._platform = platform
        self._pods = pods
        self._namespace = namespace
        self._gates: dict[str, Gates] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.lives: dict[str, Life] = {}

    def gates(self, name: str) -> Gates:
        return self._gates.setdefault(name, Gates())

    def life(self, name: str) -> Life:
        """Return the sandbox that has this name now."""
        (life,) = self._named(name)
        return life

    def pod(self, name: str) -> Pod:
        """Return the pod of a sandbox: the last one that it had."""
        pod = self.life(name).pod
        assert pod is not None
        return pod

    def _named(self, name: str) -> list[Life]:
        return [life for life in self.lives.values() if life.name == name]

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    listed, version = await self._api.list()
                    self._replace(group, listed)
                    async for kind, obj in self._api.watch(version):
                        self._take(group, kind, obj)
                await asyncio.sleep(_PAUSE)

    async def tell(self, name: str, stage: Stage, pod: Pod | None = None) -> None:
        """Report out of turn; the sandbox goes on from there."""
        # Others may know of it sooner.
        await soon(lambda: self._named(name), f"the controller knows {name}")
        await self._report(self.life(name), stage, pod)

    async def replace(self, name: str) -> Pod:
        """Give a sandbox that runs another pod, which is ready; return the one before, not ended.

        That is what an eviction looks like, once all is over.
        """
        life = self.life(name)
        before, pod = self.pod(name), self._new_pod(life)
        await self._pods.open(pod)
        await self._report(life, Stage.READY, pod)
        return before

    def _replace(self, group: asyncio.TaskGroup, listed: list[Object]) -> None:
        there = {obj["metadata"]["uid"] for obj in listed}
        for uid in self.lives.keys() - there:
            self._forget(uid)
        for obj in listed:
            self._take(group, "ADDED", obj)

    def _take(self, group: asyncio.TaskGroup, kind: str, obj: Object) -> None:
        uid = obj["metadata"]["uid"]
        if kind == "DELETED":
            self._forget(uid)
        elif uid in self.lives:
            self.lives[uid].learn(obj)
        else:
            life = self.lives[uid] = Life(obj)
            self._tasks[uid] = group.create_task(self._look_after(life))

    def _forget(self, uid: str) -> None:
        self.lives.pop(uid, None)
        if (task := self._tasks.pop(uid, None)) is not None:
            task.cancel()

    async def _look_after(self, life: Life) -> None:
        with contextlib.suppress(GoneError):
            while True:
                life.changed.clear()
                await self._step(life)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._patience(life)):
                        await life.changed.wait()

    def _patience(self, life: Life) -> float | None:
        """Return in how many seconds there is something to do although nothing changes."""
        return life.pauses_in if life.stage is Stage.READY and not self._sleepy(life) else None

    async def _step(self, life: Life) -> None:
        """Do the next thing; what it wrote brings the one after it."""
        gates = self.gates(life.name)
        await gates.observes.wait()
        match self._sleepy(life), life.stage:
            case True, Stage.NEW:
                await self._report(life, Stage.ASLEEP, self._new_pod(life))
            case True, Stage.RESUMING | Stage.STARTED | Stage.READY:
                await gates.pauses.wait()
                if life.pod is not None:
                    await self._pods.retire(life.pod)
                await self._report(life, Stage.PAUSING)
            case True, Stage.PAUSING:
                await gates.settles.wait()
                await self._report(life, Stage.ASLEEP)
            case False, Stage.ASLEEP | Stage.PAUSING:
                await self._report(life, Stage.RESUMING)
            case False, Stage.NEW | Stage.RESUMING:
                await gates.resumes.wait()
                await self._report(life, Stage.STARTED, self._new_pod(life))
            case False, Stage.STARTED:
                await self._make_ready(life, gates)
            case False, Stage.READY if (life.pauses_in or 1) <= 0:
                await self._api.patch(life.name, **self._platform.wanting(sleep=True))

    def _sleepy(self, life: Life) -> bool:
        return self._platform.wants_sleep(life.obj)

    def _new_pod(self, life: Life) -> Pod:
        life.pod = self._pods.make(f"{self._namespace}/{life.name}")
        return life.pod

    async def _make_ready(self, life: Life, gates: Gates) -> None:
        pod = life.pod
        assert pod is not None
        await gates.readies.wait()
        if (life.stage, life.pod) != (Stage.STARTED, pod):
            return  # a test has gone on by itself
        late = not gates.opens.is_set()
        if not late:
            await self._pods.open(pod)
        await self._report(life, Stage.READY, pod)
        if late:
            await gates.opens.wait()
            await self._pods.open(pod)

    async def _report(self, life: Life, stage: Stage, pod: Pod | None = None) -> None:
        status = self._platform.status(life.obj, stage, pod)
        life.stage = stage
        life.learn(await self._api.report(life.name, life.uid, status))
        # Even where it changed nothing there may be a next thing to do.
        life.changed.set()
