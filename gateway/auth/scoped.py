"""Scoped tokens: `v1.<payload>.<signature>`, a right to one sandbox until a time.

The payload is JSON in base64url without padding: `kid` (which key), `ns`, `name`, `uid`, `exp`
(epoch seconds). The signature is HMAC-SHA256 over `v1.<payload>`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.auth.authenticator import AUTHORIZATION, TRAFFIC_TOKEN, Immediate, find_tokens
from gateway.auth.remembered import Remembered
from gateway.sandbox.errors import Forbidden, Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.auth.authenticator import Fields
    from gateway.sandbox.model import Key, Route

VERSION: Final = b"v1."
#: HMAC-SHA256 keys shorter than its output weaken it (RFC 2104 §3).
MIN_KEY_BYTES: Final = 32
MAX_TOKEN_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class Claims:
    """What a valid token says."""

    namespace: str
    name: str
    uid: str
    expires_at: float

    def names(self, route: Route) -> bool:
        """Return whether the token is for this very sandbox."""
        theirs = (route.key.namespace, route.key.name, route.uid)
        return theirs == (self.namespace, self.name, self.uid)


class ScopedTokens(Immediate):
    """A token that we signed for one sandbox, until a time."""

    names = frozenset({TRAFFIC_TOKEN, AUTHORIZATION})
    timeless = False
    carrier = TRAFFIC_TOKEN

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        """`keys`: secrets by key id, each of at least 32 bytes."""
        self._keys = dict(keys)
        self._remembered: Remembered[Claims] = Remembered()

    def replace_keys(self, keys: Mapping[str, bytes]) -> None:
        """Judge by these keys from now on, and by no other."""
        self._keys = dict(keys)
        self._remembered.forget()

    def check(self, fields: Fields, route: Route | None, now: float) -> list[bytes]:
        """Verify first, then compare: a good token for another sandbox is Forbidden."""
        tokens, passed_on = find_tokens(fields, _is_ours)
        claims = self._verified(tokens[0], now) if len(tokens) == 1 else None
        if claims is None:
            raise Unauthenticated
        if route is None or not claims.names(route):
            raise Forbidden
        return passed_on

    def tokens(self, fields: Fields) -> list[bytes]:
        """Return the tokens for the gateway: a bearer of this version is one."""
        return find_tokens(fields, _is_ours)[0]

    def ends_at(self, token: bytes) -> float | None:
        """Return when a good token expires (epoch seconds)."""
        claims = self._remembered.find(token)
        return None if claims is None else claims.expires_at

    def _verified(self, token: bytes, now: float) -> Claims | None:
        known = self._remembered.find(token)
        if known is not None:
            return known if known.expires_at > now else None
        claims = verify(token, self._keys, now)
        if claims is not None:
            self._remembered.keep(token, claims)
        return claims


def _is_ours(bearer: bytes) -> bool:
    return bearer.startswith(VERSION)


def mint(key: Key, uid: str, expires_at: float, kid: str, secret: bytes) -> bytes:
    """Return a token; raise ValueError if the secret is too short."""
    if len(secret) < MIN_KEY_BYTES:
        raise ValueError(f"a key needs at least {MIN_KEY_BYTES} bytes")
    payload = {
        "kid": kid,
        "ns": key.namespace,
        "name": key.name,
        "uid": uid,
        "exp": int(expires_at),
    }
    signed = VERSION + _encode(json.dumps(payload, separators=(",", ":")).encode())
    return signed + b"." + _encode(_sign(signed, secret))


def verify(token: bytes, keys: Mapping[str, bytes], now: float) -> Claims | None:
    """Return the claims of a token that is genuine and unexpired at `now`, else None."""
    signed, dot, signature = token.rpartition(b".")
    if not (dot and signed.startswith(VERSION) and len(token) <= MAX_TOKEN_BYTES):
        return None
    try:
        payload = json.loads(_decode(signed[len(VERSION) :]))
        given = _decode(signature)
    except (ValueError, binascii.Error, RecursionError):
        return None
    if not isinstance(payload, dict):
        return None
    secret = keys.get(str(payload.get("kid")))
    if secret is None or not hmac.compare_digest(_sign(signed, secret), given):
        return None
    return _claims(payload, now)


def _claims(payload: dict[str, object], now: float) -> Claims | None:
    namespace, name, uid = payload.get("ns"), payload.get("name"), payload.get("uid")
    expires_at = payload.get("exp")
    if not (isinstance(namespace, str) and isinstance(name, str) and isinstance(uid, str)):
        return None
    if not isinstance(expires_at, int) or isinstance(expires_at, bool) or expires_at <= now:
        return None
    return Claims(namespace, name, uid, expires_at)


def _sign(signed: bytes, secret: bytes) -> bytes:
    return hmac.digest(secret, signed, hashlib.sha256)


def _encode(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def _decode(text: bytes) -> bytes:
    """Decode strictly: one text, one value."""
    raw = base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if _encode(raw) != text:
        raise ValueError("not canonical base64url")
    return raw
