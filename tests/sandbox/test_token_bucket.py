"""A token bucket, up to its exact bounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.sandbox.token_bucket import TokenBucket

NOW = 1_000.0


def test_a_bucket_begins_full_and_refills_at_its_rate_up_to_its_burst() -> None:
    bucket = TokenBucket(4.0, 3, NOW)
    assert [bucket.take(NOW) for _ in range(4)] == [True, True, True, False]
    assert bucket.wait(NOW) == 0.25
    assert bucket.take(NOW + 0.2) is False
    assert bucket.wait(NOW + 0.2) == pytest.approx(0.05)
    assert bucket.take(NOW + 0.25) is True
    assert bucket.wait(NOW + 10.0) == 0.0
    assert [bucket.take(NOW + 10.0) for _ in range(4)] == [True, True, True, False]


def test_a_bucket_knows_when_it_is_full_again() -> None:
    bucket = TokenBucket(4.0, 3, NOW)
    assert bucket.is_full(NOW)
    bucket.take(NOW)
    assert not bucket.is_full(NOW)
    assert not bucket.is_full(NOW + 0.2)
    assert bucket.is_full(NOW + 0.25)


def test_a_bucket_of_one_gives_its_one() -> None:
    bucket = TokenBucket(1.0, 1, NOW)
    assert bucket.wait(NOW) == 0.0
    assert [bucket.take(NOW), bucket.take(NOW)] == [True, False]
    assert bucket.wait(NOW) == 1.0


@given(rate=st.floats(0.01, 1e4), start=st.floats(0.0, 1e6), taken=st.integers(1, 50))
def test_after_the_time_it_names_a_bucket_has_a_token(
    rate: float, start: float, taken: int
) -> None:
    bucket = TokenBucket(rate, 1, start)
    now = start
    for _ in range(taken):
        assert bucket.take(now)
        wait = bucket.wait(now)
        assert 0.0 < wait <= 1.001 / rate
        now += wait


def test_a_bucket_allows_its_burst_and_then_its_rate() -> None:
    bucket = TokenBucket(rate=2.0, burst=50.0, now=0.0)
    assert sum(bucket.take(0.0) for _ in range(200)) == 50
    assert sum(bucket.take(3.0) for _ in range(200)) == 6
    assert not bucket.take(-100.0)
    assert sum(bucket.take(-99.0) for _ in range(200)) == 2
