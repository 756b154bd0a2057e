"""A way to an API that a test can cut: bytes are passed on as they come, TLS and all."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import yaml

from .programs import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

_PIECE: Final = 2**16


class Relay:
    """Listens on a port of its own on 127.0.0.1, for which the API's certificate is good too."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._port = free_port()
        self._server: asyncio.Server | None = None
        self._is_cut = True
        self._writers: set[asyncio.StreamWriter] = set()

    @classmethod
    @asynccontextmanager
    async def to(cls, kubeconfig: Path) -> AsyncIterator[tuple[Relay, Path]]:
        """Give a relay, and a kubeconfig that leads through it."""
        document = yaml.safe_load(kubeconfig.read_text())
        cluster = document["clusters"][0]["cluster"]
        relay = cls(urlsplit(cluster["server"]).port or 0)
        cluster["server"] = f"https://127.0.0.1:{relay._port}"
        through = kubeconfig.with_name("kubeconfig-relayed")
        through.write_text(yaml.safe_dump(document))
        await relay.mend()
        try:
            yield relay, through
        finally:
            await relay.cut()

    async def mend(self) -> None:
        self._is_cut = False
        self._server = await asyncio.start_server(self._pass_on, "127.0.0.1", self._port)

    async def cut(self) -> None:
        """End what is open and let nobody in."""
        assert self._server is not None
        self._is_cut = True
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await self._server.wait_closed()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            onwards, back = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, back}
        if self._is_cut:  # since this one was let in
            for end in ends:
                end.transport.abort()
            return
        self._writers |= ends
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_pump(reader, back))
                group.create_task(_pump(onwards, writer))
        finally:
            self._writers -= ends


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while piece := await reader.read(_PIECE):
            writer.write(piece)
            await writer.drain()
    writer.close()
