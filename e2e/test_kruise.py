"""OpenKruise sandboxes: every phase of pausing and resuming, with a request in the middle of it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from .conftest import serve
from .platforms import KruisePlatform, Stage
from .waiting import DEADLINE, soon
from .world import World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from .conftest import Serving
    from .gateways import Gateway
    from .programs import Programs


def moment(seconds: float) -> str:
    """Return the time in so many seconds, as the API writes it."""
    at = datetime.now(UTC) + timedelta(seconds=seconds)
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds_until(moment: str) -> float:
    return (datetime.fromisoformat(moment) - datetime.now(UTC)).total_seconds()


async def test_a_request_wakes_a_paused_sandbox_by_one_write(world: World) -> None:
    generation = await world.create_paused()
    first = world.pod()
    answer = await world.ask()
    assert answer.status_code == 200
    assert answer.headers["X-Sandbox-Cold-Start"] == "true"
    second = world.pod()
    assert second.uid != first.uid
    told = {"sandbox": f"{world.namespace}/box", "pod": second.uid, "requests": 1}
    assert answer.json() == told
    assert await world.generation() == generation + 1
    assert (await world.api.get("box"))["spec"]["paused"] is False


async def test_the_address_that_a_paused_sandbox_still_shows_is_never_dialled(
    world: World,
) -> None:
    await world.create_paused()
    stale = (await world.api.get("box"))["status"]["podInfo"]["podIP"]
    assert stale == world.pod().ip
    answers = await asyncio.gather(*(world.ask() for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["pod"] for answer in answers} == {world.pod().uid}
    assert world.pod().ip != stale
    assert world.pods.trespasses == 0


async def test_connections_of_the_life_before_are_not_used_for_the_next(world: World) -> None:
    await world.create("box")
    assert (await world.ask()).json()["requests"] == 1
    await world.api.patch("box", paused=True)
    await world.reaches("box", "paused")
    answer = await world.ask()
    assert answer.json() == {
        "sandbox": f"{world.namespace}/box",
        "pod": world.pod().uid,
        "requests": 1,
    }
    assert world.pods.trespasses == 0


async def test_a_pause_time_in_the_past_is_moved_ahead_in_the_write_that_wakes(
    world: World,
) -> None:
    rule = {"resume": {"onIngressTraffic": {"pauseTimeout": "10m"}}}
    spec = {"autoPausePolicy": rule, "pauseTime": moment(-5), "shutdownTime": moment(400)}
    await world.create("box", "paused", spec=spec)
    generation = await world.generation()
    assert (await world.ask()).status_code == 200
    woken = await world.api.get("box")
    assert woken["spec"]["paused"] is False
    assert 540 < seconds_until(woken["spec"]["pauseTime"]) <= 601
    assert woken["spec"]["shutdownTime"] == woken["spec"]["pauseTime"]
    assert await world.generation() == generation + 1


async def test_without_a_time_in_the_rule_a_passed_pause_time_is_removed(world: World) -> None:
    await world.create("box", "paused", spec={"pauseTime": moment(-5)})
    generation = await world.generation()
    assert (await world.ask()).status_code == 200
    assert "pauseTime" not in (await world.api.get("box"))["spec"]
    assert await world.generation() == generation + 1


async def test_annotations_may_allow_the_wake(world: World) -> None:
    annotations = {
        "agents.kruise.io/wake-on-traffic": "true",
        "agents.kruise.io/wake-timeout-seconds": "900",
    }
    spec = {"autoPausePolicy": None, "paused": True, "pauseTime": moment(-5)}
    await world.create("box", "paused", spec=spec, annotations=annotations)
    assert (await world.ask()).status_code == 200
    woken = await world.api.get("box")
    assert 840 < seconds_until(woken["spec"]["pauseTime"]) <= 901


async def test_a_port_that_opens_after_ready_is_dialled_until_it_does(world: World) -> None:
    await world.create_paused()
    world.gates().opens.clear()
    refused = world.gateway.metric("upstream_dial_failures_total", cause="refused")
    answer = asyncio.create_task(world.ask(method="POST", path="/echo", content=b"once"))
    await soon(
        lambda: world.gateway.metric("upstream_dial_failures_total", cause="refused") > refused,
        "the port was dialled",
    )
    assert await world.generation() == 3
    world.gates().opens.set()
    assert (await answer).content == b"once"
    assert len(world.pod().requests) == 1


async def test_events_of_a_woken_sandbox_come_one_by_one(world: World) -> None:
    await world.create_paused()
    url = f"{world.gateway.data}/events"
    transport = httpx.AsyncHTTPTransport(retries=0, verify=False)
    async with (
        httpx.AsyncClient(transport=transport, timeout=DEADLINE) as client,
        client.stream("GET", url, headers=world.naming("box")) as answer,
    ):
        lines = answer.aiter_lines()
        assert await anext(lines) == "data: first"
        # The sandbox has said no more than this so far.
        world.pod().more.set()
        assert [line async for line in lines] == ["", "data: second", ""]


async def test_the_label_gives_a_sandbox_its_id(world: World) -> None:
    sandbox_id = f"{world.namespace}-by-label"
    await world.create_paused(labels={"agents.kruise.io/sandbox-id": sandbox_id})
    answer = await world.ask(headers={"e2b-sandbox-id": sandbox_id})
    assert answer.json()["pod"] == world.pod().uid
    assert (await world.ask()).json()["reason"] == "sandbox_not_found"


async def test_the_path_may_name_sandbox_and_port(world: World) -> None:
    await world.create_paused()
    path = f"/kruise/{world.namespace}--box/{world.pods.port}/echo"
    async with httpx.AsyncClient(timeout=DEADLINE) as client:
        answer = await client.post(world.gateway.data + path, content=b"by path")
    assert answer.content == b"by path"


# ---- sandboxes that are not woken ---------------------------------------------------------------

_POOL: dict[str, Any] = {
    "ownerReferences": [
        {
            "apiVersion": "agents.kruise.io/v1alpha1",
            "kind": "SandboxSet",
            "name": "pool",
            "uid": "00000000-0000-0000-0000-000000000001",
            "controller": True,
        }
    ]
}
_WAKE_OFF: dict[str, Any] = {"spec": {"autoPausePolicy": None, "paused": True}}


@pytest.mark.parametrize(
    ("parts", "state", "reason"),
    [
        (_POOL, "blocked", "sandbox_blocked"),
        (_POOL | {"spec": {"paused": True}}, "blocked", "sandbox_blocked"),
        (_WAKE_OFF, "paused", "sandbox_not_wakeable"),
        (
            _WAKE_OFF | {"annotations": {"agents.kruise.io/wake-on-traffic": "yes"}},
            "paused",
            "sandbox_not_wakeable",
        ),
        ({"spec": {"paused": True, "shutdownTime": moment(-5)}}, "dead", "sandbox_dead"),
    ],
    ids=["pool member", "sleeping pool member", "wake off", "mistyped opt-in", "expired"],
)
async def test_a_sandbox_that_may_not_be_woken_is_refused_and_left_alone(
    parts: dict[str, Any], state: str, reason: str, world: World
) -> None:
    await world.create("box", state, **parts)
    answer = await world.ask()
    assert (answer.status_code, answer.json()["reason"]) == (502, reason)
    assert await world.generation() == 1
    assert world.pods.trespasses == 0


async def test_a_claimed_pool_member_is_woken(world: World) -> None:
    claimed = {"agents.kruise.io/sandbox-claimed": "true"}
    await world.create("box", "paused", labels=claimed, spec={"paused": True}, **_POOL)
    assert (await world.ask()).status_code == 200


# ---- what may happen while a request waits ------------------------------------------------------


async def waiting_request(world: World) -> asyncio.Task[httpx.Response]:
    """Return a request that waits for a sandbox which was told to run and has not come up."""
    generation = await world.create_paused()
    world.gates().resumes.clear()
    answer = asyncio.create_task(world.ask(method="POST", path="/echo", content=b"mine"))
    await world.waited_for("box")

    async def written() -> bool:
        return await world.generation() == generation + 1

    await soon(written, "the gateway has written its wake")
    return answer


def assert_wake_failed(answer: httpx.Response) -> None:
    assert (answer.status_code, answer.json()["reason"]) == (503, "wake_failed")
    assert int(answer.headers["Retry-After"]) >= 1


async def test_a_sandbox_that_is_deleted_meanwhile_fails_its_requests(world: World) -> None:
    answer = await waiting_request(world)
    await world.api.delete("box")
    assert_wake_failed(await answer)


async def test_a_sandbox_that_fails_meanwhile_fails_its_requests(world: World) -> None:
    answer = await waiting_request(world)
    uid = (await world.api.get("box"))["metadata"]["uid"]
    await world.api.report("box", uid, {"phase": "Failed"})
    assert_wake_failed(await answer)


async def test_a_client_that_leaves_gives_its_place_back_and_the_wake_goes_on(
    world: World,
) -> None:
    gone = world.gateway.metric("requests_total", outcome="gone", reason="")
    answer = await waiting_request(world)
    assert world.gateway.metric("wake_waiting_requests") == 1
    answer.cancel()
    await world.waited_for("box", 0)
    assert world.gateway.metric("wake_waiting_requests") == 0
    assert world.gateway.metric("wake_waiting_bytes") == 0
    assert world.gateway.metric("requests_in_flight") == 0
    assert world.gateway.metric("requests_total", outcome="gone", reason="") == gone + 1
    world.gates().resumes.set()
    await world.reaches("box", "running")
    assert world.pod().requests == []
    warm = await world.ask()
    assert warm.json()["requests"] == 1
    assert "X-Sandbox-Cold-Start" not in warm.headers


async def test_requests_join_the_wake_that_is_under_way(world: World) -> None:
    first = await waiting_request(world)
    others = [asyncio.create_task(world.ask()) for _ in range(10)]
    await world.waited_for("box", 11)
    world.gates().resumes.set()
    answers = await asyncio.gather(first, *others)
    assert {answer.status_code for answer in answers} == {200}
    assert await world.generation() == 3
    assert len(world.pod().requests) == 11


# ---- OpenKruise's own pauses --------------------------------------------------------------------


async def test_a_pause_by_its_own_controller_in_the_middle_of_use_is_undone_by_the_next_request(
    world: World,
) -> None:
    rule = {"resume": {"onIngressTraffic": {"pauseTimeout": "10m"}}}
    await world.create(spec={"autoPausePolicy": rule})
    before = world.pod()
    assert (await world.ask()).json()["pod"] == before.uid
    await world.api.patch("box", pauseTime=moment(1))
    await soon(lambda: world.controller.life("box").stage is Stage.ASLEEP, "its time has come")
    answers = await asyncio.gather(*(world.ask() for _ in range(10)))
    assert {answer.json()["pod"] for answer in answers} == {world.pod().uid}
    assert world.pod().uid != before.uid
    assert world.pods.trespasses == 0
    spec = (await world.api.get("box"))["spec"]
    assert spec["paused"] is False
    assert seconds_until(spec["pauseTime"]) > 540


# ---- its pauseTime is renewed while it is used --------------------------------------------------

_TEN_MINUTES: Any = {"autoPausePolicy": {"resume": {"onIngressTraffic": {"pauseTimeout": "10m"}}}}


@pytest.fixture(scope="module")
def renewing_gateway(
    serving: Serving, shared_programs: Programs, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """A gateway that looks after what sleeps."""
    home = tmp_path_factory.mktemp("renewing")
    with (
        serving(KruisePlatform()) as kubeconfig,
        serve(shared_programs, home, kubeconfig, "renewing", standby="true") as gateway,
    ):
        yield gateway


@pytest.fixture
async def renewed(renewing_gateway: Gateway) -> AsyncIterator[World]:
    async with World.over(renewing_gateway) as made:
        yield made


async def paused_at(world: World, at: str, name: str = "box") -> str:
    """Set when its platform pauses a sandbox that is up: coming up takes what it takes."""
    await world.api.patch(name, pauseTime=at)
    return at


async def pauses_in(world: World, name: str = "box") -> float:
    return seconds_until((await world.api.get(name))["spec"]["pauseTime"])


def postponed(world: World) -> float:
    return world.gateway.metric("pause_postponements_total", outcome="done")


async def test_a_sandbox_in_constant_use_is_not_paused_and_one_that_is_used_no_more_is(
    renewed: World,
) -> None:
    world, before = renewed, postponed(renewed)
    for name in ("unused", "box"):
        await world.create(name, spec=_TEN_MINUTES)
        await paused_at(world, moment(5), name)
    pod = world.pod().uid

    async def used_and_put_off() -> bool:
        assert (await world.ask()).json()["pod"] == pod
        return await pauses_in(world) > 500

    await soon(used_and_put_off, "the gateway has put its pause off")
    assert await world.generation() == 3
    await soon(lambda: world.controller.life("unused").stage is Stage.ASLEEP, "its time has come")
    assert world.controller.life("box").stage is Stage.READY
    # It finds the end of the use; its time counts from there already, or nearly.
    await soon(lambda: postponed(world) == before + 2, "the gateway has told the end of the use")
    await world.api.patch("box", pauseTime=moment(3))
    await soon(lambda: world.controller.life("box").stage is Stage.ASLEEP, "its time has come")
    assert (await world.ask()).status_code == 200


async def test_a_long_answer_is_not_broken_off_by_the_platforms_clock(renewed: World) -> None:
    world = renewed
    await world.create("box", spec=_TEN_MINUTES)
    pod = world.pod()
    async with (
        httpx.AsyncClient(timeout=DEADLINE) as client,
        client.stream("GET", f"{world.gateway.data}/events", headers=world.naming("box")) as answer,
    ):
        lines = answer.aiter_lines()
        assert await anext(lines) == "data: first"
        pauses_at = await paused_at(world, moment(5))
        await soon(lambda: seconds_until(pauses_at) < -1, "it would have been paused")
        pod.more.set()
        assert [line async for line in lines] == ["", "data: second", ""]
    assert world.controller.life("box").stage is Stage.READY
    assert world.pod() is pod
    assert await pauses_in(world) > 500


async def test_a_pinned_sandbox_is_not_paused_by_its_platforms_clock(renewed: World) -> None:
    world, pinned = renewed, {"sandbox-gateway.dev/pinned": "true"}
    await world.create("box", spec=_TEN_MINUTES, annotations=pinned)
    pauses_at = await paused_at(world, moment(5))
    await soon(lambda: seconds_until(pauses_at) < -1, "it would have been paused")
    assert world.controller.life("box").stage is Stage.READY
    assert await pauses_in(world) > 500
