"""Who may use the admin API: the holder of its token, or, without one configured, this machine.

Some of it each sandbox may use too, about itself, by the credential that requests to it need.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections import OrderedDict
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from gateway.admin.problems import (
    AdminError,
    Forbidden,
    NotFound,
    TooOften,
    Unauthenticated,
    Unavailable,
)
from gateway.admin.sandboxes import asked_for
from gateway.sandbox import errors
from gateway.sandbox.token_bucket import TokenBucket

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

    from gateway.auth.authenticator import Authenticator, Fields
    from gateway.sandbox.model import Route
    from gateway.sandbox.registry import Registry

_SCHEME: Final = "bearer "

#: How often one sandbox may ask about itself: each second over time, and at once. Whatever runs in
#: it may ask in a loop, and each time costs the Kubernetes API a reading.
RATE: Final = 1.0
BURST: Final = 10.0
#: Sandboxes of which it is remembered how often they asked.
_REMEMBERED: Final = 10_000


class AdminAccess:
    """Judges requests; `token` None lets loopback clients in, and only them."""

    def __init__(self, token: str | None) -> None:
        self._token = None if token is None else token.encode()

    def replace_token(self, token: str) -> None:
        """Take no other token from now on."""
        self._token = token.encode()

    def check(self, request: web.Request) -> None:
        """Return if the request may go on; raise Unauthenticated or Forbidden."""
        if self._token is None:
            _check_local(request)
        elif not hmac.compare_digest(_bearer(request), self._token):
            raise Unauthenticated("The admin token is needed as a bearer token.")


class SandboxAccess:
    """Lets in whom `AdminAccess` lets in, and a sandbox to what is about itself.

    Who has shown no more than a sandbox's credential is never told whether another one exists.
    """

    def __init__(
        self,
        registry: Registry,
        judge: Authenticator,
        synced: Callable[[], bool],
        clock: Callable[[], float],
    ) -> None:
        """`judge` judges the credentials of requests to sandboxes. `clock` gives epoch seconds.

        `synced`: whether the registry is complete, so that a missing sandbox means something.
        """
        self._registry = registry
        self._judge = judge
        self._synced = synced
        self._clock = clock
        self._budgets: OrderedDict[str, TokenBucket] = OrderedDict()

    async def named(self, request: web.Request, access: AdminAccess) -> Route:
        """Return the sandbox that a request names, for who may ask about it; raise AdminError."""
        try:
            access.check(request)
        except AdminError:
            if not self._judge.names:
                raise  # Requests to sandboxes need no credential, so there is none to show.
            return await self._of_itself(request)
        try:
            return asked_for(self._registry, request)
        except NotFound as error:
            raise self._for_now(error) from None

    async def _of_itself(self, request: web.Request) -> Route:
        fields, now = _fields(request, self._judge.names), self._clock()
        await self._judge.prepare(fields, now)
        try:
            route = self._proved(request, fields, now)
        except errors.AuthUnavailable as error:
            raise Unavailable(error.text) from error
        except errors.Forbidden as error:
            raise self._for_now(Forbidden("The credential is not this sandbox's.")) from error
        except errors.Unauthenticated as error:
            raise self._for_now(
                Unauthenticated("The sandbox's own credential is needed, or the admin token.")
            ) from error
        if not self._budget_of(route.uid, now).take(now):
            raise TooOften("The sandbox asks too often: once a second is enough.")
        return route

    def _proved(self, request: web.Request, fields: Fields, now: float) -> Route:
        """Return the sandbox that `fields` prove to be who asks."""
        try:
            route = asked_for(self._registry, request)
        except AdminError:
            self._judge.check(fields, None, now)
            raise errors.Unauthenticated from None
        self._judge.check(fields, route, now)
        if route.requires_jwt and not self._judge.judges_jwt:
            raise errors.Forbidden
        if self._is_open(route, now):
            raise errors.Unauthenticated
        return route

    def _budget_of(self, uid: str, now: float) -> TokenBucket:
        budget = self._budgets.pop(uid, None) or TokenBucket(RATE, BURST, now)
        self._budgets[uid] = budget
        if len(self._budgets) > _REMEMBERED:
            self._budgets.popitem(last=False)
        return budget

    def _is_open(self, route: Route, now: float) -> bool:
        """Return whether a sandbox lets in who shows nothing: then nobody can prove to be it."""
        try:
            self._judge.check({}, route, now)
        except errors.GatewayError:
            return False
        return True

    def _for_now(self, refusal: AdminError) -> AdminError:
        """Return a refusal, unless the sandbox may exist and not be known yet."""
        if self._synced():
            return refusal
        return Unavailable("The gateway does not know its sandboxes yet.")


def _fields(request: web.Request, names: frozenset[bytes]) -> Fields:
    found: dict[bytes, list[bytes]] = {}
    for name, value in request.raw_headers:
        if name.lower() in names:
            found.setdefault(name.lower(), []).append(value.strip())
    return found


def _bearer(request: web.Request) -> bytes:
    # RFC 9110 §11.1: the scheme is case-insensitive. Two credentials are no credential.
    values = request.headers.getall("Authorization", [])
    if len(values) != 1 or not values[0].lower().startswith(_SCHEME):
        return b""
    return values[0][len(_SCHEME) :].strip().encode("utf-8", "surrogateescape")


def _check_local(request: web.Request) -> None:
    """Let this machine's programs in, but no web page that its browser shows.

    A page may come from any site and name its own host by a loopback address (DNS rebinding), so
    the host asked for must be loopback too; and no page of another origin has business here.
    """
    transport = request.transport
    peer = None if transport is None else transport.get_extra_info("peername")
    if not peer or not _is_loopback(str(peer[0])):
        raise Forbidden("Without an admin token configured, only loopback clients may ask this.")
    if not _is_loopback_host(request.host):
        raise Forbidden("Without an admin token configured, the host must be a loopback one.")
    origin = request.headers.get("Origin")
    if origin is not None and urlsplit(origin).netloc != request.host:
        raise Forbidden("Requests from pages of another origin are refused.")


def _is_loopback_host(authority: str) -> bool:
    try:
        host = urlsplit(f"//{authority}").hostname or ""
    except ValueError:
        return False
    return host == "localhost" or _is_loopback(host)


def _is_loopback(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
