"""The faulty API itself: each fault is what it says, and ends when it is switched off."""

from __future__ import annotations

import asyncio
import gc
import signal
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import httpx
import orjson
import pytest
import yaml
from aiohttp import web

from e2e.real.sandboxes import MERGE, NAMESPACE, SANDBOXES, create, report, said
from e2e.waiting import DEADLINE, until

from .api_proxy import Deed, FaultyApi
from .api_requests import BY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_aiohttp.plugin import AiohttpServer

    from e2e.real_api import RealApi

PAUSE: Final = {"spec": {"desiredState": "Paused"}}
#: What a client waits for of a watch that is to say nothing, in seconds.
PATIENCE: Final = 0.5


@pytest.fixture(scope="module", autouse=True)
def namespace(api: RealApi) -> None:
    """The one that sandboxes are made in."""
    api.kubectl("create", "namespace", NAMESPACE)


@pytest.fixture
def proxy(api: RealApi, home: Path) -> Iterator[FaultyApi]:
    with FaultyApi.over(api.kubeconfig, home, seed=1) as made:
        yield made


@pytest.fixture
def client(api: RealApi, proxy: FaultyApi) -> Iterator[httpx.Client]:
    with through(api, proxy) as made:
        yield made


@contextmanager
def through(api: RealApi, proxy: FaultyApi) -> Iterator[httpx.Client]:
    """Be the administrator, by way of the proxy."""
    token = yaml.safe_load(api.kubeconfig.read_text())["users"][0]["user"]["token"]
    document = yaml.safe_load(proxy.kubeconfig(token).read_text())
    headers = {"Authorization": f"Bearer {document['users'][0]['user']['token']}"}
    server = document["clusters"][0]["cluster"]["server"]
    with httpx.Client(base_url=server, headers=headers, timeout=DEADLINE) as made:
        yield made


class Watch:
    """A watch of one sandbox, through the proxy, from its version on."""

    def __init__(self, client: httpx.Client, obj: dict[str, object], silence: float) -> None:
        assert isinstance(obj["metadata"], dict)
        params = {
            "watch": "1",
            "resourceVersion": obj["metadata"]["resourceVersion"],
            "fieldSelector": f"metadata.name={obj['metadata']['name']}",
        }
        request = client.build_request("GET", SANDBOXES, params=params, timeout=DEADLINE)
        self._response = client.send(request, stream=True)
        # From now on: until a watch is open it takes what it takes.
        request.extensions["timeout"]["read"] = silence
        self.status = self._response.status_code
        self._lines = self._response.iter_lines()

    def event(self) -> tuple[str, dict[str, object]]:
        frame = orjson.loads(next(self._lines))
        return frame["type"], frame["object"]

    def close(self) -> None:
        self._response.close()


def test_without_a_fault_everything_is_as_it_is(
    client: httpx.Client, proxy: FaultyApi, admin: httpx.Client
) -> None:
    made = create(client, "plain")
    watch = Watch(client, made, DEADLINE)
    patched = said(client.patch(f"{SANDBOXES}/plain", json=PAUSE, headers=MERGE))
    assert patched == said(admin.get(f"{SANDBOXES}/plain"))
    assert watch.event() == ("MODIFIED", patched)
    watch.close()
    assert (proxy.done[Deed.PATCHED], proxy.done[Deed.WATCHED]) == (1, 1)
    nobody = httpx.get(f"{client.base_url}{SANDBOXES}")
    assert nobody.status_code == 403, "nobody's rights are lent"


def test_down_resets_what_is_open_and_refuses_what_is_new(
    client: httpx.Client, proxy: FaultyApi
) -> None:
    watch = Watch(client, create(client, "downed"), DEADLINE)
    proxy.down = True
    with pytest.raises(httpx.ReadError):
        watch.event()
    with pytest.raises(httpx.ConnectError):
        client.get(SANDBOXES)
    proxy.down = False
    assert client.get(SANDBOXES).status_code == 200


def test_delayed_answers_come_late_and_count_all_the_same(
    client: httpx.Client, proxy: FaultyApi
) -> None:
    create(client, "slow")
    proxy.delay = 1.0
    with pytest.raises(httpx.ReadTimeout):
        client.patch(f"{SANDBOXES}/slow", json=PAUSE, headers=MERGE, timeout=0.1)
    proxy.delay = 0.0
    until(lambda: proxy.done[Deed.PATCHED], "the patch is done, though nobody waits")
    proxy.delay = 0.3
    found = client.get(f"{SANDBOXES}/slow")
    assert found.elapsed.total_seconds() >= 0.3
    assert found.json()["spec"]["desiredState"] == "Paused"


def test_refusals_are_a_share_of_the_requests(client: httpx.Client, proxy: FaultyApi) -> None:
    proxy.refuse = {429: 0.3, 500: 0.2}
    answers = [client.get(SANDBOXES) for _ in range(60)]
    counted = {status: [one.status_code for one in answers].count(status) for status in (429, 500)}
    assert proxy.done[Deed.REFUSED] == sum(counted.values())
    assert 5 <= counted[429] <= 30
    assert 3 <= counted[500] <= 25
    hints = {one.headers.get("Retry-After") for one in answers if one.status_code == 429}
    assert hints == {"1"}
    proxy.refuse = {401: 1.0}
    assert client.get(SANDBOXES).json()["reason"] == "Unauthorized"


def test_faults_are_of_what_they_are_aimed_at(client: httpx.Client, proxy: FaultyApi) -> None:
    create(client, "aimed")
    proxy.aim, proxy.refuse = "/status", {503: 1.0}
    status = {"status": {"phase": "Running"}}
    refused = client.patch(f"{SANDBOXES}/aimed/status", json=status, headers=MERGE)
    assert refused.status_code == 503
    said(client.patch(f"{SANDBOXES}/aimed", json=PAUSE, headers=MERGE))


def test_what_lags_has_its_effect_later_whoever_waits_for_it(
    client: httpx.Client, proxy: FaultyApi, admin: httpx.Client
) -> None:
    before = create(client, "lagging")
    proxy.lag = 1.0
    began = time.monotonic()
    with pytest.raises(httpx.ReadTimeout):
        client.patch(f"{SANDBOXES}/lagging", json=PAUSE, headers=MERGE, timeout=0.1)
    until(
        lambda: said(admin.get(f"{SANDBOXES}/lagging"))["spec"] != before["spec"], "it is changed"
    )
    assert time.monotonic() - began >= proxy.lag


def test_conflicts_change_nothing(client: httpx.Client, proxy: FaultyApi) -> None:
    made = create(client, "contested")
    proxy.conflicts = 1.0
    answer = client.patch(f"{SANDBOXES}/contested", json=PAUSE, headers=MERGE)
    assert (answer.status_code, answer.json()["reason"]) == (409, "Conflict")
    assert said(client.get(f"{SANDBOXES}/contested"))["metadata"] == made["metadata"]


def test_a_lost_answer_is_of_a_patch_that_was_made(client: httpx.Client, proxy: FaultyApi) -> None:
    create(client, "mute")
    proxy.lost_answers = 1.0
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        client.patch(f"{SANDBOXES}/mute", json=PAUSE, headers=MERGE)
    assert said(client.get(f"{SANDBOXES}/mute"))["metadata"]["generation"] == 2
    assert (proxy.done[Deed.LOST], proxy.done[Deed.PATCHED]) == (1, 1)


def test_stalled_watches_say_nothing_and_later_all_that_they_held_back(
    client: httpx.Client, proxy: FaultyApi, admin: httpx.Client
) -> None:
    made = create(client, "stalled")
    silent = Watch(client, made, PATIENCE)
    lasting = Watch(client, made, DEADLINE)
    proxy.stalled = True
    new = Watch(client, made, PATIENCE)
    assert new.status == 200
    told = report(admin, "stalled", phase="Paused")
    for watch in (silent, new):
        with pytest.raises(httpx.ReadTimeout):
            watch.event()
        watch.close()
    assert client.get(SANDBOXES).status_code == 200
    proxy.stalled = False
    assert lasting.event() == ("MODIFIED", told)
    lasting.close()


def test_a_cut_breaks_the_watches_and_nothing_else(client: httpx.Client, proxy: FaultyApi) -> None:
    made = create(client, "cut")
    watch = Watch(client, made, DEADLINE)
    proxy.cut()
    with pytest.raises(httpx.ReadError):
        watch.event()
    assert client.get(SANDBOXES).status_code == 200
    assert proxy.done[Deed.RESET] == 1


def test_expiry_is_told_to_open_watches_and_to_new_ones(
    client: httpx.Client, proxy: FaultyApi
) -> None:
    made = create(client, "expired")
    before = Watch(client, made, DEADLINE)
    proxy.expired = True
    kind, status = before.event()
    assert (kind, status["code"]) == ("ERROR", 410)
    found = set()
    for _ in range(20):
        new = Watch(client, made, DEADLINE)
        found.add(new.status)
        if new.status == 200:
            assert new.event()[0] == "ERROR"
        new.close()
    assert found == {200, 410}
    proxy.expired = False
    assert client.get(SANDBOXES).status_code == 200


async def test_expiry_is_told_on_a_line_of_its_own(
    api: RealApi, home: Path, aiohttp_server: AiohttpServer
) -> None:
    async def half_a_frame(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b'{"type":"ADDED","object":{}}\n{"type":"MOD')
        await asyncio.sleep(DEADLINE)
        return response

    app = web.Application()
    app.router.add_get("/watched", half_a_frame)
    server = await aiohttp_server(app)
    document = yaml.safe_load(api.kubeconfig.read_text())
    document["clusters"][0]["cluster"]["server"] = str(server.make_url("")).rstrip("/")
    kubeconfig = home / "half-a-frame"
    kubeconfig.write_text(yaml.safe_dump(document))
    with FaultyApi.over(kubeconfig, home) as proxy:
        url = f"http://127.0.0.1:{proxy.port}{BY}anyone/watched?watch=1"
        async with (
            httpx.AsyncClient(timeout=DEADLINE) as client,
            client.stream("GET", url) as answer,
        ):
            lines = answer.aiter_lines()
            assert orjson.loads(await anext(lines))["type"] == "ADDED"
            await asyncio.to_thread(setattr, proxy, "expired", True)
            assert [orjson.loads(line)["type"] async for line in lines] == ["ERROR"]


def test_what_is_missing_is_as_never_installed(client: httpx.Client, proxy: FaultyApi) -> None:
    made = create(client, "missing")
    proxy.missing = True
    assert Watch(client, made, DEADLINE).status == 404
    answer = client.get(SANDBOXES)
    assert (answer.status_code, answer.text) == (404, "404 page not found\n")
    assert client.get("/api/v1/namespaces/default/events").status_code == 200
    proxy.missing = False
    assert client.get(SANDBOXES).status_code == 200


def test_it_leaves_no_connection_behind_when_the_api_hangs(api: RealApi, home: Path) -> None:
    assert api.program is not None
    try:
        with FaultyApi.over(api.kubeconfig, home) as proxy, through(api, proxy) as client:
            Watch(client, create(client, "left"), DEADLINE)
            # It would have to take note of the end, for TLS to end in order.
            api.program.signal(signal.SIGSTOP)
            proxy.cut()
    finally:
        api.program.signal(signal.SIGCONT)
    # What is open still is found now, and fails the test.
    gc.collect()
