"""A token in the address of a page, a cookie for it, and whose requests the cookie lets in."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from gateway.auth.access import AccessTokens
from gateway.auth.scoped import ScopedTokens, mint
from gateway.proxy.cookies import PLAIN, SECURE
from gateway.proxy.headers import Peer
from gateway.proxy.login import MAX_COOKIE, Login, check_origin
from gateway.proxy.message import RequestHead
from gateway.sandbox.errors import BadRequest, Forbidden, Unauthenticated
from gateway.sandbox.model import Credential, Key, Route, State

NOW = 1_700_000_000.0
KEYS = {"k1": b"1" * 32}
BOX = Route(
    key=Key("native", "team", "box"),
    uid="uid-1",
    id="team--box",
    version=1,
    state=State.RUNNING,
    incarnation="life-1",
    credential=Credential(token="s3cret +/;,%"),
    passes_access_token=True,
)
TOKEN = mint(BOX.key, BOX.uid, NOW + 60.9, "k1", KEYS["k1"])
SCOPED = Login(ScopedTokens(KEYS), b"sandbox_token")
ACCESS = Login(AccessTokens(), b"sandbox_token")
HOST = b"80-team--box.boxes.example"


def head(
    target: str = "/", method: str = "GET", upgrade: bytes | None = None, **fields: str
) -> RequestHead:
    """Return a head; fields with `_` for `-`, of which some are special as the parser has it."""
    named = {name.replace("_", "-"): value.encode() for name, value in fields.items()}
    kept = ("cookie", "authorization", "x-access-token", "e2b-traffic-access-token")
    special = {name.encode(): [value] for name, value in named.items() if name in kept}
    lines = [b"%b: %b\r\n" % (n.encode(), v) for n, v in named.items() if n not in kept]
    special[b"host"] = [HOST]
    return RequestHead(method.encode(), target.encode(), True, special, lines, 0, True, upgrade)


def response(target: str, login: Login = SCOPED, **peer: Any) -> tuple[str, str]:
    """Return Location and Set-Cookie of the redirect for a target."""
    at = Peer("10.0.0.1", **({"trusted": False} | peer))
    shown = login.presented(head(target), by_host=True)
    login.check(shown, BOX, NOW, by_host=True)
    raw = login.redirect(head(target), at, NOW, keep_alive=True).decode()
    assert raw.startswith("HTTP/1.1 303 See Other\r\n")
    assert raw.endswith("\r\n\r\n")
    fields = dict(line.split(": ", 1) for line in raw.split("\r\n")[1:-2])
    assert fields["Cache-Control"] == "no-store"
    assert fields["Referrer-Policy"] == "no-referrer"
    assert fields["Content-Length"] == "0"
    return fields["Location"], fields["Set-Cookie"]


# ---- a token in the query ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("/?sandbox_token={}", "/"),
        ("/a/b?x=1&sandbox_token={}&y=%2F&z", "/a/b?x=1&y=%2F&z"),
        ("/?sandbox_token={}&", "/?"),
        ("/?sandbox%5Ftoken={}&x", "/?x"),
        ("/%2F%2f?&&sandbox_token={}", "/%2F%2f?&"),
        ("//other.example/?sandbox_token={}", "/.//other.example/"),
        ("/\\other.example/?sandbox_token={}", "/./\\other.example/"),
        ("///?sandbox_token={}", "/.///"),
    ],
)
def test_a_good_token_is_answered_by_the_same_address_without_it(before: str, after: str) -> None:
    location, _ = response(before.format(TOKEN.decode()))
    assert location == after


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/?",
        "/?x=1",
        "/sandbox_token=1",
        "/?a=sandbox_token=1",
        "/?Sandbox_Token=1",
        "/?token=1",
    ],
)
def test_any_other_query_asks_for_no_login(target: str) -> None:
    assert not SCOPED.asked(head(target))


def test_the_cookie_is_for_this_host_alone_and_ends_with_the_token() -> None:
    target = f"/?sandbox_token={TOKEN.decode()}"
    plain = f"{PLAIN.decode()}={TOKEN.decode()}; Path=/; HttpOnly; SameSite=Lax; Max-Age=60"
    assert response(target)[1] == plain
    assert "Max-Age" not in response("/?sandbox_token=s3cret%20%2B%2f;,%25", ACCESS)[1]
    secure = f"__Host-{plain}".replace("Lax;", "Lax; Secure;")
    assert response(target, secure=True)[1] == secure


@pytest.mark.parametrize(
    ("trusted", "told", "secure"),
    [(True, "https", True), (True, "HTTPS", True), (True, "http", False), (False, "https", False)],
)
def test_only_a_proxy_of_our_own_is_believed_that_tls_ended_there(
    trusted: bool, told: str, secure: bool
) -> None:
    request = head(f"/?sandbox_token={TOKEN.decode()}")
    request.special[b"x-forwarded-proto"] = [told.encode()]
    SCOPED.check(SCOPED.presented(request, by_host=True), BOX, NOW, by_host=True)
    raw = SCOPED.redirect(request, Peer("", trusted), NOW, keep_alive=True)
    assert (b"Set-Cookie: " + SECURE in raw) is secure
    assert (b"; Secure" in raw) is secure


@pytest.mark.parametrize("token", ["s3cret +/;,%", "\xe9", '"'])
def test_any_access_token_comes_back_from_its_cookie_as_it_was(token: str) -> None:
    route = replace(BOX, credential=Credential(token=token))
    encoded = "".join(f"%{byte:02x}" for byte in token.encode())
    target = f"/?sandbox_token={encoded}"
    ACCESS.check(ACCESS.presented(head(target), by_host=True), route, NOW, by_host=True)
    raw = ACCESS.redirect(head(target), Peer("", False), NOW, keep_alive=True).decode()
    cookie = raw.partition("Set-Cookie: ")[2].partition(";")[0]
    ACCESS.check(head(cookie=cookie), route, NOW, by_host=True)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_a_token_in_the_query_is_for_opening_a_page(method: str) -> None:
    with pytest.raises(BadRequest):
        SCOPED.presented(head("/?sandbox_token=x", method), by_host=True)


@pytest.mark.parametrize(
    "target",
    ["/?sandbox_token=x&sandbox_token=x", f"/?sandbox_token={'x' * (MAX_COOKIE + 1)}"],
)
def test_several_tokens_or_one_that_fits_no_cookie_are_a_bad_request(target: str) -> None:
    with pytest.raises(BadRequest):
        SCOPED.presented(head(target), by_host=True)


def test_a_token_in_the_query_of_a_host_that_many_share_is_a_bad_request() -> None:
    with pytest.raises(BadRequest) as caught:
        SCOPED.presented(head("/?sandbox_token=x"), by_host=False)
    assert "host names the sandbox" in caught.value.text


def test_a_token_in_the_query_of_an_upgrade_is_a_bad_request() -> None:
    with pytest.raises(BadRequest):
        SCOPED.presented(head("/?sandbox_token=x", upgrade=b"websocket"), by_host=True)


# ---- a cookie ------------------------------------------------------------------------------------


def cookie(token: bytes = TOKEN, name: bytes = PLAIN) -> str:
    return f"{name.decode()}={token.decode()}"


def test_a_cookie_lets_in_and_goes_no_further_and_the_others_do() -> None:
    assert SCOPED.check(head(cookie=cookie()), BOX, NOW, by_host=True) == []
    both = head(cookie=f"a=1; {cookie()}; b=2", authorization="Bearer its-own")
    assert SCOPED.check(both, BOX, NOW, by_host=True) == [
        b"Authorization: Bearer its-own\r\n",
        b"Cookie: a=1; b=2\r\n",
    ]


def test_an_access_token_by_cookie_is_not_passed_on_and_one_by_field_is() -> None:
    shown = f"{PLAIN.decode()}=s3cret%20+%2F%3B%2C%25"
    assert ACCESS.check(head(cookie=shown), BOX, NOW, by_host=True) == []
    by_field = head(cookie=f"a=1; {shown}", x_access_token="s3cret +/;,%")
    assert ACCESS.check(by_field, BOX, NOW, by_host=True) == [
        b"X-Access-Token: s3cret +/;,%\r\n",
        b"Cookie: a=1\r\n",
    ]


@pytest.mark.parametrize(
    "shown",
    [
        cookie(b""),
        cookie(b"x"),
        cookie(TOKEN[:-1]),
        f"{cookie()}; {cookie()}",
        f"{cookie(name=SECURE)}; {cookie(name=SECURE)}",
        f"{cookie(b'x', SECURE)}; {cookie()}",
    ],
)
def test_a_cookie_that_is_bad_or_there_twice_is_no_credential(shown: str) -> None:
    for route in (BOX, None):
        with pytest.raises(Unauthenticated):
            SCOPED.check(head(cookie=shown), route, NOW, by_host=True)


def test_a_field_comes_before_the_cookie_even_a_bad_one() -> None:
    with pytest.raises(Unauthenticated):
        SCOPED.check(
            head(cookie=cookie(), e2b_traffic_access_token="v1.x.y"), BOX, NOW, by_host=True
        )
    good = head(cookie=cookie(b"x"), e2b_traffic_access_token=TOKEN.decode())
    assert SCOPED.check(good, BOX, NOW, by_host=True) == []


def test_a_cookie_for_another_sandbox_is_forbidden_and_unknown_ones_say_the_same() -> None:
    for route in (replace(BOX, uid="uid-2"), None):
        with pytest.raises(Forbidden):
            SCOPED.check(head(cookie=cookie()), route, NOW, by_host=True)


# ---- whose requests it lets in -------------------------------------------------------------------

OWN = f"http://{HOST.decode()}"
SIBLING = "http://80-team--other.boxes.example"
VISIT: dict[str, Any] = {"sec_fetch_mode": "navigate", "sec_fetch_dest": "document"}


@pytest.mark.parametrize(
    "request_head",
    [
        head(),
        head(method="HEAD"),
        head(origin=OWN),
        head(origin=OWN.upper()),
        head(origin=OWN.replace("http", "https")),
        head(method="POST", origin=OWN),
        head(method="DELETE", origin=OWN, sec_fetch_site="same-origin"),
        head(sec_fetch_site="none", **VISIT),
        head(sec_fetch_site="cross-site", **VISIT),
        head(sec_fetch_site="same-site", **VISIT),
        head(sec_fetch_site="same-origin", sec_fetch_mode="cors"),
        head(upgrade=b"websocket", origin=OWN),
    ],
    ids=range(12),
)
def test_the_sandboxs_own_pages_and_visits_are_let_in(request_head: RequestHead) -> None:
    check_origin(request_head, secure=False)


@pytest.mark.parametrize(
    "request_head",
    [
        head(origin=SIBLING),
        head(origin="null"),
        head(origin=OWN + ":81"),
        head(origin=OWN + "."),
        head(origin=f"ftp://{HOST.decode()}"),
        head(origin=""),
        head(method="POST"),
        head(method="POST", origin=SIBLING),
        head(method="POST", origin="null", **VISIT),
        head(method="POST", sec_fetch_site="cross-site", **VISIT),
        head(method="HEAD", sec_fetch_site="same-site", **VISIT),
        head(sec_fetch_site="same-site"),
        head(sec_fetch_site="cross-site"),
        head(sec_fetch_site="SAME-ORIGIN"),
        head(sec_fetch_site="same-site", sec_fetch_mode="navigate", sec_fetch_dest="iframe"),
        head(sec_fetch_site="same-site", sec_fetch_mode="no-cors", sec_fetch_dest="document"),
        head(upgrade=b"websocket"),
        head(upgrade=b"websocket", origin=SIBLING),
        head(upgrade=b"websocket", **VISIT),
        head(method="POST", origin=OWN, sec_fetch_site="same-site"),
    ],
    ids=range(20),
)
def test_pages_of_others_are_not(request_head: RequestHead) -> None:
    with pytest.raises(Forbidden):
        check_origin(request_head, secure=False)


def test_a_cookie_of_tls_is_not_for_pages_in_the_clear() -> None:
    check_origin(head(origin=OWN.replace("http", "https")), secure=True)
    with pytest.raises(Forbidden):
        check_origin(head(origin=OWN), secure=True)
    with pytest.raises(Forbidden):
        SCOPED.check(head(cookie=cookie(name=SECURE), origin=OWN), BOX, NOW, by_host=True)


def test_who_shows_a_field_need_not_name_an_origin() -> None:
    request = head(method="POST", e2b_traffic_access_token=TOKEN.decode(), origin=SIBLING)
    assert SCOPED.check(request, BOX, NOW, by_host=True) == []
