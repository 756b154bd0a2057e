"""A differential test: whatever happened to whatever connection, routes end up as the objects are.

Random histories of creations, updates and deletions are played against the scripted API while
watches end, break, fall silent, lose events with their log, and lists expire between pages.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.cluster.cluster import Cluster
from gateway.cluster.config import ClusterConfig
from gateway.dialects.native import Native
from gateway.sandbox.registry import Registry
from gateway.telemetry.instruments import Instruments

from .conftest import eventually, patient
from .faultapi import LIST, WATCH, FaultApi, answers, fails, frame, resets, watches

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

NAMES = ("a", "b", "c", "d", "e")
PHASES = ("Pending", "Running", "Paused", "Resuming", "Failed")


async def put(api: FaultApi, name: str, phase: str) -> None:
    await api.put(name, status={"phase": phase})


async def delete(api: FaultApi, name: str, phase: str) -> None:
    if ("team-a", name) in api.objects:
        await api.delete(name)


async def recreate(api: FaultApi, name: str, phase: str) -> None:
    if ("team-a", name) in api.objects:
        api.discard(name)
    await api.put(name, status={"phase": phase})


async def break_object(api: FaultApi, name: str, phase: str) -> None:
    await api.put(name, status={"phase": 7})


async def bookmark(api: FaultApi, name: str, phase: str) -> None:
    await api.bookmark()


async def end(api: FaultApi, name: str, phase: str) -> None:
    await api.drop_watches()


async def lose(api: FaultApi, name: str, phase: str) -> None:
    """Events not yet sent are lost for good: their versions are expired."""
    if ("team-a", name) in api.objects:
        api.discard(name)
    api.compact()
    await api.drop_watches()


async def expire_in_a_frame(api: FaultApi, name: str, phase: str) -> None:
    api.queue(WATCH, watches(frame("ERROR", {"code": 410})))
    await api.drop_watches()


async def fail_watch(api: FaultApi, name: str, phase: str) -> None:
    api.queue(WATCH, resets, fails(500), watches(b'{"type"', then="reset"), answers(b"nonsense\n"))
    await api.drop_watches()


async def fail_list(api: FaultApi, name: str, phase: str) -> None:
    async def first_page(server: FaultApi, request: object) -> object:
        return await server.list(request)  # type: ignore[arg-type]

    api.queue(LIST, first_page, fails(410), fails(429), answers(b"{}"))  # type: ignore[arg-type]
    api.compact()
    await api.drop_watches()


async def breathe(api: FaultApi, name: str, phase: str) -> None:
    await asyncio.sleep(0.003)


CHANGES = (put, put, put, delete, delete, recreate, break_object, breathe, breathe)
FAULTS = (bookmark, end, lose, expire_in_a_frame, fail_watch, fail_list)

steps = st.tuples(
    st.sampled_from(CHANGES + FAULTS), st.sampled_from(NAMES), st.sampled_from(PHASES)
)


def wanted(api: FaultApi) -> dict[str, tuple[str, int]]:
    return {
        name: (raw["metadata"]["uid"], int(raw["metadata"]["resourceVersion"]))
        for (_, name), raw in api.objects.items()
        if raw["status"]["phase"] != 7
    }


def known(registry: Registry) -> dict[str, tuple[str, int]]:
    return {route.key.name: (route.uid, route.version) for route in registry}


async def play(history: list[tuple[Callable[..., Awaitable[None]], str, str]]) -> None:
    api, registry = FaultApi(), Registry()
    await api.start()
    with tempfile.TemporaryDirectory() as directory:
        config = ClusterConfig(
            kubeconfig=api.kubeconfig(Path(directory) / "kubeconfig"),
            list_page_size=2,
            backoff_min=0.0005,
            backoff_max=0.005,
        )
        try:
            async with Cluster(config, [Native()], registry, Instruments()):
                for change, name, phase in history:
                    await change(api, name, phase)
                api.replies.clear()
                await eventually(lambda: known(registry) == wanted(api))
                assert {r.key.name: r.id for r in registry} == {
                    name: f"team-a--{name}" for name in wanted(api)
                }
        finally:
            await api.stop()


@settings(patient, max_examples=40)
@given(st.lists(steps, min_size=5, max_size=30))
def test_the_registry_converges_to_what_the_server_has(
    history: list[tuple[Callable[..., Awaitable[None]], str, str]],
) -> None:
    with asyncio.Runner() as runner:
        runner.run(play(history))
