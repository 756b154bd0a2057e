"""Calls to agents by HTTP: bounded in time and size, to the address that was registered alone."""

from __future__ import annotations

import asyncio
import re
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final, Self

import aiohttp
from yarl import URL

from gateway.agents.informant.agents import Ask
from gateway.agents.informant.errors import CallFailed, CallRefused, Refused
from gateway.resize.messages import (
    MAX_MESSAGE,
    IdentificationMessage,
    MoreResourcesRequest,
    ResumeAgent,
    SuspendAgent,
    Unreadable,
    decode,
)

if TYPE_CHECKING:
    from types import TracebackType

    from gateway.agents.informant.agents import Agent
    from gateway.resize.messages import Message, MoreResources

#: Seconds for a call, all in all.
CALL_TIMEOUT: Final = 2.0
#: Calls at one time; further ones wait, and their time runs.
_MOST_CALLS: Final = 32

#: `host:port` and a path; without user, query and fragment.
_SERVE_ADDR: Final = re.compile(
    r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):(?P<port>\d{1,5})"
    r"(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*)?"
)


def agent_url(serve_addr: str, path: str = "") -> URL:
    """Return where an agent serves a path; raise Refused if its address is none."""
    matched = _SERVE_ADDR.fullmatch(serve_addr)
    if matched is None or not 1 <= int(matched["port"]) <= 65535:
        raise Refused("agentServeAddr: wanted host:port, and a path or none")
    return URL(f"http://{serve_addr.removesuffix('/')}{path}", encoded=True)


class Caller:
    """An async context: inside it agents can be called. Each call is a connection of its own."""

    def __init__(self, within: float = CALL_TIMEOUT) -> None:
        self._within = within
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._session = await self._stack.enter_async_context(
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=_MOST_CALLS, force_close=True),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),  # what `within` says holds for all of it
                auto_decompress=False,
            )
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    async def ask(self, agent: Agent, ask: Ask) -> int:
        """Return the sequence number of the agent's answer; raise CallFailed, CallRefused."""
        if ask is Ask.IDENTIFY:
            return await self._call(agent, "GET", ask.value)
        kind = SuspendAgent if ask is Ask.SUSPEND else ResumeAgent
        return await self._call(agent, "POST", ask.value, kind(expected_id=agent.id))

    async def try_upscale(self, agent: Agent, needs: MoreResources) -> int:
        """Ask for more; return as `ask` does."""
        request = MoreResourcesRequest(cpu=needs.cpu, memory=needs.memory, expected_id=agent.id)
        return await self._call(agent, "POST", "/try-upscale", request)

    async def _call(
        self, agent: Agent, method: str, path: str, message: Message | None = None
    ) -> int:
        try:
            async with asyncio.timeout(self._within):
                body = await self._exchange(agent, method, path, message)
                answer = decode(body, IdentificationMessage)
        except TimeoutError as error:
            raise CallFailed(f"{path}: no answer within {self._within:g} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:  # and so Unreadable
            raise CallFailed(f"{path}: {str(error) or type(error).__name__}") from error
        if answer.data.agent_id != agent.id:
            raise CallFailed(f"{path}: another agent answers there")
        return answer.sequence_number

    async def _exchange(
        self, agent: Agent, method: str, path: str, message: Message | None
    ) -> bytes:
        async with self._session.request(
            method,
            agent_url(agent.serve_addr, path),
            data=None if message is None else message.encode(),
            headers={"Content-Type": "application/json", "Accept-Encoding": "identity"},
            allow_redirects=False,
        ) as response:
            if response.status == 400:
                raise CallRefused(f"{path}: refused")
            if response.status != 200:
                raise CallFailed(f"{path}: status {response.status}")
            return await _all_of(response.content)


async def _all_of(content: aiohttp.StreamReader) -> bytes:
    """Read an answer to its end; raise Unreadable if it is too long to be one."""
    try:
        await content.readexactly(MAX_MESSAGE + 1)
    except asyncio.IncompleteReadError as ended:
        return ended.partial
    raise Unreadable(f"an answer of more than {MAX_MESSAGE} bytes")
