"""JWTs, browsers' cookies and what both give away: nothing (lines 24, 54 and 55)."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from e2e.identity import ISSUER, Provider, key_set, public
from gateway.auth.access import AccessTokens
from gateway.auth.jwt import JwtRules, JwtTokens
from gateway.auth.key_store import Freshness
from gateway.auth.scoped import ScopedTokens, mint
from gateway.proxy.cookies import PLAIN, SECURE
from gateway.proxy.login import Login
from gateway.proxy.target import TargetConfig
from gateway.sandbox.model import Credential, State
from tests.auth.jwts import claims, running, store, token
from tests.auth.tokens import encode

from .harness import Gateway, eventually, gateway
from .sandboxes import key_of
from .upstream import ECHO, Leg, always
from .wire import ok

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.auth.authenticator import TokenAuthenticator

    from .upstream import Upstream
    from .wire import Message

OFTEN = Freshness(refresh=1e6, max_age=1e6, pause=0.0)


def jwt(box: str = "box", uid: str | None = None, **changes: Any) -> bytes:
    """Return a good token for a sandbox of the harness, changed as told."""
    header = {name: changes.pop(name) for name in ("kid", "algorithm") if name in changes}
    return token(claims(box, uid or f"uid-{box}", time.time(), **changes), **header)


def field(shown: bytes) -> str:
    return f"E2b-Traffic-Access-Token: {shown.decode('latin-1')}"


@asynccontextmanager
async def provider(
    freshness: Freshness = OFTEN, *, up: bool = True
) -> AsyncIterator[tuple[Provider, JwtTokens]]:
    """Run an identity provider, and give who judges by its keys."""
    made = Provider(key_set(public("k1"), public("k2", "RS256")))
    if up:
        await made.start()
    try:
        async with running(store(made, freshness)) as keys:
            yield made, JwtTokens(JwtRules(ISSUER, leeway=1.0), keys)
    finally:
        await made.stop()


def answer(response: Message) -> tuple[bytes, list[tuple[bytes, bytes]], bytes]:
    """Return all of a response."""
    return response.start, response.fields, response.body


# ---- 54: JWTs ----------------------------------------------------------------------------------


def bent() -> dict[str, bytes]:
    """Return tokens that are none, by what is wrong with them."""
    good = jwt()
    header, payload, signature = good.split(b".")
    return {
        "empty": b"",
        "malformed": b"a.b.c",
        "cut": good[:-1],
        "of another payload": b".".join((header, payload[:-2] + b"AA", signature)),
        "expired": jwt(exp=int(time.time()) - 10),
        "exactly expired": jwt(exp=int(time.time()) - 1),
        "of no algorithm": b".".join((encode(b'{"alg":"none","kid":"k1"}'), payload, b"")),
        "by the public key as a secret": encode(b'{"alg":"HS256","kid":"k1"}')
        + b"."
        + payload
        + b"."
        + signature,
        "of an unknown key": jwt(kid="k9"),
        "without a sub": jwt(sub=None),
        "without a sandbox": jwt(sandbox=None),
        "of another issuer": jwt(iss="https://other.example"),
    }


@pytest.mark.parametrize("fault", sorted(bent()))
async def test_54_a_jwt_that_is_none_is_401_and_wakes_nothing(fault: str) -> None:
    """RFC 9110 §15.5.2, RFC 8725 §3. In either field, for a sandbox that is and one that is not."""
    async with (
        provider() as (_, auth),
        gateway(ECHO, state=State.PAUSED, authenticator=auth) as (gw, _),
    ):
        bad, expected = bent()[fault], None
        for line in (field(bad), f"Authorization: Bearer {bad.decode()}"):
            for to in ("box", "nobody"):
                response = await gw.ask(gw.get("/", line, to=to))
                assert (response.status, response.reason) == (401, "unauthenticated")
                assert response.has("www-authenticate")
                expected = expected or answer(response)
                assert answer(response) == expected
        assert gw.sandboxes.patches == []


async def test_54_a_jwt_for_another_sandbox_is_403_and_a_good_one_stays_here() -> None:
    """RFC 9110 §15.5.4. By id and by uid; what does not exist is answered byte for byte alike."""
    async with (
        provider() as (_, auth),
        gateway(ECHO, state=State.PAUSED, authenticator=auth) as (gw, upstream),
    ):
        gw.sandboxes.add("other", State.PAUSED)
        expected = answer(await gw.ask(gw.get("/", field(jwt()), to="other")))
        for request in (
            gw.get("/", field(jwt()), to="nobody"),
            gw.get("/", field(jwt("box", "uid-before"))),
            gw.get("/", field(jwt("other", "uid-box"))),
        ):
            response = await gw.ask(request)
            assert (response.status, response.reason) == (403, "forbidden")
            assert answer(response) == expected
        assert gw.sandboxes.patches == []
        own = f"Authorization: Bearer {jwt().decode()}"
        other = f"Authorization: Bearer {jwt(iss='https://other.example').decode()}"
        client = await gw.client()
        for _ in range(3):
            await client.send(gw.get("/mine", own, other))
            assert (await client.response()).body == b"GET /mine "
        assert jwt(exp=0).split(b".")[0] in upstream.received  # the other's, which goes on
        assert upstream.requests[0].all("authorization") == [other.partition(": ")[2].encode()]


@pytest.mark.parametrize("mode", ["none", "access-token", "scoped-token"])
async def test_54_a_sandbox_that_asks_for_a_jwt_is_opened_by_nothing_less(mode: str) -> None:
    """RFC 9110 §15.5.4. And who has no credential at all is not told so."""
    modes: dict[str, tuple[TokenAuthenticator | None, str]] = {
        "none": (None, "X-Nothing: 1"),
        "access-token": (AccessTokens(), "X-Access-Token: t0ken"),
        "scoped-token": (ScopedTokens(KEYS), field(scoped())),
    }
    auth, line = modes[mode]
    route = {"requires_jwt": True, "credential": Credential(token="t0ken")}
    async with gateway(ECHO, state=State.PAUSED, authenticator=auth, route=route) as (gw, _):
        assert (await gw.ask(gw.get("/", line))).status == 403
        if auth is not None:
            bare, nobody = gw.get("/"), gw.get("/", to="nobody")
            assert answer(await gw.ask(bare)) == answer(await gw.ask(nobody))
        assert gw.sandboxes.patches == []
    if mode == "none":
        async with (
            provider() as (_, judge),
            gateway(ECHO, authenticator=judge, route=route) as (
                gw,
                _,
            ),
        ):
            assert (await gw.ask(gw.get("/", field(jwt())))).status == 200


@pytest.mark.parametrize("mode", ["access-token", "scoped-token", "jwt"])
async def test_54_a_port_that_is_not_allowed_is_403_only_for_who_may_know_the_sandbox(
    mode: str,
) -> None:
    """RFC 9110 §15.5.4. Ports are judged after the credential, in every mode."""
    async with provider() as (_, judge):
        modes: dict[str, tuple[TokenAuthenticator, str]] = {
            "access-token": (AccessTokens(), "X-Access-Token: t0ken"),
            "scoped-token": (ScopedTokens(KEYS), field(scoped())),
            "jwt": (judge, field(jwt())),
        }
        auth, line = modes[mode]
        route = {"ports": frozenset({1}), "credential": Credential(token="t0ken")}
        async with gateway(ECHO, state=State.PAUSED, authenticator=auth, route=route) as (gw, _):
            assert (await gw.ask(gw.get("/", line))).status == 403
            for fields in ([], [field(b"bad"), "X-Access-Token: bad"]):
                known, unknown = (gw.get("/", *fields, to=to) for to in ("box", "nobody"))
                response = await gw.ask(known)
                assert response.status == 401
                assert answer(response) == answer(await gw.ask(unknown))
            assert gw.sandboxes.patches == []


# ---- 55 ----------------------------------------------------------------------------------------


async def test_55_without_keys_it_is_503_and_once_they_are_back_requests_go_through() -> None:
    """(own rule) Nobody is let in, nothing is woken, what exists is not told, and it recovers."""
    async with (
        provider(up=False) as (identity, auth),
        gateway(ECHO, state=State.PAUSED, authenticator=auth) as (gw, _),
    ):
        expected = None
        for to in ("box", "nobody"):
            response = await gw.ask(gw.get("/", field(jwt()), to=to))
            assert (response.status, response.reason) == (503, "auth_unavailable")
            assert int(response.one("retry-after")) >= 1
            expected = expected or answer(response)
            assert answer(response) == expected
        assert (await gw.ask(gw.get("/"))).status == 401
        assert gw.sandboxes.patches == []
        await identity.start()
        assert (await gw.ask(gw.get("/", field(jwt())))).status == 200
        assert gw.sandboxes.patches == ["uid-box"]


async def test_55_keys_outlive_their_provider_for_a_while_and_no_longer() -> None:
    """(own rule) What was verified before is not let in either once the keys are too old."""
    short = Freshness(refresh=0.01, max_age=0.5, pause=0.0)
    async with (
        provider(short) as (identity, auth),
        gateway(ECHO, authenticator=auth) as (gw, _),
    ):
        request, client = gw.get("/", field(jwt())), await gw.client()
        await client.send(request)
        assert (await client.response()).status == 200
        await identity.stop()
        statuses: list[int] = []
        async with asyncio.timeout(5.0):
            while 503 not in statuses:
                await client.send(request)
                statuses.append((await client.response()).status)
        assert statuses == [200] * (len(statuses) - 1) + [503]
        assert len(statuses) > 1
        await identity.start()
        await client.send(request)
        assert (await client.response()).status == 200


async def test_55_a_new_key_is_fetched_at_once_and_a_crowd_makes_one_fetch() -> None:
    """(own rule) Keys change without a request lost; a key that nobody has is 401."""
    async with provider() as (identity, auth), gateway(ECHO, authenticator=auth) as (gw, _):
        assert (await gw.ask(gw.get("/", field(jwt())))).status == 200
        before, identity.hold = identity.asked, asyncio.Event()
        identity.published = key_set(public("k4", "ES384"))
        clients = [await gw.client() for _ in range(20)]
        for client in clients:
            await client.send(gw.get("/", field(jwt(kid="k4", algorithm="ES384"))))
        await eventually(lambda: identity.asked > before)
        await eventually(lambda: gw.plane.in_flight == len(clients))
        identity.hold.set()
        for client in clients:
            assert (await client.response()).status == 200
        assert identity.asked == before + 1
        assert (await gw.ask(gw.get("/", field(jwt())))).status == 401
        await identity.stop()
        response = await gw.ask(gw.get("/", field(jwt(kid="k9"))))
        assert (response.status, response.reason) == (503, "auth_unavailable")
        assert (await gw.ask(gw.get("/", field(jwt(kid="k4", algorithm="ES384"))))).status == 200


async def test_55_requests_cannot_make_the_gateway_ask_more_often_than_it_may() -> None:
    """(own rule) Nor can they fill what it remembers: only what is genuine is."""
    seldom = Freshness(refresh=1e6, max_age=1e6, pause=1e6)
    async with provider(seldom) as (identity, auth), gateway(ECHO, authenticator=auth) as (gw, _):
        client = await gw.client()
        await client.send(gw.get("/", field(jwt())))
        assert (await client.response()).status == 200
        for number in range(50):
            await client.send(gw.get("/", field(jwt(sub=f"s{number}", kid="k9"))))
            assert (await client.response()).status == 401
        assert identity.asked <= 2


# ---- 24: a browser's cookie and its first token ------------------------------------------------

SECRET = b"s" * 32
KEYS = {"k1": SECRET}
HOSTS = TargetConfig(host_suffixes=("s.example",))
OURS = PLAIN.decode()


def scoped(name: str = "box", lifetime: float = 60.0) -> bytes:
    return mint(key_of(name), f"uid-{name}", time.time() + lifetime, "k1", SECRET)


@asynccontextmanager
async def by_browser(**changes: Any) -> AsyncIterator[tuple[Gateway, Upstream]]:
    """Run a gateway that lets browsers in."""
    auth = changes.pop("auth", None) or ScopedTokens(KEYS)
    login = Login(auth, b"sandbox_token")
    chosen: dict[str, Any] = {"script": ECHO, "targets": HOSTS, **changes}
    async with gateway(authenticator=auth, login=login, **chosen) as (gw, upstream):
        yield gw, upstream


def visit(gw: Gateway, target: str, *fields: str, method: str = "GET", to: str = "box") -> bytes:
    """Return the head of a request to the host of a sandbox."""
    lines = (f"{method} {target} HTTP/1.1", f"Host: {gw.port}-{to}.s.example", *fields)
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


async def test_24_a_token_in_the_query_becomes_a_cookie_and_neither_goes_on() -> None:
    """(own rule) The redirect wakes nothing; the page behind it does, and other cookies pass."""
    async with by_browser(state=State.PAUSED) as (gw, upstream):
        shown = scoped().decode()
        response = await gw.ask(visit(gw, f"/a?x=1&sandbox_token={shown}&y"))
        assert response.status == 303
        assert response.one("location") == b"/a?x=1&y"
        assert response.one("cache-control") == b"no-store"
        assert response.one("referrer-policy") == b"no-referrer"
        assert gw.sandboxes.patches == []
        cookie = response.one("set-cookie").decode()
        assert cookie.startswith(f"{OURS}={shown}; Path=/; HttpOnly; SameSite=Lax")
        pair = cookie.partition(";")[0]
        client = await gw.client()
        for _ in range(3):
            await client.send(visit(gw, "/a?x=1&y", f"Cookie: a=1; {pair}; b=2", "Cookie: c=3"))
            assert (await client.response()).status == 200
        assert gw.sandboxes.patches == ["uid-box"]
        assert [one.all("cookie") for one in upstream.requests] == [[b"a=1; b=2", b"c=3"]] * 3
        assert b"v1." not in upstream.received
        assert b"sandbox_token" not in upstream.received
        assert "v1." not in json.dumps(gw.log())
        assert {(one["status"], one.get("sandbox")) for one in gw.log()} == {
            (303, "team/box"),
            (200, "team/box"),
        }


async def test_24_who_is_in_already_and_brings_a_token_is_redirected_all_the_same() -> None:
    """(own rule) A good cookie or field beside it does not carry the query to the sandbox."""
    async with by_browser() as (gw, upstream):
        shown, client = scoped().decode(), await gw.client()
        for line in (f"Cookie: {OURS}={shown}", field(scoped())):
            await client.send(visit(gw, "/", line))
            assert (await client.response()).status == 200  # and its connection is idle now
            for target, status in [(shown, 303), ("bad", 401)]:
                await client.send(visit(gw, f"/?sandbox_token={target}", line))
                assert (await client.response()).status == status
        assert b"sandbox_token" not in upstream.received
        assert len(upstream.requests) == 2


async def test_24_the_query_of_a_refused_login_is_told_to_nobody_either() -> None:
    """(own rule) A bad token is 401, byte for byte as for a sandbox that is none."""
    async with by_browser(state=State.PAUSED) as (gw, upstream):
        gw.sandboxes.add("other", State.PAUSED)
        for target, status in [
            ("/?sandbox_token=bad", 401),
            ("/?sandbox_token=", 401),
            (f"/?sandbox_token={scoped(lifetime=-1).decode()}", 401),
            (f"/?sandbox_token={scoped('third').decode()}", 403),
        ]:
            expected = None
            for to in ("box", "other", "nobody"):
                response = await gw.ask(visit(gw, target, "Accept: text/html", to=to))
                assert response.status == status
                assert response.one("referrer-policy") == b"no-referrer"
                assert not response.has("set-cookie")
                expected = expected or answer(response)
                assert answer(response) == expected
        assert upstream.legs == []
        assert gw.sandboxes.patches == []
        assert "bad" not in json.dumps(gw.log())


async def test_24_a_token_in_the_query_counts_only_where_the_host_names_the_sandbox() -> None:
    """(own rule) Hosts that sandboxes share would share the cookie; other methods are no visit."""
    async with by_browser() as (gw, upstream):
        shown = f"/?sandbox_token={scoped().decode()}"
        path = f"/kruise/box/{gw.port}{shown}"
        for request in (
            gw.get(shown),
            gw.get(path).replace(b"E2b-Sandbox", b"X-E2b"),
            visit(gw, shown, "Content-Length: 0", method="POST"),
            visit(gw, shown, "Connection: Upgrade", "Upgrade: websocket"),
            visit(gw, f"{shown}&sandbox_token=x"),
        ):
            response = await gw.ask(request)
            assert (response.status, response.reason) == (400, "bad_request")
            assert b"token" in response.body
            assert not response.has("set-cookie")
        head = await gw.ask(visit(gw, shown, method="HEAD"), "HEAD")
        assert head.status == 303
        assert upstream.legs == []


async def test_24_a_cookie_counts_only_where_the_host_names_the_sandbox() -> None:
    """(own rule) On a host that sandboxes share, a page of one could use the cookie for another."""
    async with by_browser() as (gw, upstream):
        shown = f"Cookie: sandbox-gateway-token={scoped().decode()}; theirs=1"
        assert (await gw.ask(visit(gw, "/", shown))).status == 200
        before = len(upstream.requests)
        for request in (gw.get("/", shown), path_request(gw, shown)):
            response = await gw.ask(request)
            assert (response.status, response.reason) == (401, "unauthenticated")
        assert len(upstream.requests) == before


def path_request(gw: Gateway, *fields: str) -> bytes:
    lines = (f"GET /kruise/box/{gw.port}/ HTTP/1.1", "Host: shared.example", *fields)
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


@pytest.mark.parametrize("auth", ["access-token", "jwt"])
async def test_24_browsers_come_in_with_any_kind_of_token(auth: str) -> None:
    """(own rule) And it stays here, where it would go on if it came by its field."""
    async with provider() as (_, judge):
        made: TokenAuthenticator = judge if auth == "jwt" else AccessTokens()
        shown = jwt().decode() if auth == "jwt" else "t0ken"
        route = {"credential": Credential(token="t0ken"), "passes_access_token": True}
        async with by_browser(auth=made, route=route) as (gw, upstream):
            response = await gw.ask(visit(gw, f"/?sandbox_token={shown}"))
            assert response.status == 303
            cookie = response.one("set-cookie").partition(b";")[0].decode()
            assert (b"Max-Age=" in response.one("set-cookie")) is (auth == "jwt")
            assert (await gw.ask(visit(gw, "/", f"Cookie: {cookie}"))).status == 200
            assert shown.encode() not in upstream.received


async def test_24_a_sandbox_can_neither_set_our_cookie_nor_learn_it() -> None:
    """(own rule) Its other cookies are relayed, in order; without browsers to let in, all are."""
    fields = [f"Set-Cookie: {name}=evil; Path=/" for name in (OURS, SECURE.decode())]
    script = always(ok(b"ok", "Set-Cookie: a=1", *fields, f"Set-Cookie: ={OURS}=evil", "A: 1"))
    async with by_browser(script=script) as (gw, upstream):
        cookie = f"Cookie: {OURS}={scoped().decode()}"
        response = await gw.ask(visit(gw, "/", cookie))
        assert (response.status, response.body) == (200, b"ok")
        assert response.all("set-cookie") == [b"a=1"]
        assert response.one("a") == b"1"
        assert not upstream.requests[0].has("cookie")
    async with gateway(script) as (gw, _):
        assert len((await gw.ask(gw.get("/"))).all("set-cookie")) == 4


async def test_24_nor_by_the_answer_that_opens_a_websocket() -> None:
    """(own rule) Browsers keep the cookies of a 101, too."""

    async def script(leg: Leg) -> None:
        await leg.request()
        await leg.send(
            b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Set-Cookie: %b=evil\r\nSet-Cookie: a=1\r\n\r\n" % PLAIN
        )
        await leg.rest()

    async with by_browser(script=script) as (gw, _):
        cookie = f"Cookie: {OURS}={scoped().decode()}"
        upgrade = ("Connection: Upgrade", "Upgrade: websocket")
        own = f"Origin: http://{gw.port}-box.s.example"
        for origin in ([], ["Origin: http://other.s.example"]):
            response = await gw.ask(visit(gw, "/", cookie, *upgrade, *origin))
            assert (response.status, response.reason) == (403, "forbidden")
        client = await gw.client()
        await client.send(visit(gw, "/", cookie, *upgrade, own))
        response = await client.response()
        assert response.status == 101
        assert response.all("set-cookie") == [b"a=1"]


@pytest.mark.parametrize("mode", ["access-token", "scoped-token"])
async def test_24_a_page_of_a_neighbour_cannot_use_the_cookie(mode: str) -> None:
    """(own rule) Sandboxes under one suffix are one site to a browser, but not to us."""
    auth = AccessTokens() if mode == "access-token" else ScopedTokens(KEYS)
    route = {"credential": Credential(token="t0ken")}
    async with by_browser(auth=auth, state=State.PAUSED, route=route) as (gw, upstream):
        shown = "t0ken" if mode == "access-token" else scoped().decode()
        cookie = f"Cookie: {OURS}={shown}"
        for fields in (
            ["Origin: http://80-other.s.example"],
            ["Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: no-cors"],
            ["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe"],
        ):
            response = await gw.ask(visit(gw, "/", cookie, *fields))
            assert (response.status, response.reason) == (403, "forbidden")
        post = visit(gw, "/", cookie, "Content-Length: 0", method="POST")
        assert (await gw.ask(post)).status == 403
        assert gw.sandboxes.patches == []
        own = f"Origin: http://{gw.port}-box.s.example"
        # The same fields may come with another method: what was judged of one is not the other's.
        client = await gw.client()
        visited = ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate")
        document = "Sec-Fetch-Dest: document"
        for method, status in [("GET", 200), ("GET", 200), ("DELETE", 403), ("GET", 200)]:
            await client.send(visit(gw, "/", cookie, *visited, document, method=method))
            assert (await client.response()).status == status
        post = visit(gw, "/", cookie, "Content-Length: 0", own, method="POST")
        assert (await gw.ask(post)).status == 200
        twice = f"{cookie}; {OURS}={shown}"
        assert (await gw.ask(visit(gw, "/", twice))).status == 401
        assert len(upstream.requests) == 4
