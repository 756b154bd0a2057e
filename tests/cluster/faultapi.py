"""A small Kubernetes API for native Sandboxes that misbehaves on demand.

It keeps objects and a log of changes, lists in pages, replays and follows on a watch. A queued
reply takes the place of the usual one for the next request of its kind.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from contextlib import asynccontextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import json_merge_patch
from aiohttp import web

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    Reply = Callable[["FaultApi", web.Request], Awaitable[web.StreamResponse]]

RawObject = dict[str, Any]
LIST, WATCH, GET, PATCH, CREATE = "list", "watch", "get", "patch", "create"


@dataclass(frozen=True)
class Seen:
    """A request that arrived."""

    kind: str
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


@dataclass
class FaultApi:
    """The server; `port` stays the same over `stop` and `start`."""

    seen: list[Seen] = field(default_factory=list)
    objects: dict[tuple[str, str], RawObject] = field(default_factory=dict)
    log: list[tuple[int, str, RawObject]] = field(default_factory=list)
    version: int = 10
    compacted: int = 0
    installed: bool = True
    unserved: frozenset[str] = frozenset()
    forbidden: frozenset[str] = frozenset()
    denied: int = 0
    token: str | None = None
    port: int = 0
    open_watches: int = 0
    tls: ssl.SSLContext | None = None
    held: int = 0
    replies: dict[str, deque[Reply]] = field(default_factory=dict)
    _runner: web.AppRunner | None = None
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    _epoch: int = 0
    _uids: int = 0
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)

    # ---- running it ------------------------------------------------------------------------

    async def start(self) -> None:
        self._stopping = asyncio.Event()
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(
            app, shutdown_timeout=0.05, access_log=None, handler_cancellation=True
        )
        await self._runner.setup()
        site = web.TCPSite(
            self._runner, "127.0.0.1", self.port, ssl_context=self.tls, reuse_address=True
        )
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        assert self._runner is not None
        self._stopping.set()
        await self.notify()
        await self._runner.cleanup()

    def kubeconfig(self, path: Path, **user: str) -> str:
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "it",
                    "clusters": [
                        {"name": "it", "cluster": {"server": f"http://127.0.0.1:{self.port}"}}
                    ],
                    "users": [{"name": "it", "user": user}],
                    "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
                }
            )
        )
        return str(path)

    def count(self, kind: str) -> int:
        return sum(one.kind == kind for one in self.seen)

    def queue(self, kind: str, *replies: Reply) -> None:
        self.replies.setdefault(kind, deque()).extend(replies)

    # ---- changing objects ------------------------------------------------------------------

    async def put(self, name: str, namespace: str = "team-a", **changes: Any) -> RawObject:
        """Create or update; `changes` are top-level sections merged into the object."""
        raw = self.store(name, namespace, **changes)
        await self.notify()
        return raw

    async def delete(self, name: str, namespace: str = "team-a") -> None:
        self.discard(name, namespace)
        await self.notify()

    def store(self, name: str, namespace: str = "team-a", **changes: Any) -> RawObject:
        before = self.objects.get((namespace, name))
        raw = deepcopy(before) if before else self._new(name, namespace)
        for section, values in changes.items():
            if isinstance(values, dict):
                raw[section] = raw.get(section, {}) | values
            else:
                raw[section] = values
        self._record("MODIFIED" if before else "ADDED", raw)
        self.objects[namespace, name] = raw
        return raw

    def discard(self, name: str, namespace: str = "team-a") -> None:
        raw = deepcopy(self.objects.pop((namespace, name)))
        self._record("DELETED", raw)

    def compact(self) -> None:
        """Forget the log: every watch from before now is answered with 410."""
        self.log.clear()
        self.compacted = self.version

    async def bookmark(self) -> None:
        """Advance the version of everything else in the cluster, and say so."""
        self.version += 1
        raw = {"kind": "Sandbox", "metadata": {"resourceVersion": str(self.version)}}
        self.log.append((self.version, "BOOKMARK", raw))
        await self.notify()

    async def drop_watches(self) -> None:
        """End all open watches cleanly."""
        self._epoch += 1
        await self.notify()

    async def notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _new(self, name: str, namespace: str) -> RawObject:
        self._uids += 1
        return {
            "apiVersion": "sandbox-gateway.dev/v1alpha1",
            "kind": "Sandbox",
            "metadata": {"name": name, "namespace": namespace, "uid": f"uid-{self._uids}"},
            "spec": {"desiredState": "Paused", "wakeOnTraffic": {"enabled": True}},
            "status": {"phase": "Paused"},
        }

    def _record(self, kind: str, raw: RawObject) -> None:
        self.version += 1
        raw["metadata"] = raw["metadata"] | {"resourceVersion": str(self.version)}
        self.log.append((self.version, kind, deepcopy(raw)))

    # ---- answering -------------------------------------------------------------------------

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        seen = Seen(
            _kind(request),
            request.method,
            request.path,
            dict(request.query),
            dict(request.headers),
            await request.read(),
        )
        self.seen.append(seen)
        if queued := self.replies.get(seen.kind):
            return await queued.popleft()(self, request)
        if refusal := self._refusal(request):
            return refusal
        answers = {LIST: self.list, WATCH: self.watch, GET: self.get, PATCH: self.patch}
        if seen.kind == CREATE:
            return web.json_response(json.loads(seen.body), status=201)
        return await answers[seen.kind](request)

    def _refusal(self, request: web.Request) -> web.Response | None:
        if self.denied:
            return failure(self.denied)
        if request.path.split("/")[2] in self.forbidden:
            return failure(403)
        if self.token is not None and request.headers.get("Authorization") != (
            f"Bearer {self.token}"
        ):
            return failure(401)
        unknown = request.path.split("/")[3] in self.unserved
        return failure(404) if unknown or not self.installed else None

    def _visible(self, request: web.Request, raw: RawObject) -> bool:
        parts = request.path.split("/")
        return (
            "namespaces" not in parts
            or raw["metadata"].get("namespace") == parts[parts.index("namespaces") + 1]
        )

    async def list(self, request: web.Request) -> web.Response:
        start, version = 0, self.version
        if token := request.query.get("continue"):
            start, version = map(int, token.split("@"))
            if version < self.compacted:
                return failure(410)
        limit = int(request.query["limit"])
        rows = [raw for _, raw in sorted(self.objects.items()) if self._visible(request, raw)]
        more = {"continue": f"{start + limit}@{version}"} if start + limit < len(rows) else {}
        return web.json_response(
            {
                "kind": "SandboxList",
                "metadata": {"resourceVersion": str(version)} | more,
                "items": rows[start : start + limit],
            }
        )

    async def watch(self, request: web.Request) -> web.StreamResponse:
        version = int(request.query["resourceVersion"])
        if version < self.compacted:
            return failure(410)
        epoch = self._epoch
        async with streaming(self, request) as response:
            while epoch == self._epoch and not self._stopping.is_set():
                for at, kind, raw in list(self.log):
                    if at > version and (kind == "BOOKMARK" or self._visible(request, raw)):
                        await response.write(frame(kind, raw))
                        version = at
                async with self._changed:
                    if epoch == self._epoch and self.version <= version:
                        await self._changed.wait()
        return response

    async def get(self, request: web.Request) -> web.Response:
        raw = self.objects.get(_slot(request))
        return failure(404) if raw is None else web.json_response(raw)

    async def patch(self, request: web.Request) -> web.Response:
        namespace, name = _slot(request)
        raw = self.objects.get((namespace, name))
        if raw is None:
            return failure(404)
        change = json.loads(await request.read())
        if change["metadata"]["resourceVersion"] != raw["metadata"]["resourceVersion"]:
            return failure(409)
        changed = json_merge_patch.merge(deepcopy(raw), change)
        self._record("MODIFIED", changed)
        self.objects[namespace, name] = changed
        await self.notify()
        return web.json_response(changed)


@asynccontextmanager
async def streaming(api: FaultApi, request: web.Request) -> AsyncIterator[web.StreamResponse]:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    api.open_watches += 1
    try:
        with suppress(ConnectionError):
            yield response
    finally:
        api.open_watches -= 1


def frame(kind: str, raw: object) -> bytes:
    return json.dumps({"type": kind, "object": raw}).encode() + b"\n"


def failure(status: int, headers: dict[str, str] | None = None, **details: Any) -> web.Response:
    body = {"kind": "Status", "code": status, "message": "as scripted", "details": details}
    return web.json_response(body, status=status, headers=headers)


def fails(status: int, headers: dict[str, str] | None = None, **details: Any) -> Reply:
    async def reply(api: FaultApi, request: web.Request) -> web.StreamResponse:
        return failure(status, headers, **details)

    return reply


def answers(body: bytes, status: int = 200) -> Reply:
    async def reply(api: FaultApi, request: web.Request) -> web.StreamResponse:
        return web.Response(body=body, status=status)

    return reply


def watches(*chunks: bytes, then: str = "end") -> Reply:
    """A watch of exactly these chunks that then ends, resets or hangs."""

    async def reply(api: FaultApi, request: web.Request) -> web.StreamResponse:
        async with streaming(api, request) as response:
            for chunk in chunks:
                await response.write(chunk)
                await asyncio.sleep(0.001)
            if then == "reset":
                abort(request)
            if then == "hang":
                await api._stopping.wait()
        return response

    return reply


class Gate:
    """Holds a reply back until told, then gives the usual one."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.open = asyncio.Event()

    async def patch(self, api: FaultApi, request: web.Request) -> web.StreamResponse:
        self.reached.set()
        await self.open.wait()
        return await api.patch(request)


async def applies_and_resets(api: FaultApi, request: web.Request) -> web.StreamResponse:
    """Do it, and lose the answer."""
    await api.patch(request)
    return await resets(api, request)


def events(api: FaultApi) -> list[RawObject]:
    """Return the Events that were written."""
    return [json.loads(one.body) for one in api.seen if one.kind == CREATE]


async def hangs(api: FaultApi, request: web.Request) -> web.StreamResponse:
    api.held += 1
    try:
        await api._stopping.wait()
    finally:
        api.held -= 1
    return failure(503)


async def resets(api: FaultApi, request: web.Request) -> web.StreamResponse:
    abort(request)
    return failure(503)


def abort(request: web.Request) -> None:
    transport = request.transport
    assert isinstance(transport, asyncio.WriteTransport)
    transport.abort()


def _kind(request: web.Request) -> str:
    if request.method == "POST":
        return CREATE
    if request.method == "PATCH":
        return PATCH
    if "watch" in request.query:
        return WATCH
    return LIST if "limit" in request.query else GET


def _slot(request: web.Request) -> tuple[str, str]:
    parts = request.path.split("/")
    return parts[-3], parts[-1]
