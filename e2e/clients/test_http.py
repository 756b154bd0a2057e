"""Clients of plain HTTP: the request that wakes is answered, and the client works on as usual."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from typing import TYPE_CHECKING, Any, Final

import httpx
import httpx_sse
import pytest
import requests

from e2e.waiting import DEADLINE

from .site import PAGE, content

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from .sleepers import Sleeper

SIZE: Final = 8 * 1024 * 1024 + 7


def digest(pieces: Iterable[bytes]) -> dict[str, Any]:
    """Return what the site tells of an upload."""
    hashed, size = hashlib.sha256(), 0
    for piece in pieces:
        hashed.update(piece)
        size += len(piece)
    return {"size": size, "sha256": hashed.hexdigest()}


WHOLE: Final = digest(content(SIZE))


@pytest.fixture
def client(site: Sleeper) -> Iterator[httpx.Client]:
    """httpx: connections are kept, and for longer than a pause takes (by default: 5 s)."""
    with httpx.Client(
        base_url=site.url,
        headers=site.headers,
        timeout=DEADLINE,
        limits=httpx.Limits(keepalive_expiry=DEADLINE),
        trust_env=False,
    ) as made:
        yield made


def own_port(response: httpx.Response) -> int:
    """Return the port of the client's end of the connection that a response came on."""
    port: int = response.extensions["network_stream"].get_extra_info("client_addr")[1]
    return port


def test_httpx_keeps_its_connection_over_a_wake_and_over_a_pause(
    client: httpx.Client, site: Sleeper
) -> None:
    ports = set()
    for number in (1, 2):
        answer = client.get("/about")
        assert answer.status_code == 200
        assert answer.headers["X-Request-Number"] == str(number)
        assert ("X-Sandbox-Cold-Start" in answer.headers) == (number == 1)
        ports.add(own_port(answer))
    site.pause()
    again = client.get("/about")
    assert again.status_code == 200
    assert again.headers["X-Sandbox-Cold-Start"] == "true"
    assert ports == {own_port(again)}
    assert site.writes == 5


def test_httpx_streams_an_upload_into_a_wake_and_a_download_after_it(
    client: httpx.Client, site: Sleeper
) -> None:
    told = client.post("/digest", content=content(SIZE))
    assert told.request.headers["Transfer-Encoding"] == "chunked"
    assert told.json() == WHOLE
    with client.stream("GET", "/download", params={"size": SIZE}) as answer:
        assert digest(answer.iter_bytes()) == WHOLE
    assert (answer.headers["X-Request-Number"], site.writes) == ("2", 3)


def test_httpx_streams_a_download_out_of_a_wake(client: httpx.Client) -> None:
    with client.stream("GET", "/download", params={"size": SIZE}) as answer:
        assert answer.headers["X-Sandbox-Cold-Start"] == "true"
        assert digest(answer.iter_raw()) == WHOLE


def test_requests_wakes_uploads_and_downloads(site: Sleeper) -> None:
    with requests.Session() as session:
        session.trust_env = False
        session.headers.update(site.headers)
        posted = session.post(f"{site.url}/digest", data=content(SIZE), timeout=DEADLINE)
        assert posted.json() == WHOLE
        assert posted.headers["X-Sandbox-Cold-Start"] == "true"
        got = session.get(f"{site.url}/download?size={SIZE}", stream=True, timeout=DEADLINE)
        assert digest(got.iter_content(64 * 1024)) == WHOLE
        assert got.headers["X-Request-Number"] == "2"


def test_each_event_reaches_an_sse_client_as_it_comes(client: httpx.Client, site: Sleeper) -> None:
    with httpx_sse.connect_sse(client, "GET", "/events") as source:
        assert source.response.headers["X-Sandbox-Cold-Start"] == "true"
        events = source.iter_sse()
        for number, text in enumerate(["welcome", "first", "second"]):
            if number:  # what is published next is published only now
                assert client.post("/events", content=text).status_code == 204
            event = next(events)
            assert (event.id, event.event, event.data) == (str(number), "news", text)
        client.post("/events", content="end")
        assert list(events) == []
    assert site.writes == 3


def curl(site: Sleeper, path: str, *options: str, body: bytes = b"") -> str:
    """Return what curl prints; it sends each request once and fails if an answer is an error."""
    named = [f"{name}: {value}" for name, value in site.headers.items()]
    naming = [word for field in named for word in ("--header", field)]
    return run_curl(*naming, *options, site.url + path, body=body)


def run_curl(*options: str, body: bytes = b"") -> str:
    fixed = ["--silent", "--show-error", "--fail", "--noproxy", "*", "--max-time", f"{DEADLINE}"]
    done = subprocess.run(["curl", *fixed, *options], input=body, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def test_curl_uploads_in_chunks(site: Sleeper) -> None:
    body = b"".join(content(SIZE))
    told = curl(site, "/digest", "--request", "POST", "--upload-file", "-", body=body)
    assert json.loads(told) == WHOLE
    assert site.writes == 3


def test_curl_that_expects_100_sends_its_body_to_a_woken_sandbox_once_told_to(
    site: Sleeper, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    told = curl(
        site,
        "/digest",
        *("--header", "Expect: 100-continue", "--expect100-timeout", f"{DEADLINE}"),
        *("--data-binary", "@-", "--trace-ascii", str(trace)),
        body=b"wanted",
    )
    assert json.loads(told) == digest([b"wanted"])
    steps = re.findall(r"HTTP/1.1 100 Continue|=> Send data|HTTP/1.1 200 OK", trace.read_text())
    assert steps == ["HTTP/1.1 100 Continue", "=> Send data", "HTTP/1.1 200 OK"]


def test_curl_gets_a_range(site: Sleeper) -> None:
    whole = (PAGE / "main.mjs").read_text()
    part = curl(site, "/page/main.mjs", "--range", "10-29", "--write-out", "|%{http_code}")
    assert part == f"{whole[10:30]}|206"


def test_curl_gets_a_head_alone(site: Sleeper) -> None:
    head = curl(site, "/page/main.mjs", "--head")
    lines = head.lower().splitlines()
    assert lines[0] == "http/1.1 200 ok"
    assert f"content-length: {(PAGE / 'main.mjs').stat().st_size}" in lines
    assert "x-sandbox-cold-start: true" in lines


def test_curl_names_a_sandbox_by_its_host(site: Sleeper) -> None:
    there = f"{site.host}:127.0.0.1:{site.gateway.data_port}"
    told = run_curl("--connect-to", there, f"{site.site}/about")
    assert json.loads(told)["host"] == site.host
    assert site.writes == 3
