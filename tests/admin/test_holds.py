"""Pins and holds over real sockets: what is written, who may ask, and what failures are told as."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from e2e.identity import ISSUER, claims, key_set, public, token
from gateway.admin.access import BURST, SandboxAccess
from gateway.admin.holds import Holds
from gateway.auth.access import AccessTokens
from gateway.auth.authenticator import NoAuth
from gateway.auth.jwks import KeysUnavailable
from gateway.auth.jwt import JwtRules, JwtTokens
from gateway.auth.key_store import Freshness, KeyStore
from gateway.auth.scoped import ScopedTokens, mint
from gateway.cluster.cluster import Cluster
from gateway.cluster.config import ClusterConfig
from gateway.dialects import kruise, own
from gateway.dialects.kruise import Kruise
from gateway.dialects.native import Native
from gateway.local.api import (
    SANDBOXES,
    EmbeddedApi,
    ObjectStore,
    load_native_crd,
    write_kubeconfig,
)
from gateway.sandbox.model import Key
from gateway.sandbox.registry import Registry
from gateway.sandbox.texts import format_time, parse_time
from gateway.telemetry.instruments import Instruments
from tests.auth.jwts import running
from tests.cluster.faultapi import (
    GET,
    PATCH,
    FaultApi,
    Gate,
    applies_and_resets,
    fails,
    hangs,
)

from .serving import listening

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from gateway.auth.authenticator import Authenticator
    from tests.cluster.faultapi import Reply

NOW = 1_795_342_830.25
ADMIN = {"Authorization": "Bearer hunter2"}
SECRET = "s3cret"
OWN = {"X-Access-Token": SECRET}
TOKEN_KEYS = {"k1": b"1" * 32}

Answered = tuple[int, Any]


@dataclass
class Admin:
    """An admin listener over a cluster, and its client."""

    api: FaultApi
    registry: Registry
    url: str
    session: aiohttp.ClientSession

    async def post(self, path: str, body: object = None, **headers: str) -> Answered:
        url = f"{self.url}/api/v1/sandboxes/{path}"
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body)
        async with self.session.post(url, data=data, headers=headers) as got:
            read = await got.read()
            return got.status, json.loads(read) if read else None

    def notes(self, name: str = "box") -> dict[str, str]:
        metadata = self.api.objects["team-a", name]["metadata"]
        found = metadata.get("annotations") or {}
        return {key.removeprefix(own.PREFIX): value for key, value in found.items()}


def digest(secret: str) -> dict[str, str]:
    return {own.TOKEN_SHA256: hashlib.sha256(secret.encode()).hexdigest()}


@pytest.fixture
async def api() -> AsyncIterator[FaultApi]:
    server = FaultApi()
    await server.start()
    await server.put("box", metadata={"annotations": digest(SECRET)})
    await server.put("other", metadata={"annotations": digest("another")})
    await server.put("open")
    try:
        yield server
    finally:
        await server.stop()


@asynccontextmanager
async def serving(
    api: FaultApi,
    path: Path,
    judge: Authenticator | None = None,
    admin_token: str | None = "hunter2",
    clock: Callable[[], float] = lambda: NOW,
    synced: bool = True,
) -> AsyncIterator[Admin]:
    registry = Registry()
    config = ClusterConfig(
        kubeconfig=api.kubeconfig(path / "kubeconfig"),
        request_timeout=0.5,
        backoff_min=0.001,
        backoff_max=0.01,
    )
    async with Cluster(config, [Native()], registry, Instruments()) as cluster:
        await cluster.wait_synced()
        callers = SandboxAccess(registry, judge or AccessTokens(), lambda: synced, clock)
        holds = Holds(cluster.writer, callers, 3600.0, clock)
        async with (
            listening(registry, holds, token=admin_token) as url,
            aiohttp.ClientSession() as session,
        ):
            yield Admin(api, registry, url, session)


DISABLE, ENABLE, HOLD = "/scaletozero/disable", "/scaletozero/enable", "/hold"


# ---- what is written ----------------------------------------------------------------------------


async def test_disable_pins_and_enable_takes_the_pin_off_and_both_may_be_repeated(
    api: FaultApi, tmp_path: Path
) -> None:
    async with serving(api, tmp_path) as admin:
        for path, pinned, writes in (
            (DISABLE, "true", 1),
            (DISABLE, "true", 1),
            (ENABLE, None, 2),
            (ENABLE, None, 2),
        ):
            assert await admin.post("team-a/box" + path, **ADMIN) == (204, None)
            assert admin.notes().get("pinned") == pinned
            assert api.count(PATCH) == writes


async def test_enable_without_disable_writes_nothing(api: FaultApi, tmp_path: Path) -> None:
    async with serving(api, tmp_path) as admin:
        assert await admin.post("team-a/box" + ENABLE, **ADMIN) == (204, None)
        assert api.count(PATCH) == 0


async def test_enable_leaves_a_hold_alone(api: FaultApi, tmp_path: Path) -> None:
    async with serving(api, tmp_path) as admin:
        await admin.post("team-a/box" + HOLD, {"for": "15m"}, **ADMIN)
        await admin.post("team-a/box" + DISABLE, **ADMIN)
        await admin.post("team-a/box" + ENABLE, **ADMIN)
        assert admin.notes()["hold-until"] == format_time(math.ceil(NOW + 900))
        assert "pinned" not in admin.notes()


async def test_a_hold_tells_until_when_and_is_never_shortened(
    api: FaultApi, tmp_path: Path
) -> None:
    async with serving(api, tmp_path) as admin:
        longest = 0.0
        for asked, seconds in (("15m", 900), ("10s", 10), ("1h", 3600), ("15m", 900)):
            status, body = await admin.post("team-a/box" + HOLD, {"for": asked}, **ADMIN)
            assert status == 200
            until = parse_time(body["hold_until"])
            longest = max(longest, math.ceil(NOW + seconds))
            assert until == longest
            assert admin.notes()["hold-until"] == body["hold_until"]
        assert api.count(PATCH) == 2


async def test_holds_that_come_at_once_leave_the_longest(api: FaultApi, tmp_path: Path) -> None:
    async with serving(api, tmp_path) as admin:
        asked = [{"for": f"{number * 7 % 20 + 1}m"} for number in range(20)]
        answers = await asyncio.gather(
            *(admin.post("team-a/box" + HOLD, one, **ADMIN) for one in asked)
        )
        assert {status for status, _ in answers} == {200}
        assert admin.notes()["hold-until"] == format_time(math.ceil(NOW + 20 * 60))


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (None, '{"for": DURATION}'),
        (b"{", '{"for": DURATION}'),
        (b"\xff", '{"for": DURATION}'),
        ([], '{"for": DURATION}'),
        ({}, '{"for": DURATION}'),
        ({"for": 900}, '{"for": DURATION}'),
        ({"for": None}, '{"for": DURATION}'),
        ({"for": "0s"}, '{"for": DURATION}'),
        ({"for": "-15m"}, '{"for": DURATION}'),
        ({"for": "fifteen"}, '{"for": DURATION}'),
        ({"for": "15m", "until": "noon"}, '{"for": DURATION}'),
        ({"seconds": "15m"}, '{"for": DURATION}'),
        ({"for": "3601s"}, "1h0m0s at most (hold_max)"),
    ],
)
async def test_a_body_that_makes_no_sense_is_refused_without_repeating_it(
    api: FaultApi, tmp_path: Path, body: object, told: str
) -> None:
    async with serving(api, tmp_path) as admin:
        status, problem = await admin.post("team-a/box" + HOLD, body, **ADMIN)
        assert (status, problem["reason"]) == (400, "bad_request")
        assert told in problem["detail"]
        assert "fifteen" not in problem["detail"]
        assert api.count(PATCH) == 0


async def test_a_body_that_is_too_long_is_refused(api: FaultApi, tmp_path: Path) -> None:
    async with serving(api, tmp_path) as admin:
        status, problem = await admin.post("team-a/box" + HOLD, b" " * 100_000, **ADMIN)
        assert (status, problem["status"]) == (413, 413)


async def test_a_hold_that_was_written_by_hand_and_does_not_parse_is_left(
    api: FaultApi, tmp_path: Path
) -> None:
    await api.put("box", metadata={"annotations": {own.HOLD_UNTIL: "tomorrow"}})
    async with serving(api, tmp_path) as admin:
        status, problem = await admin.post("team-a/box" + HOLD, {"for": "15m"}, **ADMIN)
        assert (status, problem["reason"]) == (409, "conflict")
        assert "hold-until" in problem["detail"]
        assert admin.notes() == {"hold-until": "tomorrow"}


async def test_it_is_written_over_the_embedded_api_too(tmp_path: Path) -> None:
    objects = ObjectStore(":memory:", [load_native_crd()])
    embedded = EmbeddedApi(objects, "a-token-for-tests")
    await embedded.start()
    path, registry = tmp_path / "kubeconfig", Registry()
    write_kubeconfig(path, embedded.address, "a-token-for-tests")
    try:
        made = objects.create(
            SANDBOXES,
            "default",
            {
                "apiVersion": "sandbox-gateway.dev/v1alpha1",
                "kind": "Sandbox",
                "metadata": {"name": "box", "namespace": "default"},
                "spec": {"desiredState": "Running"},
            },
        )
        key, uid = Key("native", "default", "box"), made["metadata"]["uid"]
        config = ClusterConfig(kubeconfig=str(path))
        async with Cluster(config, [Native()], registry, Instruments()) as cluster:
            await cluster.wait_synced()
            assert (await cluster.writer.annotate(key, uid, {own.PINNED: "true"})).idle.pinned
            route = await cluster.writer.sleep(key, uid, lambda _: True, 5.0)
            assert route.idle.pinned
            assert not (await cluster.writer.annotate(key, uid, {own.PINNED: None})).idle.pinned
    finally:
        await embedded.stop()
        objects.close()


# ---- failures -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "replies", "answer", "detail"),
    [
        (GET, [fails(404)], (404, "not_found"), "gone"),
        (PATCH, [fails(403)], (500, "not_done"), "own account"),
        (PATCH, [fails(422)], (500, "not_done"), "refuses"),
        (PATCH, [fails(409)] * 9, (503, "unavailable"), "Ask again"),
        (PATCH, [fails(503)], (503, "unavailable"), "no harm"),
        (PATCH, [hangs], (503, "unavailable"), "no harm"),
    ],
)
async def test_what_the_api_does_is_told_as_a_problem(
    api: FaultApi,
    tmp_path: Path,
    kind: str,
    replies: list[Reply],
    answer: tuple[int, str],
    detail: str,
) -> None:
    async with serving(api, tmp_path) as admin:
        api.queue(kind, *replies)
        status, problem = await admin.post("team-a/box" + DISABLE, **ADMIN)
        assert (status, problem["reason"]) == answer
        assert detail in problem["detail"]
        assert "as scripted" not in problem["detail"]


async def test_a_pin_whose_answer_was_lost_may_be_asked_for_again(
    api: FaultApi, tmp_path: Path
) -> None:
    async with serving(api, tmp_path) as admin:
        api.queue(PATCH, applies_and_resets)
        assert (await admin.post("team-a/box" + DISABLE, **ADMIN))[0] == 503
        assert (await admin.post("team-a/box" + DISABLE, **ADMIN))[0] == 204
        assert api.count(PATCH) == 1
        assert admin.notes()["pinned"] == "true"


async def test_a_sandbox_that_was_replaced_is_not_pinned(api: FaultApi, tmp_path: Path) -> None:
    async with serving(api, tmp_path) as admin:
        gate = Gate()

        async def replaced(server: FaultApi, request: Any) -> Any:
            gate.reached.set()
            server.discard("box")
            server.store("box")
            return await server.get(request)

        api.queue(GET, replaced)
        status, problem = await admin.post("team-a/box" + DISABLE, **ADMIN)
        assert gate.reached.is_set()
        assert (status, problem["reason"]) == (404, "not_found")
        assert admin.notes() == {}


async def test_an_unknown_sandbox_and_an_ambiguous_name_are_told_to_the_administrator(
    api: FaultApi, tmp_path: Path
) -> None:
    async with serving(api, tmp_path) as admin:
        status, problem = await admin.post("team-a/nowhere" + DISABLE, **ADMIN)
        assert (status, problem["reason"]) == (404, "not_found")
        (box,) = (one for one in admin.registry if one.key.name == "box")
        twin = Kruise().route(
            {
                "metadata": {
                    "namespace": "team-a",
                    "name": "box",
                    "uid": "twin",
                    "resourceVersion": "1",
                }
            }
        )
        admin.registry.apply(twin)
        status, problem = await admin.post("team-a/box" + DISABLE, **ADMIN)
        assert (status, problem["reason"]) == (409, "ambiguous_target")
        chosen = await admin.post(f"team-a/box{DISABLE}?dialect={box.key.dialect}", **ADMIN)
        assert chosen == (204, None)


async def test_what_is_not_known_yet_may_be_there(api: FaultApi, tmp_path: Path) -> None:
    async with serving(api, tmp_path, synced=False) as admin:
        for shown in (ADMIN, OWN):
            status, problem = await admin.post("team-a/nowhere" + DISABLE, **shown)
            assert (status, problem["reason"]) == (503, "unavailable")


@pytest.mark.parametrize("path", [DISABLE, ENABLE, HOLD])
async def test_they_are_asked_by_post_alone(api: FaultApi, tmp_path: Path, path: str) -> None:
    async with serving(api, tmp_path) as admin:
        url = f"{admin.url}/api/v1/sandboxes/team-a/box{path}"
        async with admin.session.get(url, headers=ADMIN) as got:
            assert (got.status, got.headers["Allow"]) == (405, "POST")


# ---- who may ask --------------------------------------------------------------------------------


def scoped(name: str, uid: str, until: float = NOW + 60) -> str:
    return mint(Key("native", "team-a", name), uid, until, "k1", TOKEN_KEYS["k1"]).decode()


async def test_a_sandbox_may_ask_about_itself_by_its_access_token(
    api: FaultApi, tmp_path: Path
) -> None:
    async with serving(api, tmp_path) as admin:
        assert await admin.post("team-a/box" + DISABLE, **OWN) == (204, None)
        assert admin.notes()["pinned"] == "true"
        assert await admin.post("team-a/box" + ENABLE, **OWN) == (204, None)
        assert (await admin.post("team-a/box" + HOLD, {"for": "1m"}, **OWN))[0] == 200


@pytest.mark.parametrize(
    "shown",
    [
        {},
        {"X-Access-Token": "wrong"},
        {"X-Access-Token": ""},
        {"X-Access-Token": "another"},
        {"Authorization": f"Bearer {SECRET}"},
        {"Cookie": f"sandbox={SECRET}"},
    ],
)
async def test_who_proves_nothing_is_refused_and_not_told_what_there_is(
    api: FaultApi, tmp_path: Path, shown: dict[str, str]
) -> None:
    async with serving(api, tmp_path, AccessTokens(allow_tokenless=True)) as admin:
        refused = [
            await admin.post(f"team-a/{name}{DISABLE}", **shown)
            for name in ("box", "nowhere", "open")
        ]
        assert refused[0] == refused[1] == refused[2]
        status, problem = refused[0]
        assert (status, problem["reason"]) == (401, "unauthenticated")
        assert api.count(GET) == api.count(PATCH) == 0


async def test_a_sandbox_that_is_open_to_all_is_pinned_by_the_administrator_alone(
    api: FaultApi, tmp_path: Path
) -> None:
    async with serving(api, tmp_path, AccessTokens(allow_tokenless=True)) as admin:
        assert (await admin.post("team-a/open" + DISABLE))[0] == 401
        assert (await admin.post("team-a/open" + DISABLE, **OWN))[0] == 401
        assert (await admin.post("team-a/open" + DISABLE, **ADMIN))[0] == 204


async def test_a_scoped_token_is_good_for_its_own_sandbox_while_it_lasts(
    api: FaultApi, tmp_path: Path
) -> None:
    uid = api.objects["team-a", "box"]["metadata"]["uid"]
    async with serving(api, tmp_path, ScopedTokens(TOKEN_KEYS)) as admin:
        for shown, status in (
            ({"E2b-Traffic-Access-Token": scoped("box", uid)}, 204),
            ({"Authorization": f"Bearer {scoped('box', uid)}"}, 204),
            ({"E2b-Traffic-Access-Token": scoped("box", "uid-of-another-life")}, 403),
            ({"E2b-Traffic-Access-Token": scoped("other", uid)}, 403),
            ({"E2b-Traffic-Access-Token": scoped("box", uid, NOW - 1)}, 401),
            ({"E2b-Traffic-Access-Token": scoped("box", uid) + "x"}, 401),
            (OWN, 401),
        ):
            assert (await admin.post("team-a/box" + DISABLE, **shown))[0] == status, shown


async def test_a_good_token_of_another_sandbox_does_not_tell_what_there_is(
    api: FaultApi, tmp_path: Path
) -> None:
    uid = api.objects["team-a", "box"]["metadata"]["uid"]
    shown = {"E2b-Traffic-Access-Token": scoped("box", uid)}
    async with serving(api, tmp_path, ScopedTokens(TOKEN_KEYS)) as admin:
        other = await admin.post("team-a/other" + DISABLE, **shown)
        assert other == await admin.post("team-a/nowhere" + DISABLE, **shown)
        assert other[0] == 403


async def test_where_requests_need_no_credential_only_the_administrator_may_ask(
    api: FaultApi, tmp_path: Path
) -> None:
    async with serving(api, tmp_path, NoAuth()) as admin:
        for shown in ({}, OWN):
            known = await admin.post("team-a/box" + DISABLE, **shown)
            assert known == await admin.post("team-a/nowhere" + DISABLE, **shown)
            assert known[0] == 401
        assert (await admin.post("team-a/box" + DISABLE, **ADMIN))[0] == 204


async def test_without_an_admin_token_this_machine_may_ask_and_no_page_in_its_browser(
    api: FaultApi, tmp_path: Path
) -> None:
    async with serving(api, tmp_path, admin_token=None) as admin:
        page = {"Origin": "http://evil.example"}
        assert (await admin.post("team-a/box" + DISABLE, **page))[0] == 401
        assert (await admin.post("team-a/box" + DISABLE))[0] == 204


class Published:
    """An identity provider's keys, as far as they can be had."""

    def __init__(self) -> None:
        self.up = False

    async def fetch(self) -> bytes:
        if not self.up:
            raise KeysUnavailable("it is down")
        return key_set(public("k1"))


async def test_a_jwt_is_good_for_its_own_sandbox_once_its_keys_can_be_had(
    api: FaultApi, tmp_path: Path
) -> None:
    uid, source = api.objects["team-a", "box"]["metadata"]["uid"], Published()
    keys = KeyStore(source, Freshness(), Instruments())
    judge = JwtTokens(JwtRules(ISSUER), keys)
    shown = {"Authorization": f"Bearer {token(claims('team-a--box', uid, NOW)).decode()}"}
    other = {"Authorization": f"Bearer {token(claims('team-a--other', uid, NOW)).decode()}"}
    async with running(keys), serving(api, tmp_path, judge) as admin, asyncio.timeout(30):
        status, problem = await admin.post("team-a/box" + DISABLE, **shown)
        assert (status, problem["reason"]) == (503, "unavailable")
        source.up = True
        await keys.fetch()
        assert (await admin.post("team-a/box" + DISABLE, **shown))[0] == 204
        assert (await admin.post("team-a/box" + DISABLE, **other))[0] == 403


async def test_a_sandbox_that_asks_for_a_jwt_is_not_taken_at_its_access_token(
    api: FaultApi, tmp_path: Path
) -> None:
    async with serving(api, tmp_path) as admin:
        annotations = {kruise.ACCESS_TOKEN: SECRET, kruise.JWT_AUTH: "true"}
        metadata = {"namespace": "team-a", "name": "strict", "uid": "u", "resourceVersion": "1"}
        strict = Kruise().route({"metadata": metadata | {"annotations": annotations}})
        assert strict.requires_jwt
        admin.registry.apply(strict)
        assert (await admin.post("team-a/strict" + DISABLE, **OWN))[0] == 403


async def test_a_sandbox_that_asks_in_a_loop_is_put_off_and_no_other_is(
    api: FaultApi, tmp_path: Path
) -> None:
    now = [NOW]
    async with serving(api, tmp_path, clock=lambda: now[0]) as admin:
        for _ in range(int(BURST)):
            assert (await admin.post("team-a/box" + DISABLE, **OWN))[0] == 204
        read = api.count(GET)
        status, problem = await admin.post("team-a/box" + DISABLE, **OWN)
        assert (status, problem["reason"]) == (429, "too_often")
        assert api.count(GET) == read
        other = {"X-Access-Token": "another"}
        assert (await admin.post("team-a/other" + DISABLE, **other))[0] == 204
        assert (await admin.post("team-a/box" + DISABLE, **ADMIN))[0] == 204
        now[0] += 1.0
        assert (await admin.post("team-a/box" + DISABLE, **OWN))[0] == 204


async def test_a_sandboxs_credential_opens_nothing_else(api: FaultApi, tmp_path: Path) -> None:
    async with serving(api, tmp_path) as admin:
        one = f"{admin.url}/api/v1/sandboxes"
        for path in ("", "/team-a/box", "/team-a/box/explain"):
            async with admin.session.get(one + path, headers=OWN) as got:
                assert got.status == 401, path
        assert (await admin.post("team-a/other" + DISABLE, **OWN))[0] == 401
        assert admin.notes("other").keys() == {"access-token-sha256"}
