"""Credentials: who has none learns nothing, and wakes nobody; keys change under traffic."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from .gateways import Gateway, start_serve
from .identity import ISSUER, Provider, claims, key_set, public, token
from .programs import PROGRAM, environment
from .waiting import DEADLINE, soon
from .world import World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from .programs import Programs

TOKEN = "a-token-of-one-sandbox"


@pytest.fixture(scope="module")
def guarded(
    local_mode: Gateway, tmp_path_factory: pytest.TempPathFactory, shared_programs: Programs
) -> Iterator[Gateway]:
    """A second gateway over the same sandboxes, which asks for access tokens."""
    home = tmp_path_factory.mktemp("guarded")
    gateway = start_serve(
        shared_programs, home, local_mode.kubeconfig, "guarded", auth_mode="access-token"
    )
    gateway.wait_ready()
    yield gateway
    gateway.program.end()


@pytest.fixture
async def world(guarded: Gateway) -> AsyncIterator[World]:
    async with World.over(guarded) as made:
        await made.create_paused(annotations={"agents.kruise.io/runtime-access-token": TOKEN})
        yield made


@pytest.mark.parametrize(
    "headers",
    [{}, {"X-Access-Token": "wrong"}, {"X-Access-Token": ""}, {"Authorization": f"Bearer {TOKEN}"}],
    ids=["none", "wrong", "empty", "in another header"],
)
async def test_without_its_token_a_sandbox_sleeps_on_and_is_not_even_admitted_to_exist(
    headers: dict[str, str], world: World
) -> None:
    generation = await world.generation()
    known = await world.ask("box", headers=headers)
    unknown = await world.ask("nobody", headers=headers)
    assert known.status_code == 401
    assert known.json()["reason"] == "unauthenticated"
    assert unknown.status_code == known.status_code
    assert unknown.content == known.content
    assert unknown.headers.raw == known.headers.raw
    assert await world.generation() == generation
    assert world.gateway.state_of(world.namespace, "box") == "paused"


async def test_its_token_wakes_a_sandbox_and_is_passed_on_to_it(world: World) -> None:
    answer = await world.ask(headers={"X-Access-Token": TOKEN})
    assert answer.status_code == 200
    assert answer.headers["X-Sandbox-Cold-Start"] == "true"
    seen = world.pod().requests[0].headers
    assert seen.getall("X-Access-Token") == [TOKEN]


async def test_the_token_of_one_sandbox_opens_no_other(world: World) -> None:
    digest = hashlib.sha256(b"another").hexdigest()
    annotations = {"sandbox-gateway.dev/access-token-sha256": digest}
    generation = await world.create_paused("other", annotations=annotations)
    refused = await world.ask("other", headers={"X-Access-Token": TOKEN})
    assert refused.status_code == 401
    assert await world.generation("other") == generation
    admitted = await world.ask("other", headers={"X-Access-Token": "another"})
    assert admitted.status_code == 200


async def test_a_sandbox_without_a_token_is_open_to_nobody(world: World) -> None:
    generation = await world.create_paused("bare")
    assert (await world.ask("bare")).status_code == 401
    assert (await world.ask("bare", headers={"X-Access-Token": ""})).status_code == 401
    assert await world.generation("bare") == generation


# ---- keys that change under traffic --------------------------------------------------------------


def traffic_token(shown: str) -> dict[str, str]:
    return {"E2b-Traffic-Access-Token": shown}


@asynccontextmanager
async def traffic(world: World, shown: Callable[[], str]) -> AsyncIterator[list[int]]:
    """Send one request after the other, with the token of the moment; give their statuses."""
    statuses: list[int] = []

    async def ask_on() -> None:
        async with httpx.AsyncClient(timeout=DEADLINE) as client:
            while True:
                headers = world.naming("box") | traffic_token(shown())
                statuses.append((await client.get(world.gateway.data, headers=headers)).status_code)

    task = asyncio.create_task(ask_on())
    try:
        yield statuses
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def passed(statuses: list[int], count: int = 20) -> None:
    """Return once so many more requests were answered, each by the sandbox."""
    enough = len(statuses) + count
    await soon(lambda: len(statuses) >= enough, "requests are answered")
    assert set(statuses) == {200}


def mint(home: Path, *arguments: str) -> str:
    """Run `sandbox-gateway mint`; return what it prints."""
    done = subprocess.run(
        [PROGRAM, "mint", *arguments],
        env=environment(home),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.rstrip("\n")


def replace_file(file: Path, content: str) -> None:
    """Write a file as a program that changes a mounted Secret does: whole, or not at all."""
    new = file.with_name("new")
    new.write_text(content + "\n")
    new.rename(file)


async def test_the_keys_of_scoped_tokens_change_without_a_request_lost(
    local_mode: Gateway, programs: Programs, home: Path
) -> None:
    file = home / "keys"
    first, second = (mint(home, "--new-key", key_id) for key_id in ("k1", "k2"))
    file.write_text(first)
    gateway = start_serve(
        programs,
        home,
        local_mode.kubeconfig,
        auth_mode="scoped-token",
        scoped_token_keys_file=str(file),
    )
    gateway.wait_ready()

    async def reloaded(outcome: str, count: int) -> None:
        labels = {"file": "scoped_token_keys_file", "outcome": outcome}
        await soon(
            lambda: gateway.metric("reloads_total", **labels) == count, f"{count} are {outcome}"
        )

    async with World.over(gateway) as world:
        generation = await world.create_paused()
        about = (f"{world.namespace}/box", "--keys-file", str(file))
        cluster = ("--kubeconfig", str(local_mode.kubeconfig))
        for bad in ("v1.e30.AAAA", mint(home, *about, "--uid", "another")):
            assert (await world.ask(headers=traffic_token(bad))).status_code in (401, 403)
        assert await world.generation() == generation

        by_first = shown = mint(home, *about, *cluster)
        woken = await world.ask(headers=traffic_token(by_first))
        assert woken.headers["X-Sandbox-Cold-Start"] == "true"
        async with traffic(world, lambda: shown) as statuses:
            await passed(statuses)
            replace_file(file, f"{first}\n{second}")
            await reloaded("loaded", 1)
            shown = mint(home, *about, *cluster, "--key-id", "k2")
            await passed(statuses)
            replace_file(file, "k3:broken")
            await reloaded("failed", 1)
            await passed(statuses)
            replace_file(file, second)
            await reloaded("loaded", 2)
            await passed(statuses)
        assert (await world.ask(headers=traffic_token(by_first))).status_code == 401
        seen = [request.headers for request in world.pod().requests]
        assert not any("E2b-Traffic-Access-Token" in headers for headers in seen)
    assert "v1." not in gateway.program.output + gateway.program.errors


async def test_jwts_by_keys_that_change_and_a_provider_that_comes_and_goes(
    local_mode: Gateway, programs: Programs, home: Path
) -> None:
    async with Provider(key_set(public("k1"))) as provider:
        gateway = start_serve(
            programs,
            home,
            local_mode.kubeconfig,
            auth_mode="jwt",
            jwt_jwks=provider.url,
            jwt_issuer=ISSUER,
            jwt_refresh_interval="500ms",
            # Much longer than a busy machine makes anybody wait for keys.
            jwt_max_age="10s",
        )
        await asyncio.to_thread(gateway.wait_ready)
        async with World.over(gateway) as world:
            generation = await world.create_paused()
            uid = (await world.api.get("box"))["metadata"]["uid"]

            def signed(kid: str = "k1", algorithm: str = "ES256", **changes: Any) -> str:
                said = claims(f"{world.namespace}--box", uid, time.time(), **changes)
                return token(said, kid, algorithm).decode()

            for bad in (signed(exp=1), signed(kid="k9"), "a.b.c"):
                assert (await world.ask(headers=traffic_token(bad))).status_code == 401
                assert (await world.ask("nobody", headers=traffic_token(bad))).status_code == 401
            assert await world.generation() == generation

            shown = signed()
            assert (await world.ask(headers=traffic_token(shown))).status_code == 200
            bearer = await world.ask(headers={"Authorization": f"Bearer {shown}"})
            assert bearer.status_code == 200
            async with traffic(world, lambda: shown) as statuses:
                await passed(statuses)
                provider.published = key_set(public("k1"), public("k2", "RS256"))
                new = signed("k2", "RS256")
                await soon(lambda: _is(world, new, 200), "the new key is known")
                shown = new
                await passed(statuses)
                provider.published = key_set(public("k2", "RS256"))
                await soon(lambda: _is(world, signed(), 401), "the old key is not")
                await passed(statuses)
                await provider.stop()
                await soon(lambda: 503 in statuses, "keys are too old")
            refused = await world.ask(headers=traffic_token(shown))
            assert (refused.status_code, refused.json()["reason"]) == (503, "auth_unavailable")
            assert int(refused.headers["Retry-After"]) >= 1
            assert gateway.metric("jwks_fetches_total", outcome="failed") > 0
            await provider.start()
            await soon(lambda: _is(world, shown, 200), "the provider is asked again")
            seen = [request.headers for request in world.pod().requests]
            assert not any("Authorization" in headers for headers in seen)
        assert gateway.program.end() == 0
    written = gateway.program.output + gateway.program.errors
    assert "Traceback" not in written
    assert shown.split(".")[1] not in written


async def _is(world: World, shown: str, status: int) -> bool:
    return (await world.ask(headers=traffic_token(shown))).status_code == status


# ---- browsers ------------------------------------------------------------------------------------


async def test_a_browser_comes_in_by_a_link_and_the_link_is_worth_nothing_after_it(
    local_mode: Gateway, programs: Programs, home: Path
) -> None:
    gateway = start_serve(
        programs,
        home,
        local_mode.kubeconfig,
        auth_mode="access-token",
        host_suffixes="boxes.test",
        browser_login="true",
    )
    gateway.wait_ready()
    async with World.over(gateway) as world:
        annotations = {"agents.kruise.io/runtime-access-token": TOKEN}
        generation = await world.create_paused(annotations=annotations)
        host = {"Host": f"{world.pods.port}-{world.namespace}--box.boxes.test"}
        async with httpx.AsyncClient(base_url=gateway.data, timeout=DEADLINE) as browser:
            for bad in ("/?sandbox_token=wrong", "/"):
                assert (await browser.get(bad, headers=host)).status_code == 401
            entered = await browser.get(f"/page?a=1&sandbox_token={TOKEN}", headers=host)
            assert (entered.status_code, entered.headers["Location"]) == (303, "/page?a=1")
            assert await world.generation() == generation
            cookie = entered.headers["Set-Cookie"].partition(";")[0]
            browser.cookies.clear()
            headers = host | {"Cookie": f"mine=1; {cookie}"}
            page = await browser.get(entered.headers["Location"], headers=headers)
            assert (page.status_code, page.headers["X-Sandbox-Cold-Start"]) == (200, "true")
            neighbour = headers | {"Origin": "http://80-other.boxes.test"}
            assert (await browser.post("/page", headers=neighbour)).status_code == 403
        (seen,) = world.pod().requests
        assert seen.headers.getall("Cookie") == ["mine=1"]
        assert seen.path_qs == "/page?a=1"
        assert "X-Access-Token" not in seen.headers
    assert TOKEN not in gateway.program.output + gateway.program.errors
