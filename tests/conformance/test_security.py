"""Who and what may be reached (lines 52 to 56)."""

from __future__ import annotations

import ipaddress
import time

import pytest

from gateway.auth.access import AccessTokens
from gateway.auth.scoped import ScopedTokens, mint
from gateway.proxy.target import TargetConfig
from gateway.sandbox.model import Credential, State
from gateway.upstream.addresses import AddressGuard

from .harness import gateway
from .sandboxes import key_of
from .upstream import ECHO, always
from .wire import ok

# ---- 52 ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "port",
    ["0", "65536", "80@x", "-1", "+80", "0x50", "8 0", "", "80,81", "٨٠", "¹", "99999999999"],
)
async def test_52_a_port_that_is_none_is_400_in_every_scheme(port: str) -> None:
    """Plain ASCII digits from 1 to 65535, and nothing is dialled otherwise."""
    async with gateway(ECHO, targets=TargetConfig(host_suffixes=("s.example",))) as (gw, upstream):
        raw = port.encode()
        by_header = gw.get("/").replace(b"Port: %d" % gw.port, b"Port: %b" % raw)
        by_agent = b"GET / HTTP/1.1\r\nHost: a\r\nX-Sandbox-Id: box\r\nX-Sandbox-Port: %b\r\n\r\n"
        by_host = b"GET / HTTP/1.1\r\nHost: %b-box.s.example\r\n\r\n" % raw
        by_path = b"GET /kruise/box/%b/ HTTP/1.1\r\nHost: a\r\n\r\n" % raw.replace(b" ", b"%20")
        for request in (by_header, by_agent % raw, by_host, by_path):
            response = await gw.ask(request)
            assert response.status == 400
            assert response.reason in {"invalid_target", "bad_request"}
        assert upstream.legs == []


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.1.2.3",
        "0.0.0.0",
        "169.254.169.254",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "2002:7f00:1::",
        "64:ff9b::7f00:1",
        "::127.0.0.1",
        "fe80::1%lo",
        "localhost",
        "127.0.0.1:80",
        "0x7f000001",
        "2130706433",
        "",
    ],
)
async def test_52_an_address_that_no_sandbox_can_have_is_never_dialled(address: str) -> None:
    """An API object names it: that is not enough to make the gateway a way to its own node."""
    route = {"address": address}
    async with gateway(ECHO, guard=AddressGuard(), route=route) as (gw, upstream):
        response = await gw.ask(gw.get("/"))
        assert (response.status, response.reason) == (502, "sandbox_unreachable")
        assert upstream.legs == []
        assert gw.number("upstream_dial_failures_total", cause="address") == 1


async def test_52_the_gateways_own_addresses_can_be_denied() -> None:
    """What the deployment denies is refused like the built-in ones."""
    guard = AddressGuard(deny=(ipaddress.ip_network("10.9.8.7/32"),))
    async with gateway(ECHO, guard=guard, route={"address": "10.9.8.7"}) as (gw, _):
        assert (await gw.ask(gw.get("/"))).status == 502
        assert gw.number("upstream_dial_failures_total", cause="address") == 1


async def test_52_clients_name_no_addresses() -> None:
    """`X-Sandbox-Pod-IP` is taken out, not obeyed."""
    async with gateway(ECHO) as (gw, upstream):
        assert (await gw.ask(gw.get("/", "X-Sandbox-Pod-IP: 10.0.0.1"))).status == 200
        assert not upstream.requests[0].has("x-sandbox-pod-ip")


async def test_52_a_port_that_the_sandbox_does_not_allow_is_403() -> None:
    """Before anything is woken for it."""
    route = {"ports": frozenset({1})}
    async with gateway(ECHO, state=State.PAUSED, route=route) as (gw, upstream):
        response = await gw.ask(gw.get("/"))
        assert (response.status, response.reason) == (403, "forbidden")
        assert gw.sandboxes.patches == []
        assert upstream.legs == []


async def test_52_a_port_that_is_the_gateways_alone_is_403_whatever_the_sandbox_allows() -> None:
    """Such as that of informants. Nothing is woken for it, and nothing dialled."""
    closed = frozenset({10301})
    for state in (State.PAUSED, State.RUNNING):
        async with gateway(ECHO, state=state, closed_ports=closed) as (gw, upstream):
            response = await gw.ask(gw.get("/", port=10301))
            assert (response.status, response.reason) == (403, "forbidden")
            assert gw.sandboxes.patches == []
            assert upstream.legs == []


# ---- 53 ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_53_a_redirect_is_relayed_and_never_followed(status: int) -> None:
    """RFC 9110 §15.4: it is the client's."""
    head = b"HTTP/1.1 %d Moved\r\nLocation: http://169.254.169.254/\r\n" % status
    async with gateway(always(head + b"Content-Length: 0\r\n\r\n")) as (gw, upstream):
        response = await gw.ask(gw.get("/"))
        assert response.status == status
        assert response.one("location") == b"http://169.254.169.254/"
        assert len(upstream.requests) == 1


async def test_53_cookies_of_one_client_are_not_sent_for_another() -> None:
    """RFC 6265: the gateway is no user agent and keeps no jar."""
    async with gateway(always(ok(b"ok", "Set-Cookie: session=1"))) as (gw, upstream):
        client = await gw.client()
        for _ in range(2):
            await client.send(gw.get("/"))
            await client.response()
        assert not any(one.has("cookie") for one in upstream.requests)


# ---- 54 ----------------------------------------------------------------------------------------

SECRET = b"s" * 32
KEYS = {"k1": SECRET}


def token(
    name: str = "box", uid: str = "uid-box", lifetime: float = 60.0, secret: bytes = SECRET
) -> str:
    return mint(key_of(name), uid, time.time() + lifetime, "k1", secret).decode()


def bent() -> dict[str, str]:
    """Return tokens that are none, by what is wrong with them."""
    good = token()
    version, payload, signature = good.split(".")
    return {
        "empty": "",
        "unversioned": f"{payload}.{signature}",
        "of another version": f"v2.{payload}.{signature}",
        "unsigned": f"{version}.{payload}.",
        "cut": good[:-1],
        "longer": good + "A",
        "padded": good + "=",
        "of another payload": f"{version}.{payload[:-2]}AA.{signature}",
        "no base64": f"{version}.{payload}.{'*' * len(signature)}",
        "signed by another": token(secret=b"t" * 32),
        "expired": token(lifetime=-10.0),
        "exactly expired": token(lifetime=0.0),
        "huge": good + "A" * 10_000,
        "for nobody": "v1.e30.AAAA",
    }


@pytest.mark.parametrize("fault", sorted(bent()))
async def test_54_a_token_that_is_none_is_401_and_wakes_nothing(fault: str) -> None:
    """RFC 9110 §15.5.2. In either field that may carry it."""
    auth = ScopedTokens(KEYS)
    async with gateway(ECHO, state=State.PAUSED, authenticator=auth) as (gw, _):
        bad = bent()[fault]
        for field in (f"E2b-Traffic-Access-Token: {bad}", f"Authorization: Bearer {bad}"):
            response = await gw.ask(gw.get("/", field))
            assert (response.status, response.reason) == (401, "unauthenticated"), field
            assert response.has("www-authenticate")
        assert gw.sandboxes.patches == []


async def test_54_a_token_for_another_sandbox_is_403() -> None:
    """RFC 9110 §15.5.4: by name and by uid: a token does not outlive its sandbox's namesake."""
    auth = ScopedTokens(KEYS)
    async with gateway(ECHO, state=State.PAUSED, authenticator=auth) as (gw, upstream):
        gw.sandboxes.add("other", State.PAUSED)
        own = f"E2b-Traffic-Access-Token: {token()}"
        for request in (
            gw.get("/", own, to="other"),
            gw.get("/", own, to="nobody"),
            gw.get("/", f"E2b-Traffic-Access-Token: {token(uid='uid-before')}"),
        ):
            response = await gw.ask(request)
            assert (response.status, response.reason) == (403, "forbidden")
        assert gw.sandboxes.patches == []
        assert (await gw.ask(gw.get("/mine", own))).body == b"GET /mine "
        assert b"v1." not in upstream.received


async def test_54_two_tokens_in_one_request_are_401() -> None:
    """Which of the two would count is not to be guessed (own rule)."""
    async with gateway(ECHO, authenticator=ScopedTokens(KEYS)) as (gw, _):
        field = f"E2b-Traffic-Access-Token: {token()}"
        assert (await gw.ask(gw.get("/", field, field))).status == 401


@pytest.mark.parametrize("to", ["box", "tokenless", "nobody"])
async def test_54_a_bad_access_token_tells_nothing_of_what_exists(to: str) -> None:
    """A sandbox, one without a token and none at all answer alike, byte for byte (own rule)."""
    route = {"credential": Credential(token="right")}
    async with gateway(ECHO, authenticator=AccessTokens(), route=route) as (gw, upstream):
        gw.sandboxes.add("tokenless", State.RUNNING)
        expected = await gw.ask(gw.get("/", "X-Access-Token: wrong"))
        for fields in (["X-Access-Token: wrong"], [], ["X-Access-Token: "]):
            response = await gw.ask(gw.get("/", *fields, to=to))
            assert response.status == 401
            assert (response.fields, response.body) == (expected.fields, expected.body)
        assert upstream.received == b""


# ---- 56 ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/metrics", "/readyz", "/api/v1/sandboxes", "/dashboard", "/healthz/../metrics", "/"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_56_nothing_of_the_admin_port_is_on_the_data_port(method: str, path: str) -> None:
    """What names no sandbox is 400, except `/healthz` and `OPTIONS *`."""
    async with gateway(ECHO) as (gw, upstream):
        request = f"{method} {path} HTTP/1.1\r\nHost: gateway.example\r\nContent-Length: 0\r\n\r\n"
        response = await gw.ask(request.encode())
        assert (response.status, response.reason) == (400, "invalid_target")
        assert upstream.legs == []
