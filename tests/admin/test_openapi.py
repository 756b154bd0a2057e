"""The description of the admin API against what the admin listener serves."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import jsonschema
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from gateway.admin.access import SandboxAccess
from gateway.admin.holds import Holds
from gateway.admin.parts import Guard, Operation
from gateway.admin.readiness import Readiness
from gateway.admin.server import AdminConfig, AdminServer
from gateway.auth.access import AccessTokens
from gateway.dialects.native import Native
from gateway.explain import explain
from gateway.sandbox.errors import ObjectGone
from gateway.sandbox.model import Key, Problem, Route, State
from gateway.sandbox.registry import Registry
from gateway.telemetry.instruments import Instruments

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from aiohttp import web

    from gateway.admin.access import AdminAccess

NOW = 1_795_342_830.0
TOKEN = "hunter2"
PROOF = {"Authorization": f"Bearer {TOKEN}"}
BOX = Route(
    key=Key("native", "team-a", "box"),
    uid="uid-1",
    id="team-a--box",
    version=1,
    state=State.PAUSED,
    incarnation="life-1",
    problems=(Problem("spec.x", "is wrong"),),
    expires_at=NOW + 60,
)


class NoApi:
    """A Kubernetes API where nothing is any more."""

    async def annotate(self, key: Key, uid: str, changes: object, if_: object = None) -> Route:
        raise ObjectGone


class Hidden:
    """A part that is not for callers."""

    def operations(self, access: AdminAccess) -> list[Operation]:
        return [Operation("POST", "/api/v1/hidden", self._answer)]

    async def _answer(self, request: web.Request) -> web.Response:
        raise AssertionError("nobody without the token gets here")


async def explained(route: Route) -> Mapping[str, object]:
    return explain(route, None, Native(), NOW).as_json()


@asynccontextmanager
async def serving(readiness: Readiness | None = None) -> AsyncIterator[str]:
    registry = Registry()
    registry.apply(BOX)
    callers = SandboxAccess(registry, AccessTokens(), lambda: True, lambda: NOW)
    server = AdminServer(
        AdminConfig("127.0.0.1", 0, TOKEN),
        Instruments(),
        registry,
        lambda: readiness or Readiness(synced=True, stale=False, draining=False),
        explained,
        lambda: NOW,
        parts=[Holds(NoApi(), callers, 3600.0, lambda: NOW), Hidden()],
    )
    _, port = await server.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await server.stop()


async def description(url: str) -> dict[str, Any]:
    async with aiohttp.ClientSession() as client, client.get(url + "/api/v1/openapi.json") as got:
        assert got.status == 200
        document = await got.json()
        assert isinstance(document, dict)
        return document


def operations(document: Mapping[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (method.upper(), path): told
        for path, methods in document["paths"].items()
        for method, told in methods.items()
    }


async def test_it_is_a_valid_openapi_document_that_anybody_may_read() -> None:
    async with serving() as url:
        document = await description(url)
    assert document["openapi"].startswith("3.1")
    OpenAPIV31SpecValidator(document).validate()


async def test_it_tells_of_every_operation_for_callers_and_of_no_other() -> None:
    async with serving() as url:
        told = operations(await description(url))
    one = "/api/v1/sandboxes/{namespace}/{name}"
    assert set(told) == {
        ("GET", "/healthz"),
        ("GET", "/readyz"),
        ("GET", "/metrics"),
        ("GET", "/api/v1/openapi.json"),
        ("GET", "/api/v1/sandboxes"),
        ("GET", one),
        ("GET", one + "/explain"),
        ("POST", one + "/scaletozero/disable"),
        ("POST", one + "/scaletozero/enable"),
        ("POST", one + "/hold"),
    }


async def test_every_operation_is_told_in_words_and_has_a_name_of_its_own() -> None:
    async with serving() as url:
        told = operations(await description(url))
    assert len({one["operationId"] for one in told.values()}) == len(told)
    for one in told.values():
        assert one["summary"]
        assert len(one["description"]) > len(one["summary"])
        assert any(status.startswith("2") for status in one["responses"])


def test_pins_and_holds_tell_of_each_other() -> None:
    callers = SandboxAccess(Registry(), AccessTokens(), lambda: True, lambda: NOW)
    holds = Holds(NoApi(), callers, 3600.0, lambda: NOW)
    access: Any = None
    told = {one.path.rpartition("/")[2]: one.about for one in holds.operations(access)}
    pairs = {"disable": ("/enable", "/hold"), "enable": ("/disable",), "hold": ("/disable",)}
    assert set(told) == set(pairs)
    for name, others in pairs.items():
        about = told[name]
        assert about is not None
        assert about.by_sandbox
        assert all(other in about.text for other in others)


async def test_who_shows_nothing_gets_what_is_told_to_be_open_and_nothing_else() -> None:
    async with serving() as url, aiohttp.ClientSession() as client:
        told = operations(await description(url))
        for (method, path), one in told.items():
            async with client.request(method, url + named(path)) as got:
                assert (got.status == 401) == bool(one["security"]), (method, path)
                assert str(got.status) in one["responses"], (method, path, got.status)
        async with client.post(url + "/api/v1/hidden") as got:
            assert got.status == 401


def named(path: str) -> str:
    return re.sub(
        r"\{(\w+)\}", lambda match: {"namespace": "team-a", "name": "box"}[match[1]], path
    )


@pytest.mark.parametrize(
    "readiness",
    [None, Readiness(synced=False, stale=True, draining=False, reflectors={"native": "listing"})],
)
async def test_what_is_answered_is_what_is_told(readiness: Readiness | None) -> None:
    async with serving(readiness) as url, aiohttp.ClientSession(headers=PROOF) as client:
        document = await description(url)
        for (method, path), one in operations(document).items():
            async with client.request(method, url + named(path), json={"for": "15m"}) as got:
                told = one["responses"][str(got.status)].get("content")
                media_type = got.headers["Content-Type"].partition(";")[0]
                schema = told[media_type].get("schema")
                if schema is not None:
                    found = schema | {"components": document["components"]}
                    jsonschema.Draft202012Validator(found).validate(
                        await got.json(content_type=None)
                    )


async def test_a_refusal_is_the_problem_that_is_told() -> None:
    async with serving() as url, aiohttp.ClientSession() as client:
        document = await description(url)
        schema = document["components"]["schemas"]["Problem"]
        async with client.get(url + "/api/v1/sandboxes") as got:
            jsonschema.Draft202012Validator(schema).validate(await got.json(content_type=None))


def test_the_guard_is_the_administrators_unless_a_part_says_otherwise() -> None:
    assert {one.guard for one in Hidden().operations(None)} == {Guard.ADMIN}  # type: ignore[arg-type]
