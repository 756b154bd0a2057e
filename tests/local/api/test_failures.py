"""What goes wrong beneath or beyond the API: disks, files, clients."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from aiohttp import ClientConnectionResetError, web
from aiohttp.test_utils import make_mocked_request

from gateway.local.api import (
    EVENTS,
    SANDBOXES,
    EmbeddedApi,
    NotFoundError,
    ObjectStore,
    write_kubeconfig,
)
from gateway.local.api.errors import TooLargeError
from gateway.local.api.patches import PatchType, apply_patch

from .support import COLLECTION, NATIVE, TOKEN, Client, connected, sandbox, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(params=["ABORT", "ROLLBACK"])
def failing_store(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[ObjectStore]:
    """A store whose database refuses to remember anything named `poison`."""
    path = tmp_path / "store.db"
    ObjectStore(path, [NATIVE]).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON history WHEN NEW.name = 'poison'"
            f" BEGIN SELECT RAISE({request.param}, 'no room'); END"
        )
    store = ObjectStore(path, [NATIVE])
    yield store
    store.close()


def test_a_write_that_fails_half_way_leaves_nothing(failing_store: ObjectStore) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        failing_store.create(SANDBOXES, "default", sandbox("poison"))
    with pytest.raises(NotFoundError):
        failing_store.get(SANDBOXES, "default", "poison")
    assert failing_store.resource_version == "0"
    created = failing_store.create(SANDBOXES, "default", sandbox())
    assert created["metadata"]["resourceVersion"] == "1"


async def test_an_unforeseen_failure_is_a_status_500_that_tells_nothing(
    failing_store: ObjectStore, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(failing_store) as api, connected(api) as client:
        with caplog.at_level(logging.CRITICAL):
            answer = await client.post(COLLECTION, sandbox("poison"))
    assert (answer.status, answer.body["message"]) == (500, "internal error")


def test_a_file_that_is_no_database_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_text("not a database" * 100)
    with pytest.raises(sqlite3.DatabaseError):
        ObjectStore(path, [NATIVE])


def test_a_kubeconfig_that_cannot_be_put_in_place_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "kubeconfig"
    target.mkdir()
    with pytest.raises(OSError, match="kubeconfig"):
        write_kubeconfig(target, "http://127.0.0.1:1", TOKEN)
    assert list(tmp_path.iterdir()) == [target]


async def test_old_events_are_swept_while_the_server_runs(store: ObjectStore) -> None:
    event = {"metadata": {"name": "e"}, "involvedObject": {}}
    store.create(EVENTS, "default", event)
    api = EmbeddedApi(store, TOKEN, event_age=0.05)
    await api.start()
    try:
        async with asyncio.timeout(10):
            while store.list(EVENTS).items:
                await asyncio.sleep(0.05)
    finally:
        await api.stop()


async def test_a_body_that_is_not_encoded_as_it_says_is_a_bad_request(client: Client) -> None:
    headers = {"Content-Encoding": "gzip"}
    answer = await client.call("POST", COLLECTION, b"not gzip", **headers)
    assert answer.status == 400


def test_an_object_grows_to_its_limit_only(store: ObjectStore) -> None:
    process = {"command": ["x" * 1024] * 1024}
    store.create(SANDBOXES, "default", sandbox(process=process))
    process = {"command": ["x" * 2048] * 1024}
    with pytest.raises(TooLargeError):
        store.create(SANDBOXES, "default", sandbox("more", process=process))


def test_a_chain_of_copies_is_stopped() -> None:
    operations = b",".join(
        b'{"op": "copy", "from": "/spec", "path": "/spec/c%d"}' % index for index in range(64)
    )
    current = {"metadata": {}, "spec": {"x": "y"}}
    with pytest.raises(TooLargeError):
        apply_patch(PatchType.JSON, b"[" + operations + b"]", current)


async def test_a_client_that_leaves_before_its_watch_begins_is_no_failure(
    api: EmbeddedApi, caplog: pytest.LogCaptureFixture
) -> None:
    async def gone(_: web.Request) -> web.StreamResponse:
        raise ClientConnectionResetError("Cannot write to closing transport")

    await api._answer_errors(make_mocked_request("GET", COLLECTION), gone)
    assert [one for one in caplog.records if one.levelno >= logging.ERROR] == []
