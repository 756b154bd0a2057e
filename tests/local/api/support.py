"""What the tests of the embedded API share: objects to write and a client to write them with."""

from __future__ import annotations

import io
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import aiohttp
import orjson

from gateway.local.api import EmbeddedApi, JsonObject, ObjectStore, WatchTimes, load_native_crd

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NATIVE = load_native_crd()
TOKEN = "a-token-of-the-tests"
BASE = "/apis/sandbox-gateway.dev/v1alpha1"
COLLECTION = f"{BASE}/namespaces/default/sandboxes"
MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"


def sandbox(name: str = "demo", **fields: Any) -> JsonObject:
    """A Sandbox; `labels`, `finalizers` and the like go to its metadata, the rest to its spec."""
    in_metadata = ("labels", "annotations", "finalizers", "generateName", "resourceVersion", "uid")
    metadata = {"name": name} | {key: fields.pop(key) for key in in_metadata if key in fields}
    return {
        "apiVersion": "sandbox-gateway.dev/v1alpha1",
        "kind": "Sandbox",
        "metadata": metadata,
        "spec": fields,
    }


def memory_store(**options: Any) -> ObjectStore:
    return ObjectStore(":memory:", [NATIVE], **options)


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: JsonObject

    @property
    def reason(self) -> str:
        return str(self.body["reason"])


@dataclass(frozen=True, slots=True)
class Client:
    """Speaks JSON with the embedded API, token included."""

    session: aiohttp.ClientSession

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        content_type: str = "application/json",
        **headers: str,
    ) -> Answer:
        data = None
        if body is not None:
            headers["Content-Type"] = content_type
            data = io.BytesIO(body if isinstance(body, bytes) else orjson.dumps(body))
        async with self.session.request(method, path, data=data, headers=headers) as response:
            raw = await response.read()
            return Answer(response.status, dict(response.headers), _json(raw))

    async def get(self, path: str, **headers: str) -> Answer:
        return await self.call("GET", path, **headers)

    async def post(self, path: str, body: object) -> Answer:
        return await self.call("POST", path, body)

    async def put(self, path: str, body: object) -> Answer:
        return await self.call("PUT", path, body)

    async def patch(self, path: str, body: object, content_type: str = MERGE) -> Answer:
        return await self.call("PATCH", path, body, content_type=content_type)

    async def delete(self, path: str, body: object = None) -> Answer:
        return await self.call("DELETE", path, body)

    @asynccontextmanager
    async def watch(self, query: str, **headers: str) -> AsyncIterator[AsyncIterator[JsonObject]]:
        async with self.session.get(f"{COLLECTION}?watch=1&{query}", headers=headers) as response:
            assert response.status == 200
            yield _lines(response)


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[JsonObject]:
    async for line in response.content:
        yield _json(line)


def _json(raw: bytes) -> JsonObject:
    return cast("JsonObject", orjson.loads(raw)) if raw.startswith(b"{") else {"raw": raw.decode()}


@asynccontextmanager
async def serving(
    store: ObjectStore, times: WatchTimes | None = None
) -> AsyncIterator[EmbeddedApi]:
    api = EmbeddedApi(store, TOKEN, watch_times=times or WatchTimes())
    await api.start()
    try:
        yield api
    finally:
        await api.stop()


@asynccontextmanager
async def connected(api: EmbeddedApi) -> AsyncIterator[Client]:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with aiohttp.ClientSession(api.address, headers=headers) as session:
        yield Client(session)
