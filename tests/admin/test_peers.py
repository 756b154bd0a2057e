"""What other replicas ask of this one's admin API: who may, what is answered, odd bodies."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from gateway.admin.peers import PeerRoutes
from gateway.admin.server import MAX_BODY
from gateway.replicas.gate import Gate
from gateway.replicas.wire import ASK_PATH, SETTLE_PATH, USES_PATH
from gateway.sandbox.activity import Activity
from gateway.sandbox.registry import Registry
from tests.sandbox.routes import KEY, make_route

from .serving import listening

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.sandbox.model import Key

UID, TOKEN = "uid-1", "a-token-for-replicas"
KEY_JSON = {"dialect": KEY.dialect, "namespace": KEY.namespace, "name": KEY.name}
ODD: tuple[object, ...] = (b"", b"\xff", b"[" * 20_000, {}, [], None)
PATHS = (ASK_PATH, SETTLE_PATH, USES_PATH)


class Admin:
    """A replica that knows one sandbox, unused for a hundred seconds."""

    url: str
    session: aiohttp.ClientSession

    def __init__(self) -> None:
        self.activity, self.registry = Activity(), Registry()
        self.gate = Gate(self.activity, self.registry, self.claim, lambda: 100.0)
        self.registry.subscribe(lambda before, after: self.activity.heed(before, after, 0.0, 0.0))
        self.registry.subscribe(self.gate.heed)
        self.registry.apply(make_route())

    async def claim(self, key: Key, uid: str) -> None:
        raise AssertionError("nobody waits here")

    async def post(
        self, path: str, body: object, token: str | None = TOKEN
    ) -> tuple[int, dict[str, Any]]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        async with self.session.post(self.url + path, data=data, headers=headers) as response:
            return response.status, await response.json(content_type=None)

    async def ask(self, *, needed: float = 60.0, question: str = "q1") -> object:
        items = [{"key": KEY_JSON, "uid": UID, "needed": needed}]
        body = {"protocol": 1, "question": question, "items": items}
        status, answer = await self.post(ASK_PATH, body)
        assert (status, answer["protocol"], answer["replica"]) == (200, 1, "gateway-1")
        return answer["answers"][UID]

    async def settle(self, version: int | None, *, known: bool = True) -> None:
        outcome = {"key": KEY_JSON, "uid": UID, "version": version, "known": known}
        body = {"protocol": 1, "question": "q1", "outcomes": [outcome]}
        answer = {"protocol": 1, "replica": "gateway-1"}
        assert await self.post(SETTLE_PATH, body) == (200, answer)


@asynccontextmanager
async def serving(token: str | None = TOKEN) -> AsyncIterator[Admin]:
    admin = Admin()
    async with (
        listening(admin.registry, PeerRoutes(admin.gate, "gateway-1"), token=token) as admin.url,
        aiohttp.ClientSession() as admin.session,
    ):
        yield admin


async def test_what_is_unused_may_sleep_and_is_fenced_until_that_is_settled() -> None:
    async with serving() as admin:
        assert await admin.ask() == "unused"
        assert admin.gate.is_shut(UID)
        assert await admin.ask(question="q2") == "asked"
        await admin.settle(None)
        assert not admin.gate.is_shut(UID)
        assert await admin.ask() == "late"


async def test_what_was_used_lately_may_not_and_how_long_ago_that_was_is_told() -> None:
    async with serving() as admin:
        assert await admin.ask(needed=300.0) == 100.0
        assert not admin.gate.is_shut(UID)


async def test_a_standby_opens_the_gate_once_it_is_known_here() -> None:
    async with serving() as admin:
        await admin.ask()
        await admin.settle(7)
        assert admin.gate.is_shut(UID)
        admin.registry.apply(make_route(version=7))
        assert not admin.gate.is_shut(UID)


async def test_one_that_nobody_can_tell_of_does_not() -> None:
    async with serving() as admin:
        await admin.ask()
        await admin.settle(None, known=False)
        admin.registry.apply(make_route(version=7))
        assert admin.gate.is_shut(UID)


async def test_use_is_told_and_fences_nothing() -> None:
    async with serving() as admin:
        ours = {"protocol": 1, "replica": "gateway-1"}
        asked = {"protocol": 1, "uid": UID}
        assert await admin.post(USES_PATH, asked) == (200, ours | {"count": 0, "unused_for": 100.0})
        admin.activity.enter(UID, 0.0)
        assert await admin.post(USES_PATH, asked) == (200, ours | {"count": 1, "unused_for": 0.0})
        nobody = {"protocol": 1, "uid": "uid-of-nobody"}
        assert await admin.post(USES_PATH, nobody) == (200, ours | {"count": 0, "unused_for": None})
        assert not admin.gate.is_shut(UID)


@pytest.mark.parametrize("path", PATHS)
async def test_only_who_has_the_admin_token_is_answered(path: str) -> None:
    async with serving() as admin:
        for token in (None, "", "another"):
            status, answer = await admin.post(path, {"protocol": 1, "uid": UID}, token)
            assert (status, answer["reason"]) == (401, "unauthenticated")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        *((path, body) for path in PATHS for body in ODD),
        (ASK_PATH, {"question": "q", "items": []}),
        (ASK_PATH, {"protocol": 2, "question": "q", "items": []}),
        (ASK_PATH, {"protocol": "1", "question": "q", "items": []}),
        (ASK_PATH, {"protocol": 1, "question": "", "items": []}),
        (ASK_PATH, {"protocol": 1, "question": "q" * 257, "items": []}),
        (ASK_PATH, {"protocol": 1, "question": "q", "items": [{"uid": UID, "needed": 1}]}),
        (
            ASK_PATH,
            {
                "protocol": 1,
                "question": "q",
                "items": [{"key": KEY_JSON, "uid": UID, "needed": -1}],
            },
        ),
        (
            SETTLE_PATH,
            {
                "protocol": 1,
                "question": "q",
                "outcomes": [{"key": KEY_JSON, "uid": UID, "version": "7", "known": True}],
            },
        ),
        (USES_PATH, {"protocol": 1, "uid": 7}),
    ],
)
async def test_what_is_no_message_is_refused_and_not_echoed(path: str, body: object) -> None:
    async with serving() as admin:
        status, answer = await admin.post(path, body)
        assert (status, answer["reason"]) == (400, "bad_request")
        assert UID not in json.dumps(answer)
        assert not admin.gate.is_shut(UID)


async def test_a_body_over_the_limit_is_refused() -> None:
    async with serving() as admin:
        status, answer = await admin.post(ASK_PATH, b" " * (MAX_BODY + 1))
        assert (status, answer["status"]) == (413, 413)


async def test_none_of_it_is_described_to_people() -> None:
    async with (
        serving() as admin,
        admin.session.get(
            admin.url + "/api/v1/openapi.json", headers={"Authorization": f"Bearer {TOKEN}"}
        ) as response,
    ):
        assert response.status == 200
        assert "peers" not in await response.text()
