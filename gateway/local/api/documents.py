"""Everything that is read at a fixed path: health, version, discovery, OpenAPI."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from aiohttp import web

from gateway.local.api import discovery, openapi
from gateway.local.api.errors import MethodNotAllowedError
from gateway.local.api.negotiation import negotiate
from gateway.local.api.objects import JsonObject, encode
from gateway.local.api.representation import UNCACHED

if TYPE_CHECKING:
    from gateway.local.api.definitions import Definition
    from gateway.local.api.store import ObjectStore

_HEALTH = frozenset(("/healthz", "/livez", "/readyz"))


class Documents:
    """The fixed documents of a store's definitions, rendered once."""

    def __init__(self, store: ObjectStore) -> None:
        documents = _documents(store.definitions)
        self._rendered = {path: encode(document) for path, document in documents.items()}

    def respond(self, request: web.Request, path: str) -> web.Response | None:
        """The answer for a path, or None if no document lies there.

        Raises `NotAcceptableError` for a client that takes no JSON, `MethodNotAllowedError`.
        """
        path = path.rstrip("/")
        if path not in _HEALTH and path not in self._rendered:
            return None
        if request.method not in ("GET", "HEAD"):
            raise MethodNotAllowedError("this document can only be read")
        if path in _HEALTH:
            return web.Response(text="ok", headers=UNCACHED)
        negotiate(request.headers.get("Accept", ""), transforms=False)
        return web.Response(
            body=self._rendered[path], content_type="application/json", headers=UNCACHED
        )


def _documents(definitions: list[Definition]) -> dict[str, JsonObject]:
    documents: dict[str, JsonObject] = {
        "/version": dict(discovery.VERSION),
        "/api": discovery.core_versions(),
        "/apis": discovery.group_list(definitions),
        "/openapi/v2": openapi.document_v2(definitions),
        "/openapi/v3": openapi.root(definitions),
    }
    for prefix, grouped in groupby(definitions, openapi.path_prefix):
        members = list(grouped)
        first = members[0]
        documents[f"/{prefix}"] = discovery.resource_list(first.api_version, members)
        documents[f"/openapi/v3/{prefix}"] = openapi.document_v3(members)
        if first.resource.group:
            documents[f"/apis/{first.resource.group}"] = discovery.group(first)
    return documents
