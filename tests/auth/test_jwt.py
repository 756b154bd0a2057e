"""JWTs: what is believed, what is not, and that keys that cannot be had let nobody in."""

from __future__ import annotations

import asyncio
import hmac
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws
from msgspec.structs import replace

from e2e.identity import ISSUER, key_set, private_key, public
from gateway.auth.jwks import KeysUnavailable, parse_keys
from gateway.auth.jwt import MAX_TOKEN_BYTES, JwtRules, JwtTokens
from gateway.auth.key_store import Freshness, KeyStore
from gateway.sandbox.errors import (
    AuthUnavailable,
    Forbidden,
    GatewayError,
    Unauthenticated,
)
from gateway.telemetry.instruments import Instruments

from .jwts import claims, token
from .tokens import BOX, NOW, OTHER, encode

if TYPE_CHECKING:
    from gateway.sandbox.model import Route

LEEWAY = 30.0
SIGNED = {
    "k1": "ES256",
    "k2": "RS256",
    "k3": "PS256",
    "k4": "ES384",
    "k5": "ES512",
    "k6": "Ed25519",
}
PUBLISHED = key_set(
    *(public(kid, algorithm) for kid, algorithm in SIGNED.items()),
    public("k7", "Ed25519", alg="EdDSA"),
)


class Published:
    """A provider that is only ever asked when a test says so."""

    def __init__(self, content: bytes = PUBLISHED) -> None:
        self.content: bytes | None = content

    async def fetch(self) -> bytes:
        if self.content is None:
            raise KeysUnavailable("it is down")
        return self.content


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def judge(
    source: Published | None = None, clock: Clock | None = None, **rules: Any
) -> JwtTokens:
    """Return an authenticator whose keys have been fetched once."""
    store = KeyStore(source or Published(), Freshness(), Instruments(), clock or Clock())
    await store.fetch()
    return JwtTokens(JwtRules(ISSUER, leeway=LEEWAY, **rules), store)


def check(
    auth: JwtTokens, shown: bytes, route: Route | None = BOX, now: float = NOW
) -> list[bytes]:
    return auth.check({b"e2b-traffic-access-token": [shown]}, route, now)


def refusal(
    auth: JwtTokens, shown: bytes, route: Route | None = BOX, now: float = NOW
) -> type[GatewayError]:
    with pytest.raises(GatewayError) as caught:
        check(auth, shown, route, now)
    return type(caught.value)


# ---- what is believed ----------------------------------------------------------------------------


@pytest.mark.parametrize("kid", SIGNED)
async def test_a_token_by_a_published_key_opens_its_sandbox(kid: str) -> None:
    auth = await judge()
    signed = token(kid=kid, algorithm=SIGNED[kid])
    for _ in range(2):  # verified, then remembered
        assert check(auth, signed) == []
        assert auth.check({b"authorization": [b"Bearer " + signed]}, BOX, NOW) == []
    assert auth.ends_at(signed) == NOW + 600


@pytest.mark.parametrize("kid", ["k6", "k7"])
async def test_the_old_name_of_ed25519_is_understood(kid: str) -> None:
    auth = await judge()
    assert check(auth, token(kid=kid, algorithm="Ed25519")) == []
    header = encode(json.dumps({"alg": "EdDSA", "kid": kid}).encode())
    signed = header + b"." + encode(json.dumps(claims()).encode())
    key: Any = private_key(kid, "Ed25519").raw_value
    assert check(auth, signed + b"." + encode(key.sign(signed))) == []


async def test_other_sandboxes_are_forbidden_and_none_is_answered_alike() -> None:
    auth = await judge()
    for route in (OTHER, None, replace(BOX, uid="uid-2"), replace(BOX, id="another")):
        assert refusal(auth, token(), route) is Forbidden


async def test_the_audience_counts_where_one_is_set() -> None:
    auth = await judge(audience="gateway")
    for good in ("gateway", ["other", "gateway"]):
        assert check(auth, token(claims(aud=good))) == []
    for bad in (None, "other", [], ["other"], ""):
        assert refusal(auth, token(claims(aud=bad))) is Unauthenticated
    assert check(await judge(), token(claims(aud="other"))) == []


# ---- what is not ---------------------------------------------------------------------------------

BAD_CLAIMS: dict[str, dict[str, Any]] = {
    "no exp": {"exp": None},
    "no nbf": {"nbf": None},
    "no iat": {"iat": None},
    "no iss": {"iss": None},
    "no sub": {"sub": None},
    "no sandbox": {"sandbox": None},
    "expired": {"exp": int(NOW - LEEWAY) - 1},
    "exactly expired": {"exp": int(NOW - LEEWAY)},
    "not yet good": {"nbf": int(NOW + LEEWAY) + 1},
    "of the future": {"iat": int(NOW + LEEWAY) + 1},
    "of another issuer": {"iss": ISSUER + "/"},
    "of nobody": {"sub": ""},
    "exp as text": {"exp": str(int(NOW) + 600)},
    "exp as a truth": {"exp": True},
    "exp beyond all numbers": {"exp": 10**400},
    "sandbox as text": {"sandbox": "team--box"},
    "no sandbox id": {"sandbox": {"sandboxUid": "uid-1"}},
    "no sandbox uid": {"sandbox": {"sandboxId": "team--box"}},
    "sandbox uid null": {"sandbox": {"sandboxId": "team--box", "sandboxUid": None}},
}


@pytest.mark.parametrize("fault", BAD_CLAIMS)
async def test_a_claim_that_is_missing_or_wrong_is_no_right(fault: str) -> None:
    auth = await judge()
    signed = token(claims(**BAD_CLAIMS[fault]))
    for route in (BOX, OTHER, None):
        assert refusal(auth, signed, route) is Unauthenticated


async def test_times_are_judged_each_time_and_only_the_beginning_has_a_leeway() -> None:
    auth = await judge()
    signed = token(claims(exp=int(NOW) + 10))
    assert check(auth, signed) == []
    assert check(auth, signed, now=NOW + 9.5) == []
    assert refusal(auth, signed, now=NOW + 10) is Unauthenticated
    early = token(claims(nbf=int(NOW) + 20, iat=int(NOW) + 20))
    assert check(auth, early) == []
    assert refusal(auth, early, now=NOW + 20 - LEEWAY - 0.5) is Unauthenticated


def forged() -> dict[str, bytes]:
    """Return tokens that no key of the provider has signed, by what is wrong with them."""
    good = token()
    header, payload, signature = good.split(b".")
    pem = private_key("k2", "RS256").as_pem(private=False)
    said = json.dumps(claims()).encode()
    jwk = json.dumps(public("k1")).encode()
    return {
        "empty": b"",
        "one part": header,
        "unsigned": b".".join((header, payload, b"")),
        "four parts": good + b".x",
        "encrypted": b".".join((header, payload, payload, payload, signature)),
        "cut": good[:-1],
        "longer": good + b"A",
        "padded": good + b"=",
        "of another payload": b".".join(
            (header, encode(json.dumps(claims(uid="uid-2")).encode()), signature)
        ),
        "of another header": b".".join((encode(b'{"alg":"ES256","kid":"k4"}'), payload, signature)),
        "by the public key as a secret, in PEM": _hmac("k2", pem),
        "by the public key as a secret, in JSON": _hmac("k1", jwk),
        "by none": b".".join((encode(b'{"alg":"none","kid":"k1"}'), payload, b"")),
        "by NONE": b".".join((encode(b'{"alg":"NONE","kid":"k1"}'), payload, b"")),
        "of no algorithm": b".".join((encode(b'{"kid":"k1"}'), payload, signature)),
        "of an algorithm that is none": b".".join(
            (encode(b'{"alg":["ES256"],"kid":"k1"}'), payload, signature)
        ),
        "of no key": _signed({"alg": "ES256"}, "k1"),
        "of a key id that is none": b".".join(
            (encode(b'{"alg":"ES256","kid":{"a":1}}'), payload, signature)
        ),
        "of an unknown key": token(kid="k9"),
        "by another key of this name": _signed({"alg": "ES256", "kid": "k1"}, "another"),
        "by the key that it brings along": _signed(
            {"alg": "ES256", "kid": "k1", "jwk": public("mine")}, "mine"
        ),
        "with an extension": token(crit=["b64"], b64=True),
        "with an unencoded payload": b".".join(
            (encode(b'{"alg":"ES256","kid":"k1","b64":false,"crit":["b64"]}'), said, signature)
        ),
        "a list for a header": b".".join((encode(b'["alg"]'), payload, signature)),
        "a deep header": b".".join((encode(b"[" * 6000), payload, signature)),
        "a deep payload": token(b'{"x":' + b"[" * 40_000),
        "a deep payload around what is good": token(
            json.dumps(claims()).encode()[:-1] + b',"x":' + b"[" * 20_000 + b"]" * 20_000 + b"}"
        ),
        "not JSON": token(b"not JSON"),
        "not UTF-8": token(b'{"iss":"\xff"}'),
        "huge": token(claims(more="x" * MAX_TOKEN_BYTES)),
        "a little too long": _of_length(MAX_TOKEN_BYTES + 1),
        "no text": b"\xff.\xfe.\xfd",
    }


def _of_length(wanted: int) -> bytes:
    """Return a token that is good but for being so long, or up to three bytes longer."""
    shorter = len(token(claims(more="")))
    return token(claims(more="x" * ((wanted - shorter + 3) // 4 * 3)))


def _hmac(kid: str, secret: bytes) -> bytes:
    """Return a token with a signature that whoever knows the secret can make."""
    header = json.dumps({"alg": "HS256", "kid": kid}).encode()
    signed = encode(header) + b"." + encode(json.dumps(claims()).encode())
    return signed + b"." + encode(hmac.digest(secret, signed, "sha256"))


def _signed(header: dict[str, Any], signer: str) -> bytes:
    """Return a token with any header, signed by the key of any name."""
    said = json.dumps(claims()).encode()
    key = private_key(signer)
    return jws.serialize_compact(header, said, key, algorithms=["ES256"]).encode()


@pytest.mark.parametrize("fault", sorted(forged()))
async def test_what_no_published_key_has_signed_is_no_token(fault: str) -> None:
    auth = await judge()
    for route in (BOX, OTHER, None):
        assert refusal(auth, forged()[fault], route) is Unauthenticated
        with pytest.raises(Unauthenticated):
            auth.check({b"authorization": [b"Bearer " + forged()[fault]]}, route, NOW)


async def test_a_long_token_within_the_bound_is_good() -> None:
    signed = _of_length(MAX_TOKEN_BYTES - 4)
    assert MAX_TOKEN_BYTES - 8 <= len(signed) <= MAX_TOKEN_BYTES
    assert check(await judge(), signed) == []


async def test_a_key_for_one_algorithm_is_good_for_no_other() -> None:
    source = Published(key_set(public("k2", "RS256", alg="RS256", use="sig")))
    auth = await judge(source)
    assert check(auth, token(kid="k2", algorithm="RS256")) == []
    assert refusal(auth, token(kid="k2", algorithm="PS256")) is Unauthenticated


async def test_one_token_and_no_more() -> None:
    auth = await judge()
    for shown in ([], [token(), token()]):
        with pytest.raises(Unauthenticated):
            auth.check({b"e2b-traffic-access-token": shown}, BOX, NOW)
    both = {b"e2b-traffic-access-token": [token()], b"authorization": [b"Bearer " + token()]}
    with pytest.raises(Unauthenticated):
        auth.check(both, BOX, NOW)


@given(st.binary(max_size=80))
def test_no_bytes_are_a_token_by_chance(raw: bytes) -> None:
    auth = asyncio.run(judge())
    assert refusal(auth, raw) is Unauthenticated
    assert refusal(auth, encode(raw) + b"." + encode(raw) + b"." + encode(raw)) is Unauthenticated


# ---- whose a bearer is ---------------------------------------------------------------------------


async def test_a_bearer_of_another_issuer_is_the_sandboxs_own_and_goes_on() -> None:
    auth = await judge()
    foreign = token(claims(iss="https://other.example"), kid="k9")
    own = [b"Basic dTpw", b"Bearer opaque", b"Bearer a.b.c", b"Bearer " + foreign]
    fields = {b"e2b-traffic-access-token": [token()], b"authorization": own}
    assert auth.check(fields, BOX, NOW) == [b"Authorization: %b\r\n" % value for value in own]
    with pytest.raises(Unauthenticated):
        auth.check({b"authorization": own}, BOX, NOW)


async def test_a_bearer_that_says_it_is_of_our_issuer_never_goes_on() -> None:
    auth = await judge()
    for bearer in (token(), token(claims(exp=1)), token(kid="k9"), token()[:-4] + b"AAAA"):
        assert auth.tokens({b"authorization": [b"Bearer " + bearer]}) == [bearer]


# ---- keys ----------------------------------------------------------------------------------------


async def test_without_keys_nobody_is_let_in_and_nobody_is_told_that_a_token_is_bad() -> None:
    source = Published()
    source.content = None
    auth = await judge(source)
    for route in (BOX, None):
        assert refusal(auth, token(), route) is AuthUnavailable
        assert refusal(auth, b"garbage", route) is Unauthenticated


async def test_keys_that_are_too_old_are_believed_no_more_not_even_for_what_was_verified() -> None:
    source, clock = Published(), Clock()
    auth = await judge(source, clock)
    signed = token()
    assert check(auth, signed) == []
    source.content = None
    clock.now = Freshness().max_age
    assert check(auth, signed) == []
    clock.now += 1
    assert refusal(auth, signed) is AuthUnavailable


async def test_an_unknown_key_is_nobodys_only_if_the_provider_answers() -> None:
    source, clock = Published(), Clock()
    store = KeyStore(source, Freshness(), Instruments(), clock)
    auth = JwtTokens(JwtRules(ISSUER), store)
    await store.fetch()
    assert refusal(auth, token(kid="k9")) is Unauthenticated
    source.content = None
    await store.fetch()
    assert refusal(auth, token(kid="k9")) is AuthUnavailable
    assert check(auth, token()) == []


async def test_a_key_that_is_taken_back_ends_what_it_had_verified() -> None:
    source = Published()
    store = KeyStore(source, Freshness(), Instruments(), Clock())
    auth = JwtTokens(JwtRules(ISSUER), store)
    await store.fetch()
    signed = token()
    assert check(auth, signed) == []
    source.content = key_set(public("k4", "ES384"))
    await store.fetch()
    assert refusal(auth, signed) is Unauthenticated
    assert check(auth, token(kid="k4", algorithm="ES384")) == []


async def test_a_key_set_that_says_the_same_keeps_what_was_verified() -> None:
    source = Published()
    store = KeyStore(source, Freshness(), Instruments(), Clock())
    await store.fetch()
    keys = store.current()
    await store.fetch()
    assert store.current() is keys
    assert set(parse_keys(PUBLISHED)) == set(keys)
