"""What is explained: a sandbox as it is now, and the gateway around it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.dialects.base import Dialect, RawObject
    from gateway.resize.snapshot import ResizeSnapshot
    from gateway.sandbox.model import Route, State
    from gateway.standby.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What an explanation needs to know beside the sandbox: its gateway."""

    url: str = "http://127.0.0.1:8080"
    wake_timeout: float = 120.0


@dataclass(frozen=True, slots=True)
class Case:
    route: Route
    raw: RawObject | None
    dialect: Dialect
    now: float
    around: Surroundings
    standby: Snapshot | None = None
    size: ResizeSnapshot | None = None

    @property
    def state(self) -> State:
        return self.route.state_at(self.now)

    @property
    def wake_timeout(self) -> float:
        """Seconds that one wake may take."""
        own = self.route.wake.timeout
        return self.around.wake_timeout if own is None else own
