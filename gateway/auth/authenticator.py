"""The credential modes of a deployment: none, access tokens, scoped tokens.

An unknown sandbox is answered exactly as a known one with a bad credential: the gateway must not
tell what exists.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Final, Protocol

from gateway.auth import scoped
from gateway.sandbox.errors import Forbidden, SandboxNotFound, Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.sandbox.model import Credential, Route

    #: Request fields by lower-case name, values in order.
    Fields = Mapping[bytes, list[bytes]]

ACCESS_TOKEN: Final = b"x-access-token"
TRAFFIC_TOKEN: Final = b"e2b-traffic-access-token"
AUTHORIZATION: Final = b"authorization"

_BEARER: Final = b"bearer "


class Authenticator(Protocol):
    """Decides whether a request may reach a sandbox."""

    @property
    def names(self) -> frozenset[bytes]:
        """Return the fields that carry credentials: they reach a sandbox only if passed on."""

    @property
    def timeless(self) -> bool:
        """Return whether the same fields and the same route are judged the same at any time."""

    def check(self, fields: Fields, route: Route | None, now: float) -> list[bytes]:
        """Return the lines of credential fields that go on to the sandbox.

        `route` None: there is no such sandbox. `now` is in epoch seconds. Raise Unauthenticated,
        Forbidden or, only where nothing is asked for, SandboxNotFound.
        """


class NoAuth:
    """Everybody may reach everything; another layer guards the way here."""

    names: frozenset[bytes] = frozenset()
    timeless = True

    def check(self, fields: Fields, route: Route | None, now: float) -> list[bytes]:  # noqa: ARG002
        """Let everything pass; all fields are ordinary and go on by themselves."""
        if route is None:
            raise SandboxNotFound
        return []


class AccessTokens:
    """`X-Access-Token` must be the sandbox's own token."""

    names = frozenset({ACCESS_TOKEN})
    timeless = True

    def __init__(self, *, allow_tokenless: bool = False) -> None:
        """With `allow_tokenless`, a sandbox that has no token is open to all."""
        self._allow_tokenless = allow_tokenless

    def check(self, fields: Fields, route: Route | None, now: float) -> list[bytes]:  # noqa: ARG002
        """Compare in constant time, for an unknown sandbox too."""
        values = fields.get(ACCESS_TOKEN, [])
        credential = None if route is None else route.credential
        open_to_all = route is not None and credential is None and self._allow_tokenless
        if not open_to_all and not (len(values) == 1 and _matches(values[0], credential)):
            raise Unauthenticated
        passes = route is not None and route.passes_access_token
        return [b"X-Access-Token: %b\r\n" % value for value in values] if passes else []


def _matches(token: bytes, credential: Credential | None) -> bool:
    digest = hashlib.sha256(token).hexdigest()
    wanted = ""
    if credential is not None and credential.token:
        wanted = hashlib.sha256(credential.token.encode()).hexdigest()
    elif credential is not None and credential.sha256:
        wanted = credential.sha256
    return hmac.compare_digest(digest, wanted or "0" * 64) and bool(wanted)


class ScopedTokens:
    """A token that we signed for one sandbox, until a time."""

    names = frozenset({TRAFFIC_TOKEN, AUTHORIZATION})
    timeless = False

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        """`keys`: secrets by key id, each of at least 32 bytes."""
        self._keys = dict(keys)

    def check(self, fields: Fields, route: Route | None, now: float) -> list[bytes]:
        """Verify first, then compare: a good token for another sandbox is Forbidden."""
        own, passed_on = _find_token(fields)
        claims = None if own is None else scoped.verify(own, self._keys, now)
        if claims is None:
            raise Unauthenticated
        if route is None or not claims.names(route):
            raise Forbidden
        return passed_on


def _find_token(fields: Fields) -> tuple[bytes | None, list[bytes]]:
    """Return our token, and the Authorization lines that are the sandbox's own."""
    tokens = list(fields.get(TRAFFIC_TOKEN, ()))
    passed_on = []
    for value in fields.get(AUTHORIZATION, ()):
        bearer = value[len(_BEARER) :].strip() if value.lower().startswith(_BEARER) else b""
        if bearer.startswith(scoped.VERSION):
            tokens.append(bearer)
        else:
            passed_on.append(b"Authorization: %b\r\n" % value)
    return (tokens[0] if len(tokens) == 1 else None), passed_on
