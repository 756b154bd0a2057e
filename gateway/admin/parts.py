"""The admin API is made of parts; each says what it does, who may ask it, and who answers.

The router and the OpenAPI document are both made of these operations, so that neither can have
what the other lacks.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.admin.access import AdminAccess

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Schema = dict[str, Any]


class Guard(Enum):
    """Who may ask. `ADMIN`: whom `AdminAccess` lets in; `OWN`: the handler judges; `OPEN`: all."""

    ADMIN = "admin"
    OWN = "own"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that is no problem: what it means, and its body (no `media_type`: it has none)."""

    meaning: str
    schema: Schema | None = None
    media_type: str | None = "application/json"


@dataclass(frozen=True, slots=True)
class About:
    """What callers are told of an operation.

    `id` names it in generated clients. `text` says what it does for who calls it, when to call it,
    and what pairs with it. `problems`: the refusals by status. `query`: its parameters, as JSON
    schemas with a description. `by_sandbox`: a sandbox may ask it about itself.
    """

    id: str
    summary: str
    text: str
    answers: Mapping[int, Answer]
    problems: Mapping[int, str] = field(default_factory=dict)
    query: Mapping[str, Schema] = field(default_factory=dict)
    body: Schema | None = None
    by_sandbox: bool = False


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that can be asked. `about` None: it is between parts of the gateway only."""

    method: str
    path: str
    handle: Handler
    guard: Guard = Guard.ADMIN
    about: About | None = None


class AdminRoutes(Protocol):
    """A part of the admin API."""

    def operations(self, access: AdminAccess) -> Iterable[Operation]:
        """Return what it does; `access` is for handlers that judge for themselves."""


def json_answer(value: object, status: int = 200) -> web.Response:
    """Return an answer with a JSON body."""
    return web.Response(
        status=status,
        body=json.dumps(value).encode(),
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )
