"""Observing: one table of the node's connections, and a conversation with each replica.

Whoever is connected to a replica has seen everything since then: what might have been missed ends
all conversations. They begin anew when the table is whole again; the gateway takes the time in
between for a time of use.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from gateway import __version__
from gateway.agents.observe.conntrack import RECEIVE_BUFFER, Conntrack, all_flows
from gateway.agents.observe.errors import Lost
from gateway.agents.observe.flows import FlowTable
from gateway.agents.observe.link import Left, Link, packed
from gateway.auth.key_files import SecretError, read_secret
from gateway.standby.flow_messages import HEARTBEAT, MAX_MESSAGE, PATH, Hello

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable
    from pathlib import Path

    from yarl import URL

_LOG = logging.getLogger(__name__)

#: Seconds within which a replica must have taken the connection, and answered its end.
_CONNECT: Final = 5.0
_CLOSE: Final = 1.0


@dataclass(frozen=True, slots=True)
class ObserveConfig:
    """What is observed for whom. Times are in seconds.

    `gateway`: http or https, the name that all replicas have, and their port. `token_file` is read
    anew for each connection. `tls`: how an https gateway is judged.
    """

    node: str
    gateway: URL
    token_file: Path
    tls: ssl.SSLContext | None = None
    receive_buffer: int = RECEIVE_BUFFER
    resolve_every: float = 10.0
    compare_every: float = 300.0
    retry_after: float = 2.0


class Observer:
    """Observes until it is cancelled."""

    def __init__(self, config: ObserveConfig) -> None:
        self._config = config

    async def run(self) -> None:
        """Observe; raise Unable where that can never be."""
        while True:
            try:
                await self._observe()
            except Lost as error:
                _LOG.warning("all is learned anew", extra={"cause": str(error)})
            await asyncio.sleep(self._config.retry_after)

    async def _observe(self) -> None:
        source = Conntrack(self._config.receive_buffer)
        try:
            await _Session(self._config, source).run()
        finally:
            source.close()


class _Session:
    """From the first look at all connections until one piece of news was lost."""

    def __init__(self, config: ObserveConfig, source: Conntrack) -> None:
        self._config = config
        self._source = source
        self._table = FlowTable()
        self._replicas: dict[str, asyncio.Task[None]] = {}
        self._listed: frozenset[str] = frozenset()

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._follow())
                await self._compare()
                _LOG.info("observing", extra={"connections": len(self._table)})
                tasks.create_task(self._compare_again())
                await self._find_replicas(tasks)
        except BaseExceptionGroup as group:
            # What one of its tasks raises ends all of them.
            raise group.exceptions[0] from None

    async def _follow(self) -> None:
        while True:
            await self._source.arrived()
            for flow in self._source.take():
                self._table.apply(flow)

    def _catch_up(self) -> None:
        for flow in self._source.take_all():
            self._table.apply(flow)

    async def _compare(self) -> None:
        """Bring the table to what the kernel tracks."""
        self._table.begin()
        async with aclosing(all_flows()) as flows:
            async for flow in flows:
                self._table.listed(flow)
        self._table.end()

    async def _compare_again(self) -> None:
        while True:
            await asyncio.sleep(self._config.compare_every)
            await self._compare()

    async def _find_replicas(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            try:
                self._listed = await _addresses(self._config.gateway)
            except OSError as error:
                # Those that are known may still be there: only a name's answer says otherwise.
                _LOG.warning("no replica can be found", extra={"cause": str(error)})
            for address in self._listed - self._replicas.keys():
                self._replicas[address] = tasks.create_task(self._keep(address))
            await asyncio.sleep(self._config.resolve_every)

    async def _keep(self, address: str) -> None:
        """Talk to a replica as long as it is listed, and longer: until it closes."""
        told = ""
        while address in self._listed:
            try:
                await self._converse(address)
            except (Left, SecretError, aiohttp.ClientError, OSError) as error:
                cause = _cause(error)
                if cause != told:
                    _LOG.warning("not connected", extra={"replica": address, "cause": cause})
                told = cause
            await asyncio.sleep(self._config.retry_after)
        del self._replicas[address]

    async def _converse(self, address: str) -> None:
        connector = aiohttp.TCPConnector(
            resolver=_Pinned(address), ssl=self._config.tls or True, force_close=True
        )
        token = read_secret(self._config.token_file)
        async with aiohttp.ClientSession(connector=connector) as session:
            async with asyncio.timeout(_CONNECT):
                conversation = await session.ws_connect(
                    self._config.gateway.with_path(PATH),
                    headers={"Authorization": f"Bearer {token}"},
                    timeout=aiohttp.ClientWSTimeout(ws_close=_CLOSE),
                    heartbeat=HEARTBEAT,
                    max_msg_size=MAX_MESSAGE,
                )
            async with conversation:
                self._check_seen(conversation)
                _LOG.info("connected", extra={"replica": address})
                hello = Hello(self._config.node, __version__)
                await Link(hello, self._table, self._catch_up).converse(conversation)

    def _check_seen(self, conversation: aiohttp.ClientWebSocketResponse) -> None:
        """Raise Left if this very connection is not tracked: then others may not be either.

        A kernel tracks connections only where some rule of its asks for it, and a network may take
        its connections out of that. One that does not leave this machine proves nothing.
        """
        own, peer = (conversation.get_extra_info(name) for name in ("sockname", "peername"))
        if own is None or peer is None or own[0] == peer[0]:
            return
        self._catch_up()
        if not self._table.count((packed(peer[0]), packed(own[0]), peer[1])):
            raise Left("this node's kernel does not even track the connection to the gateway")


class _Pinned(AbstractResolver):
    """Answers one replica's address to the name that all have: that name proves them by TLS."""

    def __init__(self, address: str) -> None:
        self._address = address

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002 - the resolver's signature
    ) -> list[ResolveResult]:
        """Return the address, whatever the name."""
        return [
            ResolveResult(
                hostname=host,
                host=self._address,
                port=port,
                family=socket.AF_INET6 if ":" in self._address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
        ]

    async def close(self) -> None:
        """Nothing is held."""


async def _addresses(gateway: URL) -> frozenset[str]:
    """Return the addresses of all replicas; raise OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(
        gateway.host, gateway.port, type=socket.SOCK_STREAM
    )
    return one_of_each(str(one[4][0]) for one in found)


def one_of_each(addresses: Iterable[str]) -> frozenset[str]:
    """Return the addresses of one family.

    Where replicas have one of each family, each is to be told once: a replica takes a second
    connection for the first one's successor.
    """
    found = frozenset(addresses)
    return frozenset(one for one in found if ":" not in one) or found


def _cause(error: Exception) -> str:
    if isinstance(error, aiohttp.WSServerHandshakeError):
        refused = "it refuses the token" if error.status in {401, 403} else "it takes no observers"
        return f"{refused} (status {error.status})"
    return str(error) or type(error).__name__
