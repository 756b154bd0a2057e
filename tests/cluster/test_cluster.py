"""The composition: what it shows, and how it ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from gateway.cluster.errors import ConfigInvalid
from gateway.dialects.kruise import Kruise
from gateway.dialects.native import Native
from gateway.sandbox.model import Key, State

from .conftest import eventually
from .faultapi import PATCH

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.sandbox.model import Route
    from gateway.sandbox.registry import Registry
    from gateway.telemetry.instruments import Instruments

    from .conftest import Watch
    from .faultapi import FaultApi


async def test_before_the_first_list_it_is_neither_synced_nor_stale(
    api: FaultApi, watch: Watch
) -> None:
    api.denied = 403
    async with watch() as cluster:
        assert not cluster.synced
        assert not cluster.stale


async def test_what_it_knows_is_shown_as_metrics(
    api: FaultApi, watch: Watch, instruments: Instruments
) -> None:
    await api.put("bad", status={"phase": 7})
    shown = CollectorRegistry()
    shown.register(instruments)
    async with watch((Native(), Kruise())) as cluster:
        await eventually(lambda: api.open_watches == 2)
        await cluster.wait_synced()
        text = generate_latest(shown).decode()
    assert 'sandbox_gateway_watch_synced{watch="native"} 1.0' in text
    assert 'sandbox_gateway_watch_stale{watch="kruise"} 0.0' in text
    assert 'sandbox_gateway_watch_restarts{reason="expired"} 0.0' in text
    assert "sandbox_gateway_unrouted_objects 2.0" in text
    assert 'sandbox_gateway_malformed_objects_total{dialect="native"} 1.0' in text


async def test_a_write_under_way_is_finished_before_it_ends(api: FaultApi, watch: Watch) -> None:
    raw = await api.put("a")
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def held(server: FaultApi, request: Any) -> Any:
        reached.set()
        await go_on.wait()
        return await server.patch(request)

    api.queue(PATCH, held)
    async with watch() as cluster:
        key, uid = Key("native", "team-a", "a"), raw["metadata"]["uid"]
        waking = asyncio.create_task(cluster.writer.wake(key, uid))
        await reached.wait()
        asyncio.get_running_loop().call_later(0.05, go_on.set)
    assert waking.done()
    assert (await waking).state is State.RESUMING


async def test_an_error_of_the_body_leaves_as_it_came(watch: Watch) -> None:
    with pytest.raises(ZeroDivisionError):
        async with watch():
            raise ZeroDivisionError


async def test_cancelling_the_body_is_a_cancellation(api: FaultApi, watch: Watch) -> None:
    async def body() -> None:
        async with watch() as cluster:
            await cluster.wait_synced()
            await asyncio.Event().wait()

    task = asyncio.create_task(body())
    await eventually(lambda: api.open_watches == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await eventually(lambda: api.open_watches == 0)


async def test_a_mistake_in_a_watch_ends_the_body(
    api: FaultApi, watch: Watch, registry: Registry
) -> None:
    def listener(before: Route | None, after: Route | None) -> None:
        raise ZeroDivisionError

    registry.subscribe(listener)
    await api.put("a")
    with pytest.raises(ExceptionGroup) as caught:
        async with watch():
            await asyncio.Event().wait()
    assert caught.group_contains(ZeroDivisionError)


async def test_certificates_that_do_not_exist_are_a_broken_configuration(
    api: FaultApi, watch: Watch, tmp_path: Path
) -> None:
    path = api.kubeconfig(tmp_path / "odd", **{"client-certificate": "/nowhere/tls.crt"})
    text = (tmp_path / "odd").read_text().replace("http://", "https://")
    (tmp_path / "odd").write_text(text)
    with pytest.raises(ConfigInvalid):
        async with watch(kubeconfig=path):
            pass
