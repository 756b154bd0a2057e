"""Plain HTTP to the Kubernetes API: the OpenKruise sandboxes of one namespace."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

import aiohttp
import orjson
import yaml

from .manifests import KRUISE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

_MERGE: Final = {"Content-Type": "application/merge-patch+json"}
#: Between two attempts to reach an API that is away, in seconds.
_PAUSE: Final = 0.05

Object = dict[str, Any]


class GoneError(Exception):
    """There is no such object, or another one has its name."""


class SandboxApi:
    """Reads and writes sandboxes; an API that is away is asked again until it is back."""

    def __init__(
        self, session: aiohttp.ClientSession, namespace: str, version: str = KRUISE
    ) -> None:
        self._session = session
        self._path = f"/apis/{version}/namespaces/{namespace}/sandboxes"

    @classmethod
    @asynccontextmanager
    async def connect(
        cls, kubeconfig: Path, namespace: str, version: str = KRUISE
    ) -> AsyncIterator[SandboxApi]:
        """Connect as a kubeconfig of the embedded API says: its token is in the server's URL.

        `version` is the apiVersion of the sandboxes, which may be of another API than OpenKruise's.
        """
        server = yaml.safe_load(kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
        where = urlsplit(server)
        headers = {"Authorization": f"Bearer {unquote(where.password or '')}"}
        base = f"http://{where.hostname}:{where.port}"
        async with aiohttp.ClientSession(
            base, headers=headers, timeout=aiohttp.ClientTimeout(total=None, sock_read=None)
        ) as session:
            yield cls(session, namespace, version)

    async def create(self, obj: Object) -> Object:
        return await self._call("POST", self._path, obj)

    async def get(self, name: str) -> Object:
        return await self._call("GET", f"{self._path}/{name}")

    async def patch(self, name: str, **spec: Any) -> Object:
        return await self._call("PATCH", f"{self._path}/{name}", {"spec": spec})

    async def report(self, name: str, uid: str, status: Object) -> Object:
        """Change the status; raise GoneError if it is not this object any more."""
        body = {"metadata": {"uid": uid}, "status": status}
        return await self._call("PATCH", f"{self._path}/{name}/status", body)

    async def delete(self, name: str) -> None:
        await self._call("DELETE", f"{self._path}/{name}")

    async def list(self) -> tuple[list[Object], str]:
        """Return all objects and the version to watch from."""
        listed = await self._call("GET", self._path)
        return listed["items"], listed["metadata"]["resourceVersion"]

    async def watch(self, version: str) -> AsyncIterator[tuple[str, Object]]:
        """Give changes until the API ends it; raise aiohttp.ClientError if it goes away."""
        query = f"?watch=1&resourceVersion={version}"
        async with self._session.get(self._path + query) as response:
            response.raise_for_status()
            async for line in response.content:
                event = orjson.loads(line)
                yield event["type"], event["object"]

    async def _call(self, method: str, path: str, body: Object | None = None) -> Object:
        while True:
            try:
                async with self._session.request(
                    method,
                    path,
                    data=orjson.dumps(body) if body is not None else None,
                    headers=_MERGE if method == "PATCH" else {"Content-Type": "application/json"},
                ) as response:
                    return await _read(response)
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(_PAUSE)


async def _read(response: aiohttp.ClientResponse) -> Object:
    answer: Object = orjson.loads(await response.read())
    if response.status in (404, 409):
        raise GoneError(answer["message"])
    assert response.ok, answer
    return answer
