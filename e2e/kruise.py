"""What OpenKruise's controller does to a sandbox, phase by phase, and tests can hold up.

The phases are the real ones. Pausing: Running and `paused` for a while, then Paused, and only
SandboxPaused=True ends it; the pod's address stays in the status. Resuming: Resuming, then Running
before it is Ready, then Ready, with another pod at another address.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import aiohttp

from .kube_api import GoneError

if TYPE_CHECKING:
    from .kube_api import Object, SandboxApi
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

    pauses: asyncio.Event = field(default_factory=_opened)
    """From Running and `paused` to Paused."""
    settles: asyncio.Event = field(default_factory=_opened)
    """From Paused to SandboxPaused=True."""
    resumes: asyncio.Event = field(default_factory=_opened)
    """From Resuming to Running and Ready."""
    opens: asyncio.Event = field(default_factory=_opened)
    """From Ready to a port that listens. Open, the port listens before it is Ready."""


@dataclass(slots=True, eq=False)
class Life:
    """One sandbox that is looked after."""

    obj: Object
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    pod: Pod | None = None

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
    def paused(self) -> bool:
        return bool(self.obj["spec"].get("paused"))

    @property
    def overdue(self) -> bool:
        """Whether its pauseTime has passed."""
        at = self.obj["spec"].get("pauseTime")
        return at is not None and datetime.fromisoformat(at) <= datetime.now(UTC)

    @property
    def phase(self) -> str:
        phase: str = self.obj.get("status", {}).get("phase", "")
        return phase

    def holds(self, condition: str) -> bool:
        conditions = self.obj.get("status", {}).get("conditions", [])
        return any(one["type"] == condition and one["status"] == "True" for one in conditions)


def version_of(obj: Object) -> int:
    return int(obj["metadata"]["resourceVersion"])


class Controller:
    """Looks after the sandboxes of one namespace for as long as `run` runs."""

    def __init__(self, api: SandboxApi, pods: Pods, namespace: str) -> None:
        self._api = api
        self._pods = pods
        self._namespace = namespace
        self._gates: dict[str, Gates] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.lives: dict[str, Life] = {}

    def gates(self, name: str) -> Gates:
        return self._gates.setdefault(name, Gates())

    def pod(self, name: str) -> Pod:
        """Return the pod of a sandbox: the last one that it had."""
        pods = [life.pod for life in self.lives.values() if life.name == name]
        assert len(pods) == 1
        assert pods[0] is not None
        return pods[0]

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    listed, version = await self._api.list()
                    self._replace(group, listed)
                    async for kind, obj in self._api.watch(version):
                        self._take(group, kind, obj)
                await asyncio.sleep(_PAUSE)

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
                await life.changed.wait()

    async def _step(self, life: Life) -> None:
        """Do the next thing; what it wrote brings the one after it."""
        gates = self.gates(life.name)
        match life.paused, life.phase:
            case True, "":
                await self._report_paused(life, self._pod_of(life), settled=True)
            case True, "Running":
                await gates.pauses.wait()
                await self._pods.retire(self._pod_of(life))
                await self._report_paused(life, self._pod_of(life), settled=False)
            case True, "Paused" if not life.holds("SandboxPaused"):
                await gates.settles.wait()
                await self._report_paused(life, self._pod_of(life), settled=True)
            case False, "Paused":
                await self._report(life, "Resuming", Ready=False, SandboxPaused=False)
            case False, "" | "Resuming":
                await gates.resumes.wait()
                life.pod = self._pods.make(f"{self._namespace}/{life.name}")
                await self._report(life, "Running", life.pod, Ready=False)
            case False, "Running" if not life.holds("Ready"):
                await self._make_ready(life, gates)
            case False, "Running" if life.overdue:
                await self._api.patch(life.name, paused=True)

    def _pod_of(self, life: Life) -> Pod:
        if life.pod is None:
            life.pod = self._pods.make(f"{self._namespace}/{life.name}")
        return life.pod

    async def _make_ready(self, life: Life, gates: Gates) -> None:
        pod = self._pod_of(life)
        late = not gates.opens.is_set()
        if not late:
            await self._pods.open(pod)
        await self._report(life, "Running", pod, Ready=True)
        if late:
            await gates.opens.wait()
            await self._pods.open(pod)

    async def _report_paused(self, life: Life, pod: Pod, *, settled: bool) -> None:
        await self._report(life, "Paused", pod, Ready=False, SandboxPaused=settled)

    async def _report(
        self, life: Life, phase: str, pod: Pod | None = None, **conditions: bool
    ) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        status: Object = {
            "phase": phase,
            "observedGeneration": life.obj["metadata"]["generation"],
            "conditions": [
                {"type": kind, "status": str(holds), "lastTransitionTime": now}
                for kind, holds in conditions.items()
            ],
        }
        if pod is not None:
            status["podInfo"] = {"podIP": pod.ip, "podUID": pod.uid}
        life.learn(await self._api.report(life.name, life.uid, status))
