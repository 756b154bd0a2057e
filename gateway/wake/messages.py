"""What a wake episode is told and what it says: events and commands."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from gateway.sandbox.errors import GatewayError
    from gateway.sandbox.model import Route

# ---- events -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RouteChanged:
    """The watch says so; None: the sandbox is gone."""

    route: Route | None


@dataclass(frozen=True, slots=True)
class Granted:
    """The budget allows the patch that was asked for."""


@dataclass(frozen=True, slots=True)
class Patched:
    """The patch is done, or nothing was left to patch; the route is of the object after it."""

    route: Route


@dataclass(frozen=True, slots=True)
class PatchFailed:
    """The patch was not done: a NotResumable, a ClusterError, a MalformedObject."""

    error: BaseException


@dataclass(frozen=True, slots=True)
class Reread:
    """The object was read."""

    route: Route


@dataclass(frozen=True, slots=True)
class RereadFailed:
    """The object was not read: a ClusterError, a MalformedObject."""

    error: BaseException


@dataclass(frozen=True, slots=True)
class Tick:
    """It is `due`."""


Event: TypeAlias = RouteChanged | Granted | Patched | PatchFailed | Reread | RereadFailed | Tick


# ---- commands ---------------------------------------------------------------------------------


class Order(Enum):
    """What the driver has to do, and to answer with an event."""

    ASK_BUDGET = "ask_budget"
    """Answer with Granted as soon as the budget allows one more patch."""
    WITHDRAW = "withdraw"
    """Take back what was asked of the budget."""
    PATCH = "patch"
    """Send the patch; answer with Patched or PatchFailed."""
    READ = "read"
    """Read the object; answer with Reread or RereadFailed."""


@dataclass(frozen=True, slots=True)
class Succeed:
    """The sandbox runs: every waiter gets this route."""

    route: Route


@dataclass(frozen=True, slots=True)
class Fail:
    """It cannot be woken: every waiter gets this error."""

    error: GatewayError


Command: TypeAlias = Order | Succeed | Fail
