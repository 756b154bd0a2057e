"""Verbs over HTTP: requests for resources, objects and their status."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from aiohttp import web

from gateway.local.api.definitions import Definition, GroupResource
from gateway.local.api.errors import (
    ApiError,
    Cause,
    Details,
    InvalidError,
    MethodNotAllowedError,
    NotFoundError,
)
from gateway.local.api.listing import parse_version
from gateway.local.api.namespaces import NAMESPACES, get_namespace, list_namespaces
from gateway.local.api.objects import JsonObject, encode
from gateway.local.api.patches import accepted_patch_type, apply_patch
from gateway.local.api.query import (
    delete_options,
    flag,
    list_options,
    number,
    parse_object,
    write_options,
)
from gateway.local.api.representation import make_printer
from gateway.local.api.routes import ResourcePath
from gateway.local.api.strategy import Subresource
from gateway.local.api.watching import WatchStream, WatchTimes

if TYPE_CHECKING:
    from datetime import datetime

    from gateway.local.api.store import ObjectStore
    from gateway.local.api.subscription import Subscription

Verb = Callable[[web.Request, Definition, ResourcePath], Awaitable[web.StreamResponse]]


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
        resource = GroupResource(path.group, path.plural)
        if resource == NAMESPACES.resource:
            return self._serve_namespaces(request, path)
        definition = self._store.definition(resource)
        if path.version != definition.version:
            raise NotFoundError("the server could not find the requested resource")
        verb = self._verbs(definition, path).get(request.method)
        if verb is None:
            raise method_not_allowed()
        return await verb(request, definition, path)

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
                raise NotFoundError("the server could not find the requested resource")

    def _serve_namespaces(self, request: web.Request, path: ResourcePath) -> web.Response:
        if request.method != "GET" or flag(request.query, "watch"):
            raise method_not_allowed()
        if path.name:
            return self._answer(request, NAMESPACES, get_namespace(self._store, path.name))
        printer = make_printer(NAMESPACES, _accept(request), request.query, self._now)
        options = list_options(NAMESPACES, "", request.query)
        return json_response(printer.many(list_namespaces(self._store, options)))

    async def _get(
        self, request: web.Request, definition: Definition, path: ResourcePath
    ) -> web.StreamResponse:
        obj = self._store.get(definition.resource, path.namespace, path.name)
        return self._answer(request, definition, obj)

    async def _list_or_watch(
        self, request: web.Request, definition: Definition, path: ResourcePath
    ) -> web.StreamResponse:
        if flag(request.query, "watch"):
            return await self._watch(request, definition, path)
        printer = make_printer(definition, _accept(request), request.query, self._now)
        options = list_options(definition, path.namespace, request.query)
        return json_response(printer.many(self._store.list(definition.resource, options)))

    async def _watch(
        self, request: web.Request, definition: Definition, path: ResourcePath
    ) -> web.StreamResponse:
        query = request.query
        if "sendInitialEvents" in query:
            raise _watch_list_refused()
        printer = make_printer(definition, _accept(request), query, self._now)
        options = list_options(definition, path.namespace, query)
        since = parse_version(options.resource_version)
        seconds = number(query, "timeoutSeconds") or self._times.longest
        bookmark_every = self._times.bookmark if flag(query, "allowWatchBookmarks") else None
        stream = WatchStream(request, definition, printer, self._times.write)
        response = await stream.open()
        try:
            subscription = self._store.subscribe(
                definition.resource, since, namespace=path.namespace, selector=options.selector
            )
        except ApiError as error:
            # The real server, too, has sent its 200 by then.
            await stream.send("ERROR", error.status())
            return response
        await self._follow(
            subscription, partial(stream.run, seconds=seconds, bookmark_every=bookmark_every)
        )
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

    async def _create(
        self, request: web.Request, definition: Definition, path: ResourcePath
    ) -> web.StreamResponse:
        obj = parse_object(_content_type(request), await request.read())
        warnings: list[str] = []
        options = write_options(request.query, warnings.append)
        created = self._store.create(definition.resource, path.namespace, obj, options)
        return self._answer(request, definition, created, status=201, warnings=warnings)

    async def _update(
        self, request: web.Request, definition: Definition, path: ResourcePath
    ) -> web.StreamResponse:
        obj = parse_object(_content_type(request), await request.read())
        warnings: list[str] = []
        updated = self._store.update(
            definition.resource,
            path.namespace,
            path.name,
            obj,
            subresource=Subresource(path.subresource),
            options=write_options(request.query, warnings.append),
        )
        return self._answer(request, definition, updated, warnings=warnings)

    async def _patch(
        self, request: web.Request, definition: Definition, path: ResourcePath
    ) -> web.StreamResponse:
        kind = accepted_patch_type(definition, _content_type(request))
        raw = await request.read()
        warnings: list[str] = []
        patched = self._store.patch(
            definition.resource,
            path.namespace,
            path.name,
            partial(apply_patch, kind, raw),
            subresource=Subresource(path.subresource),
            options=write_options(request.query, warnings.append),
        )
        return self._answer(request, definition, patched, warnings=warnings)

    async def _delete(
        self, request: web.Request, definition: Definition, path: ResourcePath
    ) -> web.StreamResponse:
        raw = await request.read()
        preconditions, options = delete_options(request.query, _content_type(request), raw)
        deleted = self._store.delete(
            definition.resource, path.namespace, path.name, preconditions, options=options
        )
        if deleted["metadata"].get("finalizers"):
            return self._answer(request, definition, deleted)
        return json_response(_deleted(definition, deleted["metadata"]))

    async def _delete_collection(
        self, request: web.Request, definition: Definition, path: ResourcePath
    ) -> web.StreamResponse:
        raw = await request.read()
        _, options = delete_options(request.query, _content_type(request), raw)
        selected = list_options(definition, path.namespace, request.query)
        printer = make_printer(definition, _accept(request), request.query, self._now)
        listed = self._store.list(definition.resource, selected)
        for obj in listed.items:
            self._store.delete(
                definition.resource, path.namespace, obj["metadata"]["name"], options=options
            )
        return json_response(printer.many(listed))

    def _answer(
        self,
        request: web.Request,
        definition: Definition,
        obj: JsonObject,
        *,
        status: int = 200,
        warnings: list[str] | None = None,
    ) -> web.Response:
        printer = make_printer(definition, _accept(request), request.query, self._now)
        response = json_response(printer.one(obj), status)
        for warning in warnings or ():
            # RFC 9110 lets no line break into a field; a quote ends the quoted text.
            text = warning.replace("\\", "\\\\").replace('"', '\\"')
            response.headers.add("Warning", f'299 - "{text}"')
        return response


def json_response(document: JsonObject, status: int = 200) -> web.Response:
    return web.Response(body=encode(document), status=status, content_type="application/json")


def method_not_allowed() -> MethodNotAllowedError:
    return MethodNotAllowedError("the server does not allow this method on the requested resource")


def _deleted(definition: Definition, metadata: JsonObject) -> JsonObject:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": {
            "name": metadata["name"],
            "group": definition.resource.group,
            "kind": definition.resource.plural,
            "uid": metadata["uid"],
        },
    }


def _watch_list_refused() -> InvalidError:
    message = "Forbidden: sendInitialEvents is not supported by this server: list, then watch"
    cause = Cause("FieldValueForbidden", "sendInitialEvents", message)
    return InvalidError(
        f'ListOptions.meta.k8s.io "" is invalid: sendInitialEvents: {message}',
        Details(group="meta.k8s.io", kind="ListOptions", causes=(cause,)),
    )


def _accept(request: web.Request) -> str:
    return ",".join(request.headers.getall("Accept", []))


def _content_type(request: web.Request) -> str:
    return request.content_type.lower()
