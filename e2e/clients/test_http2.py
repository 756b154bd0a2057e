"""HTTP/2 and TLS end at Envoy, and what they carry wakes sandboxes and is answered."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx
import httpx_sse
import pytest

from e2e.waiting import DEADLINE

from .envoy import Envoy, start_envoy
from .site import content
from .test_browser import page_works
from .test_http import SIZE, WHOLE, digest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from e2e.gateways import Gateway
    from e2e.programs import Programs

    from .browser import Browser
    from .sleepers import Sleeper

STREAMS = 50


@pytest.fixture
def envoy(programs: Programs, tmp_path: Path, local_mode: Gateway) -> Envoy:
    return start_envoy(programs, tmp_path, local_mode)


@pytest.fixture
async def client(envoy: Envoy, site: Sleeper) -> AsyncIterator[httpx.AsyncClient]:
    """A client that has nothing but HTTP/2."""
    async with httpx.AsyncClient(
        http1=False,
        http2=True,
        base_url=envoy.url,
        headers={"Host": envoy.host(site)},
        verify=envoy.trust,
        timeout=DEADLINE,
        trust_env=False,
    ) as made:
        yield made


async def test_many_streams_of_one_connection_wait_for_one_wake(
    client: httpx.AsyncClient, envoy: Envoy, site: Sleeper
) -> None:
    answers = await asyncio.gather(*(client.get("/about") for _ in range(STREAMS)))
    assert {(answer.status_code, answer.http_version) for answer in answers} == {(200, "HTTP/2")}
    numbers = {int(answer.headers["X-Request-Number"]) for answer in answers}
    assert numbers == set(range(1, STREAMS + 1))
    assert any("X-Sandbox-Cold-Start" in answer.headers for answer in answers)
    told = answers[0].json()
    assert (told["host"], told["proto"]) == (envoy.host(site), "https")
    assert site.writes == 3


async def test_bodies_and_events_stream_over_http2(
    client: httpx.AsyncClient, site: Sleeper
) -> None:
    async def upload() -> AsyncIterator[bytes]:
        for piece in content(SIZE):
            yield piece

    assert (await client.post("/digest", content=upload())).json() == WHOLE
    async with client.stream("GET", "/download", params={"size": SIZE}) as answer:
        assert digest([piece async for piece in answer.aiter_bytes()]) == WHOLE
    async with httpx_sse.aconnect_sse(client, "GET", "/events") as source:
        events = source.aiter_sse()
        assert (await anext(events)).data == "welcome"
        await client.post("/events", content="now")
        assert (await anext(events)).data == "now"
    assert site.writes == 3


def test_a_page_over_http2_that_woke_its_sandbox_works(
    envoy: Envoy, site: Sleeper, browser: Browser
) -> None:
    browser.open(f"https://{envoy.host(site)}/")
    page_works(browser, envoy.host(site))
    protocols = "performance.getEntries().map(entry => entry.nextHopProtocol).filter(Boolean)"
    assert set(browser.evaluate(protocols)) == {"h2"}
    assert site.writes == 3
