"""The provider's keys: bounded, fetched in time, once for many, and not believed for ever."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from e2e.identity import Provider, key_set, private_key, public
from gateway.auth.jwks import MAX_BYTES, MAX_KEYS, KeyFile, KeysUnavailable, KeyUrl, parse_keys
from gateway.auth.key_store import Freshness, KeyStore
from gateway.telemetry.instruments import PREFIX, Instruments

from .jwts import eventually, running, store

if TYPE_CHECKING:
    from pathlib import Path

NEVER = Freshness(refresh=1e6, max_age=1e6, pause=0.0)


# ---- what a set may hold -------------------------------------------------------------------------


def test_keys_that_may_verify_are_kept_by_their_ids() -> None:
    keys = parse_keys(
        key_set(
            public("k1"),
            public("k2", "RS256", use="sig", alg="RS256"),
            public("k6", "Ed25519", alg="EdDSA"),
        )
    )
    assert {kid: key.get("alg") for kid, key in keys.items()} == {
        "k1": None,
        "k2": "RS256",
        "k6": "Ed25519",
    }


def unfit() -> dict[str, dict[str, Any]]:
    short = "AAAA"
    return {
        "without an id": {**public("x"), "kid": None},
        "with an id that is a number": {**public("x"), "kid": 5},
        "for encryption": public("x", use="enc"),
        "for an algorithm that is a number": public("x", alg=5),
        "a secret": {"kty": "oct", "k": "c2VjcmV0", "kid": "x"},
        "of no kind": {"kid": "x"},
        "of an unknown kind": {"kty": "AKP", "kid": "x"},
        "of a curve for key agreement": {"kty": "OKP", "crv": "X25519", "x": short, "kid": "x"},
        "not on its curve": public("x") | {"y": public("x")["x"]},
        "not a number": {"kty": "RSA", "n": 5, "e": "AQAB", "kid": "x"},
        "short": {"kty": "RSA", "n": "A" * 170 + "E", "e": "AQAB", "kid": "x"},
        "of a curve that nobody knows": public("x") | {"crv": "P-999"},
        "of a curve of another library": public("x") | {"crv": "BP-256"},
        "much too long": {"kty": "RSA", "n": "f" * 3000, "e": "AQAB", "kid": "x"},
    }


@pytest.mark.parametrize("fault", sorted(unfit()))
def test_a_key_that_is_unfit_is_left_out_and_others_stay(fault: str) -> None:
    assert set(parse_keys(key_set(unfit()[fault], public("k1")))) == {"k1"}
    with pytest.raises(KeysUnavailable):
        parse_keys(key_set(unfit()[fault]))


def test_two_keys_of_one_id_are_none() -> None:
    assert set(parse_keys(key_set(public("k1"), public("k1"), public("k2", "RS256")))) == {"k2"}


@pytest.mark.parametrize(
    "published",
    [
        b"",
        b"<html>",
        b"[]",
        b'{"keys":{}}',
        b'{"keys":[5]}',
        b'{"keys":[]}',
        b"{}",
        b'{"keys":[' * 9999,
        b'{"keys":["\xff"]}',
        key_set(*(public("k1") | {"kid": f"n{number}"} for number in range(MAX_KEYS + 1))),
        key_set(public("k1"), {"x": "x" * MAX_BYTES}),
    ],
    ids=range(11),
)
def test_what_is_no_set_or_too_large_is_refused(published: bytes) -> None:
    with pytest.raises(KeysUnavailable):
        parse_keys(published)


def test_a_set_of_the_most_keys_is_good() -> None:
    many = [public("k1") | {"kid": f"n{number}"} for number in range(MAX_KEYS)]
    assert len(parse_keys(key_set(*many))) == MAX_KEYS


# ---- where it is ---------------------------------------------------------------------------------


async def test_a_set_is_fetched_by_url_without_cookies_or_compression() -> None:
    async with Provider(key_set(public("k1"))) as provider:
        provider.fields = b"Set-Cookie: a=b\r\n"
        source = KeyUrl(provider.url, 5.0)
        assert await source.fetch() == provider.published
        assert await source.fetch() == provider.published
        assert b"Accept-Encoding: identity" in provider.requests[1]
        assert b"Cookie" not in provider.requests[1]


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    async with Provider(key_set(public("k1"))) as provider:
        assert await KeyUrl(provider.url, 5.0).fetch() == provider.published


@pytest.mark.parametrize(
    "status",
    [b"301 Moved", b"302 Found", b"307 Again", b"204 Empty", b"404 Gone", b"500 Broken"],
)
async def test_only_200_is_an_answer_and_no_redirect_is_followed(status: bytes) -> None:
    async with Provider(key_set(public("k1"))) as provider:
        provider.status = status
        provider.fields = b"Location: %b\r\n" % provider.url.encode()
        with pytest.raises(KeysUnavailable):
            await KeyUrl(provider.url, 5.0).fetch()
        assert provider.asked == 1


async def test_an_answer_without_end_is_read_only_so_far() -> None:
    async with Provider(b"x" * (8 * MAX_BYTES)) as provider:
        assert MAX_BYTES < len(await KeyUrl(provider.url, 5.0).fetch()) < 3 * MAX_BYTES


async def test_who_does_not_answer_is_not_waited_for() -> None:
    provider = Provider(b"")
    provider.hold = asyncio.Event()
    async with provider:
        with pytest.raises(KeysUnavailable):
            await KeyUrl(provider.url, 0.05).fetch()
        provider.hold.set()
    with pytest.raises(KeysUnavailable):
        await KeyUrl(provider.url, 5.0).fetch()


async def test_a_file_is_read_anew_each_time(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    source = KeyFile(file)
    with pytest.raises(KeysUnavailable):
        await source.fetch()
    for kid in ("k1", "k4"):
        file.write_bytes(key_set({"kid": kid}))
        assert json.loads(await source.fetch())["keys"][0]["kid"] == kid
    file.write_bytes(b"x" * (2 * MAX_BYTES))
    assert len(await source.fetch()) == MAX_BYTES + 1


# ---- when ----------------------------------------------------------------------------------------


async def test_a_crowd_that_asks_at_once_makes_one_fetch_and_all_of_it_waits() -> None:
    seldom = Freshness(refresh=1e6, max_age=1e6, pause=1e6)
    provider = Provider(key_set(public("k1")))
    async with provider, running(store(provider, seldom)) as keys:
        await eventually(keys.current)
        provider.hold = asyncio.Event()
        crowd = [asyncio.create_task(keys.ask()) for _ in range(50)]
        await eventually(lambda: provider.asked == 2)
        crowd += [asyncio.create_task(keys.ask()) for _ in range(50)]
        await asyncio.sleep(0)
        assert not any(task.done() for task in crowd)
        provider.published = key_set(public("k4", "ES384"))
        provider.hold.set()
        await asyncio.gather(*crowd)
        assert set(keys.current()) == {"k4"}
        assert provider.asked == 2


async def test_requests_can_ask_only_so_often() -> None:
    clock = [100.0]
    seldom = Freshness(refresh=1e6, max_age=1e6, pause=2.0)
    provider = Provider(key_set(public("k1")))
    async with provider, running(store(provider, seldom, lambda: clock[0])) as keys:
        for _ in range(20):
            await keys.ask()
        assert provider.asked == 1
        clock[0] += 2.0
        provider.published = key_set(public("k1"), public("k4", "ES384"))
        for _ in range(20):
            await keys.ask()
        assert provider.asked == 2
        assert set(keys.current()) == {"k1", "k4"}


async def test_one_who_gives_up_asking_takes_nothing_from_the_others() -> None:
    provider = Provider(key_set(public("k1")))
    provider.hold = asyncio.Event()
    async with provider, running(store(provider, NEVER)) as keys:
        first, second = (asyncio.create_task(keys.ask()) for _ in range(2))
        await eventually(lambda: provider.asked)
        first.cancel()
        provider.hold.set()
        await second
        assert set(keys.current()) == {"k1"}


async def test_keys_are_fetched_again_without_being_asked_for() -> None:
    often = Freshness(refresh=0.01, max_age=1e6)
    provider = Provider(key_set(public("k1")))
    async with provider, running(store(provider, often)) as keys:
        await eventually(lambda: provider.asked >= 3)
        provider.published = key_set(public("k4", "ES384"))
        await eventually(lambda: set(keys.current()) == {"k4"})


async def test_a_broken_set_changes_nothing_and_is_counted_and_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock, instruments = [0.0], Instruments()
    async with Provider(key_set(public("k1"))) as provider:
        keys = store(provider, Freshness(max_age=60.0), lambda: clock[0], instruments=instruments)
        await keys.fetch()
        provider.published = b"broken"
        clock[0] = 60.0
        for _ in range(3):
            await keys.fetch()
        assert set(keys.current()) == {"k1"}
        assert [keys.sure] == [False]
        shown = {
            (sample.name.removeprefix(PREFIX), *sample.labels.values()): sample.value
            for family in instruments.collect()
            for sample in family.samples
        }
        assert shown[("jwks_fetches_total", "loaded")] == 1
        assert shown[("jwks_fetches_total", "failed")] == 3
        assert shown[("jwks_age_seconds",)] == 60.0
        assert len(caplog.records) == 1
        provider.published = key_set(public("k1"))
        await keys.fetch()
        assert keys.sure
        assert len(caplog.records) == 2


async def test_keys_that_grow_old_are_gone_until_they_are_fetched_again() -> None:
    clock = [0.0]
    async with Provider(key_set(public("k1"))) as provider:
        keys = store(provider, Freshness(max_age=60.0), lambda: clock[0])
        await keys.fetch()
        clock[0] = 60.0
        assert set(keys.current()) == {"k1"}
        clock[0] = 60.5
        assert set(keys.current()) == set()
        await keys.fetch()
        assert set(keys.current()) == {"k1"}


async def test_a_set_that_holds_private_keys_verifies_all_the_same() -> None:
    whole = private_key("k1").as_dict(private=True)
    assert set(parse_keys(key_set(whole))) == {"k1"}


def test_a_store_has_no_keys_before_the_first_fetch() -> None:
    assert KeyStore(KeyUrl("http://127.0.0.1:1", 1.0), NEVER, Instruments()).current() == {}
