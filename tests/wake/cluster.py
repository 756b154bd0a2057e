"""A small cluster: sandboxes that pause and resume, an API that can be slow or down, a watch."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from msgspec.structs import replace

from gateway.sandbox.errors import (
    ApiUnavailable,
    Conflict,
    ObjectGone,
    SandboxIsPausing,
    SandboxIsTerminating,
    SandboxPhaseNotAllowed,
)
from gateway.sandbox.model import Key, Route, State, WakePolicy
from gateway.sandbox.registry import Registry

from .routes import route

NOT_RESUMABLE = {
    State.PAUSING: SandboxIsPausing,
    State.DEAD: SandboxIsTerminating,
    State.BLOCKED: SandboxPhaseNotAllowed,
    State.CREATING: SandboxPhaseNotAllowed,
}


@dataclass
class Cluster:
    """Objects by key, as the API has them. Durations are seconds of virtual time."""

    registry: Registry = field(default_factory=Registry)
    latency: float = 0.01
    resume_time: float = 0.5
    never_ready: bool = False
    down: bool = False
    watching: bool = True
    #: What the next calls to `wake` raise after reading.
    faults: deque[Exception] = field(default_factory=deque)
    #: Called between the read and the write of each `wake`.
    meanwhile: Callable[[Route], None] = lambda _: None
    version: int = 0
    objects: dict[Key, Route] = field(default_factory=dict)
    patches: Counter[str] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)
    writing: Counter[str] = field(default_factory=Counter)
    #: The most calls to `wake` that were under way for one uid at once.
    most_writing: int = 0
    reads: int = 0
    patched_at: dict[str, float] = field(default_factory=dict)

    def add(self, state: State, name: str = "box", **about: object) -> Route:
        uid = about.pop("uid", f"uid-{name}")
        self.version += 1
        return self._put(route(state, self.version, name=name, uid=uid, **about))  # type: ignore[arg-type]

    def change(self, key: Key, state: State | None = None, **changes: object) -> Route:
        """Write the object, as somebody else would."""
        self.version += 1
        old = self.objects[key]
        address = "10.0.0.1" if (state or old.state) is State.RUNNING else None
        new = replace(old, version=self.version, state=state or old.state, address=address)
        return self._put(replace(new, **changes))

    def forbid_waking(self, key: Key) -> None:
        self.change(key, wake=WakePolicy(enabled=False))

    def delete(self, key: Key) -> None:
        self.version += 1
        gone = self.objects.pop(key)
        if self.watching:
            self.registry.remove(key, gone.uid, self.version)

    def after(self, seconds: float, key: Key, expected: State, state: State) -> None:
        """Let the platform move the object on, unless it has moved by then."""
        uid = self.objects[key].uid

        def move() -> None:
            now = self.objects.get(key)
            if now is not None and now.uid == uid and now.state is expected:
                self.change(key, state)

        asyncio.get_running_loop().call_later(seconds, move)

    async def read(self, key: Key, uid: str) -> Route:
        self.reads += 1
        await asyncio.sleep(self.latency)
        return self._get(key, uid)

    async def wake(self, key: Key, uid: str) -> Route:
        self.calls[uid] += 1
        self.writing[uid] += 1
        self.most_writing = max(self.most_writing, self.writing[uid])
        try:
            return await self._wake(key, uid)
        finally:
            self.writing[uid] -= 1

    async def _wake(self, key: Key, uid: str) -> Route:
        await asyncio.sleep(self.latency)
        seen = self._get(key, uid)
        if self.faults:
            raise self.faults.popleft()
        if seen.state in NOT_RESUMABLE:
            raise NOT_RESUMABLE[seen.state]
        if seen.state is not State.PAUSED:
            return seen
        self.meanwhile(seen)
        await asyncio.sleep(self.latency)
        if self._get(key, uid).version != seen.version:
            raise Conflict(str(key))
        self.patches[uid] += 1
        self.patched_at[uid] = asyncio.get_running_loop().time()
        patched = self.change(key, State.RESUMING)
        if not self.never_ready:
            self.after(self.resume_time, key, State.RESUMING, State.RUNNING)
        return patched

    def _get(self, key: Key, uid: str) -> Route:
        if self.down:
            raise ApiUnavailable("down")
        found = self.objects.get(key)
        if found is None or found.uid != uid:
            raise ObjectGone(str(key))
        return found

    def _put(self, new: Route) -> Route:
        self.objects[new.key] = new
        if self.watching:
            self.registry.apply(new)
        return new
