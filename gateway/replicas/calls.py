"""One replica calls another by HTTP, at its admin API."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

import aiohttp
from yarl import URL

from gateway.replicas import wire

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Collection
    from types import TracebackType

    from gateway.cluster.pods import Pod
    from gateway.replicas.wire import Message, ReplyT

_LOG = logging.getLogger(__name__)

#: Bytes: a longer answer is none.
_LONGEST: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class CallConfig:
    """Where each replica's admin API is, and the token that it takes."""

    port: int
    token: str | None = field(default=None, repr=False)


class _Unusable(Exception):
    """An answer that says nothing; the text says why."""


#: What a call that brings nothing ends in; of a ValueError are also what cannot be sent or read.
_FAILURES: Final = (_Unusable, aiohttp.ClientError, OSError, ValueError)


class Calls:
    """An async context: inside it other replicas can be called. One that is silent is logged once.

    `silent` says of each that did not answer when it was last called why that was.
    """

    def __init__(self, config: CallConfig, tls: Callable[[], ssl.SSLContext] | None = None) -> None:
        """`tls` gives the newest context; None: plain HTTP is spoken."""
        self.silent: dict[str, str] = {}
        self._port = config.port
        self._token = config.token
        self._tls = tls
        self._stack = AsyncExitStack()

    def replace_token(self, token: str) -> None:
        """Show this token from now on."""
        self._token = token

    async def __aenter__(self) -> Self:
        self._session = await self._stack.enter_async_context(
            # No cookies are kept, and no redirect is followed: the token is for replicas alone.
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    async def call(
        self, pod: Pod, path: str, message: Message, kind: type[ReplyT], within: float
    ) -> ReplyT | None:
        """Return a replica's answer; None where it is silent, or says nothing that can be read."""
        try:
            async with asyncio.timeout(within):
                answer = wire.decode(await self._post(pod, path, wire.encode(message)), kind)
            if answer.replica != pod.name:
                raise _Unusable("another replica answers there")
        except _FAILURES as error:
            self._note_silence(pod.name, f"{type(error).__name__}: {error}")
            return None
        if self.silent.pop(pod.name, None) is not None:
            _LOG.info("a replica answers again", extra={"replica": pod.name})
        return answer

    def keep(self, replicas: Collection[str]) -> None:
        """Forget the silence of all others: they are no more."""
        self.silent = {name: why for name, why in self.silent.items() if name in replicas}

    async def _post(self, pod: Pod, path: str, body: bytes) -> bytes:
        assert pod.address is not None, "who has no address is not called"
        url = URL.build(
            scheme="http" if self._tls is None else "https",
            host=pod.address,
            port=self._port,
            path=path,
        )
        headers = {"Content-Type": "application/json"}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        async with self._session.post(
            url,
            data=body,
            headers=headers,
            ssl=True if self._tls is None else self._tls(),
            allow_redirects=False,
        ) as response:
            if response.status != 200:
                raise _Unusable(f"status {response.status}")
            if response.content_length is None or response.content_length > _LONGEST:
                raise _Unusable("an answer without a length, or too long")
            return await response.read()

    def _note_silence(self, replica: str, why: str) -> None:
        if replica not in self.silent:
            _LOG.warning(
                "a replica does not answer, so that nothing is put to sleep: %s",
                why,
                extra={"replica": replica},
            )
        self.silent[replica] = why
