"""Right-sizing as a whole: a gateway, informants and a kubelet around a real Kubernetes API."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import httpx
import pytest
from aiohttp import web

from e2e.waiting import soon
from gateway.sandbox.scaling import Size

from .sized import GI, SLOT, Sizes, load_for, units

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from e2e.clusters import Cluster
    from e2e.gateways import Gateway
    from e2e.programs import Programs

    from .sized import Sized

LEAST: Final = Size(500, GI)
MOST: Final = Size(3000, 6 * GI)


@pytest.fixture
async def sizes(api: Cluster, programs: Programs, tmp_path: Path) -> AsyncIterator[Sizes]:
    async with Sizes.on_a_node(api, programs, tmp_path, Size(4000, 8 * GI)) as made:
        yield made


async def test_a_sandbox_grows_with_its_load_and_shrinks_when_its_guest_agrees(
    sizes: Sizes,
) -> None:
    one = await sizes.sandbox("grows")
    gateway = sizes.gateway()
    await one.is_told(gateway, "sized")
    before = one.pod["status"]["qosClass"]
    one.guest.loads(load_for(8))
    await one.becomes(units(8))
    one.guest.loads(0.0)
    await one.becomes(LEAST)
    assert one.pod["status"]["qosClass"] == before == "Guaranteed"
    (container,) = one.pod["spec"]["containers"]
    assert container["resources"]["requests"] == container["resources"]["limits"]
    assert all(not each["restartCount"] for each in one.pod["status"]["containerStatuses"])
    await soon(lambda: len(one.events()) >= 2, "its user was told")
    assert {each["reason"] for each in one.events()} == {"Resized"}


async def test_cpu_and_memory_go_each_by_their_own_need_if_the_author_says_so(sizes: Sizes) -> None:
    one = await sizes.sandbox("apart", config={"separateUnits": True})
    await one.is_told(sizes.gateway(), "sized")
    one.guest.loads(load_for(8))
    await one.becomes(Size(units(8).cpu, LEAST.memory))
    one.guest.loads(0.0)
    await one.becomes(LEAST)


async def test_what_a_node_does_not_have_is_not_given_until_another_gives_it_back(
    sizes: Sizes,
) -> None:
    one, other = await sizes.sandbox("one"), await sizes.sandbox("other")
    gateway = sizes.gateway()
    one.guest.loads(load_for(12))
    await one.becomes(MOST)
    other.guest.loads(load_for(12))
    await soon(lambda: gateway.metric("resize_pressure_cpu_cores") >= 1.9, "it is not given more")
    await other.becomes(Size(1000, 2 * GI))
    one.guest.loads(load_for(4))
    await one.becomes(units(4))
    await other.becomes(MOST)
    await soon(lambda: not gateway.metric("resize_pressure_cpu_cores"), "nothing is lacking")


async def test_a_guest_that_refuses_to_shrink_is_asked_for_less(sizes: Sizes) -> None:
    # By this target 4 slots would do for 1.9 GiB, which leaves less free than the guest wants.
    config = {"memoryUsageFractionTarget": 0.99}
    one = await sizes.sandbox("full", cpu="3", memory="6Gi", config=config)
    one.guest.uses(19 * GI // 10, of=6 * GI)
    gateway = sizes.gateway()
    await one.becomes(units(5))
    assert gateway.metric("resize_informant_calls_total", call="downscale", outcome="denied") >= 1
    one.guest.uses(GI // 4, of=5 * SLOT)
    await one.becomes(LEAST)


async def test_what_a_guest_asks_for_it_gets_at_once(
    sizes: Sizes, capsys: pytest.CaptureFixture[str]
) -> None:
    one = await sizes.sandbox("urgent")
    # No timer has anything to do with it: metrics are looked at too seldom.
    gateway = sizes.gateway(resize_metrics_interval="1h")
    await one.is_told(gateway, "sized")
    one.guest.uses(GI - GI // 32, of=GI)
    await soon(lambda: one.size.memory > GI, "it has more memory")
    one.guest.uses(GI - GI // 32, of=2 * GI)
    await soon(lambda: gateway.metric("resize_requested_seconds_count"), "it was told")
    took = gateway.metric("resize_requested_seconds_sum")
    count = gateway.metric("resize_requested_seconds_count")
    with capsys.disabled():
        print(f" [{1000 * took / count:.0f} ms from request to the guest's being told] ", end="")
    assert gateway.metric("resize_upscales_requested_total") >= 1


async def test_the_newest_agent_is_listened_to_and_the_former_one_when_it_is_gone(
    sizes: Sizes,
) -> None:
    one = await sizes.sandbox("contested")
    former = sizes.gateway("former")
    await one.is_told(former, "sized")
    newest = sizes.gateway("newest")
    await one.is_told(newest, "sized")
    await one.is_told(former, "frozen")
    one.guest.loads(load_for(8))
    await one.becomes(units(8))
    grown = {"outcome": "grown"}
    # The pod has it before who asked for it hears of that.
    await soon(lambda: newest.metric("resizes_total", **grown) == 1, "one has resized it")
    assert former.metric("resizes_total", **grown) == 0
    newest.program.kill()
    await one.is_told(former, "sized")
    one.guest.loads(load_for(12))
    await one.becomes(MOST)
    await soon(lambda: former.metric("resizes_total", **grown) == 1, "the other one has")


@pytest.mark.parametrize("answer", ["refuses", "chooses"])
async def test_an_informant_of_an_old_protocol_is_left_alone(sizes: Sizes, answer: str) -> None:
    one, other = await sizes.sandbox("old", informed=False), await sizes.sandbox("new")
    async with old_informant(one, sizes.port, answer):
        gateway = sizes.gateway()
        await soon(lambda: "v" in (one.told(gateway)["reason"] or ""), "it is told why")
        told = one.told(gateway)
        assert told["status"] == "uninformed"
        assert "v2.0" in told["reason"]
        other.guest.loads(load_for(4))
        await other.becomes(units(4))
        assert one.size == LEAST


class old_informant:  # noqa: N801 - it is used as a context
    """An informant that speaks version 1.1 alone, and says so as it can."""

    def __init__(self, sandbox: Sized, port: int, answer: str) -> None:
        self._address, self._port, self._answer = sandbox.address, port, answer

    async def __aenter__(self) -> None:
        self._runner = web.ServerRunner(web.Server(self._handle))
        await self._runner.setup()
        await web.TCPSite(self._runner, self._address, self._port).start()

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if self._answer == "refuses":
            return web.Response(status=400, text="Protocol version mismatch: Need v1.1")
        return web.json_response({"protoVersion": 2, "metricsMethod": {"prometheus": {"port": 1}}})


async def test_a_node_that_is_emptied_has_nothing_resized(sizes: Sizes) -> None:
    one = await sizes.sandbox("leaving")
    gateway = sizes.gateway()
    await one.is_told(gateway, "sized")
    cordon(sizes, True)
    await one.is_told(gateway, "frozen")
    one.guest.loads(load_for(8))
    cordon(sizes, False)
    await one.becomes(units(8))


def cordon(sizes: Sizes, on: bool) -> None:
    path = f"/api/v1/nodes/{sizes.kubelet.node}"
    headers = {"Content-Type": "application/merge-patch+json"}
    answer = sizes.admin.patch(path, json={"spec": {"unschedulable": on}}, headers=headers)
    assert answer.is_success, answer.text


async def test_a_paused_sandbox_gives_back_its_cpu_and_has_it_when_it_wakes(sizes: Sizes) -> None:
    floor = {"cpu": "100m", "mem": "1Gi"}
    one = await sizes.sandbox("sleeps", cpu="2", memory="4Gi", config={"idleFloor": floor})
    one.guest.loads(load_for(8), load_for(8))
    gateway = sizes.gateway()
    await one.is_told(gateway, "sized")
    await one.becomes(units(8))
    one.change(spec={"desiredState": "Paused"})
    one.report("Pausing")
    await one.is_told(gateway, "frozen")
    one.report("Paused")
    await one.becomes(Size(100, 4 * GI))
    one.change(spec={"desiredState": "Running"})
    one.report("Resuming")
    await one.becomes(Size(2000, 4 * GI))
    one.report("Running")
    await one.is_told(gateway, "sized")
    assert one.size == Size(2000, 4 * GI)


async def test_a_resize_that_takes_long_is_waited_for(sizes: Sizes) -> None:
    one = await sizes.sandbox("slow")
    gateway = sizes.gateway()
    await one.is_told(gateway, "sized")
    sizes.kubelet.hold()
    one.guest.loads(load_for(8))
    await soon(lambda: one.told(gateway)["desired"] == units(8).as_json(), "it is asked for")
    told = one.told(gateway)
    assert told["actual"] == told["approved"] == LEAST.as_json()
    sizes.kubelet.release()
    await soon(lambda: one.told(gateway)["approved"] == units(8).as_json(), "its guest knows")


async def test_a_gateway_that_ends_takes_its_leave_of_informants(sizes: Sizes) -> None:
    one = await sizes.sandbox("left")
    gateway = sizes.gateway()
    await one.is_told(gateway, "sized")
    assert await asyncio.to_thread(gateway.program.end) == 0
    await soon(lambda: "unregistered" in one.informant.errors, "it was told")
    assert "Traceback" not in gateway.program.errors


async def test_nobody_reaches_an_informant_through_the_gateway(sizes: Sizes) -> None:
    one = await sizes.sandbox("closed")
    gateway = sizes.gateway()
    await one.is_told(gateway, "sized")
    assert asked(gateway, f"{sizes.namespace}--closed", sizes.port) == 403


def asked(gateway: Gateway, sandbox: str, port: int) -> int:
    headers = {"e2b-sandbox-id": sandbox, "e2b-sandbox-port": str(port)}
    return httpx.get(f"{gateway.data}/metrics", headers=headers).status_code
