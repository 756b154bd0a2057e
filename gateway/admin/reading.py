"""What sandboxes there are, and what the gateway makes of each: it reads and changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.admin.parts import About, Answer, Operation, Schema, json_answer
from gateway.admin.problems import NAMED_PROBLEMS
from gateway.admin.sandboxes import ALL, DIALECT, MAX_LIMIT, ONE, PageQuery, asked_for, page
from gateway.admin.summary import SUMMARY, summary

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from aiohttp import web

    from gateway.admin.access import AdminAccess
    from gateway.sandbox.model import Route
    from gateway.sandbox.registry import Registry

    Explain = Callable[[Route], Awaitable[Mapping[str, object]]]


class Reading:
    """Sandboxes: a list of them, one, and one explained."""

    def __init__(self, registry: Registry, explain: Explain, clock: Callable[[], float]) -> None:
        """`explain` puts a route in words, `clock` gives epoch seconds."""
        self._registry = registry
        self._explain = explain
        self._clock = clock

    def operations(self, access: AdminAccess) -> Iterable[Operation]:  # noqa: ARG002 - no own rule
        """Return what it does."""
        yield Operation("GET", ALL, self._list, about=_LIST)
        yield Operation("GET", ONE, self._summarized, about=_SUMMARIZED)
        yield Operation("GET", ONE + "/explain", self._explained, about=_EXPLAINED)

    async def _list(self, request: web.Request) -> web.Response:
        query = PageQuery.of(request.query)
        return json_answer(await page(self._registry, query, self._clock()))

    async def _summarized(self, request: web.Request) -> web.Response:
        return json_answer(summary(asked_for(self._registry, request), self._clock()))

    async def _explained(self, request: web.Request) -> web.Response:
        return json_answer(await self._explain(asked_for(self._registry, request)))


_PAGE: Final[Schema] = {
    "type": "object",
    "required": ["items", "continue"],
    "properties": {
        "items": {"type": "array", "items": SUMMARY},
        "continue": {
            "type": ["string", "null"],
            "description": "What to send as `continue` for the next page; null: this is the last.",
        },
    },
}
_EXPLANATION: Final[Schema] = {
    "type": "object",
    "required": ["namespace", "name", "dialect", "state", "sections"],
    "properties": {
        "namespace": {"type": "string"},
        "name": {"type": "string"},
        "dialect": {"type": "string"},
        "state": SUMMARY["properties"]["state"],
        "sections": {
            "type": "array",
            "description": "Texts for people.",
            "items": {
                "type": "object",
                "required": ["heading", "lines"],
                "properties": {
                    "heading": {"type": "string"},
                    "lines": {"type": "array", "items": {"type": "string"}},
                },
            },
        },
    },
}

_LIST: Final = About(
    id="listSandboxes",
    summary="Which sandboxes are there?",
    text="Lists what this gateway knows, by namespace and name, a page at a time. Each page is "
    "right for itself: what changes while you turn pages may be in both or in neither. For one "
    "sandbox whose name you know, ask for that.",
    query={
        "namespace": {"type": "string", "description": "Only this namespace."},
        "limit": {
            "type": "integer",
            "minimum": 1,
            "maximum": MAX_LIMIT,
            "default": MAX_LIMIT,
            "description": "How many at most.",
        },
        "continue": {"type": "string", "description": "What the page before this one gave."},
    },
    answers={200: Answer("A page.", _PAGE)},
    problems={400: "The query makes no sense."},
)
_SUMMARIZED: Final = About(
    id="getSandbox",
    summary="How is this sandbox?",
    text="Tells its state, where it is, and what of its object did not parse: what the list tells "
    "of it. For why it is so, and what would happen to a request, ask for `/explain`.",
    query=DIALECT,
    answers={200: Answer("The sandbox.", SUMMARY)},
    problems=NAMED_PROBLEMS,
)
_EXPLAINED: Final = About(
    id="explainSandbox",
    summary="Why is this sandbox as it is?",
    text="Puts in words what the gateway makes of it, what a request to it would meet now, and "
    "what to do about it. Ask it when something is not as you expect.",
    query=DIALECT,
    answers={200: Answer("The explanation.", _EXPLANATION)},
    problems=NAMED_PROBLEMS,
)
