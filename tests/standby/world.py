"""A replica's knowledge for tests: its registry, its counts and its clocks, which tests move."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from gateway.sandbox.activity import Activity
from gateway.sandbox.model import Key, Route, State
from gateway.sandbox.registry import Registry
from gateway.sandbox.standby import IdleRules, StandbyPolicy
from gateway.standby.config import IdleConfig
from gateway.standby.idle import IdleLoop, Look, Result
from gateway.standby.judging import Judging, Moment, Observed

#: What the wall clock says when the monotonic one says 0.
EPOCH = 1_795_000_000.0
FIVE_MINUTES = StandbyPolicy(enabled=True, idle_timeout=300.0)


def sandbox(name: str = "box", **changes: Any) -> Route:
    """Return a running sandbox that sleeps after five idle minutes, changed as told."""
    rules = {field: changes.pop(field) for field in IdleRules.__struct_fields__ if field in changes}
    route = Route(
        key=Key("native", "team", name),
        uid=f"uid-{name}",
        id=f"team--{name}",
        version=1,
        state=State.RUNNING,
        incarnation=f"uid-{name}/1",
        address="10.0.0.7",
        idle=IdleRules(**({"policy": FIVE_MINUTES} | rules)),
    )
    return replace(route, **changes)


class World:
    """One replica that leads, without anything that waits."""

    def __init__(self, config: IdleConfig | None = None, observed: Observed | None = None) -> None:
        self.now = 1000.0
        self.registry, self.activity = Registry(), Activity()
        config = config or IdleConfig()
        self.judging = Judging(config, self.activity, observed)
        self.idle = IdleLoop(self.registry.get, self.judging, self.activity, config.concurrency)
        self.registry.subscribe(self._hear)

    @property
    def at(self) -> Moment:
        return Moment(self.now, EPOCH + self.now)

    def _hear(self, before: Route | None, after: Route | None) -> None:
        self.activity.heed(before, after, *self.at)
        self.judging.heed(before, after, self.at)
        self.idle.hear(before, after, self.at)

    def add(self, *routes: Route) -> None:
        """Bring news of sandboxes."""
        for route in routes:
            self.registry.apply(route)

    def change(self, name: str = "box", **changes: Any) -> None:
        """Bring news of one that is known, changed as told."""
        known = self.registry.by_name("team", name)
        rules = {
            field: changes.pop(field) for field in IdleRules.__struct_fields__ if field in changes
        }
        idle = replace(known.idle, **rules)
        self.registry.apply(replace(known, version=known.version + 1, idle=idle, **changes))

    def delete(self, name: str = "box") -> None:
        """Bring news that one is gone."""
        known = self.registry.by_name("team", name)
        self.registry.remove(known.key, known.uid, known.version + 1)

    def use(self, name: str = "box", seconds: float = 0.0) -> None:
        """Let somebody use one for a while."""
        usage = self.activity.enter(f"uid-{name}", self.now)
        self.now += seconds
        usage.leave(self.now)

    def look(self) -> Look:
        """Look once."""
        return self.idle.look(self.at)

    def asked(self) -> list[str]:
        """Look once; return the names of those that are to be asked about."""
        return [route.key.name for route in self.look().ask]

    def asked_within(self, seconds: float) -> float | None:
        """Let time pass, and looks be taken when due; return after how long one is asked about."""
        began = self.now
        while (due := self.idle.due) is not None and due <= began + seconds:
            self.now = max(self.now, due)
            if self.look().ask:
                return self.now - began
        self.now = began + seconds
        return None

    def settle(self, result: Result, name: str = "box", used_ago: float | None = None) -> float:
        """Tell what became of one that was asked about."""
        route = self.registry.by_name("team", name)
        return self.idle.settle(route, result, self.at, used_ago)
