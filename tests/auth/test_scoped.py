"""Scoped tokens: what is signed counts, until its time, and nothing else does."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.auth.scoped import MAX_TOKEN_BYTES, Claims, mint, verify
from gateway.sandbox.model import Key

from .tokens import BOX, KEYS, NOW, OTHER, claims, encode, sign

TOKEN = mint(BOX.key, BOX.uid, NOW + 60, "k1", KEYS["k1"])
GOOD = Claims("team", "box", "uid-1", NOW + 60)


def test_a_token_says_what_it_was_made_for() -> None:
    assert verify(TOKEN, KEYS, NOW) == GOOD
    assert verify(sign(claims()), KEYS, NOW) == GOOD


@pytest.mark.parametrize(
    ("now", "valid"), [(NOW, True), (NOW + 59.999, True), (NOW + 60, False), (NOW + 61, False)]
)
def test_a_token_is_valid_until_its_time_and_not_at_it(now: float, valid: bool) -> None:
    assert (verify(TOKEN, KEYS, now) is not None) is valid


def test_a_fraction_of_a_second_is_cut_off_and_never_added() -> None:
    token = mint(BOX.key, BOX.uid, NOW + 0.9, "k1", KEYS["k1"])
    assert verify(token, KEYS, NOW) is None


def test_a_token_is_for_one_sandbox_by_name_and_uid() -> None:
    assert GOOD.names(BOX)
    assert not GOOD.names(OTHER)
    assert not GOOD.names(replace(BOX, uid="uid-2"))
    assert not GOOD.names(replace(BOX, key=Key("native", "team-b", "box")))
    assert not GOOD.names(replace(BOX, key=Key("native", "team", "box-b")))
    assert GOOD.names(replace(BOX, key=Key("kruise", "team", "box")))


def test_each_key_signs_for_itself_alone() -> None:
    second = mint(BOX.key, BOX.uid, NOW + 60, "k2", KEYS["k2"])
    assert verify(second, KEYS, NOW) == GOOD
    assert verify(second, {"k1": KEYS["k1"]}, NOW) is None
    assert verify(second, {"k2": KEYS["k1"]}, NOW) is None
    assert verify(TOKEN, {}, NOW) is None
    crossed = mint(BOX.key, BOX.uid, NOW + 60, "k2", KEYS["k1"])
    assert verify(crossed, KEYS, NOW) is None


def test_a_short_secret_signs_nothing() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        mint(BOX.key, BOX.uid, NOW, "k1", b"x" * 31)


@given(at=st.integers(0, len(TOKEN) - 1), byte=st.integers(0, 255))
def test_no_byte_of_a_token_can_be_changed(at: int, byte: int) -> None:
    changed = TOKEN[:at] + bytes([byte]) + TOKEN[at + 1 :]
    assert verify(changed, KEYS, NOW) == (GOOD if changed == TOKEN else None)


@given(at=st.integers(0, len(TOKEN)), added=st.binary(min_size=1, max_size=3))
def test_nothing_can_be_added_to_a_token(at: int, added: bytes) -> None:
    assert verify(TOKEN[:at] + added + TOKEN[at:], KEYS, NOW) is None


@given(at=st.integers(0, len(TOKEN) - 1), count=st.integers(1, 5))
def test_nothing_can_be_taken_from_a_token(at: int, count: int) -> None:
    shorter = TOKEN[:at] + TOKEN[at + count :]
    assert verify(shorter, KEYS, NOW) is None


def test_the_parts_of_two_tokens_do_not_mix() -> None:
    other = mint(OTHER.key, OTHER.uid, NOW + 600, "k1", KEYS["k1"])
    payload, signature = other.split(b".")[1], TOKEN.split(b".")[2]
    assert verify(b"v1." + payload + b"." + signature, KEYS, NOW) is None


@pytest.mark.parametrize("version", [b"", b"v0.", b"v2.", b"V1.", b"v1", b".", b"v1.v1."])
def test_another_version_is_no_token(version: bytes) -> None:
    assert verify(version + TOKEN.removeprefix(b"v1."), KEYS, NOW) is None


@pytest.mark.parametrize("spoil", [lambda t: t + b"=", lambda t: t.replace(b".", b"=.", 2)])
def test_padding_is_not_canonical(spoil: object) -> None:
    assert callable(spoil)
    assert verify(spoil(TOKEN), KEYS, NOW) is None


def test_one_signature_has_one_spelling() -> None:
    # 32 bytes leave two unused bits in the last of 43 characters: three other spellings of it.
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = alphabet.index(TOKEN[-1])
    for other in range(last & ~3, (last & ~3) + 4):
        spelled = TOKEN[:-1] + alphabet[other : other + 1]
        assert (verify(spelled, KEYS, NOW) is not None) is (other == last)


def test_the_other_base64_alphabet_is_not_taken() -> None:
    for number in range(200):
        token = mint(BOX.key, f"uid-{number}", NOW + 60, "k1", KEYS["k1"])
        plain = token.replace(b"-", b"+").replace(b"_", b"/")
        if plain.rpartition(b".")[2] != token.rpartition(b".")[2]:
            assert verify(token, KEYS, NOW) is not None
            assert verify(plain, KEYS, NOW) is None
            return
    pytest.fail("no token has a character in which the alphabets differ")


def test_a_token_may_be_so_long_and_no_longer() -> None:
    def token_of(length: int) -> bytes:
        for pad in range(MAX_TOKEN_BYTES):
            token = sign(claims(pad="x" * pad))
            if len(token) >= length:
                return token
        pytest.fail("no such token")

    assert verify(token_of(MAX_TOKEN_BYTES - 2), KEYS, NOW) == GOOD
    assert verify(token_of(MAX_TOKEN_BYTES + 1), KEYS, NOW) is None


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[]",
        b'"v1"',
        b"1",
        b"{",
        b"{}",
        b"\xff\xfe",
        b"[" * 3000,
        claims(ns=None),
        claims(name=None),
        claims(uid=None),
        claims(exp=None),
        claims(kid=None),
        claims(ns=1),
        claims(name=["box"]),
        claims(uid={"uid": "uid-1"}),
        claims(uid=0),
        claims(exp=str(int(NOW) + 60)),
        claims(exp=NOW + 60),
        claims(exp=True),
        claims(exp=float("nan")),
        claims(exp=float("inf")),
        claims(exp=-1),
        claims(kid=["k1"]),
        claims(kid="k3"),
        claims().replace(b'"exp": ', b'"exp": 1' + b"0" * 5000),
    ],
)
def test_a_payload_that_is_not_all_claims_is_none_even_when_signed(payload: bytes) -> None:
    assert verify(sign(payload), KEYS, NOW) is None


def test_a_time_beyond_all_numbers_is_only_far_away() -> None:
    far = verify(sign(claims(exp=10**400)), KEYS, NOW)
    assert far is not None
    assert far.names(BOX)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=4,
)


@given(
    st.dictionaries(
        st.sampled_from(["kid", "ns", "name", "uid", "exp"]),
        _JSON | st.sampled_from(["k1", "team", "box", "uid-1", "\ud800", 10**400]),
    )
)
def test_any_signed_payload_gives_claims_or_nothing(payload: dict[str, object]) -> None:
    found = verify(sign(json.dumps(payload).encode()), KEYS, NOW)
    assert found is None or found.names(BOX) in (True, False)


def test_a_uid_that_is_no_text_of_unicode_is_just_another() -> None:
    found = verify(sign(claims(uid="\ud800")), KEYS, NOW)
    assert found is not None
    assert not found.names(BOX)


@given(st.binary(max_size=60) | st.text(max_size=40).map(lambda text: text.encode()))
def test_any_bytes_are_no_token(raw: bytes) -> None:
    assert verify(raw, KEYS, NOW) is None
    assert verify(b"v1." + raw, KEYS, NOW) is None
    assert verify(b"v1." + encode(raw) + b"." + encode(raw), KEYS, NOW) is None
