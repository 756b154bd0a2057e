"""What was verified is remembered: so much and no more."""

from __future__ import annotations

from gateway.auth.remembered import Remembered
from gateway.auth.scoped import ScopedTokens, mint
from gateway.sandbox.errors import Unauthenticated

from .tokens import BOX, KEYS, NOW


def test_the_one_that_was_verified_first_makes_room() -> None:
    remembered: Remembered[int] = Remembered(most=2)
    for number in range(3):
        remembered.keep(b"%d" % number, number)
    assert [remembered.find(b"%d" % number) for number in range(3)] == [None, 1, 2]
    assert len(remembered) == 2
    remembered.forget()
    assert len(remembered) == 0
    assert remembered.find(b"2") is None


def test_a_scoped_token_is_judged_by_the_keys_of_now_and_by_the_time_of_now() -> None:
    auth = ScopedTokens(KEYS)
    token = mint(BOX.key, BOX.uid, NOW + 60, "k1", KEYS["k1"])
    fields = {b"e2b-traffic-access-token": [token]}
    for _ in range(2):
        assert auth.check(fields, BOX, NOW) == []
    assert auth.ends_at(token) == NOW + 60
    assert refused(auth, token, NOW + 60)
    auth.replace_keys({"k2": KEYS["k2"]})
    assert refused(auth, token, NOW)
    auth.replace_keys({"k1": KEYS["k1"]})
    assert auth.check(fields, BOX, NOW) == []


def refused(auth: ScopedTokens, token: bytes, now: float) -> bool:
    try:
        auth.check({b"e2b-traffic-access-token": [token]}, BOX, now)
    except Unauthenticated:
        return True
    return False
