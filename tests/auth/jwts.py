"""Tokens of an identity provider for tests of authentication, and keys that are fetched from it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from e2e import identity
from gateway.auth.jwks import KeyUrl
from gateway.auth.key_store import Freshness, KeyStore
from gateway.telemetry.instruments import Instruments

from .tokens import NOW

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from e2e.identity import Provider


def claims(
    box: str = "team--box", uid: str = "uid-1", now: float = NOW, **changes: Any
) -> dict[str, Any]:
    """Return what a good token says, changed as told; None leaves a claim out."""
    return identity.claims(box, uid, now, **changes)


def token(said: dict[str, Any] | bytes | None = None, *signed: str, **header: Any) -> bytes:
    """Return a token that the provider signed; without claims, a good one for BOX."""
    return identity.token(claims() if said is None else said, *signed, **header)


def store(
    provider: Provider,
    freshness: Freshness | None = None,
    clock: Callable[[], float] | None = None,
    timeout: float = 5.0,
    instruments: Instruments | None = None,
) -> KeyStore:
    """Return a store that asks this provider."""
    source, more = KeyUrl(provider.url, timeout), {} if clock is None else {"clock": clock}
    freshness = freshness or Freshness()
    return KeyStore(source, freshness, instruments or Instruments(), **more)


@asynccontextmanager
async def running(made: KeyStore) -> AsyncIterator[KeyStore]:
    """Run a store until the caller is through with it."""
    task = asyncio.create_task(made.run())
    try:
        yield made
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def eventually(check: Callable[[], object], within: float = 5.0) -> None:
    """Return once `check` is true; fail if it is not in time."""
    async with asyncio.timeout(within):
        while not check():
            await asyncio.sleep(0.001)
