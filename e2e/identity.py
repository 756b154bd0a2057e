"""An identity provider: keys, tokens, and the server that publishes the keys."""

from __future__ import annotations

import asyncio
import contextlib
import json
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from joserfc import jws
from joserfc.jwk import ECKey, KeyParameters, OKPKey, RSAKey

from .programs import free_port

if TYPE_CHECKING:
    from typing import Self

ISSUER: Final = "https://issuer.example"
#: What tokens can be signed with here; a gateway believes fewer.
_ALGORITHMS: Final = ("RS256", "PS256", "ES256", "ES384", "ES512", "Ed25519", "HS256", "none")


@cache
def private_key(kid: str, algorithm: str = "ES256") -> RSAKey | ECKey | OKPKey:
    """Return the same key for the same id."""
    told: KeyParameters = {"kid": kid}
    if algorithm.startswith(("RS", "PS")):
        return RSAKey.generate_key(2048, told)
    if algorithm == "Ed25519":
        return OKPKey.generate_key("Ed25519", told)
    curve = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}[algorithm]
    return ECKey.generate_key(curve, told)


def public(kid: str, algorithm: str = "ES256", **more: Any) -> dict[str, Any]:
    return {**private_key(kid, algorithm).as_dict(private=False), **more}


def key_set(*keys: dict[str, Any]) -> bytes:
    return json.dumps({"keys": list(keys)}).encode()


def claims(box: str, uid: str, now: float, **changes: Any) -> dict[str, Any]:
    """Return what a good token for a sandbox says, changed as told; None leaves a claim out."""
    whole = {
        "iss": ISSUER,
        "sub": "someone",
        "iat": int(now),
        "nbf": int(now),
        "exp": int(now) + 600,
        "sandbox": {"sandboxId": box, "sandboxUid": uid},
    } | changes
    return {name: value for name, value in whole.items() if value is not None}


def token(
    said: dict[str, Any] | bytes, kid: str = "k1", algorithm: str = "ES256", **header: Any
) -> bytes:
    """Return a token that the provider signed, with further header fields if told."""
    payload = said if isinstance(said, bytes) else json.dumps(said).encode()
    protected = {"alg": algorithm, "kid": kid, "typ": "JWT"} | header
    registry = jws.JWSRegistry(algorithms=_ALGORITHMS, strict_check_header=False)
    key = private_key(kid, algorithm)
    return jws.serialize_compact(protected, payload, key, registry=registry).encode()


class Provider:
    """Publishes a key set by HTTP, for as long as it is up."""

    def __init__(self, published: bytes) -> None:
        self.published = published
        self.status = b"200 OK"
        self.fields = b""
        self.asked = 0
        self.requests: list[bytes] = []
        self.port = free_port()
        self.hold: asyncio.Event | None = None
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/keys"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.requests.append(await reader.readuntil(b"\r\n\r\n"))
        self.asked += 1
        if self.hold is not None:
            await self.hold.wait()
        writer.write(
            b"HTTP/1.1 %b\r\n%bContent-Length: %d\r\nConnection: close\r\n\r\n%b"
            % (self.status, self.fields, len(self.published), self.published)
        )
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()
