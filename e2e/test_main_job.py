"""The main job: a request to a paused sandbox wakes it and is answered by it, once.

Local mode, kubectl, and clients that send each request exactly once.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from .manifests import sample, websocket, write
from .programs import free_port, processes_of
from .waiting import DEADLINE, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from .gateways import Gateway
    from .kubectl import Kubectl

    Sleeper = Callable[..., None]

#: What a paused sandbox's process is: stopped by a signal (proc(5)), or not there.
ASLEEP = {"freeze": ["T"], "stop": []}

both_ways = pytest.mark.parametrize("way", ["freeze", "stop"])


@pytest.fixture
def client(local_mode: Gateway) -> Iterator[httpx.Client]:
    """A client that sends each request once."""
    transport = httpx.HTTPTransport(retries=0)
    with httpx.Client(base_url=local_mode.data, transport=transport, timeout=DEADLINE) as made:
        yield made


def named(name: str) -> dict[str, str]:
    return {"e2b-sandbox-id": f"default--{name}"}


def put_to_sleep(kubectl: Kubectl, path: Path, manifest: dict[str, Any]) -> None:
    """Apply a sandbox, see it run, and pause it."""
    name = manifest["metadata"]["name"]
    kubectl("apply", "-f", str(write(path / f"{name}.yaml", manifest)))
    kubectl.wait(name, "Running")
    kubectl.pause(name)


@both_ways
def test_one_request_wakes_a_paused_sandbox_which_answers_that_very_request(
    way: str, kubectl: Kubectl, local_mode: Gateway, client: httpx.Client, tmp_path: Path
) -> None:
    name = f"wakes-by-{way}"
    put_to_sleep(kubectl, tmp_path, sample(name, free_port(), pause=way))
    assert list(processes_of(name, kubectl.home).values()) == ASLEEP[way]
    written = local_mode.wakes_written

    answer = client.get("/", headers=named(name))

    assert answer.status_code == 200
    told = answer.json()
    assert (told["sandbox"], told["requests"]) == (name, 1)
    assert list(processes_of(name, kubectl.home)) == [told["pid"]]
    assert answer.headers["X-Sandbox-Cold-Start"] == "true"
    timing = answer.headers["Server-Timing"]
    assert re.fullmatch(r"wake;dur=[0-9]+\.[0-9], probe;dur=[0-9]+\.[0-9]", timing)
    woken = kubectl.object(name)
    # Created, paused by us, and one write of the gateway: no other touched the spec.
    assert woken["metadata"]["generation"] == 3
    assert woken["spec"]["desiredState"] == "Running"
    assert local_mode.wakes_written == written + 1
    assert until(lambda: kubectl.events(name, "Woken"), "the wake is an Event") == 1


@both_ways
def test_a_sandbox_that_is_awake_answers_without_a_wake(
    way: str, kubectl: Kubectl, local_mode: Gateway, client: httpx.Client, tmp_path: Path
) -> None:
    name = f"stays-awake-{way}"
    put_to_sleep(kubectl, tmp_path, sample(name, free_port(), pause=way))
    client.get("/", headers=named(name))
    written = local_mode.wakes_written
    answer = client.get("/", headers=named(name))
    assert answer.json()["requests"] == 2
    assert "X-Sandbox-Cold-Start" not in answer.headers
    assert "Server-Timing" not in answer.headers
    assert local_mode.wakes_written == written


@both_ways
def test_a_body_goes_through_a_wake_once_and_whole(
    way: str, kubectl: Kubectl, client: httpx.Client, tmp_path: Path
) -> None:
    name = f"body-by-{way}"
    put_to_sleep(kubectl, tmp_path, sample(name, free_port(), pause=way))
    body = bytes(range(256)) * 4096
    answer = client.post("/echo", headers=named(name), content=body)
    assert answer.status_code == 200
    assert answer.content == body
    assert answer.headers["X-Sandbox-Cold-Start"] == "true"
    assert client.get("/", headers=named(name)).json()["requests"] == 2


def test_a_chunked_body_goes_through_a_wake(
    kubectl: Kubectl, client: httpx.Client, tmp_path: Path
) -> None:
    put_to_sleep(kubectl, tmp_path, sample("chunks", free_port()))
    chunks = [b"chunk %d;" % number for number in range(1000)]
    answer = client.post("/echo", headers=named("chunks"), content=iter(chunks))
    assert answer.content == b"".join(chunks)


@both_ways
def test_server_sent_events_come_through_a_wake(
    way: str, kubectl: Kubectl, client: httpx.Client, tmp_path: Path
) -> None:
    name = f"events-by-{way}"
    put_to_sleep(kubectl, tmp_path, sample(name, free_port(), pause=way))
    with client.stream("GET", "/events", headers=named(name)) as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        assert answer.headers["X-Sandbox-Cold-Start"] == "true"
        told = [line for line in answer.iter_lines() if line.startswith("data:")]
    assert told == ["data: event 1", "data: event 2", "data: event 3"]


@both_ways
def test_a_websocket_handshake_wakes_a_sandbox(
    way: str, kubectl: Kubectl, local_mode: Gateway, tmp_path: Path
) -> None:
    name = f"websocket-by-{way}"
    put_to_sleep(kubectl, tmp_path, websocket(name, free_port(), pause=way))
    written = local_mode.wakes_written
    with connect(
        local_mode.data.replace("http", "ws"),
        additional_headers=named(name),
        open_timeout=DEADLINE,
        proxy=None,
    ) as tunnel:
        assert tunnel.response is not None
        assert tunnel.response.headers["X-Sandbox-Cold-Start"] == "true"
        for message in ("text", b"\x00binary\xff", "x" * 200_000):
            tunnel.send(message)
            assert tunnel.recv(DEADLINE) == message
        tunnel.send("bye")
        with pytest.raises(ConnectionClosed) as closed:
            tunnel.recv(DEADLINE)
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4001, "as asked")
    assert local_mode.wakes_written == written + 1


def test_a_sandbox_that_traffic_may_not_wake_sleeps_on(
    kubectl: Kubectl, client: httpx.Client, tmp_path: Path
) -> None:
    manifest = sample("sleeps-on", free_port(), wakeOnTraffic={"enabled": False})
    put_to_sleep(kubectl, tmp_path, manifest)
    answer = client.get("/", headers=named("sleeps-on"))
    assert answer.status_code == 502
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["reason"] == "sandbox_not_wakeable"
    still = kubectl.object("sleeps-on")
    assert (still["metadata"]["generation"], still["status"]["phase"]) == (2, "Paused")


def test_a_sandbox_is_woken_as_often_as_it_is_paused(
    kubectl: Kubectl, client: httpx.Client, tmp_path: Path
) -> None:
    put_to_sleep(kubectl, tmp_path, sample("again", free_port()))
    assert client.get("/", headers=named("again")).json()["requests"] == 1
    kubectl.pause("again")
    answer = client.get("/", headers=named("again"))
    # Frozen and not stopped: it is the same process, and it counts on.
    assert answer.json()["requests"] == 2
    assert answer.headers["X-Sandbox-Cold-Start"] == "true"
    assert kubectl.object("again")["metadata"]["generation"] == 5


@pytest.mark.parametrize(
    "headers",
    [{"e2b-sandbox-id": "default--by-names"}, {"X-Sandbox-ID": "by-names"}],
    ids=["e2b", "agent-sandbox"],
)
def test_every_way_of_naming_it_wakes_a_sandbox(
    headers: dict[str, str], kubectl: Kubectl, client: httpx.Client, tmp_path: Path
) -> None:
    put_to_sleep(kubectl, tmp_path, sample("by-names", free_port()))
    answer = client.get("/", headers=headers)
    assert answer.json()["sandbox"] == "by-names"
    assert answer.headers["X-Sandbox-Cold-Start"] == "true"
