"""A whole replica that right-sizes sandboxes: what it is made of is put together right."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from e2e.programs import free_port
from e2e.waiting import soon
from gateway import app, wiring
from gateway.cluster.answers import EventType
from gateway.cluster.machines import Machines
from gateway.local.api import (
    LEASES,
    SANDBOXES,
    EmbeddedApi,
    GroupResource,
    ObjectStore,
    write_kubeconfig,
)
from gateway.resize import care
from gateway.resizing import Pods, Resizing, _Surgeon
from gateway.sandbox.errors import NotWritten
from gateway.sandbox.scaling import Size
from tests.cluster.conftest import eventually
from tests.cluster.machine_objects import amounts, container, node_object, pod_object, told
from tests.resize.fake_informant import FakeInformant
from tests.standby.doubles import Lead
from tests.test_sleeping import (
    API_TOKEN,
    CRDS,
    PATIENCE,
    PODS,
    Replica,
    among_replicas,
    api,
    definition,
    given_up,
    guest,
    in_use,
    replica,
    running,
    runs,
    sandbox,
    says_nothing,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.cluster.pod_facts import PodFacts

NODES = GroupResource("", "nodes")
SCALED = {
    "sandbox-gateway.dev/scaling-bounds": json.dumps(
        {"min": {"cpu": "250m", "mem": "512Mi"}, "max": {"cpu": "4", "mem": "8Gi"}}
    ),
}
ON: dict[str, Any] = {"resize": "true", "resize_listen": "127.0.0.1:0", "standby": "false"}


class PodApi(EmbeddedApi):
    """An API that has pods and nodes, and resizes; a kubelet does at once what it asks."""

    def __init__(self, store: ObjectStore) -> None:
        super().__init__(store, API_TOKEN)
        self._pods = store
        self.resizes: list[dict[str, str]] = []

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/api/v1":
            return web.json_response({"resources": [{"name": "pods"}, {"name": "pods/resize"}]})
        if request.path.endswith("/resize"):
            return web.json_response(self._resize(await request.json()))
        # All pods here take room of their node, and it does not know these fields.
        plain = request.rel_url.without_query_params("fieldSelector")
        return await super()._serve(request.clone(rel_url=plain))

    def _resize(self, patch: dict[str, Any]) -> dict[str, Any]:
        (changed,) = patch["spec"]["containers"]
        asked = changed["resources"]["requests"]
        self.resizes.append(asked)
        pod = self._pods.get(PODS, "default", "box-0")
        assert pod["metadata"]["uid"] == patch["metadata"]["uid"]
        pod["spec"]["containers"] = [container(resources=changed["resources"])]
        pod["status"]["containerStatuses"] = [told(cpu=asked["cpu"], memory=asked["memory"])]
        return self._pods.update(PODS, "default", "box-0", pod)


@asynccontextmanager
async def pod_api(home: Path) -> AsyncIterator[tuple[ObjectStore, PodApi]]:
    """Serve one that has a node, and a sandbox that runs in a pod of 1 CPU and 1 GiB."""
    with closing(ObjectStore(":memory:", (*CRDS, definition("", "Node", "nodes")))) as store:
        node = node_object()
        node["metadata"] = {"name": "node-1", "namespace": "default"}
        store.create(NODES, "default", node)
        raw = sandbox(dict(SCALED))
        raw["metadata"]["labels"] = {"sandbox-gateway.dev/scaling-enabled": "true"}
        box = store.create(SANDBOXES, "default", raw)["metadata"]["uid"]
        store.update_status(SANDBOXES, "default", "box", box, runs)
        pod = pod_object(name="box-0", address="127.0.0.1")
        owner = {"apiVersion": "sandbox-gateway.dev/v1alpha1", "kind": "Sandbox", "name": "box"}
        pod["metadata"] = {
            "name": "box-0", "namespace": "default", "ownerReferences": [owner | {"uid": box}],
        }  # fmt: skip
        pod["spec"]["containers"] = [container(resources={"requests": amounts("1", "1Gi")})]
        store.create(PODS, "default", pod)
        server = PodApi(store)
        await server.start()
        try:
            write_kubeconfig(home / "kubeconfig", server.address, API_TOKEN)
            yield store, server
        finally:
            await server.stop()


async def size_section(one: Replica) -> str:
    sections = (await one.told("explain"))["sections"]
    (found,) = (part["lines"] for part in sections if part["heading"] == "Size")
    return "\n".join(found)


async def shows(one: Replica, status: str) -> Any:
    """Return how the size stands, once it stands so."""
    found: dict[str, Any] = {}

    async def check() -> bool:
        found.update(await one.told("resize"))
        return bool(found["status"] == status)

    await soon(check, f"its size is {status}", PATIENCE)
    return found


async def test_a_sandbox_has_what_its_guest_needs(tmp_path: Path) -> None:
    async with FakeInformant() as informant, pod_api(tmp_path) as (store, api):
        informant.load1 = informant.load5 = 1.8
        informant.available = informant.total
        knobs = ON | {
            "resize_informant_port": informant.port,
            "resize_metrics_interval": "50ms",
            "resize_cpu_unit": "500m",
        }
        async with running(tmp_path, store, **knobs) as one:
            await one.gateway.cluster.wait_synced()
            # 1.8 busy CPUs at a target of 0.9 are four units of 500m, and as many slots.
            await eventually(lambda: informant.said("/upscale"))
            assert api.resizes == [{"cpu": "2", "memory": "2Gi"}]
            found = await shows(one, "sized")
            two = {"cpu": "2", "mem": "2Gi"}
            assert found["actual"] == found["permitted"] == found["approved"] == two
            assert found["load_1m"] == 1.8
            assert "it is right-sized" in await size_section(one)
            for metric, value in (
                ("resize_agents", 1.0),
                ("resize_pressure_cpu_cores", 0.0),
                ("resize_pressure_memory_bytes", 0.0),
            ):
                assert await one.number(metric) == value
            assert await one.number('resize_sandboxes{status="sized"}') == 1.0
            assert await one.number('resize_cpu_cores{what="maximum"}') == 4.0
            assert await one.number('resize_memory_bytes{what="actual"}') == 2.0 * 2**30

            # Its informant is for the gateway alone.
            headers = {"E2b-Sandbox-Id": "default--box", "E2b-Sandbox-Port": str(informant.port)}
            async with one.http.get(one.data, headers=headers) as response:
                assert response.status == 403

            # A replica that is to go tells each informant.
            await one.gateway.drain()
            assert len(informant.said("/unregister")) == 1
            assert await one.number("resize_agents") == 0.0
        assert len(informant.said("/unregister")) == 1


async def test_a_guest_that_asks_for_more_is_heard_where_agents_listen(tmp_path: Path) -> None:
    async with FakeInformant() as informant, pod_api(tmp_path) as (store, api):
        knobs = ON | {"resize_informant_port": informant.port, "resize_metrics_interval": "1h"}
        async with running(tmp_path, store, **knobs) as one:
            await one.gateway.cluster.wait_synced()
            await shows(one, "sized")
            assert await informant.want(memory=True) == 200
            await eventually(lambda: informant.said("/upscale"))
            assert api.resizes == [{"cpu": "1", "memory": "1536Mi"}]  # a slot
            # Counted once the guest has answered that.
            await one.reaches("resize_requested_seconds_count", 1.0)


async def test_what_its_node_has_not_left_is_pressure(tmp_path: Path) -> None:
    async with FakeInformant() as informant, pod_api(tmp_path) as (store, api):
        store.patch(NODES, "default", "node-1", less_room)
        informant.load1 = informant.load5 = 3.6
        knobs = ON | {"resize_informant_port": informant.port, "resize_metrics_interval": "50ms"}
        async with running(tmp_path, store, **knobs) as one:
            await one.gateway.cluster.wait_synced()
            await eventually(lambda: informant.said("/upscale"))
            assert api.resizes == [{"cpu": "1500m", "memory": "3Gi"}]
            assert await one.number("resize_pressure_cpu_cores") == 2.5
            assert await one.number("resize_pressure_memory_bytes") == 5.0 * 2**30


def less_room(node: dict[str, Any]) -> dict[str, Any]:
    return node | {"status": {"allocatable": amounts("1500m", "3Gi")}}


async def test_an_api_that_resizes_no_pods_is_told_of(tmp_path: Path) -> None:
    async with replica(tmp_path, SCALED, **ON) as one:
        await label(one)
        found = await shows(one, "unsupported")
        assert found["reason"] == "this Kubernetes API does not resize pods in place"
        assert "right-sizes nothing: this Kubernetes API does not" in await size_section(one)
        assert await one.number("resize_agents") == 0.0


async def test_where_it_is_off_that_is_told_and_no_port_is_closed(tmp_path: Path) -> None:
    async with guest() as upstream:
        knobs = ON | {"resize": "false", "resize_informant_port": str(upstream.port)}
        async with replica(tmp_path, SCALED, **knobs) as one:
            await label(one)
            found = await shows(one, "unsupported")
            assert found["reason"] == "its setting resize is off"
            assert "this gateway right-sizes nothing: its setting" in await size_section(one)
            assert await one.request(upstream) == (200, "hello")


async def label(one: Replica) -> None:
    """Have its owner ask for it, and the gateway know of that."""
    changed = one.box
    changed["metadata"]["labels"] = {"sandbox-gateway.dev/scaling-enabled": "true"}
    one.store.update(SANDBOXES, "default", "box", changed)
    await eventually(lambda: all(route.scaling is not None for route in one.gateway.registry))


async def test_an_address_that_is_taken_is_told_with_the_setting_that_gives_it(
    tmp_path: Path,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        knobs = ON | {"resize_listen": f"127.0.0.1:{taken.getsockname()[1]}"}
        with pytest.raises(app.StartError, match="Choose another address by resize_listen"):
            async with replica(tmp_path, **knobs):
                raise AssertionError("it has begun")


async def test_who_right_sizes_is_settled_by_a_lease_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wiring, "FENCE", 0.0)  # nothing was asked before
    knobs = among_replicas(tmp_path, free_port()) | ON | {"standby": "true"}
    async with api(tmp_path) as store:
        for name in ("sleep", "sleep-resize"):
            store.create(LEASES, "gws", given_up(name))
        async with running(tmp_path, store, **knobs) as one:
            one.show("one")
            await one.reaches("resize_leader", 1.0)
            await one.reaches("leader", 1.0)
            assert holder(store).startswith("gw-0")
            await one.gateway.drain()
            assert holder(store) == ""


def holder(store: ObjectStore) -> str:
    found: str = store.get(LEASES, "gws", "sleep-resize")["spec"]["holderIdentity"]
    return found


async def test_leaving_it_to_others_twice_is_leaving_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resigned: list[Resizing] = []
    resign = Resizing.resign

    async def noted(self: Resizing) -> None:
        await resign(self)
        resigned.append(self)

    monkeypatch.setattr(Resizing, "resign", noted)
    async with replica(tmp_path, **ON) as one:
        await one.gateway.drain()
        (found,) = resigned
        await asyncio.wait_for(found.resign(), PATIENCE)


async def test_a_sandbox_that_nobody_uses_has_its_floor_until_somebody_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(care, "LOOK", 0.05)
    monkeypatch.setattr(care, "UNUSED", 0.5)
    floor = {"sandbox-gateway.dev/scaling-config": '{"idleFloor": {"cpu": "100m", "mem": "512Mi"}}'}
    async with (
        FakeInformant() as informant,
        pod_api(tmp_path) as (store, api),
        guest(says_nothing) as upstream,
    ):
        informant.load1 = informant.load5 = 0.0
        informant.available = informant.total
        knobs = ON | {
            "standby": "true",
            "resize_informant_port": informant.port,
            "resize_metrics_interval": "50ms",
        }
        async with running(tmp_path, store, **knobs) as one:
            await one.gateway.cluster.wait_synced()
            one.marks(floor)
            await eventually(lambda: api.resizes[-1:] == [{"cpu": "100m", "memory": "512Mi"}])
            async with in_use(one, upstream):
                await eventually(lambda: api.resizes[-1] == {"cpu": "250m", "memory": "512Mi"})


# ---- who resizes --------------------------------------------------------------------------------


class Writes(Pods):
    """An API that gives a pod what it is asked for."""

    def __init__(self) -> None:
        self.written: list[Size] = []
        self.answers = asyncio.Event()
        self.answers.set()

    async def resize(self, pod: PodFacts, target: Size) -> PodFacts:
        await self.answers.wait()
        self.written.append(target)
        return replace(pod, version=pod.version + 1, desired=target)


async def test_only_who_leads_resizes_and_what_it_wrote_is_known_at_once() -> None:
    machines, lead, writes = Machines(), Lead(), Writes()
    pod = one_pod(machines)
    surgeon = _Surgeon(writes, machines, lead)  # type: ignore[arg-type] # it may act, or may not
    await surgeon.resize(pod, Size(500, 2**29))
    known = machines.pod("uid-web-0")
    assert known is not None
    assert (known.version, known.desired) == (8, Size(500, 2**29))
    lead.acting = False
    with pytest.raises(NotWritten):
        await surgeon.resize(pod, Size(250, 2**29))
    assert writes.written == [Size(500, 2**29)]


async def test_who_is_to_lead_no_more_waits_for_the_resize_that_is_on_its_way() -> None:
    machines, writes = Machines(), Writes()
    pod = one_pod(machines)
    surgeon = _Surgeon(writes, machines, Lead())  # type: ignore[arg-type] # it may act
    writes.answers.clear()
    resizing = asyncio.create_task(surgeon.resize(pod, Size(500, 2**29)))
    await asyncio.sleep(0)
    resizing.cancel()
    done, _ = await asyncio.wait({resizing}, timeout=0.05)
    assert not done, "it may still be made"
    resizing.cancel()
    await asyncio.sleep(0)
    writes.answers.set()
    with pytest.raises(asyncio.CancelledError):
        await resizing
    assert writes.written == [Size(500, 2**29)]
    known = machines.pod(pod.uid)
    assert known is not None
    assert known.desired == Size(500, 2**29)


def one_pod(machines: Machines) -> PodFacts:
    """Let a pod be known, and return it."""
    machines.pods_sink.event(EventType.ADDED, pod_object(7))
    pod = machines.pod("uid-web-0")
    assert pod is not None
    return pod
