"""Local mode that right-sizes: over real processes, and control groups that are but files."""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from e2e.waiting import soon
from gateway import app
from gateway.local.api import SANDBOXES
from gateway.local.bridge import StoredSandboxes
from gateway.local.runtime import ProcessRuntime
from gateway.local.sizes import LocalSizes
from gateway.sandbox.errors import NotWritten
from gateway.sandbox.scaling import Size
from gateway.settings import load
from tests.local.cgroup_tree import MIB, HostTree
from tests.local.runtime.doubles import FAST, SERVER, free_port, is_served, pids_of, python
from tests.test_sleeping import PATIENCE, Replica, api

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.local.api import ObjectStore

BOUNDS = {"min": {"cpu": "250m", "mem": "512Mi"}, "max": {"cpu": "2", "mem": "2Gi"}}
LEAST, LEAST_CPU = str(512 * MIB), "25000 100000"


class Local:
    """Local mode that runs, and the machine that it believes to be on."""

    def __init__(self, replica: Replica, host: HostTree, sizes: LocalSizes) -> None:
        self.replica, self.host, self.sizes = replica, host, sizes
        self.port = free_port()

    async def create(self, name: str = "box", *, scaled: bool = True) -> None:
        """Create a sandbox."""
        labels = {"sandbox-gateway.dev/scaling-enabled": "true"} if scaled else {}
        annotations = {"sandbox-gateway.dev/scaling-bounds": json.dumps(BOUNDS)}
        port = self.port if name == "box" else free_port()
        process = {"command": python(SERVER), "port": port, "pause": "stop"}
        self.replica.store.create(
            SANDBOXES,
            "default",
            {
                "apiVersion": "sandbox-gateway.dev/v1alpha1",
                "kind": "Sandbox",
                "metadata": {"name": name, "labels": labels, "annotations": annotations},
                "spec": {"desiredState": "Running", "process": process},
            },
        )
        routes = self.replica.gateway.registry
        await soon(lambda: any(one.key.name == name for one in routes), "it is known", PATIENCE)

    def want(self, state: str) -> None:
        """Have the sandbox be asked to be in another state."""

        def change(stored: dict[str, Any]) -> None:
            stored["spec"]["desiredState"] = state

        self.replica.store.patch(SANDBOXES, "default", "box", change)

    async def group(self, *others: Path) -> Path:
        """Return the one group of a sandbox, beside others, once there is one; it is idle."""
        await soon(lambda: len(self.host.groups) > len(others), "a group is made", PATIENCE)
        (group,) = set(self.host.groups) - set(others)
        self.host.uses(group, memory=100)
        return group

    async def shows(
        self, status: str, reason: str | None = None, name: str = "box"
    ) -> dict[str, Any]:
        """Return how its size stands, once it stands so."""
        found: dict[str, Any] = {}

        async def check() -> bool:
            found.update(await self.replica.told("resize", f"default/{name}"))
            return found["status"] == status and reason in (None, found["reason"])

        await soon(check, f"its size is {status}", PATIENCE)
        return found


@asynccontextmanager
async def local(home: Path) -> AsyncIterator[Local]:
    """Run it over a machine whose files are below `home`."""
    host = HostTree(home / "host")
    sizes = LocalSizes(home / "host")
    async with running(home, sizes) as replica:
        yield Local(replica, host, sizes)
    assert not pids_of(home / "data")


@asynccontextmanager
async def running(home: Path, sizes: LocalSizes) -> AsyncIterator[Replica]:
    chosen = {
        "auth_mode": "none",
        "access_log": "false",
        "standby": "false",
        "dialects": "native",
        "kubeconfig": str(home / "kubeconfig"),
        "data_listen": "127.0.0.1:0",
        "admin_listen": "127.0.0.1:0",
        "upstream_allow_cidrs": "127.0.0.0/8",
        "drain_delay": "0s",
        "resize": "true",
        "resize_metrics_interval": "1s",
    }
    async with api(home) as store, aiohttp.ClientSession() as http:
        settings = load({f"SBXGW_{name.upper()}": value for name, value in chosen.items()})
        dialects = app.dialects_of(settings, local=True)
        async with (
            app.running(settings, dialects, local=True, ground=sizes) as gateway,
            _processes(store, home / "data", sizes),
        ):
            at = await gateway.start()
            await gateway.cluster.wait_synced()
            data, admin = (f"http://{app.shown(one)}" for one in (at.data, at.admin))
            yield Replica(store, gateway, data, admin, http)


@asynccontextmanager
async def _processes(store: ObjectStore, data_dir: Path, sizes: LocalSizes) -> AsyncIterator[None]:
    runtime = ProcessRuntime(StoredSandboxes(store), data_dir, (), FAST, sizes)
    task = asyncio.create_task(runtime.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_a_sandbox_begins_in_a_group_of_its_least_size(tmp_path: Path) -> None:
    async with local(tmp_path) as here:
        await here.create()
        group = await here.group()
        assert (group / "memory.max").read_text() == LEAST
        assert (group / "cpu.max").read_text() == LEAST_CPU
        found = await here.shows("sized")
        assert found["actual"] == {"cpu": "250m", "mem": "512Mi"}
        assert (group / "cgroup.procs").read_text() == "0"


async def test_it_has_more_when_it_needs_more_and_less_when_it_does_not(tmp_path: Path) -> None:
    async with local(tmp_path) as here:
        await here.create()
        group = await here.group()
        await here.shows("sized")
        here.host.uses(group, memory=400)
        await soon(lambda: (group / "memory.max").read_text() == str(1024 * MIB), "more", PATIENCE)
        here.host.uses(group, memory=100)
        await soon(lambda: (group / "memory.max").read_text() == LEAST, "less", PATIENCE)


async def test_a_resize_that_the_kernel_does_not_take_is_told_as_one(tmp_path: Path) -> None:
    async with local(tmp_path) as here:
        await here.create()
        group = await here.group()
        await here.shows("sized")
        async with here.sizes.followed() as machines:
            (pod,) = machines.on_node("this-machine")
        here.host.uses(group, memory=600)
        with pytest.raises(NotWritten, match="uses more memory than that"):
            await here.sizes.resize(pod, Size(250, 512 * MIB))
        here.host.uses(group, memory=100)
        changed = await here.sizes.resize(pod, Size(500, 512 * MIB))
        assert changed.actual == changed.desired == changed.taken == Size(500, 512 * MIB)
        assert changed.version > pod.version


async def test_the_group_is_there_from_the_start_of_the_processes_to_their_end(
    tmp_path: Path,
) -> None:
    async with local(tmp_path) as here:
        await here.create()
        first = await here.group()
        await here.shows("sized")
        here.want("Paused")
        await here.shows("no_pod")
        here.want("Running")
        await here.group(first)
        await here.shows("sized")


async def test_sandboxes_are_told_apart_though_they_share_an_address(tmp_path: Path) -> None:
    async with local(tmp_path) as here:
        await here.create("box")
        first = await here.group()
        await here.create("other")
        await here.group(first)
        await here.shows("sized", name="box")
        await here.shows("sized", name="other")


async def test_what_a_gateway_before_this_one_left_is_removed(tmp_path: Path) -> None:
    left = HostTree(tmp_path / "host").own / "sandbox-left"
    left.mkdir()
    async with local(tmp_path) as here:
        await soon(lambda: not left.exists(), "it is removed", PATIENCE)
        assert here.host.groups == []


async def test_a_sandbox_that_does_not_ask_for_it_is_in_no_group(tmp_path: Path) -> None:
    async with local(tmp_path) as here:
        await here.create(scaled=False)
        await here.shows("disabled")
        await soon(lambda: is_served(here.port), "it runs", PATIENCE)
        assert here.host.groups == []


async def test_a_sandbox_whose_group_cannot_be_made_runs_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with local(tmp_path) as here:
        here.host.own.rename(here.host.own.with_name("gone"))
        await here.create()
        await soon(lambda: is_served(here.port), "it runs", PATIENCE)
        await here.shows("no_pod", "no pod is known to be its own, at its address")
    assert "the size of default/box is not limited" in caplog.text


async def test_where_control_groups_cannot_be_used_that_is_told_and_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    host = HostTree(tmp_path / "host")
    host.fill(host.own, "cgroup.controllers", "\n")
    sizes = LocalSizes(tmp_path / "host")
    async with running(tmp_path, sizes) as replica:
        here = Local(replica, host, sizes)
        await here.create()
        await soon(lambda: is_served(here.port), "it runs", PATIENCE)
        found = await here.shows("unsupported")
        assert found["reason"] == f"cpu and memory cannot be limited below {host.own}"
        assert host.groups == []
    assert caplog.text.count("cannot be limited") == 1
