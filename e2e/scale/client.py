"""Reads and writes Sandboxes of a real API, many at a time."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import aiohttp
import orjson

from e2e.clusters import access_of
from e2e.manifests import NATIVE
from e2e.scale.objects import path_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from e2e.scale.objects import Object

_ROOT: Final = f"/apis/{NATIVE}"
_MERGE: Final = "application/merge-patch+json"
#: How long one write may take, in seconds.
_PATIENCE: Final = 60.0


class RefusedError(Exception):
    """The API did not take a write; the text is its answer."""


class Client:
    """One session with the API; every method raises RefusedError or aiohttp.ClientError."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    @classmethod
    @asynccontextmanager
    async def connect(cls, kubeconfig: Path) -> AsyncIterator[Client]:
        """Connect as a kubeconfig of a RealApi says."""
        server, token, trust = access_of(kubeconfig)
        assert trust is not None
        async with aiohttp.ClientSession(
            server,
            headers={"Authorization": f"Bearer {token}"},
            connector=aiohttp.TCPConnector(ssl=trust, limit=0),
            timeout=aiohttp.ClientTimeout(total=None, sock_read=_PATIENCE),
        ) as session:
            yield cls(session)

    async def create_namespace(self, name: str) -> None:
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        await self._call("POST", "/api/v1/namespaces", body)

    async def create(self, collection: str, sandbox: Object) -> Object:
        return await self._call("POST", _ROOT + collection, sandbox)

    async def replace_status(self, number: int, sandbox: Object) -> Object:
        """Write a whole status over the version that `sandbox` is of."""
        return await self._call("PUT", f"{_ROOT}{path_of(number)}/status", sandbox)

    async def change_status(self, number: int, change: Object) -> Object:
        """Merge a change of the status."""
        return await self._call("PATCH", f"{_ROOT}{path_of(number)}/status", change, _MERGE)

    async def delete(self, number: int) -> None:
        await self._call("DELETE", _ROOT + path_of(number))

    async def newest_version(self) -> str:
        """Return a version from which a watch misses nothing that is written from now on."""
        listed = await self._call("GET", f"{_ROOT}/sandboxes?limit=1")
        version: str = listed["metadata"]["resourceVersion"]
        return version

    async def changes(self, version: str, labels: str) -> AsyncIterator[Object]:
        """Give each new state of the sandboxes with these labels for as long as the watch lasts."""
        query = {"watch": "1", "resourceVersion": version, "labelSelector": labels}
        # Silence is no error: nothing may change for long.
        patience = aiohttp.ClientTimeout(total=None, sock_read=None)
        async with self._session.get(
            f"{_ROOT}/sandboxes", params=query, timeout=patience
        ) as response:
            if not response.ok:
                raise RefusedError(await response.text())
            async for line in response.content:
                yield orjson.loads(line)["object"]

    async def _call(
        self, method: str, path: str, body: Object | None = None, kind: str = "application/json"
    ) -> Object:
        data = None if body is None else orjson.dumps(body)
        async with self._session.request(
            method, path, data=data, headers={"Content-Type": kind}
        ) as response:
            answer = await response.read()
            if not response.ok:
                raise RefusedError(f"{method} {path}: {answer[:500].decode(errors='replace')}")
            found: Object = orjson.loads(answer)
            return found
