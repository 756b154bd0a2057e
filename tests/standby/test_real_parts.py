"""The idle controller with what it really talks to: the writer, a gate, and the embedded API."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.cluster.cluster import Cluster
from gateway.cluster.config import ClusterConfig
from gateway.cluster.pods import Pod
from gateway.dialects import own
from gateway.dialects.native import Native
from gateway.local.api import (
    SANDBOXES,
    EmbeddedApi,
    ObjectStore,
    load_native_crd,
    write_kubeconfig,
)
from gateway.replicas.calls import CallConfig, Calls
from gateway.replicas.gate import Gate
from gateway.replicas.peers import Peers
from gateway.sandbox.activity import Activity
from gateway.sandbox.model import Key, State
from gateway.sandbox.registry import Registry
from gateway.sandbox.texts import format_time
from gateway.standby.config import IdleConfig
from gateway.standby.controller import IdleController
from gateway.standby.judging import Moment
from gateway.standby.notes import Notes
from gateway.telemetry.instruments import Instruments
from tests.cluster.conftest import eventually
from tests.standby.doubles import Guests, Lead

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

KEY = Key("native", "default", "box")


class OnlyPod:
    """The pods of a replica that is alone."""

    async def living(self) -> Sequence[Pod]:
        return [Pod("only", "10.0.0.1")]


@dataclass
class Rig:
    store: ObjectStore
    registry: Registry
    activity: Activity
    gate: Gate
    cluster: Cluster
    controller: IdleController

    @property
    def annotations(self) -> dict[str, str]:
        found: dict[str, str] = self.store.get(SANDBOXES, "default", "box")["metadata"].get(
            "annotations", {}
        )
        return found

    @property
    def state(self) -> State:
        return self.registry.by_id("default--box").state


@asynccontextmanager
async def running(tmp_path: Path, annotations: dict[str, str]) -> AsyncIterator[Rig]:
    store = ObjectStore(":memory:", [load_native_crd()])
    api = EmbeddedApi(store, "a-token-for-tests")
    await api.start()
    path = tmp_path / "kubeconfig"
    write_kubeconfig(path, api.address, "a-token-for-tests")
    clock = asyncio.get_running_loop().time
    registry, activity, instruments = Registry(), Activity(), Instruments()
    registry.subscribe(lambda before, after: activity.heed(before, after, clock(), time.time()))
    made = store.create(SANDBOXES, "default", box(annotations))
    store.update_status(SANDBOXES, "default", "box", made["metadata"]["uid"], runs)
    try:
        async with (
            Cluster(ClusterConfig(kubeconfig=str(path)), [Native()], registry, instruments) as one,
            Calls(CallConfig(port=1)) as calls,
        ):
            gate = Gate(activity, registry, one.writer.read, clock)
            registry.subscribe(gate.heed)
            controller = IdleController(
                IdleConfig(min_uptime=0.0), registry, activity,
                Peers("only", gate, OnlyPod(), calls, instruments), one.writer, Lead(), Guests(),
                instruments, clock=clock,
            )  # fmt: skip
            await one.wait_synced()
            task = asyncio.create_task(controller.run())
            try:
                yield Rig(store, registry, activity, gate, one, controller)
            finally:
                task.cancel()
                await asyncio.wait({task})
    finally:
        await api.stop()
        store.close()


def box(annotations: dict[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "sandbox-gateway.dev/v1alpha1",
        "kind": "Sandbox",
        "metadata": {"name": "box", "namespace": "default", "annotations": annotations},
        "spec": {"desiredState": "Running", "wakeOnTraffic": {"enabled": True}},
    }


def runs(status: dict[str, Any]) -> None:
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-11-22T00:00:00Z"}
    status.update(phase="Running", podIP="10.0.0.7", conditions=[ready], observedGeneration=1)


def policy(timeout: str) -> dict[str, str]:
    return {own.AUTO_STANDBY: f'{{"enabled": true, "idle_timeout": "{timeout}"}}'}


async def test_a_sandbox_that_is_used_no_more_is_asked_to_pause(tmp_path: Path) -> None:
    async with running(tmp_path, policy("500ms")) as rig:
        await eventually(lambda: rig.state in {State.PAUSING, State.PAUSED})
        assert rig.store.get(SANDBOXES, "default", "box")["spec"]["desiredState"] == "Paused"
        route = rig.registry.by_id("default--box")
        await eventually(lambda: not rig.gate.is_shut(route.uid))
        await eventually(lambda: rig.controller.why(route).slept is not None)


async def test_a_note_on_the_object_makes_up_for_a_gateways_youth(tmp_path: Path) -> None:
    noted = {own.IDLE_SINCE: format_time(time.time() - 400)}
    async with running(tmp_path, policy("5m") | noted) as rig:
        await eventually(lambda: rig.state in {State.PAUSING, State.PAUSED})


async def test_a_note_gets_onto_the_object_and_is_read_from_it(tmp_path: Path) -> None:
    async with running(tmp_path, policy("5m")) as rig:
        await eventually(lambda: rig.state is State.RUNNING)
        clock = asyncio.get_running_loop().time
        notes = Notes(
            rig.cluster.writer, rig.registry, rig.activity, Instruments(),
            lambda: Moment(clock(), time.time()), per_second=10.0,
        )  # fmt: skip
        writing = asyncio.create_task(notes.run())
        notes.note_idle(rig.registry.by_id("default--box"))
        await eventually(lambda: rig.registry.by_id("default--box").idle.idle_since is not None)
        assert set(rig.annotations) == {own.AUTO_STANDBY, own.IDLE_SINCE, own.LAST_ACTIVITY_AT}
        writing.cancel()
        await asyncio.wait({writing})
