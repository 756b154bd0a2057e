"""Sandboxes as the Kubernetes API has them: the truth, a watch that tells it, a writer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from gateway.sandbox.errors import ApiUnavailable, Conflict, ObjectGone, SandboxIsPausing
from gateway.sandbox.model import Key, Route, State, WakePolicy

if TYPE_CHECKING:
    from gateway.sandbox.registry import Registry

ADDRESS = "127.0.0.1"


def key_of(name: str) -> Key:
    return Key("native", "team", name)


class Sandboxes:
    """Objects by name. A change is told to the registry at once, unless `watching` is off.

    It is also the API that is read and written, unless it is `away`. `patches` are the uids it
    patched. A sandbox that was woken boots at once, or, without `boots`, when a test says `boot`.
    """

    def __init__(self, registry: Registry, common: dict[str, Any] | None = None) -> None:
        """`common` is what every sandbox's route has."""
        self._registry = registry
        self._common = common or {}
        self._objects: dict[str, Route] = {}
        self._version = 100
        self._lives = 0
        self.watching = True
        self.away = False
        self.boots = True
        self.patches: list[str] = []
        self.patched = asyncio.Event()

    def __getitem__(self, name: str) -> Route:
        return self._objects[name]

    def add(self, name: str, state: State, uid: str | None = None, **changes: Any) -> Route:
        """Create a sandbox under this name, in the place of one that is there."""
        self._lives += 1
        uid = uid or f"uid-{name}"
        route = Route(
            key=key_of(name),
            uid=uid,
            id=name,
            version=0,
            state=state,
            incarnation=f"{uid}/{self._lives}",
            address=ADDRESS if state is State.RUNNING else None,
            wake=WakePolicy(enabled=True),
        )
        return self._put(replace(route, **(self._common | changes)))

    def change(self, name: str, **changes: Any) -> Route:
        return self._put(replace(self._objects[name], **changes))

    def pause(self, name: str) -> None:
        self.change(name, state=State.PAUSED, address=None)

    def boot(self, name: str, address: str = ADDRESS) -> None:
        """Let it run, in a new life."""
        self._lives += 1
        uid = self._objects[name].uid
        incarnation = f"{uid}/{self._lives}"
        self.change(name, state=State.RUNNING, address=address, incarnation=incarnation)

    def delete(self, name: str) -> None:
        gone = self._objects.pop(name)
        self._version += 1
        self._registry.remove(gone.key, gone.uid, self._version)

    def delete_all(self) -> None:
        for name in list(self._objects):
            self.delete(name)

    def tell(self, name: str) -> None:
        """Let the watch catch up with this sandbox."""
        self._registry.apply(self._objects[name])

    async def read(self, key: Key, uid: str) -> Route:
        if self.away:
            raise ApiUnavailable("the API is away")
        route = self._objects.get(key.name)
        if route is None or route.uid != uid:
            raise ObjectGone
        return route

    async def wake(self, key: Key, uid: str) -> Route:
        route = await self.read(key, uid)
        if route.state is State.PAUSING:
            raise SandboxIsPausing
        if route.state is not State.PAUSED:
            return route
        await asyncio.sleep(0)
        if self._objects.get(key.name) is not route:
            raise Conflict
        self.patches.append(uid)
        after = self.change(key.name, state=State.RESUMING)
        if self.boots:
            asyncio.get_running_loop().call_soon(self.boot, key.name)
        self.patched.set()
        return after

    def _put(self, route: Route) -> Route:
        self._version += 1
        stored = self._objects[route.key.name] = replace(route, version=self._version)
        if self.watching:
            self._registry.apply(stored)
        return stored
