"""Verbs over HTTP: requests for resources, objects and their status."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from aiohttp import web

from gateway.local.api.definitions import Definition, GroupResource
from gateway.local.api.errors import ApiError, Details, MethodNotAllowedError, NotFoundError
from gateway.local.api.listing import ListOptions, parse_version
from gateway.local.api.namespaces import NAMESPACES, get_namespace, list_namespaces
from gateway.local.api.objects import JsonObject, encode
from gateway.local.api.patches import accepted_patch_type, apply_patch
from gateway.local.api.query import (
    check_timeout,
    delete_options,
    flag,
    list_options,
    number,
    parse_object,
    write_options,
)
from gateway.local.api.representation import UNCACHED, Printer, make_printer
from gateway.local.api.strategy import Subresource
from gateway.local.api.watching import WatchStream, WatchTimes

if TYPE_CHECKING:
    from datetime import datetime

    from gateway.local.api.routes import ResourcePath
    from gateway.local.api.store import ObjectStore
    from gateway.local.api.subscription import Subscription


@dataclass(frozen=True, slots=True)
class Call:
    """One request for a resource, and the form that its answer will have."""

    request: web.Request
    definition: Definition
    path: ResourcePath
    printer: Printer

    @property
    def key(self) -> tuple[GroupResource, str, str]:
        """Names the object to the store."""
        return self.definition.resource, self.path.namespace, self.path.name

    @property
    def content_type(self) -> str:
        return self.request.headers.get("Content-Type", "").partition(";")[0].strip().lower()


Verb = Callable[[Call], Awaitable[web.StreamResponse]]


class Verbs:
    """Serves the store's resources; `close_watches` ends what would otherwise go on."""

    def __init__(self, store: ObjectStore, times: WatchTimes, now: Callable[[], datetime]) -> None:
        self._store = store
        self._times = times
        self._now = now
        self._watches: set[Subscription] = set()
        self._closing = False
        self._collection: dict[str, Verb] = {
            "GET": self._list_or_watch,
            "POST": self._create,
            "DELETE": self._delete_collection,
        }
        self._object: dict[str, Verb] = {
            "GET": self._get,
            "PUT": self._update,
            "PATCH": self._patch,
            "DELETE": self._delete,
        }
        self._status = {method: self._object[method] for method in ("GET", "PUT", "PATCH")}

    def close_watches(self) -> None:
        """End all watches, and every one that would still begin."""
        self._closing = True
        for subscription in list(self._watches):
            subscription.close()

    async def serve(self, request: web.Request, path: ResourcePath) -> web.StreamResponse:
        """Raises `ApiError`s, `NotFoundError` for what is not served among them."""
        check_timeout(request.query)
        resource = GroupResource(path.group, path.plural)
        if resource == NAMESPACES.resource:
            return self._serve_namespaces(self._call(request, NAMESPACES, path))
        definition = self._store.definition(resource)
        if path.version != definition.version:
            raise NotFoundError("the server could not find the requested resource")
        # The answer to HEAD is that to GET; its body is left out when it is sent.
        method = "GET" if request.method == "HEAD" else request.method
        verb = self._verbs(definition, path).get(method)
        if verb is None:
            raise method_not_allowed(path)
        # What the client cannot read is refused before anything is written.
        return await verb(self._call(request, definition, path))

    def _call(self, request: web.Request, definition: Definition, path: ResourcePath) -> Call:
        accept = ",".join(request.headers.getall("Accept", []))
        printer = make_printer(definition, accept, request.query, self._now)
        return Call(request, definition, path, printer)

    def _verbs(self, definition: Definition, path: ResourcePath) -> dict[str, Verb]:
        match path.subresource:
            case "" if path.name:
                return self._object
            case "" if path.namespace:
                return self._collection
            case "":
                return {"GET": self._list_or_watch}
            case "status" if definition.has_status:
                return self._status
            case _:
                raise NotFoundError(
                    "the server could not find the requested resource",
                    Details(path.name, path.group, path.plural),
                )

    def _serve_namespaces(self, call: Call) -> web.Response:
        query, path = call.request.query, call.path
        if call.request.method not in ("GET", "HEAD") or flag(query, "watch"):
            raise method_not_allowed(path)
        if path.name:
            return _answer(call, get_namespace(self._store, path.name))
        options = list_options(NAMESPACES, "", query)
        return json_response(call.printer.many(list_namespaces(self._store, options)))

    async def _get(self, call: Call) -> web.StreamResponse:
        self._store.check_reached(parse_version(call.request.query.get("resourceVersion", "")))
        return _answer(call, self._store.get(*call.key))

    async def _list_or_watch(self, call: Call) -> web.StreamResponse:
        query = call.request.query
        options = list_options(call.definition, call.path.namespace, query)
        if call.request.method == "GET" and flag(query, "watch"):
            return await self._watch(call, options)
        listed = self._store.list(call.definition.resource, options)
        return json_response(call.printer.many(listed))

    async def _watch(self, call: Call, options: ListOptions) -> web.StreamResponse:
        query = call.request.query
        since = parse_version(options.resource_version)
        replays = flag(query, "sendInitialEvents")
        stream = WatchStream(call.request, call.definition, call.printer, self._times.write)
        run = partial(
            stream.run,
            seconds=max(0, number(query, "timeoutSeconds")) or self._times.longest,
            bookmark_every=self._times.bookmark if flag(query, "allowWatchBookmarks") else None,
            replays=replays,
        )
        response = await stream.open()
        try:
            subscription = self._store.subscribe(
                call.definition.resource,
                since,
                namespace=call.path.namespace,
                selector=options.selector,
                replays=replays,
            )
        except ApiError as error:
            # The real server, too, has sent its 200 by then.
            await stream.send("ERROR", error.status())
            return response
        await self._follow(subscription, run)
        return response

    async def _follow(
        self, subscription: Subscription, run: Callable[[Subscription], Awaitable[None]]
    ) -> None:
        self._watches.add(subscription)
        try:
            # A client that has left gets nothing more; that is no error.
            with suppress(ConnectionError):
                if not self._closing:
                    await run(subscription)
        finally:
            self._watches.discard(subscription)
            subscription.close()

    async def _create(self, call: Call) -> web.StreamResponse:
        obj = parse_object(call.content_type, await call.request.read())
        warnings: list[str] = []
        options = write_options(call.request.query, warnings.append, "CreateOptions")
        created = self._store.create(call.definition.resource, call.path.namespace, obj, options)
        return _answer(call, created, status=201, warnings=warnings)

    async def _update(self, call: Call) -> web.StreamResponse:
        obj = parse_object(call.content_type, await call.request.read())
        warnings: list[str] = []
        updated = self._store.update(
            *call.key,
            obj,
            subresource=Subresource(call.path.subresource),
            options=write_options(call.request.query, warnings.append, "UpdateOptions"),
        )
        return _answer(call, updated, warnings=warnings)

    async def _patch(self, call: Call) -> web.StreamResponse:
        kind = accepted_patch_type(call.definition, call.content_type)
        raw = await call.request.read()
        warnings: list[str] = []
        patched = self._store.patch(
            *call.key,
            partial(apply_patch, kind, raw),
            subresource=Subresource(call.path.subresource),
            options=write_options(call.request.query, warnings.append, "PatchOptions"),
        )
        return _answer(call, patched, warnings=warnings)

    async def _delete(self, call: Call) -> web.StreamResponse:
        raw = await call.request.read()
        preconditions, options = delete_options(call.request.query, call.content_type, raw)
        deleted = self._store.delete(*call.key, preconditions, options=options)
        if deleted["metadata"].get("finalizers"):
            return _answer(call, deleted)
        return json_response(_deleted(call.definition, deleted["metadata"]))

    async def _delete_collection(self, call: Call) -> web.StreamResponse:
        raw = await call.request.read()
        _, options = delete_options(call.request.query, call.content_type, raw)
        selected = list_options(call.definition, call.path.namespace, call.request.query)
        listed = self._store.list(call.definition.resource, selected)
        for obj in listed.items:
            metadata = obj["metadata"]
            self._store.delete(
                call.definition.resource, call.path.namespace, metadata["name"], options=options
            )
        return json_response(call.printer.many(listed))


def _answer(
    call: Call, obj: JsonObject, *, status: int = 200, warnings: Sequence[str] = ()
) -> web.Response:
    response = json_response(call.printer.one(obj), status)
    for warning in warnings:
        # RFC 9110 lets no line break into a field; a quote ends the quoted text.
        text = warning.replace("\\", "\\\\").replace('"', '\\"')
        response.headers.add("Warning", f'299 - "{text}"')
    return response


def json_response(document: JsonObject, status: int = 200) -> web.Response:
    return web.Response(
        body=encode(document), status=status, content_type="application/json", headers=UNCACHED
    )


def method_not_allowed(path: ResourcePath) -> MethodNotAllowedError:
    return MethodNotAllowedError(
        "the server does not allow this method on the requested resource",
        Details(group=path.group, kind=path.plural),
    )


def _deleted(definition: Definition, metadata: JsonObject) -> JsonObject:
    resource = definition.resource
    details = Details(metadata["name"], resource.group, resource.plural)
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": details.as_json() | {"uid": metadata["uid"]},
    }
