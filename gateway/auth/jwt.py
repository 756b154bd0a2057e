"""The mode jwt: tokens that an identity provider signs for one sandbox (RFC 7519, RFC 8725).

What is believed: a signature by a key of the provider's own set, named by `kid`, with an
asymmetric algorithm that fits that key; then `iss`, the times, and whom the token is for. Keys that
a token brings along (`jwk`, `jku`, `x5u`) are never looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec
from joserfc import jws
from joserfc.errors import JoseError

from gateway.auth.authenticator import AUTHORIZATION, TRAFFIC_TOKEN, find_tokens
from gateway.auth.remembered import Remembered
from gateway.sandbox.errors import AuthUnavailable, Forbidden, Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Mapping

    from joserfc.jwk import Key

    from gateway.auth.authenticator import Fields
    from gateway.auth.key_store import KeyStore
    from gateway.sandbox.model import Route

MAX_TOKEN_BYTES: Final = 64 * 1024

#: Signatures by a private key that the gateway does not have. Ed25519 is RFC 9864's name for what
#: RFC 8037 calls EdDSA.
ALGORITHMS: Final = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519"}
)


class _Registry(jws.JWSRegistry):
    """joserfc's rules for JWS, with room for what a token of the longest size may have."""

    max_header_length = 8 * 1024
    max_payload_length = MAX_TOKEN_BYTES
    max_signature_length = 2 * 1024


#: What reading bytes of anybody may raise: text that is none and nesting without end too.
_MALFORMED: Final = (JoseError, msgspec.MsgspecError, ValueError, TypeError, RecursionError)

_REGISTRY: Final = _Registry(algorithms=ALGORITHMS, strict_check_header=False)


class _SandboxClaim(msgspec.Struct, frozen=True, rename="camel"):
    sandbox_id: str
    sandbox_uid: str


class Claims(msgspec.Struct, frozen=True):
    """What a token says; all times in epoch seconds. `aud` is one text or several."""

    exp: float
    nbf: float
    iat: float
    iss: str
    sub: str
    sandbox: _SandboxClaim
    aud: str | list[str] = []

    def names(self, route: Route) -> bool:
        """Return whether the token is for this very sandbox."""
        return (route.id, route.uid) == (self.sandbox.sandbox_id, self.sandbox.sandbox_uid)


class _Issuer(msgspec.Struct, frozen=True):
    iss: str


_CLAIMS: Final = msgspec.json.Decoder(Claims)
_ISSUER: Final = msgspec.json.Decoder(_Issuer)


@dataclass(frozen=True, slots=True)
class JwtRules:
    """Whose tokens are believed. `audience` None: whoever they are for.

    `leeway`: by how many seconds the issuer's clock may be ahead of the gateway's.
    """

    issuer: str
    audience: str | None = None
    leeway: float = 30.0

    def accept(self, claims: Claims) -> bool:
        """Return whether the claims are as they must be at any time."""
        audience = [claims.aud] if isinstance(claims.aud, str) else claims.aud
        for_us = self.audience is None or self.audience in audience
        return claims.iss == self.issuer and bool(claims.sub) and for_us

    def in_force(self, claims: Claims, now: float) -> bool:
        """Return whether the token is good at this time (RFC 7519 §4.1.4 to §4.1.6).

        A clock that is behind must not refuse a token that was just made; the end is the end.
        """
        return max(claims.nbf, claims.iat) - self.leeway <= now < claims.exp


class JwtTokens:
    """A token that the identity provider signed for one sandbox, until a time."""

    names = frozenset({TRAFFIC_TOKEN, AUTHORIZATION})
    timeless = False
    judges_jwt = True
    carrier = TRAFFIC_TOKEN

    def __init__(self, rules: JwtRules, store: KeyStore) -> None:
        """`store` has the provider's keys, and fetches them while `run` runs."""
        self._rules = rules
        self._store = store
        self._remembered: Remembered[Claims] = Remembered()
        self._keys: Mapping[str, Key] = {}

    def check(self, fields: Fields, route: Route | None, now: float) -> list[bytes]:
        """Verify first, then compare: a good token for another sandbox is Forbidden."""
        tokens, passed_on = find_tokens(fields, self._is_ours)
        if len(tokens) != 1:
            raise Unauthenticated
        claims = self._verified(tokens[0])
        if not self._rules.in_force(claims, now):
            raise Unauthenticated
        if route is None or not claims.names(route):
            raise Forbidden
        return passed_on

    async def prepare(self, fields: Fields, now: float) -> None:  # noqa: ARG002
        """Fetch keys if the one that a token names is not known, or none is."""
        tokens = self.tokens(fields)
        jwt = _read(tokens[0]) if len(tokens) == 1 else None
        if jwt is not None and jwt.protected["kid"] not in self._store.current():
            await self._store.ask()

    async def run(self) -> None:
        """Fetch the keys again before they are old."""
        await self._store.run()

    def tokens(self, fields: Fields) -> list[bytes]:
        """Return the tokens for the gateway: a bearer that says it is of our issuer is one.

        Any other bearer is the sandbox's own, a JWT of another issuer too. Nothing is lost by
        taking a token's word for it: one that is not of our issuer could not be good.
        """
        return find_tokens(fields, self._is_ours)[0]

    def ends_at(self, token: bytes) -> float | None:
        """Return when a good token expires (epoch seconds)."""
        claims = self._remembered.find(token)
        return None if claims is None else claims.exp

    def _is_ours(self, bearer: bytes) -> bool:
        if self._remembered.find(bearer) is not None:
            return True
        jwt = _read(bearer)
        return jwt is not None and _issuer(jwt) == self._rules.issuer

    def _verified(self, token: bytes) -> Claims:
        """Return the claims of a genuine token; raise Unauthenticated or AuthUnavailable."""
        keys = self._store.current()
        if keys is not self._keys:
            self._keys = keys
            self._remembered.forget()
        known = self._remembered.find(token)
        if known is not None:
            return known
        jwt = _read(token)
        if jwt is None:
            raise Unauthenticated
        key = keys.get(jwt.protected["kid"])
        if key is None and not self._store.sure:
            raise AuthUnavailable(retry_after=self._store.pause)
        claims = None if key is None else _verify(jwt, key)
        if claims is None or not self._rules.accept(claims):
            raise Unauthenticated
        self._remembered.keep(token, claims)
        return claims


def _read(token: bytes) -> jws.CompactSignature | None:
    """Return a token's parts, unverified, if it is of a form that may be good."""
    if len(token) > MAX_TOKEN_BYTES:
        return None
    try:
        jwt = jws.extract_compact(token, registry=_REGISTRY)
    except _MALFORMED:
        return None
    header: object = jwt.protected
    if not isinstance(header, dict) or not isinstance(header.get("kid"), str):
        return None
    if header.get("alg") == "EdDSA":
        header["alg"] = "Ed25519"
    # RFC 7515 §4.1.11: an extension that must be understood, and none is.
    return None if header.get("alg") not in _LISTED or "crit" in header else jwt


#: A tuple, since the header may hold anything, what cannot be in a set too.
_LISTED: Final = tuple(ALGORITHMS)


def _issuer(jwt: jws.CompactSignature) -> str | None:
    try:
        return _ISSUER.decode(jwt.payload or b"").iss
    except _MALFORMED:
        return None


def _verify(jwt: jws.CompactSignature, key: Key) -> Claims | None:
    """Return the claims if the signature is by this key and all claims are there."""
    try:
        if not jws.validate_compact(jwt, key, registry=_REGISTRY):
            return None
        return _CLAIMS.decode(jwt.payload or b"")
    except _MALFORMED:
        return None
