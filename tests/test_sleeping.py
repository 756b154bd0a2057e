"""A whole replica that puts idle sandboxes to sleep: what it is made of is put together right."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import socket
import time
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import yaml
from aiohttp import web

import e2e
from e2e.programs import free_port
from e2e.waiting import soon
from gateway import app, sleeping, wiring
from gateway.cluster.lease import Lease, LeaseStore
from gateway.dialects import own
from gateway.dialects.deployment import ENABLED_LABEL
from gateway.local.api import (
    LEASES,
    SANDBOXES,
    EmbeddedApi,
    GroupResource,
    ObjectStore,
    load_native_crd,
    write_kubeconfig,
)
from gateway.replicas import wire
from gateway.sandbox.model import Key
from gateway.sandbox.texts import format_time
from gateway.settings import load
from gateway.standby.flow_messages import PATH as OBSERVERS
from gateway.telemetry.instruments import PREFIX
from tests.admin.test_observers import connected, introduced, say
from tests.cluster.conftest import eventually
from tests.conformance.upstream import Upstream, always
from tests.conformance.wire import ok
from tests.dialects.objects import kruise_object

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from tests.conformance.upstream import Leg, Script

KEY = Key("native", "default", "box")
PODS = GroupResource("", "pods")
DEPLOYMENTS = GroupResource("apps", "deployments")
KRUISE = GroupResource("agents.kruise.io", "sandboxes")
KRUISE_CRD = Path(e2e.__file__).with_name("kruise_crd.yaml")
API_TOKEN = "a-token-for-tests"
#: Seconds for anything here to become so, on a slow and busy machine.
PATIENCE = 20.0


def definition(group: str, kind: str, plural: str) -> dict[str, Any]:
    """Return what has the embedded API serve a kind of objects that it takes as they come."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"kind": kind, "plural": plural}
    spec = {"group": group, "scope": "Namespaced", "names": names, "versions": [version]}
    return {"kind": "CustomResourceDefinition", "spec": spec}


CRDS = (
    definition("", "Pod", "pods"),
    definition("apps", "Deployment", "deployments"),
    yaml.safe_load(KRUISE_CRD.read_text()),
    load_native_crd(),
)


@dataclass
class Replica:
    """A gateway that runs, the API behind it, and a client of both its listeners."""

    store: ObjectStore
    gateway: app.Gateway
    data: str
    admin: str
    http: aiohttp.ClientSession

    # ---- the object

    @property
    def box(self) -> dict[str, Any]:
        return self.store.get(SANDBOXES, "default", "box")

    @property
    def is_to_sleep(self) -> bool:
        wanted: str = self.box["spec"]["desiredState"]
        return wanted == "Paused"

    @property
    def version(self) -> str:
        found: str = self.box["metadata"]["resourceVersion"]
        return found

    @property
    def lease(self) -> dict[str, Any]:
        found: dict[str, Any] = self.store.get(LEASES, "gws", "sleep")["spec"]
        return found

    @property
    def takes_connections(self) -> bool:
        """Whether the listener of requests is there."""
        host, _, port = self.data.removeprefix("http://").rpartition(":")
        with closing(socket.socket()) as probe:
            return probe.connect_ex((host, int(port))) == 0

    def turns(self, change: Any) -> None:
        """Have the platform say how the sandbox is now."""
        uid = self.box["metadata"]["uid"]
        self.store.update_status(SANDBOXES, "default", "box", uid, change)

    def marks(self, annotations: Mapping[str, str]) -> None:
        """Have its owner annotate the sandbox."""
        changed = self.box
        changed["metadata"].setdefault("annotations", {}).update(annotations)
        self.store.update(SANDBOXES, "default", "box", changed)

    # ---- its requests

    async def request(self, guest: Upstream, to: str = "default--box") -> tuple[int, str]:
        headers = {"E2b-Sandbox-Id": to, "E2b-Sandbox-Port": str(guest.port)}
        async with self.http.get(self.data, headers=headers) as response:
            return response.status, await response.text()

    # ---- the admin API

    async def told(self, what: str = "auto-standby", at: str = "default/box", **query: str) -> Any:
        url = f"{self.admin}/api/v1/sandboxes/{at}/{what}"
        async with self.http.get(url, params=query) as response:
            assert response.status == 200, await response.text()
            return await response.json()

    async def shows(self, **wanted: object) -> None:
        """Return once auto-standby says all this."""

        async def check() -> bool:
            found = await self.told()
            return {name: found[name] for name in wanted} == wanted

        await soon(check, f"auto-standby shows {wanted}", PATIENCE)

    async def sleep_section(self) -> str:
        """Return what `explain` tells of sleep."""
        sections = (await self.told("explain"))["sections"]
        (found,) = (one["lines"] for one in sections if one["heading"] == "Sleep")
        return "\n".join(found)

    async def number(self, metric: str) -> float:
        async with self.http.get(f"{self.admin}/metrics") as response:
            lines = (await response.text()).splitlines()
        (found,) = (line for line in lines if line.startswith(f"{PREFIX}{metric} "))
        return float(found.rpartition(" ")[2])

    async def reaches(self, metric: str, value: float) -> None:
        async def check() -> bool:
            return await self.number(metric) == value

        await soon(check, f"{metric} is {value}", PATIENCE)

    def show(self, token: str) -> None:
        """Show this token from now on."""
        self.http.headers["Authorization"] = f"Bearer {token}"

    async def status_of(self, method: str, path: str, **options: Any) -> int:
        async with self.http.request(method, self.admin + path, **options) as response:
            return response.status

    async def say(self, path: str, message: wire.Message) -> Any:
        """Speak as another replica does."""
        async with self.http.post(self.admin + path, data=wire.encode(message)) as response:
            assert response.status == 200, await response.text()
            return await response.json()

    async def shut_gate(self, question: str) -> str:
        """Ask, as a leader, whether the sandbox may sleep; return its uid after the yes."""
        route = self.gateway.registry.get(KEY)
        assert route is not None
        items = (wire.Item(KEY, route.uid, 0.0),)
        asked = wire.Question(protocol=wire.PROTOCOL, question=question, items=items)
        answers = (await self.say(wire.ASK_PATH, asked))["answers"]
        assert answers == {route.uid: "unused"}
        return route.uid

    async def settle(self, question: str, uid: str, version: int | None, known: bool) -> None:
        outcomes = (wire.Outcome(KEY, uid, version, known),)
        message = wire.Settlement(protocol=wire.PROTOCOL, question=question, outcomes=outcomes)
        await self.say(wire.SETTLE_PATH, message)


@asynccontextmanager
async def api(home: Path) -> AsyncIterator[ObjectStore]:
    """Serve the embedded API; `home` gets its kubeconfig."""
    with closing(ObjectStore(":memory:", CRDS)) as store:
        server = EmbeddedApi(store, API_TOKEN)
        await server.start()
        try:
            write_kubeconfig(home / "kubeconfig", server.address, API_TOKEN)
            yield store
        finally:
            await server.stop()


@asynccontextmanager
async def running(home: Path, store: ObjectStore, **knobs: object) -> AsyncIterator[Replica]:
    """Run a replica with standby on over the API."""
    chosen = {
        "auth_mode": "none",
        "access_log": "false",
        "standby": "true",
        "standby_min_uptime": "0s",
        "dialects": "native",
        "kubeconfig": home / "kubeconfig",
        "data_listen": "127.0.0.1:0",
        "admin_listen": "127.0.0.1:0",
        "upstream_allow_cidrs": "127.0.0.0/8",
        "drain_delay": "0s",
    } | knobs
    settings = load({f"SBXGW_{name.upper()}": str(value) for name, value in chosen.items()})
    async with (
        app.running(settings, app.dialects_of(settings)) as gateway,
        aiohttp.ClientSession() as http,
    ):
        at = await gateway.start()
        yield Replica(
            store, gateway, f"http://{app.shown(at.data)}", f"http://{app.shown(at.admin)}", http
        )


@asynccontextmanager
async def replica(
    home: Path, annotations: Mapping[str, str] | None = None, **knobs: object
) -> AsyncIterator[Replica]:
    """Run one that knows a sandbox which runs."""
    async with api(home) as store:
        knows_a_sandbox(store, annotations)
        async with running(home, store, **knobs) as found:
            await found.gateway.cluster.wait_synced()
            yield found


def knows_a_sandbox(store: ObjectStore, annotations: Mapping[str, str] | None = None) -> None:
    """Put one there that runs."""
    raw = sandbox(dict(annotations or {}))
    made = store.create(SANDBOXES, "default", raw)
    store.update_status(SANDBOXES, "default", "box", made["metadata"]["uid"], runs)


@asynccontextmanager
async def guest(script: Script | None = None) -> AsyncIterator[Upstream]:
    """Listen where the sandbox is."""
    upstream = Upstream(script or always(ok(b"hello")))
    await upstream.start()
    try:
        yield upstream
    finally:
        await upstream.stop()


async def says_nothing(leg: Leg) -> None:
    """Read a request and leave it without an answer, until the gateway goes."""
    await leg.request()
    await leg.request()


@asynccontextmanager
async def in_use(
    one: Replica, upstream: Upstream, **where: str
) -> AsyncIterator[asyncio.Task[Any]]:
    """Have a request under way that has not come to its end."""
    request = asyncio.create_task(one.request(upstream, **where))
    try:
        yield request
    finally:
        request.cancel()
        await asyncio.wait({request})


def sandbox(annotations: dict[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "sandbox-gateway.dev/v1alpha1",
        "kind": "Sandbox",
        "metadata": {"name": "box", "namespace": "default", "annotations": annotations},
        "spec": {"desiredState": "Running", "wakeOnTraffic": {"enabled": True}},
    }


def runs(status: dict[str, Any]) -> None:
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-11-22T00:00:00Z"}
    status.update(phase="Running", podIP="127.0.0.1", nodeName="node-1", conditions=[ready])


def sleeps(status: dict[str, Any]) -> None:
    status.update(phase="Paused", podIP="", conditions=[])


def pauses_at(store: ObjectStore) -> str:
    found: str = store.get(KRUISE, "default", "box")["spec"]["pauseTime"]
    return found


def policy(timeout: str) -> dict[str, str]:
    return {own.AUTO_STANDBY: f'{{"enabled": true, "idle_timeout": "{timeout}"}}'}


# ---- sleep, and what requests meet ------------------------------------------------------------


async def test_an_idle_sandbox_sleeps_and_a_request_wakes_it(tmp_path: Path) -> None:
    async with replica(tmp_path, policy("300ms")) as one, guest() as upstream:
        await eventually(lambda: one.is_to_sleep)
        one.turns(sleeps)
        await one.shows(reason="instance_not_running", tracking_mode="proxy")

        async def is_noted() -> bool:
            return (await one.told())["last_standby"] is not None

        # The watch may tell of the write before the write itself is answered.
        await soon(is_noted, "it is told when it was put to sleep", PATIENCE)
        assert "this replica put it to sleep at" in await one.sleep_section()

        async with in_use(one, upstream) as request:
            await eventually(lambda: not one.is_to_sleep)
            one.turns(runs)
            assert await request == (200, "hello")


async def test_a_request_is_a_use_and_waits_while_others_ask_about_its_sandbox(
    tmp_path: Path,
) -> None:
    async with replica(tmp_path) as one, guest() as upstream:
        uid = await one.shut_gate("q")
        async with in_use(one, upstream) as request:
            await one.shows(active_inbound_count=1)
            assert not upstream.requests
            await one.settle("q", uid, None, known=True)
            assert await request == (200, "hello")
        await one.shows(active_inbound_count=0)


async def test_who_cannot_know_whether_its_sandbox_sleeps_writes_over_it_first(
    tmp_path: Path,
) -> None:
    async with replica(tmp_path) as one, guest() as upstream:
        uid, before = await one.shut_gate("q"), one.version
        await one.settle("q", uid, None, known=False)
        assert await one.request(upstream) == (200, "hello")
        assert one.version != before


async def test_news_of_what_was_written_opens_the_gate(tmp_path: Path) -> None:
    async with replica(tmp_path) as one, guest() as upstream:
        uid = await one.shut_gate("q")
        told = int(one.store.resource_version) + 1
        await one.settle("q", uid, told, known=True)
        one.turns(lambda status: status.update(nodeName="node-2"))
        await eventually(lambda: one.gateway.registry.by_id("default--box").version >= told)
        before = one.version
        assert await one.request(upstream) == (200, "hello")
        assert one.version == before, "nothing was left to make sure of"


async def test_a_guest_is_asked_before_its_sandbox_sleeps(tmp_path: Path) -> None:
    async with guest(always(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")) as upstream:
        check = {own.STANDBY_CHECK: f"{upstream.port}/may-i"}
        async with replica(tmp_path, policy("300ms") | check) as one:
            await one.reaches("standby_vetoes_total", 1)
            assert upstream.requests[0].start.split()[1] == b"/may-i"
            assert not one.is_to_sleep


async def test_pins_and_holds_are_there_and_as_long_as_the_settings_say(tmp_path: Path) -> None:
    here = "/api/v1/sandboxes/default/box"
    async with replica(tmp_path, policy("1h"), hold_max="1m") as one:
        assert await one.status_of("POST", here + "/hold", json={"for": "2m"}) == 400
        assert await one.status_of("POST", here + "/hold", json={"for": "50s"}) == 200
        await one.shows(reason="leased")
        assert await one.status_of("POST", here + "/scaletozero/disable") == 204
        await one.shows(reason="pinned")


async def test_a_platforms_own_pause_is_put_off_while_its_sandbox_is_used(tmp_path: Path) -> None:
    raw = kruise_object()
    raw["metadata"] = {"name": "box", "namespace": "default"}
    first = format_time(time.time() + 5)
    rule = {"resume": {"onIngressTraffic": {"pauseTimeout": "10m"}}}
    raw["spec"] = {"autoPausePolicy": rule, "pauseTime": first}
    raw["status"]["podInfo"]["podIP"] = raw["status"]["sandboxIp"] = "127.0.0.1"
    async with api(tmp_path) as store, guest(says_nothing) as upstream:
        uid = store.create(KRUISE, "default", raw)["metadata"]["uid"]
        store.update_status(KRUISE, "default", "box", uid, lambda it: it.update(raw["status"]))
        async with running(tmp_path, store, dialects="kruise") as one:
            await one.gateway.cluster.wait_synced()
            async with in_use(one, upstream):
                await eventually(lambda: pauses_at(store) > first)


# ---- who decides ------------------------------------------------------------------------------


async def test_a_replica_that_drains_puts_nothing_to_sleep_any_more(tmp_path: Path) -> None:
    async with replica(tmp_path, policy("1h")) as one:
        await one.reaches("standby_watched", 1)
        await one.gateway.drain()
        assert await one.number("standby_watched") == 0
        await one.shows(status="idle_countdown")


async def test_a_replica_that_drains_gives_up_the_lease(tmp_path: Path) -> None:
    async with leading(tmp_path) as one:
        assert one.lease["leaseDurationSeconds"] == 30
        await one.gateway.drain()
        assert one.lease["holderIdentity"] == ""


async def test_a_lease_that_is_slow_to_give_up_holds_no_requests_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, let_go = asyncio.Event(), asyncio.Event()
    release = LeaseStore.release

    async def slow(store: LeaseStore, over: Lease) -> Lease:
        asked.set()
        await let_go.wait()
        return await release(store, over)

    monkeypatch.setattr(LeaseStore, "release", slow)
    async with leading(tmp_path) as one, guest(says_nothing) as upstream:
        async with in_use(one, upstream) as request:
            await one.shows(active_inbound_count=1)
            draining = asyncio.create_task(one.gateway.drain())
            await asked.wait()
            await eventually(lambda: not one.takes_connections)
            assert not request.done()
        await one.shows(active_inbound_count=0)
        assert not draining.done()
        let_go.set()
        await draining
        assert one.lease["holderIdentity"] == ""


@asynccontextmanager
async def leading(home: Path) -> AsyncIterator[Replica]:
    """Run a replica that is one of several, knows a sandbox, and leads."""
    token = home / "token"
    token.write_text("one")
    knobs = {
        "lease_name": "sleep", "lease_duration": "30s", "pod_name": "gw-0", "pod_namespace": "gws",
        "peer_selector": "app=gw", "admin_token_file": token,
    }  # fmt: skip
    async with api(home) as store:
        store.create(LEASES, "gws", given_up("sleep"))
        knows_a_sandbox(store)
        async with running(home, store, **knobs) as one:
            one.show("one")
            await one.gateway.cluster.wait_synced()
            await eventually(lambda: one.lease["holderIdentity"].startswith("gw-0_"))
            yield one


def given_up(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name},
        "spec": {"holderIdentity": "", "leaseDurationSeconds": 15},
    }


@pytest.mark.parametrize("chosen", [True, False])
async def test_deployments_have_a_policy_of_their_kind_where_that_was_chosen(
    tmp_path: Path, chosen: bool
) -> None:
    raw = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "web",
            "namespace": "default",
            "labels": {ENABLED_LABEL: "true"},
            "annotations": {own.WAKE_ON_TRAFFIC: "true"},
        },
        "spec": {"replicas": 1},
        "status": {"replicas": 1, "availableReplicas": 1},
    }
    knobs = {"idle_deployments": str(chosen).lower(), "idle_deployments_after": "7m"}
    async with api(tmp_path) as store:
        store.create(DEPLOYMENTS, "default", raw)
        async with running(tmp_path, store, dialects="deployment", **knobs) as one:
            await one.gateway.cluster.wait_synced()
            told = await one.told(at="default/web")
            assert told["supported"]
            assert told["configured"] is chosen
            assert told["idle_timeout"] == ("7m0s" if chosen else None)


# ---- other replicas, and observers ------------------------------------------------------------


@asynccontextmanager
async def peer(name: str, port: int) -> AsyncIterator[list[tuple[str, str | None]]]:
    """Answer for another replica, at 127.0.0.2; yield what it is asked, by which credential."""
    shown: list[tuple[str, str | None]] = []

    async def answer(request: web.Request) -> web.Response:
        shown.append((request.path, request.headers.get("Authorization")))
        use = wire.Use(protocol=wire.PROTOCOL, replica=name, count=2, unused_for=0.0)
        return web.Response(body=wire.encode(use))

    served = web.Application()
    served.router.add_post("/{path:.*}", answer)
    runner = web.AppRunner(served)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.2", port).start()
        yield shown
    finally:
        await runner.cleanup()


def pod(name: str, address: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "gws", "labels": {"app": "gw"}},
        "status": {"podIP": address, "phase": "Running"},
    }


def among_replicas(home: Path, port: int) -> dict[str, Any]:
    (home / "admin").write_text("one")
    return {
        "admin_listen": f"127.0.0.1:{port}",
        "admin_token_file": home / "admin",
        "pod_name": "gw-0",
        "pod_namespace": "gws",
        "peer_selector": "app=gw",
        "lease_name": "sleep",
    }


@pytest.fixture
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have one of several replicas begin without waiting till earlier questions are over."""
    monkeypatch.setattr(wiring, "FENCE", 0.0)


@asynccontextmanager
async def observer(one: Replica, token: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """Be the observer of the sandbox's node; what it is asked is answered."""

    async def answer(link: aiohttp.ClientWebSocketResponse) -> None:
        async for message in link:
            said = json.loads(message.data)
            if said["type"] == "sync":
                await say(link, type="synced", number=said["number"])

    async with connected(one.admin, token) as link:
        await introduced(link)
        answering = asyncio.create_task(answer(link))
        try:
            yield link
        finally:
            answering.cancel()
            await asyncio.wait({answering})


def observed(home: Path) -> dict[str, Any]:
    (home / "observers").write_text("first")
    return {"observe_connections": "true", "observer_token_file": home / "observers"}


async def test_without_its_observer_a_sandbox_stays_awake_and_it_is_told_why(
    tmp_path: Path,
) -> None:
    async with replica(tmp_path, policy("1h"), **observed(tmp_path)) as one:
        await one.shows(status="error", reason="observer_error", tracking_mode="proxy+conntrack")
        assert "observer" in await one.sleep_section()
        async with observer(one, "first"):
            await one.shows(status="idle_countdown", tracking_mode="proxy+conntrack")
            one.marks(policy("300ms"))
            await eventually(lambda: one.is_to_sleep)


@pytest.mark.usefixtures("_at_once")
async def test_connections_from_elsewhere_are_use_and_those_of_replicas_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The name of a machine may stand for loopback alone; that of a pod stands for its address.
    monkeypatch.setattr(sleeping, "own_addresses", lambda: (ipaddress.ip_network("10.7.0.1"),))
    port = free_port()
    knobs = observed(tmp_path) | among_replicas(tmp_path, port)
    knobs["observed_ignore_cidrs"] = "10.8.0.0/16"
    async with (
        peer("gw-1", port),
        replica(tmp_path, policy("1h"), **knobs) as one,
        observer(one, "first") as link,
    ):
        one.show("one")
        one.store.create(PODS, "gws", pod("gw-0", "127.0.0.1"))
        one.store.create(PODS, "gws", pod("gw-1", "127.0.0.2"))
        await one.shows(active_inbound_count=2)  # those of the other replica
        sources = ("10.9.9.9", "10.8.1.1", "127.0.0.2", "10.7.0.1")
        counts = [["127.0.0.1", source, 80, 1] for source in sources]
        await say(link, type="counts", counts=counts)
        await one.shows(active_inbound_count=3)


@pytest.mark.usefixtures("_at_once")
async def test_tokens_that_are_replaced_are_shown_and_taken(tmp_path: Path) -> None:
    port = free_port()
    knobs = observed(tmp_path) | among_replicas(tmp_path, port)
    async with peer("gw-1", port) as shown, replica(tmp_path, **knobs) as one:
        one.show("one")
        one.store.create(PODS, "gws", pod("gw-0", "127.0.0.1"))
        one.store.create(PODS, "gws", pod("gw-1", "127.0.0.2"))
        (itself, other) = (await one.told())["replicas"]
        assert (itself["replica"], itself["active_count"]) == ("gw-0", 0)
        assert (other["replica"], other["active_count"]) == ("gw-1", 2)
        assert shown == [(wire.USES_PATH, "Bearer one")]

        (tmp_path / "observers").write_text("second")
        (tmp_path / "admin").write_text("another")
        one.show("another")
        path = "/api/v1/sandboxes/default/box/auto-standby"

        async def is_taken() -> bool:
            return await one.status_of("GET", path) == 200

        await soon(is_taken, "the new token is taken", PATIENCE)
        assert shown[1:] == [(wire.USES_PATH, "Bearer another")]
        async with observer(one, "second"):
            pass
        with pytest.raises(aiohttp.WSServerHandshakeError):
            async with connected(one.admin, "first"):
                raise AssertionError("it was let in")


@pytest.mark.usefixtures("_at_once")
async def test_a_replica_that_drains_leaves_what_it_knows_to_the_others(tmp_path: Path) -> None:
    port = free_port()
    async with (
        peer("gw-1", port) as shown,
        replica(tmp_path, **among_replicas(tmp_path, port)) as one,
    ):
        one.store.create(PODS, "gws", pod("gw-0", "127.0.0.1"))
        one.store.create(PODS, "gws", pod("gw-1", "127.0.0.2"))
        await one.gateway.drain()
        assert shown[-1:] == [(wire.FAREWELL_PATH, "Bearer one")]


# ---- a gateway that puts nothing to sleep -----------------------------------------------------


async def test_where_standby_is_off_it_is_told_that_nothing_sleeps(tmp_path: Path) -> None:
    async with replica(tmp_path, policy("300ms"), standby="false") as one, guest() as upstream:
        told = await one.told()
        assert (told["supported"], told["status"]) == (False, "unsupported")
        assert "its setting standby is off" in await one.sleep_section()
        assert await one.status_of("POST", wire.ASK_PATH) == 404
        assert await one.status_of("GET", OBSERVERS) == 404
        assert await one.request(upstream) == (200, "hello")
        await one.gateway.drain()
        assert not one.is_to_sleep
