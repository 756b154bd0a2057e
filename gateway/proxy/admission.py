"""Whether a request may go to a sandbox at all, and to which: decided before anything is woken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.sandbox.errors import (
    AmbiguousTarget,
    Forbidden,
    InvalidTarget,
    NotReady,
    SandboxNotFound,
    Unauthenticated,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.auth.authenticator import Authenticator
    from gateway.proxy.message import RequestHead
    from gateway.proxy.target import Target
    from gateway.sandbox.model import Route
    from gateway.sandbox.registry import Registry


@dataclass(frozen=True, slots=True)
class Admitted:
    """A request that may go on: only to the sandbox with this route's uid.

    `passed_on` are the lines of credential fields that the sandbox gets.
    """

    route: Route
    port: int
    target: Target
    passed_on: list[bytes]


class Admission:
    """Admits requests by the registry and one way of authentication."""

    def __init__(
        self, registry: Registry, authenticator: Authenticator, synced: Callable[[], bool]
    ) -> None:
        """`synced`: whether the registry is complete, so that a missing route means something."""
        self._registry = registry
        self._authenticator = authenticator
        self._synced = synced

    def admit(self, head: RequestHead, targets: list[Target], now: float) -> Admitted:
        """Admit a request that names `targets`, the first of which counts.

        The order is what keeps the gateway from being an oracle: nothing that depends on whether
        a sandbox exists is answered before the credential has been judged.
        """
        target = targets[0]
        route, unfound = self._find(target)
        try:
            passed_on = self._authenticator.check(head.special, route, now)
        except (Unauthenticated, Forbidden, SandboxNotFound) as refusal:
            if not self._synced():
                # The sandbox may exist and not be known yet; one that is known says the same.
                raise NotReady from refusal
            if isinstance(refusal, SandboxNotFound):
                raise unfound from None
            raise
        if route is None:
            raise unfound
        if any(self._find(other)[0] is not route for other in targets[1:]):
            raise InvalidTarget("The request names more than one sandbox.")
        return Admitted(route, self._port(target, targets, route), target, passed_on)

    def _find(self, target: Target) -> tuple[Route | None, SandboxNotFound | AmbiguousTarget]:
        try:
            route = target.find(self._registry)
        except (SandboxNotFound, AmbiguousTarget) as error:
            return None, error
        if target.uid is not None and target.uid != route.uid:
            return None, SandboxNotFound()
        return route, SandboxNotFound()

    def _port(self, target: Target, targets: list[Target], route: Route) -> int:
        port = target.port_for(route)
        if any(other.port_for(route) != port for other in targets[1:]):
            raise InvalidTarget("The request names more than one port.")
        if not route.allows_port(port):
            raise Forbidden("The sandbox does not allow this port.")
        return port
