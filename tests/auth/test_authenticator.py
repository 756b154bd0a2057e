"""Who may reach a sandbox, by each mode, and which credentials go on to it."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.auth.access import AccessTokens
from gateway.auth.authenticator import Authenticator, NoAuth
from gateway.auth.scoped import ScopedTokens, mint
from gateway.sandbox.errors import Forbidden, GatewayError, SandboxNotFound, Unauthenticated
from gateway.sandbox.model import Credential, Route

from .tokens import BOX, KEYS, NOW, OTHER

CLEAR = replace(BOX, credential=Credential(token="s3cret"))
HASHED = replace(BOX, credential=Credential(sha256=hashlib.sha256(b"s3cret").hexdigest()))
EMPTY = replace(BOX, credential=Credential())
RUNTIME = replace(CLEAR, passes_access_token=True)

ACCESS = AccessTokens()
SCOPED = ScopedTokens(KEYS)
TOKEN = mint(BOX.key, BOX.uid, NOW + 60, "k1", KEYS["k1"])
FOR_OTHER = mint(OTHER.key, OTHER.uid, NOW + 60, "k1", KEYS["k1"])
EXPIRED = mint(BOX.key, BOX.uid, NOW, "k1", KEYS["k1"])


def refusal(auth: Authenticator, route: Route | None, **fields: list[bytes]) -> type[GatewayError]:
    named = {name.replace("_", "-").encode(): values for name, values in fields.items()}
    with pytest.raises(GatewayError) as caught:
        auth.check(named, route, NOW)
    return type(caught.value)


# ---- none ----------------------------------------------------------------------------------------


def test_without_authentication_all_fields_are_ordinary_and_only_existence_counts() -> None:
    auth = NoAuth()
    assert auth.names == frozenset()
    assert auth.check({}, BOX, NOW) == []
    assert refusal(auth, None) is SandboxNotFound


# ---- access tokens -------------------------------------------------------------------------------


@pytest.mark.parametrize("route", [CLEAR, HASHED])
def test_the_sandboxs_own_token_opens_it(route: Route) -> None:
    assert ACCESS.check({b"x-access-token": [b"s3cret"]}, route, NOW) == []


@pytest.mark.parametrize("route", [CLEAR, HASHED, EMPTY, BOX, None])
@pytest.mark.parametrize(
    "values",
    [
        [],
        [b""],
        [b"S3cret"],
        [b"s3cret "],
        [b"s3cret\x00"],
        [b"s3cre"],
        [hashlib.sha256(b"s3cret").hexdigest().encode()],
        [b"s3cret", b"s3cret"],
        [b"s3cret", b"other"],
        [b"0" * 64],
        [b"\xff\xfe"],
    ],
)
def test_nothing_else_does_and_nobody_learns_what_exists(
    route: Route | None, values: list[bytes]
) -> None:
    assert refusal(ACCESS, route, x_access_token=values) is Unauthenticated
    assert refusal(ACCESS, route) is Unauthenticated


@pytest.mark.parametrize("route", [EMPTY, BOX, None])
def test_a_sandbox_without_a_token_is_closed_to_any(route: Route | None) -> None:
    assert refusal(ACCESS, route, x_access_token=[b"s3cret"]) is Unauthenticated


def test_tokenless_sandboxes_may_be_open_and_only_they() -> None:
    auth = AccessTokens(allow_tokenless=True)
    assert auth.check({}, BOX, NOW) == []
    assert auth.check({b"x-access-token": [b"any", b"thing"]}, BOX, NOW) == []
    for route in (CLEAR, HASHED, EMPTY, None):
        assert refusal(auth, route) is Unauthenticated
        assert refusal(auth, route, x_access_token=[b"wrong"]) is Unauthenticated


def test_the_token_goes_on_where_it_is_the_runtimes_too() -> None:
    fields = {b"x-access-token": [b"s3cret"]}
    assert ACCESS.check(fields, RUNTIME, NOW) == [b"X-Access-Token: s3cret\r\n"]
    open_one = replace(RUNTIME, credential=None)
    assert AccessTokens(allow_tokenless=True).check({}, open_one, NOW) == []
    assert b"authorization" not in ACCESS.names


@given(token=st.binary(max_size=20), other=st.text(max_size=20))
def test_only_equal_tokens_match(token: bytes, other: str) -> None:
    route = replace(BOX, credential=Credential(token=other))
    try:
        ACCESS.check({b"x-access-token": [token]}, route, NOW)
    except Unauthenticated:
        assert token != other.encode() or not other
    else:
        assert token == other.encode()


# ---- scoped tokens -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {b"e2b-traffic-access-token": [TOKEN]},
        {b"authorization": [b"Bearer " + TOKEN]},
        {b"authorization": [b"bearer   " + TOKEN]},
    ],
)
def test_a_token_for_this_sandbox_opens_it_and_goes_no_further(
    fields: dict[bytes, list[bytes]],
) -> None:
    assert SCOPED.check(fields, BOX, NOW) == []
    assert set(fields) <= SCOPED.names


def test_the_sandboxs_own_authorization_goes_on() -> None:
    fields = {
        b"e2b-traffic-access-token": [TOKEN],
        b"authorization": [b"Basic dTpw", b"Bearer its-own", b"Bearer"],
    }
    assert SCOPED.check(fields, BOX, NOW) == [
        b"Authorization: Basic dTpw\r\n",
        b"Authorization: Bearer its-own\r\n",
        b"Authorization: Bearer\r\n",
    ]
    both = {b"authorization": [b"Bearer its-own", b"Bearer " + TOKEN]}
    assert SCOPED.check(both, BOX, NOW) == [b"Authorization: Bearer its-own\r\n"]


@pytest.mark.parametrize(
    "tokens",
    [[], [b""], [b"v1"], [b"v1.."], [b"garbage"], [TOKEN[:-1]], [TOKEN + b"x"], [EXPIRED],
     [TOKEN, TOKEN], [TOKEN, FOR_OTHER]],
)  # fmt: skip
@pytest.mark.parametrize("route", [BOX, OTHER, None])
def test_without_one_valid_token_nobody_is_anybody(
    tokens: list[bytes], route: Route | None
) -> None:
    assert refusal(SCOPED, route, e2b_traffic_access_token=tokens) is Unauthenticated
    bearers = [b"Bearer " + token for token in tokens]
    assert refusal(SCOPED, route, authorization=bearers) is Unauthenticated


def test_two_tokens_in_two_fields_are_one_too_many() -> None:
    fields = {"e2b_traffic_access_token": [TOKEN], "authorization": [b"Bearer " + TOKEN]}
    assert refusal(SCOPED, BOX, **fields) is Unauthenticated


@pytest.mark.parametrize("route", [OTHER, replace(BOX, uid="uid-2"), None])
def test_a_token_for_another_sandbox_says_the_same_whether_this_one_exists(
    route: Route | None,
) -> None:
    assert refusal(SCOPED, route, e2b_traffic_access_token=[TOKEN]) is Forbidden


def test_a_scheme_other_than_bearer_holds_no_token_of_ours() -> None:
    assert refusal(SCOPED, BOX, authorization=[b"Basic " + TOKEN]) is Unauthenticated
    assert refusal(SCOPED, BOX, authorization=[TOKEN]) is Unauthenticated
    assert refusal(SCOPED, BOX, authorization=[b"Bearer" + TOKEN]) is Unauthenticated
