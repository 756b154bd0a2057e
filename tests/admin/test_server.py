"""The admin listener over real sockets: open endpoints, the guarded API, its errors."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain

from gateway.admin.readiness import Readiness
from gateway.admin.server import AdminConfig, AdminServer
from gateway.dialects.native import Native
from gateway.explain import explain
from gateway.sandbox.model import Credential, Key, Problem, Route, State, WakePolicy
from gateway.sandbox.registry import Registry
from gateway.telemetry.instruments import Instruments

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

NOW = 1_795_342_830.0
READY = Readiness(synced=True, stale=False, draining=False, reflectors={"native": "watching"})


def route(name: str, namespace: str = "team-a", dialect: str = "native", **fields: Any) -> Route:
    key = Key(dialect, namespace, name)
    defaults: dict[str, Any] = {
        "uid": f"uid-{dialect}-{namespace}-{name}",
        "id": f"{namespace}--{name}",
        "version": 1,
        "state": State.PAUSED,
        "incarnation": "i",
    }
    return Route(key=key, **(defaults | fields))


async def unexplained(_: Route) -> Mapping[str, object]:
    return {}


@dataclass
class Admin:
    """A server, what it shows, and a client."""

    registry: Registry
    instruments: Instruments
    readiness: list[Readiness]
    url: str
    session: aiohttp.ClientSession
    explained: list[Route] = field(default_factory=list)

    async def get(self, path: str, method: str = "GET", **headers: str) -> tuple[int, Any]:
        async with self.session.request(method, self.url + path, headers=headers) as response:
            body = await response.read()
            return response.status, json.loads(body) if body else None

    async def head(self, path: str, **headers: str) -> Mapping[str, str]:
        async with self.session.get(self.url + path, headers=headers) as response:
            return response.headers


@asynccontextmanager
async def serving(token: str | None = None, host: str = "127.0.0.1") -> AsyncIterator[Admin]:
    registry, instruments, readiness = Registry(), Instruments(), [READY]

    async def explained(one: Route) -> Mapping[str, object]:
        if one.id == "boom":
            raise RuntimeError("a secret of the inside")
        return explain(one, None, Native(), NOW).as_json()

    server = AdminServer(
        AdminConfig(host, 0, token),
        instruments,
        registry,
        lambda: readiness[0],
        explained,
        lambda: NOW,
    )
    _, port = await server.start()
    try:
        async with aiohttp.ClientSession() as session:
            yield Admin(registry, instruments, readiness, f"http://127.0.0.1:{port}", session)
    finally:
        await server.stop()


# ---- health -------------------------------------------------------------------------------------


async def test_health_answers_whatever_else_is_wrong() -> None:
    async with serving() as admin:
        admin.readiness[0] = Readiness(synced=False, stale=True, draining=True)
        assert await admin.get("/healthz") == (200, {"status": "ok"})


async def test_ready_means_synced_fresh_and_not_draining() -> None:
    async with serving() as admin:
        status, body = await admin.get("/readyz")
        assert status == 200
        assert body == {
            "ready": True,
            "checks": {"synced": True, "not_stale": True, "not_draining": True},
            "reflectors": {"native": "watching"},
        }


@pytest.mark.parametrize(
    ("readiness", "failed"),
    [
        (Readiness(synced=False, stale=False, draining=False), "synced"),
        (Readiness(synced=True, stale=True, draining=False), "not_stale"),
        (Readiness(synced=True, stale=False, draining=True), "not_draining"),
    ],
)
async def test_each_check_alone_makes_it_unready(readiness: Readiness, failed: str) -> None:
    async with serving() as admin:
        admin.readiness[0] = readiness
        status, body = await admin.get("/readyz")
        assert status == 503
        assert [name for name, passed in body["checks"].items() if not passed] == [failed]


async def test_stale_routes_are_told_of_where_they_are_put_up_with() -> None:
    async with serving() as admin:
        admin.readiness[0] = Readiness(synced=True, stale=True, draining=False, serves_stale=True)
        status, body = await admin.get("/readyz")
        assert (status, body["ready"], body["checks"]["not_stale"]) == (200, True, False)


async def test_nothing_of_it_may_be_cached() -> None:
    async with serving() as admin:
        for path in ("/healthz", "/readyz", "/api/v1/sandboxes", "/nowhere"):
            assert (await admin.head(path))["Cache-Control"] == "no-store"


# ---- metrics ------------------------------------------------------------------------------------


async def metrics(admin: Admin, accept: str | None = None) -> tuple[str, str]:
    headers = {} if accept is None else {"Accept": accept}
    async with admin.session.get(admin.url + "/metrics", headers=headers) as response:
        assert response.status == 200
        return await response.text(), response.headers["Content-Type"]


async def test_metrics_show_our_instruments_and_the_process() -> None:
    async with serving() as admin:
        admin.instruments.counter("requests", "Requests.", "outcome").inc("ok", by=3)
        admin.instruments.histogram("latency_seconds", "Seconds.").observe(0.2)
        text, content_type = await metrics(admin)
        families = {one.name: one for one in plain(text)}
        assert content_type.startswith("text/plain; version=0.0.4")
        (sample,) = families["sandbox_gateway_requests"].samples
        assert (sample.labels, sample.value) == ({"outcome": "ok"}, 3.0)
        for name in ("process_cpu_seconds", "python_info", "python_gc_collections"):
            assert name in families


async def test_metrics_come_as_openmetrics_where_that_is_asked_for() -> None:
    async with serving() as admin:
        admin.instruments.counter("requests", "Requests.").inc()
        text, content_type = await metrics(admin, "application/openmetrics-text; version=1.0.0")
        assert content_type.startswith("application/openmetrics-text; version=1.0.0")
        assert "sandbox_gateway_requests" in {one.name for one in openmetrics(text)}  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    "accept",
    [
        "application/openmetrics-text; version=never",
        "text/plain; version=1.0.0; escaping=x",
        "application/openmetrics-text; version=99.0.0",
        "*/*",
    ],
)
async def test_an_accept_header_that_nobody_knows_gets_plain_text(accept: str) -> None:
    async with serving() as admin:
        text, _ = await metrics(admin, accept)
        assert "process_cpu_seconds_total" in text


async def test_two_servers_do_not_share_metrics() -> None:
    async with serving() as one, serving() as other:
        one.instruments.counter("requests", "Requests.").inc()
        assert "sandbox_gateway_requests" in (await metrics(one))[0]
        assert "sandbox_gateway_requests" not in (await metrics(other))[0]


# ---- sandboxes ----------------------------------------------------------------------------------


async def test_sandboxes_are_listed_in_order_without_their_credentials() -> None:
    async with serving() as admin:
        admin.registry.apply(
            route(
                "b",
                credential=Credential(token="hunter2"),
                wake=WakePolicy(True, 90.0),
                ports=frozenset({9000, 80}),
                problems=(Problem("x", "is wrong"),),
                expires_at=NOW + 60,
            )
        )
        admin.registry.apply(route("a", "team-b", state=State.RUNNING, address="10.0.0.7"))
        admin.registry.apply(route("a", expires_at=NOW))
        status, body = await admin.get("/api/v1/sandboxes")
        assert status == 200
        assert body["continue"] is None
        named = [(one["namespace"], one["name"], one["state"]) for one in body["items"]]
        assert named == [
            ("team-a", "a", "dead"),
            ("team-a", "b", "paused"),
            ("team-b", "a", "running"),
        ]
        assert body["items"][1] | {"uid": ""} == {
            "namespace": "team-a",
            "name": "b",
            "dialect": "native",
            "uid": "",
            "id": "team-a--b",
            "state": "paused",
            "reason": None,
            "address": None,
            "ports": [80, 9000],
            "wake_on_traffic": True,
            "wake_timeout": 90.0,
            "expires_at": "2026-11-22T10:21:30Z",
            "has_credential": True,
            "problems": [{"field": "x", "message": "is wrong"}],
        }
        assert "hunter2" not in json.dumps(body)


async def test_pages_of_a_list_give_every_sandbox_once() -> None:
    async with serving() as admin:
        for number in range(2500):
            admin.registry.apply(route(f"box-{number * 7 % 2500:04}"))
        seen: list[str] = []
        following = ""
        while True:
            status, body = await admin.get(f"/api/v1/sandboxes?limit=400{following}")
            assert status == 200
            seen += [one["name"] for one in body["items"]]
            if body["continue"] is None:
                break
            assert len(body["items"]) == 400
            following = f"&continue={body['continue']}"
        assert seen == [f"box-{number:04}" for number in range(2500)]


async def test_a_list_may_be_of_one_namespace() -> None:
    async with serving() as admin:
        admin.registry.apply(route("a", "team-a"))
        admin.registry.apply(route("b", "team-b"))
        _, body = await admin.get("/api/v1/sandboxes?namespace=team-b")
        assert [one["name"] for one in body["items"]] == ["b"]


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=501", "limit=x", "limit=-1", "limit=" + "9" * 5000, "continue=a/b"]
)
async def test_a_query_that_makes_no_sense_is_refused_without_repeating_it(query: str) -> None:
    async with serving() as admin:
        status, body = await admin.get(f"/api/v1/sandboxes?{query}")
        assert status == 400
        assert body["reason"] == "bad_request"
        assert "9999" not in json.dumps(body)


async def test_one_sandbox_is_told_of_as_in_the_list() -> None:
    async with serving(token="hunter2") as admin:
        admin.registry.apply(route("box"))
        path, proof = "/api/v1/sandboxes/team-a/box", "Bearer hunter2"
        status, body = await admin.get(path, Authorization=proof)
        _, listed = await admin.get("/api/v1/sandboxes", Authorization=proof)
        assert (status, [body]) == (200, listed["items"])
        assert (await admin.get(path))[0] == 401
        assert (await admin.get(path + "x", Authorization=proof))[0] == 404


async def test_a_sandbox_is_explained_by_its_name() -> None:
    async with serving() as admin:
        admin.registry.apply(route("box"))
        status, body = await admin.get("/api/v1/sandboxes/team-a/box/explain")
        assert status == 200
        assert body["state"] == "paused"
        assert any(one["heading"] == "A request now" for one in body["sections"])
        missing, problem = await admin.get("/api/v1/sandboxes/team-a/other/explain")
        assert (missing, problem["reason"]) == (404, "not_found")


async def test_a_name_in_two_dialects_wants_a_choice() -> None:
    async with serving() as admin:
        admin.registry.apply(route("box"))
        admin.registry.apply(route("box", dialect="kruise"))
        status, body = await admin.get("/api/v1/sandboxes/team-a/box/explain")
        assert (status, body["reason"]) == (409, "ambiguous_target")
        status, body = await admin.get("/api/v1/sandboxes/team-a/box/explain?dialect=kruise")
        assert (status, body["dialect"]) == (200, "kruise")
        status, _ = await admin.get("/api/v1/sandboxes/team-a/box/explain?dialect=other")
        assert status == 404


# ---- access -------------------------------------------------------------------------------------


async def test_with_a_token_only_its_holder_gets_in() -> None:
    async with serving(token="hunter2") as admin:
        path = "/api/v1/sandboxes"
        assert (await admin.get(path, Authorization="Bearer hunter2"))[0] == 200
        assert (await admin.get(path, Authorization="bearer hunter2"))[0] == 200
        for wrong in ("Bearer hunter3", "Bearer ", "Basic hunter2", "hunter2", "Bearer hunter2 x"):
            status, body = await admin.get(path, Authorization=wrong)
            assert (status, body["reason"]) == (401, "unauthenticated"), wrong
        status, body = await admin.get(path)
        assert status == 401
        assert (await admin.head(path))["WWW-Authenticate"].startswith("Bearer")


async def test_a_replaced_token_is_the_only_one_from_then_on() -> None:
    config = AdminConfig("127.0.0.1", 0, "hunter2")
    server = AdminServer(config, Instruments(), Registry(), lambda: READY, unexplained)
    _, port = await server.start()
    try:
        async with aiohttp.ClientSession() as session:
            url = f"http://127.0.0.1:{port}/api/v1/sandboxes"
            for token, statuses in (("hunter2", [200, 401]), ("hunter3", [401, 200])):
                server.replace_token(token)
                for shown, status in zip(("hunter2", "hunter3"), statuses, strict=True):
                    headers = {"Authorization": f"Bearer {shown}"}
                    async with session.get(url, headers=headers) as response:
                        assert response.status == status
    finally:
        await server.stop()


async def test_with_a_token_the_open_endpoints_stay_open() -> None:
    async with serving(token="hunter2") as admin:
        for path in ("/healthz", "/readyz"):
            assert (await admin.get(path))[0] == 200
        await metrics(admin)


async def test_with_a_token_the_host_does_not_matter() -> None:
    async with serving(token="hunter2") as admin:
        status, _ = await admin.get(
            "/api/v1/sandboxes", Authorization="Bearer hunter2", Host="gateway.example"
        )
        assert status == 200


async def test_without_a_token_no_web_page_gets_in_through_the_browser() -> None:
    async with serving() as admin:
        port = admin.url.rpartition(":")[2]
        for host in ("evil.example", f"evil.example:{port}", "127.0.0.1.evil.example", "[::1"):
            status, body = await admin.get("/api/v1/sandboxes", Host=host)
            assert (status, body["reason"]) == (403, "forbidden"), host
        for origin in ("http://evil.example", "null", "http://127.0.0.1:1"):
            status, _ = await admin.get("/api/v1/sandboxes", Origin=origin)
            assert status == 403, origin
        for host in (f"localhost:{port}", f"127.0.0.1:{port}", "[::1]:80"):
            assert (await admin.get("/api/v1/sandboxes", Host=host))[0] == 200, host
        assert (await admin.get("/api/v1/sandboxes", Origin=admin.url))[0] == 200


async def test_without_a_token_a_peer_that_is_not_this_machine_is_refused(
    own_address: str,
) -> None:
    async with serving(host="0.0.0.0") as admin:
        port = admin.url.rpartition(":")[2]
        url = f"http://{own_address}:{port}"
        async with admin.session.get(url + "/api/v1/sandboxes", headers={"Host": "localhost"}) as (
            response
        ):
            assert response.status == 403
        async with admin.session.get(url + "/healthz") as response:
            assert response.status == 200


# ---- errors and life ----------------------------------------------------------------------------


async def test_what_is_not_there_is_a_problem_that_repeats_nothing() -> None:
    async with serving() as admin:
        headers = await admin.head("/no/such/path")
        assert headers["Content-Type"].startswith("application/problem+json")
        status, body = await admin.get("/no/such/path")
        assert (status, body["status"], body["reason"]) == (404, 404, "not_found")
        assert "such" not in json.dumps(body)


async def test_a_method_that_is_not_served_is_told_with_those_that_are() -> None:
    async with serving() as admin, admin.session.post(admin.url + "/healthz") as response:
        assert response.status == 405
        assert "GET" in response.headers["Allow"]


async def test_a_failure_inside_is_logged_and_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as admin:
        admin.registry.apply(route("box", id="boom"))
        status, body = await admin.get("/api/v1/sandboxes/team-a/box/explain")
        assert (status, body["reason"]) == (500, "internal_error")
        assert "secret of the inside" not in json.dumps(body)
    assert "a secret of the inside" in caplog.text


async def test_an_address_that_is_taken_is_an_error_and_leaves_nothing_behind() -> None:
    async with serving() as admin:
        port = int(admin.url.rpartition(":")[2])
        other = AdminServer(
            AdminConfig("127.0.0.1", port),
            Instruments(),
            Registry(),
            lambda: READY,
            unexplained,
        )
        with pytest.raises(OSError, match=r"[Aa]ddress already in use"):
            await other.start()
        await other.stop()


async def test_after_the_stop_nothing_listens_and_a_second_stop_is_nothing() -> None:
    server = AdminServer(
        AdminConfig("127.0.0.1", 0), Instruments(), Registry(), lambda: READY, unexplained
    )
    host, port = await server.start()
    await server.stop()
    await server.stop()
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(f"http://{host}:{port}/healthz")


def test_the_token_does_not_show_in_the_configuration() -> None:
    assert "hunter2" not in repr(AdminConfig(token="hunter2"))
