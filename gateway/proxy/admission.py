"""Whether a request may go to a sandbox at all, and to which: decided before anything is woken."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

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
    from gateway.proxy.login import Login
    from gateway.proxy.message import RequestHead
    from gateway.proxy.target import Target
    from gateway.sandbox.model import Route
    from gateway.sandbox.registry import Registry


class Admitted(NamedTuple):
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
        self,
        registry: Registry,
        authenticator: Authenticator,
        synced: Callable[[], bool],
        login: Login | None = None,
        names_by_host: Callable[[RequestHead], bool] = lambda _: False,
        closed_ports: frozenset[int] = frozenset(),
    ) -> None:
        """`synced`: whether the registry is complete, so that a missing route means something.

        `login`: judges in the authenticator's stead, by cookies too, of requests whose host names
        the sandbox. `closed_ports`: those that no request may name, whatever the sandbox allows.
        """
        self._closed_ports = closed_ports
        self._names_by_host = names_by_host
        self._registry = registry
        self._authenticator = authenticator
        self._synced = synced
        self._login = login
        # A cookie is judged by the method too, which is not a field.
        self._timeless = authenticator.timeless and login is None

    async def prepare(self, head: RequestHead, now: float) -> None:
        """Fetch what it takes to judge a request's credential, as far as it can be had."""
        if self._login is None:
            await self._authenticator.prepare(head.special, now)
        else:
            await self._login.prepare(head, now, by_host=self._names_by_host(head))

    def admit(self, head: RequestHead, targets: list[Target], now: float) -> Admitted:
        """Admit a request that names `targets`, the first of which counts.

        The same fields and the same route are admitted as before, unless time can end a right.
        The order is what keeps the gateway from being an oracle: nothing that depends on whether
        a sandbox exists is answered before the credential has been judged.
        """
        target = targets[0]
        unfound: SandboxNotFound | AmbiguousTarget | None = None
        route: Route | None = None
        try:
            route = target.find(self._registry)
        except (SandboxNotFound, AmbiguousTarget) as error:
            unfound = error
        findings = head.findings
        # Not a finding about the fields: what the path names besides, and that two targets agree.
        by_fields = findings.targets is targets and len(targets) == 1
        before = findings.admitted
        if by_fields and before is not None and before.route is route:
            return before
        passed_on = self._judge(head, route, unfound, now)
        if route is None:
            raise unfound or SandboxNotFound
        if route.requires_jwt and not self._authenticator.judges_jwt:
            raise Forbidden("The sandbox asks for a JWT, which this gateway does not judge.")
        port = target.port_for(route)
        if len(targets) > 1:
            self._check_agreement(targets, route, port)
        if not route.allows_port(port) or port in self._closed_ports:
            raise Forbidden("The sandbox does not allow this port.")
        admitted = Admitted(route, port, target, passed_on)
        if by_fields and self._timeless:
            findings.admitted = admitted
        return admitted

    def _judge(
        self,
        head: RequestHead,
        route: Route | None,
        unfound: SandboxNotFound | AmbiguousTarget | None,
        now: float,
    ) -> list[bytes]:
        """Return the lines of credential fields that go on; raise for a bad credential."""
        try:
            if self._login is None:
                return self._authenticator.check(head.special, route, now)
            return self._login.check(head, route, now, by_host=self._names_by_host(head))
        except (Unauthenticated, Forbidden, SandboxNotFound) as refusal:
            if not self._synced():
                # The sandbox may exist and not be known yet; one that is known says the same.
                raise NotReady from refusal
            if isinstance(refusal, SandboxNotFound):
                raise unfound or refusal from None
            raise

    def _check_agreement(self, targets: list[Target], route: Route, port: int) -> None:
        """Refuse a request whose schemes name different sandboxes or ports."""
        for other in targets[1:]:
            try:
                agrees = other.find(self._registry) is route
            except (SandboxNotFound, AmbiguousTarget):
                agrees = False
            if not agrees:
                raise InvalidTarget("The request names more than one sandbox.")
            if other.port_for(route) != port:
                raise InvalidTarget("The request names more than one port.")
