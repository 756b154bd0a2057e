"""Who is let in: over raw sockets, as an attacker would come."""

from __future__ import annotations

import asyncio
import base64

import pytest

from gateway.local.api import EmbeddedApi, ObjectStore
from gateway.local.api.guard import is_loopback_authority

from .support import BASE, TOKEN


async def status_of(api: EmbeddedApi, head: str) -> int:
    host, port = api.address.removeprefix("http://").rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    writer.write(head.replace("\n", "\r\n").encode() + b"\r\n\r\n")
    async with asyncio.timeout(5):
        line = await reader.readline()
    writer.close()
    await writer.wait_closed()
    return int(line.split()[1])


AUTH = f"Authorization: Bearer {TOKEN}"
PATHS = ["/version", "/readyz", "/livez", "/openapi/v3", "/nothing", f"{BASE}/sandboxes"]


@pytest.mark.parametrize("path", PATHS)
async def test_nothing_is_answered_without_the_token(api: EmbeddedApi, path: str) -> None:
    assert await status_of(api, f"GET {path} HTTP/1.1\nHost: localhost") == 401
    answer = await status_of(api, f"GET {path} HTTP/1.1\nHost: localhost\n{AUTH}")
    assert answer == (404 if path == "/nothing" else 200)


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize(
    ("value", "status"),
    [
        (f"Bearer {TOKEN}", 200),
        (f"bearer  {TOKEN}", 200),
        (basic("anyone", TOKEN), 200),
        (f"Bearer {TOKEN}x", 401),
        (f"Bearer {TOKEN[:-1]}", 401),
        ("Bearer", 401),
        ("Bearer ", 401),
        (TOKEN, 401),
        (f"Token {TOKEN}", 401),
        (basic(TOKEN, ""), 401),
        ("Basic %%%", 401),
        ("Basic", 401),
        ("Bearer \u00fc", 401),
        (f"Bearer {TOKEN}\nAuthorization: Bearer x", 401),
    ],
)
async def test_only_the_token_opens(api: EmbeddedApi, value: str, status: int) -> None:
    head = f"GET /version HTTP/1.1\nHost: localhost\nAuthorization: {value}"
    assert await status_of(api, head) == status


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:1", "127.0.0.1", "127.9.8.7:65535", "[::1]", "[::1]:80"],
)
async def test_a_loopback_host_is_let_in(api: EmbeddedApi, host: str) -> None:
    assert await status_of(api, f"GET /version HTTP/1.1\nHost: {host}\n{AUTH}") == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "10.0.0.1",
        "0.0.0.0",
        "[::]",
        "[::ffff:10.0.0.1]",
        "169.254.169.254",
        "localhost:x",
        "user@localhost",
        "localhost/x",
        "",
    ],
)
async def test_another_host_is_refused_even_with_the_token(api: EmbeddedApi, host: str) -> None:
    answer = await status_of(api, f"GET /version HTTP/1.1\nHost: {host}\n{AUTH}")
    assert answer in (400, 403)
    assert not is_loopback_authority(host)


@pytest.mark.parametrize("origin", ["http://localhost", "https://evil.example", "null", ""])
async def test_a_web_page_is_refused_even_with_the_token(api: EmbeddedApi, origin: str) -> None:
    head = f"GET /version HTTP/1.1\nHost: localhost\nOrigin: {origin}\n{AUTH}"
    assert await status_of(api, head) == 403
    preflight = f"OPTIONS /version HTTP/1.1\nHost: localhost\nOrigin: {origin}"
    assert await status_of(api, preflight) == 403


async def test_a_target_with_an_authority_of_its_own_is_refused(api: EmbeddedApi) -> None:
    head = f"GET http://evil.example/version HTTP/1.1\nHost: localhost\n{AUTH}"
    assert await status_of(api, head) in (400, 403)


async def test_no_or_two_hosts_are_refused(api: EmbeddedApi) -> None:
    assert await status_of(api, f"GET /version HTTP/1.1\n{AUTH}") in (400, 403)
    head = f"GET /version HTTP/1.1\nHost: localhost\nHost: localhost\n{AUTH}"
    assert await status_of(api, head) in (400, 403)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.com", ""])
async def test_it_listens_on_loopback_only(store: ObjectStore, host: str) -> None:
    api = EmbeddedApi(store, TOKEN)
    with pytest.raises(ValueError, match="loopback"):
        await api.start(host, 0)
    await api.stop()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.2", "::1"])
async def test_any_loopback_address_will_do(store: ObjectStore, host: str) -> None:
    api = EmbeddedApi(store, TOKEN)
    await api.start(host)
    try:
        authority = api.address.removeprefix("http://")
        head = f"GET /version HTTP/1.1\nHost: {authority}\n{AUTH}"
        assert await status_of(api, head) == 200
    finally:
        await api.stop()


async def test_a_taken_port_is_an_error_that_leaves_nothing(
    api: EmbeddedApi, store: ObjectStore
) -> None:
    assert api.address.endswith(f":{api.port}")
    second = EmbeddedApi(store, TOKEN)
    with pytest.raises(OSError, match="in use"):
        await second.start("127.0.0.1", api.port)
    await second.stop()


def test_an_empty_token_is_refused(store: ObjectStore) -> None:
    with pytest.raises(ValueError, match="token"):
        EmbeddedApi(store, "")
