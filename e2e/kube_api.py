"""Plain HTTP to the Kubernetes API: the sandboxes of one namespace."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import orjson

from .clusters import access_of
from .manifests import KRUISE
from .sessions import abort, session

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

_MERGE: Final = {"Content-Type": "application/merge-patch+json"}
_JSON: Final = {"Content-Type": "application/json"}
#: Between two attempts to reach an API that is away, in seconds.
_PAUSE: Final = 0.05

Object = dict[str, Any]


class GoneError(Exception):
    """There is no such object, or another one has its name."""


class ConflictError(Exception):
    """The object has changed since it was read."""


class SandboxApi:
    """Reads and writes sandboxes; an API that is away is asked again until it is back."""

    def __init__(
        self, session: aiohttp.ClientSession, namespace: str, version: str = KRUISE
    ) -> None:
        self._session = session
        self._namespace = namespace
        self._path = f"/apis/{version}/namespaces/{namespace}/sandboxes"
        self._calls: set[asyncio.Task[Object]] = set()
        self._closing = False

    @classmethod
    @asynccontextmanager
    async def connect(
        cls, kubeconfig: Path, namespace: str, version: str = KRUISE
    ) -> AsyncIterator[SandboxApi]:
        """Connect as a kubeconfig says, and make the namespace.

        `version` is the apiVersion of the sandboxes, which may be of another API than OpenKruise's.
        """
        async with session_of(kubeconfig) as session:
            api = cls(session, namespace, version)
            await api._make_namespace()
            try:
                yield api
            finally:
                api._closing = True
                await asyncio.gather(*api._calls, return_exceptions=True)

    async def create(self, obj: Object) -> Object:
        return await self._call("POST", self._path, obj)

    async def get(self, name: str) -> Object:
        return await self._call("GET", f"{self._path}/{name}")

    async def patch(self, name: str, **spec: Any) -> Object:
        return await self.change(name, {"spec": spec})

    async def change(self, name: str, patch: Object) -> Object:
        """Apply a merge patch to all but the status."""
        return await self._call("PATCH", f"{self._path}/{name}", patch)

    async def report(self, name: str, uid: str, status: Object, version: str = "") -> Object:
        """Change the status; raise GoneError if it is not this object any more.

        With `version`, raise ConflictError if it is not as it was in this resourceVersion.
        """
        metadata = {"uid": uid} | ({"resourceVersion": version} if version else {})
        body = {"metadata": metadata, "status": status}
        try:
            return await self._call("PATCH", f"{self._path}/{name}/status", body)
        except ConflictError as error:
            if (await self.get(name))["metadata"]["uid"] != uid:
                raise GoneError(name) from error
            raise

    async def delete(self, name: str) -> None:
        await self._call("DELETE", f"{self._path}/{name}")

    async def list(self) -> tuple[list[Object], str]:
        """Return all objects and the version to watch from."""
        listed = await self._call("GET", self._path)
        return listed["items"], listed["metadata"]["resourceVersion"]

    async def watch(self, version: str) -> AsyncIterator[tuple[str, Object]]:
        """Give changes until the API ends it; raise aiohttp.ClientError if it goes away."""
        async with aclosing(watched(self._session, self._path, version)) as events:
            async for event in events:
                yield event

    async def _make_namespace(self) -> None:
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self._namespace}}
        async with self._session.post("/api/v1/namespaces", json=body) as response:
            # The embedded API has every namespace that something is in.
            assert response.status in (201, 405, 409), await response.text()

    async def _call(self, method: str, path: str, body: Object | None = None) -> Object:
        """Make a call to its end, even if the caller does not: asyncio may leak half a TLS."""
        call = asyncio.create_task(self._insist(method, path, body))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        return await asyncio.shield(call)

    async def _insist(self, method: str, path: str, body: Object | None) -> Object:
        data = orjson.dumps(body) if body is not None else None
        headers = _MERGE if method == "PATCH" else _JSON
        while not self._closing:
            try:
                async with self._session.request(
                    method, path, data=data, headers=headers
                ) as response:
                    answer = await _answer_of(response)
                    if not _is_away(response.status, answer):
                        return _read(response.status, answer)
            except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError):
                pass  # it is away, or went in the middle of its answer
            await asyncio.sleep(_PAUSE)
        raise GoneError("nobody asks any more")


def session_of(kubeconfig: Path) -> AbstractAsyncContextManager[aiohttp.ClientSession]:
    """Give a session with the API of a kubeconfig."""
    base, token, trust = access_of(kubeconfig)
    return session(trust, base_url=base, headers={"Authorization": f"Bearer {token}"})


async def watched(
    session: aiohttp.ClientSession, path: str, version: str, **selection: str
) -> AsyncGenerator[tuple[str, Object]]:
    """Give changes until the API ends it; raise aiohttp.ClientError if it goes away."""
    params = {"watch": "1", "resourceVersion": version} | selection
    async with session.get(path, params=params) as response:
        response.raise_for_status()
        try:
            async for line in response.content:
                event = orjson.loads(line)
                if event["type"] == "ERROR":
                    return  # the version is too old: there is a new list to be had
                yield event["type"], event["object"]
        finally:
            abort(response)


async def _answer_of(response: aiohttp.ClientResponse) -> Object:
    """Return what an API said; where it has too much to do, or to start, that may be mere text."""
    if response.content_type != "application/json":
        return {"message": await response.text()}
    answer: Object = orjson.loads(await response.read())
    return answer


def _is_away(status: int, answer: Object) -> bool:
    """Return whether an API has not quite started: it knows its own resources before others'."""
    unknown = status == 404 and "name" not in answer.get("details", {})
    return unknown or status == 429 or status >= 500


def version_of(obj: Object) -> int:
    return int(obj["metadata"]["resourceVersion"])


def is_of_another(answer: Object) -> bool:
    """Return whether a write was refused since another object has the name: by its uid."""
    causes = answer.get("details", {}).get("causes", ())
    return any(one.get("field") == "metadata.uid" for one in causes)


def _read(status: int, answer: Object) -> Object:
    if status == 404:
        raise GoneError(answer["message"])
    if status == 409 or is_of_another(answer):
        raise ConflictError(answer["message"])
    assert status < 400, answer
    return answer
