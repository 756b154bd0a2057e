"""`mint`: a token that opens one sandbox, whose secret is never shown."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from gateway.auth.key_files import read_token_keys
from gateway.auth.scoped import verify
from gateway.local.api import load_native_crd
from tests.test_cli import modules_after, run, serving

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
async def keys(tmp_path: Path) -> Path:
    """A file with two keys, as the command makes them."""
    file = tmp_path / "keys"
    lines = [await run(tmp_path, "mint", "--new-key", key_id) for key_id in ("k1", "k2")]
    assert all(done.status == 0 and not done.err for done in lines)
    file.write_text("".join(done.out for done in lines))
    return file


async def test_a_new_key_is_a_line_of_the_keys_file_and_never_the_same(keys: Path) -> None:
    found = read_token_keys(keys)
    assert list(found) == ["k1", "k2"]
    assert len({*found.values()}) == 2
    assert {len(secret) for secret in found.values()} == {32}


async def test_a_token_opens_the_sandbox_of_that_uid_for_that_long(keys: Path) -> None:
    before = time.time()
    done = await run(
        keys.parent, "mint", "team/box", "--keys-file", str(keys), "--uid", "uid-1", "--ttl", "90s"
    )
    assert (done.status, done.err) == (0, "")
    token = done.out.removesuffix("\n").encode()
    secrets = read_token_keys(keys)
    claims = verify(token, {"k1": secrets["k1"]}, before)
    assert claims is not None
    assert (claims.namespace, claims.name, claims.uid) == ("team", "box", "uid-1")
    assert before + 89 <= claims.expires_at <= time.time() + 90
    assert verify(token, {"k1": secrets["k2"]}, before) is None


async def test_the_uid_is_looked_up_in_the_cluster_and_the_key_may_be_chosen(
    keys: Path, tmp_path: Path
) -> None:
    async with serving(tmp_path, load_native_crd()) as cluster:
        made = cluster.put("box", "Paused")
        done = await cluster.run("mint", "default/box", "--keys-file", str(keys), "--key-id", "k2")
        assert (done.status, done.err) == (0, "")
        claims = verify(done.out.strip().encode(), read_token_keys(keys), time.time())
        assert claims is not None
        assert claims.uid == made["metadata"]["uid"]
        gone = await cluster.run("mint", "default/gone", "--keys-file", str(keys))
        assert (gone.status, gone.out) == (1, "")
        assert "there is no sandbox default/gone" in gone.err


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        ([], 2, "name a sandbox and its --keys-file"),
        (["team/box"], 2, "name a sandbox and its --keys-file"),
        (["team/box", "--keys-file", "nowhere"], 2, "mint --new-key k1 >> nowhere"),
        (["team/box", "--keys-file", "broken"], 2, "line 1 is not KEY-ID:SECRET"),
        (["team/box", "--keys-file", "keys", "--key-id", "k3"], 2, "it has k1, k2"),
        (["team/box", "--keys-file", "keys", "--uid", "u", "--ttl", "0s"], 2, "for some time"),
        (["team/box", "--keys-file", "keys", "--uid", "u", "--ttl", "1"], 2, "such as 90s or 5m"),
        (["box", "--keys-file", "keys"], 2, "write NAMESPACE/NAME"),
        (["--new-key", "a b"], 2, "a key id has letters"),
        (["--new-key", "k" * 65], 2, "a key id has letters"),
        (["team/box", "--keys-file", "keys"], 2, "Name one with --kubeconfig"),
    ],
)
async def test_what_is_wrong_is_told_with_what_to_do_and_no_secret(
    keys: Path, arguments: list[str], status: int, told: str
) -> None:
    (keys.parent / "broken").write_text("hunter2")
    done = await run(keys.parent, "mint", *arguments)
    assert (done.status, done.out) == (status, "")
    assert told in done.err
    assert "hunter2" not in done.err
    assert not any(line.partition(":")[2] in done.err for line in keys.read_text().split())


def test_it_loads_neither_an_event_loop_nor_what_verifies_jwts(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("k1:" + "A" * 44)
    loaded = modules_after(tmp_path, "mint", "a/b", "--keys-file", str(file), "--uid", "u")
    assert "gateway.auth.scoped" in loaded
    for heavy in ("kubernetes_asyncio", "aiohttp", "asyncio", "pydantic", "joserfc"):
        assert heavy not in loaded
    assert len(loaded) <= 400
