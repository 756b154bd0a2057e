"""Sandboxes as the admin API names them and pages through them."""

from __future__ import annotations

import asyncio
import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.admin.problems import AdminError, Ambiguous, NotFound
from gateway.admin.summary import summary
from gateway.sandbox.errors import AmbiguousTarget, SandboxNotFound
from gateway.sandbox.model import Key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web

    from gateway.admin.parts import Schema
    from gateway.sandbox.model import Route
    from gateway.sandbox.registry import Registry

#: Where sandboxes are, and one of them.
ALL: Final = "/api/v1/sandboxes"
ONE: Final = ALL + "/{namespace}/{name}"
#: The parameter that tells sandboxes of one name apart.
DIALECT: Final[Mapping[str, Schema]] = {
    "dialect": {
        "type": "string",
        "description": "Which Sandbox API, where two have a sandbox of this name.",
    }
}

#: Routes that are sifted before the loop may turn: the data path runs on the same one.
CHUNK: Final = 1000
#: Sandboxes in one answer.
MAX_LIMIT: Final = 500

Place = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class PageQuery:
    """What a list request asks for: at most `limit` sandboxes that come after a place."""

    limit: int = MAX_LIMIT
    after: Place | None = None
    namespace: str | None = None

    @classmethod
    def of(cls, query: Mapping[str, str]) -> PageQuery:
        """Read a query string; raise AdminError."""
        text = query.get("limit", str(MAX_LIMIT))
        limit = int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0
        if not 1 <= limit <= MAX_LIMIT:
            raise AdminError(f"limit must be a number from 1 to {MAX_LIMIT}.")
        return cls(limit, _place(query.get("continue")), query.get("namespace"))


def _place(token: str | None) -> Place | None:
    if token is None:
        return None
    parts = token.split("/")
    if len(parts) != 3:
        raise AdminError("continue must be what the page before it gave.")
    return parts[0], parts[1], parts[2]


async def page(registry: Registry, query: PageQuery, now: float) -> dict[str, object]:
    """Return one page by namespace, name and dialect, and where the next one goes on.

    The routes may change meanwhile: each page is right for itself.
    """
    routes = list(registry)
    found: list[tuple[Place, Route]] = []
    for start in range(0, len(routes), CHUNK):
        fitting = [_placed(route) for route in routes[start : start + CHUNK]]
        found = heapq.nsmallest(
            query.limit + 1,
            [*found, *(one for one in fitting if _fits(one, query))],
            key=lambda one: one[0],
        )
        await asyncio.sleep(0)
    shown = found[: query.limit]
    following = "/".join(shown[-1][0]) if len(found) > query.limit else None
    return {"items": [summary(route, now) for _, route in shown], "continue": following}


def _placed(route: Route) -> tuple[Place, Route]:
    return (route.key.namespace, route.key.name, route.key.dialect), route


def _fits(one: tuple[Place, Route], query: PageQuery) -> bool:
    place = one[0]
    in_namespace = query.namespace is None or place[0] == query.namespace
    return in_namespace and (query.after is None or place > query.after)


def asked_for(registry: Registry, request: web.Request) -> Route:
    """Return the sandbox that a request for `ONE` names; raise NotFound or Ambiguous."""
    names, dialect = request.match_info, request.query.get("dialect")
    return find(registry, names["namespace"], names["name"], dialect)


def find(registry: Registry, namespace: str, name: str, dialect: str | None) -> Route:
    """Return one route by name; raise NotFound or Ambiguous."""
    if dialect is not None:
        route = registry.get(Key(dialect, namespace, name))
        if route is None:
            raise NotFound("This gateway knows no such sandbox.")
        return route
    try:
        return registry.by_name(namespace, name)
    except SandboxNotFound as error:
        raise NotFound("This gateway knows no such sandbox.") from error
    except AmbiguousTarget as error:
        raise Ambiguous("Two sandboxes have this name: add ?dialect=.") from error
