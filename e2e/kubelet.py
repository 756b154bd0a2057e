"""The kubelet of one node, as far as the API shows it: pods that run, and have the sizes they ask.

It does what KEP-1287 says: what there is room for is promised, then brought about; for the rest
the pod waits (Deferred), or is told that it never will have it (Infeasible).
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import orjson

from gateway.sandbox.quantities import format_cpu, format_memory, parse_cpu, parse_memory
from gateway.sandbox.scaling import Size

from .kube_api import GoneError, is_of_another, session_of, version_of, watched

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path

_MERGE: Final = {"Content-Type": "application/merge-patch+json"}
_STARTED: Final = "2026-11-22T00:00:00Z"

Object = dict[str, Any]


@dataclass(slots=True, eq=False)
class _Run:
    """A pod that runs; amounts are those of its containers, by name."""

    obj: Object
    address: str
    promised: dict[str, Object] = field(default_factory=dict)
    given: dict[str, Object] = field(default_factory=dict)
    #: Why what it asks for is not promised, and what there is too little of.
    refused: str = ""
    short_of: str = ""
    phase: str = "Running"
    #: The last status that was written, and who writes one: one after the other.
    told: Object = field(default_factory=dict)
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def containers(self) -> list[Object]:
        """All that run side by side."""
        spec = self.obj["spec"]
        sidecars = [one for one in spec.get("initContainers", ()) if "restartPolicy" in one]
        return [*spec["containers"], *sidecars]

    @property
    def wished(self) -> dict[str, Object]:
        return {one["name"]: one.get("resources", {}) for one in self.containers}

    @property
    def uid(self) -> str:
        uid: str = self.obj["metadata"]["uid"]
        return uid

    @property
    def path(self) -> str:
        metadata = self.obj["metadata"]
        return f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"


class Kubelet:
    """Looks after the pods of its node that were started."""

    def __init__(
        self, session: aiohttp.ClientSession, node: str, allocatable: Size, most: Size
    ) -> None:
        """Use `serve`."""
        self.node = node
        self._session = session
        self._allocatable = allocatable
        self._most = most
        self._runs: dict[str, _Run] = {}
        self._changed = asyncio.Event()
        self._held = False
        self._calls: set[asyncio.Task[Object]] = set()

    @classmethod
    @asynccontextmanager
    async def serve(
        cls, kubeconfig: Path, node: str, allocatable: Size, most: Size | None = None
    ) -> AsyncIterator[Kubelet]:
        """Register a node of this size and look after its pods.

        More than `most` is infeasible for a pod. From 1.36 on the API itself refuses what is more
        than `allocatable`, so that only less than that is ever found infeasible here.
        """
        async with session_of(kubeconfig) as session:
            kubelet = cls(session, node, allocatable, most or allocatable)
            await kubelet._register()
            tasks = [asyncio.create_task(one) for one in (kubelet._watch(), kubelet._work())]
            try:
                yield kubelet
            finally:
                for task in tasks:
                    task.cancel()
                ended = await asyncio.gather(*tasks, return_exceptions=True)
                await asyncio.gather(*kubelet._calls, return_exceptions=True)
            failed = [one for one in ended if not isinstance(one, asyncio.CancelledError)]
            assert not failed, failed

    async def start(self, namespace: str, name: str, address: str) -> Object:
        """Let a pod run at an address; return it as the API has it then."""
        obj = await self._call("GET", f"/api/v1/namespaces/{namespace}/pods/{name}")
        run = _Run(obj, address)
        run.promised = run.given = run.wished
        self._runs[run.uid] = run
        return await self._report(run)

    async def end(self, uid: str) -> None:
        """Let a pod come to its end, which takes no room any more."""
        run = self._runs.pop(uid)
        run.phase = "Succeeded"
        await self._report(run)
        self._changed.set()

    def hold(self) -> None:
        """Bring about nothing that is promised from now on."""
        self._held = True

    def release(self) -> None:
        """Bring about what is promised."""
        self._held = False
        self._changed.set()

    async def offer(self, room: Size) -> None:
        """Have another size: what is promised stays promised."""
        self._allocatable = room
        await self._tell_room()
        self._changed.set()

    # ---- what it does ---------------------------------------------------------------------------

    async def _work(self) -> None:
        """Whenever anything has changed, look at all pods."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            for run in list(self._runs.values()):
                try:
                    await self._look_after(run)
                except GoneError:
                    self._forget(run.uid)

    async def _look_after(self, run: _Run) -> None:
        if "deletionTimestamp" in run.obj["metadata"]:
            # What is meant is this pod: another one may have its name by now.
            meant = {"gracePeriodSeconds": 0, "preconditions": {"uid": run.uid}}
            await self._call("DELETE", run.path, meant)
            raise GoneError(run.path)
        self._promise(run)
        # What is promised is seen before it is real.
        await self._report(run)
        if not self._held and run.given != run.promised:
            run.given = run.promised
            await self._report(run)

    def _promise(self, run: _Run) -> None:
        """Promise what a pod asks for, or find out why not."""
        wished = _total(run.wished)
        others = [_total(one.promised) for one in self._runs.values() if one is not run]
        used = Size(sum(one.cpu for one in others), sum(one.memory for one in others))
        now = Size(self._allocatable.cpu - used.cpu, self._allocatable.memory - used.memory)
        run.refused = ""
        if run.wished == run.promised:
            return
        for reason, room in (("Infeasible", self._most), ("Deferred", now)):
            if short := _short(wished, room):
                run.refused, run.short_of = reason, short
                return
        run.promised = run.wished
        # What one gives back another may wait for.
        self._changed.set()

    async def _report(self, run: _Run) -> Object:
        """Write the status if it is another one; return the pod as it is then."""
        async with run.writing:
            status = _status(run)
            if status != run.told:
                body = {"metadata": {"uid": run.uid}, "status": status}
                self._update(run, await self._call("PATCH", f"{run.path}/status", body))
                run.told = status
            return run.obj

    # ---- the API --------------------------------------------------------------------------------

    async def _register(self) -> None:
        await self._call("POST", "/api/v1/nodes", {"metadata": {"name": self.node}})
        await self._tell_room()

    async def _tell_room(self) -> None:
        room = {
            "cpu": format_cpu(self._allocatable.cpu),
            "memory": format_memory(self._allocatable.memory),
            "pods": "110",
        }
        body = {"status": {"capacity": room, "allocatable": room}}
        await self._call("PATCH", f"/api/v1/nodes/{self.node}/status", body)

    async def _watch(self) -> None:
        selector = {"fieldSelector": f"spec.nodeName={self.node}"}
        while True:
            # One that is started while the list is on its way need not be in it.
            known = set(self._runs)
            listed = await self._call("GET", "/api/v1/pods", params=selector)
            for uid in known - {one["metadata"]["uid"] for one in listed["items"]}:
                self._forget(uid)
            for one in listed["items"]:
                self._learn(one)
            with suppress(aiohttp.ClientError):
                await self._follow(listed["metadata"]["resourceVersion"], selector)

    async def _follow(self, version: str, selector: dict[str, str]) -> None:
        async with aclosing(watched(self._session, "/api/v1/pods", version, **selector)) as events:
            async for kind, obj in events:
                if kind == "DELETED":
                    self._forget(obj["metadata"]["uid"])
                else:
                    self._learn(obj)

    def _forget(self, uid: str) -> None:
        """A pod is gone: others may wait for the room that it had."""
        self._runs.pop(uid, None)
        self._changed.set()

    def _learn(self, obj: Object) -> None:
        run = self._runs.get(obj["metadata"]["uid"])
        if run is not None:
            self._update(run, obj)

    def _update(self, run: _Run, obj: Object) -> None:
        """Take a pod as it is, or was: answers and the watch may overtake each other."""
        if version_of(obj) > version_of(run.obj):
            run.obj = obj
            self._changed.set()

    async def _call(
        self,
        method: str,
        path: str,
        body: Object | None = None,
        params: dict[str, str] | None = None,
    ) -> Object:
        """Make a call to its end, even if the caller does not: asyncio may leak half a TLS."""
        call = asyncio.create_task(self._ask(method, path, body, params))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        return await asyncio.shield(call)

    async def _ask(
        self, method: str, path: str, body: Object | None, params: dict[str, str] | None
    ) -> Object:
        headers = _MERGE if method == "PATCH" else None
        async with self._session.request(
            method, path, json=body, headers=headers, params=params
        ) as response:
            answer: Object = orjson.loads(await response.read())
            # All that a deletion can conflict with is what it goes by: the uid.
            is_not_it = method == "DELETE" and response.status == 409
            if response.status == 404 or is_not_it or is_of_another(answer):
                raise GoneError(answer["message"])
            assert response.status < 400, answer
            return answer


def _total(amounts: dict[str, Object]) -> Size:
    requests = [one.get("requests", {}) for one in amounts.values()]
    return Size(
        sum(parse_cpu(one.get("cpu", "0")) for one in requests),
        sum(parse_memory(one.get("memory", "0")) for one in requests),
    )


def _short(wished: Size, room: Size) -> str:
    """Return what there is too little of."""
    kinds = {"cpu": wished.cpu > room.cpu, "memory": wished.memory > room.memory}
    return " and ".join(kind for kind, is_short in kinds.items() if is_short)


def _status(run: _Run) -> Object:
    sidecars = {one["name"] for one in run.containers} - {
        one["name"] for one in run.obj["spec"]["containers"]
    }
    statuses = [_container_status(run, name) for name in run.wished]
    return {
        "phase": run.phase,
        "podIP": run.address,
        "podIPs": [{"ip": run.address}],
        "conditions": list(_conditions(run)),
        "containerStatuses": [one for one in statuses if one["name"] not in sidecars],
        "initContainerStatuses": [one for one in statuses if one["name"] in sidecars],
    }


def _conditions(run: _Run) -> Iterable[Object]:
    generation = run.obj["metadata"]["generation"]
    yield {"type": "Ready", "status": "True"}
    if run.refused:
        yield {
            "type": "PodResizePending",
            "status": "True",
            "reason": run.refused,
            "message": f"the node has too little {run.short_of}",
            "observedGeneration": generation,
        }
    if run.given != run.promised:
        yield {"type": "PodResizeInProgress", "status": "True", "observedGeneration": generation}


def _container_status(run: _Run, name: str) -> Object:
    return {
        "name": name,
        "image": name,
        "imageID": "",
        "containerID": f"test://{run.uid}/{name}",
        "ready": True,
        "started": True,
        "restartCount": 0,
        "state": {"running": {"startedAt": _STARTED}},
        "resources": run.given[name],
        "allocatedResources": run.promised[name].get("requests", {}),
    }
