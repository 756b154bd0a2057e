"""The command line and kubectl, as a user has them beside a running local mode."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import httpx
import pytest

from .kubectl import kubectl_binary
from .manifests import sample, write
from .programs import PROGRAM, environment, free_port, processes_of
from .waiting import DEADLINE, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .gateways import Gateway
    from .kubectl import Kubectl

    Run = Callable[..., subprocess.CompletedProcess[str]]


def run(home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the program with nothing but these variables set."""
    return subprocess.run(
        [PROGRAM, *arguments],
        env=environment(home, **variables),
        capture_output=True,
        text=True,
        timeout=2 * DEADLINE,
        check=False,
    )


@pytest.fixture
def command(kubectl: Kubectl, tmp_path: Path) -> Run:
    """The program, led to local mode as its greeting tells to."""
    return lambda *arguments: run(tmp_path, *arguments, KUBECONFIG=str(kubectl.kubeconfig))


@pytest.fixture
def running(kubectl: Kubectl, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """A sandbox that runs, named after the test."""
    name: str = request.node.name.removeprefix("test_").replace("_", "-")[:40].rstrip("-")
    manifest = write(tmp_path / "sandbox.yaml", sample(name, free_port()))
    kubectl("apply", "-f", str(manifest))
    kubectl.wait(name, "Running")
    return name


def test_list_shows_what_the_gateway_makes_of_each(running: str, command: Run) -> None:
    listed = command("list")
    assert listed.returncode == 0, listed.stderr
    header, *rows = listed.stdout.splitlines()
    assert header.split() == ["NAMESPACE", "NAME", "DIALECT", "STATE", "WAKE", "ADDRESS", "ID"]
    wanted = ["default", running, "native", "running", "on", "127.0.0.1", f"default--{running}"]
    assert wanted in [row.split() for row in rows]
    told = json.loads(command("list", "-o", "json").stdout)
    assert "running" in [one["state"] for one in told if one["name"] == running]


def test_pause_and_wake_wait_until_it_is_so(running: str, command: Run, kubectl: Kubectl) -> None:
    paused = command("pause", f"default/{running}", "--wait")
    assert (paused.returncode, paused.stdout.startswith(f"default/{running} is paused")) == (0, 1)
    assert list(processes_of(running, kubectl.home).values()) == ["T"]
    assert kubectl.object(running)["status"]["phase"] == "Paused"
    woken = command("wake", f"default/{running}", "--wait")
    assert (woken.returncode, woken.stdout.startswith(f"default/{running} is running")) == (0, 1)
    assert kubectl.object(running)["metadata"]["generation"] == 3


def test_wake_without_wait_asks_and_leaves(running: str, command: Run, kubectl: Kubectl) -> None:
    kubectl.pause(running)
    asked = command("wake", f"default/{running}")
    assert asked.returncode == 0
    assert f"sandbox-gateway explain default/{running}" in asked.stdout
    kubectl.wait(running, "Running")


def test_explain_says_what_a_request_would_meet(
    running: str, command: Run, kubectl: Kubectl
) -> None:
    awake = command("explain", f"default/{running}")
    assert awake.returncode == 0
    assert "running" in awake.stdout
    kubectl.pause(running)
    asleep = json.loads(command("explain", f"default/{running}", "-o", "json").stdout)
    assert asleep["state"] == "paused"


def test_an_unknown_sandbox_is_told_and_exits_1(command: Run) -> None:
    for verb in ("explain", "wake", "pause"):
        asked = command(verb, "default/nobody")
        assert asked.returncode == 1
        assert "there is no sandbox default/nobody" in asked.stderr
        assert "sandbox-gateway list" in asked.stderr


def test_a_name_without_namespace_is_wrong_usage_and_exits_2(command: Run) -> None:
    asked = command("wake", "demo")
    assert asked.returncode == 2
    assert "default/demo" in asked.stderr


def test_without_a_kubeconfig_it_says_how_to_get_one_and_exits_2(tmp_path: Path) -> None:
    asked = run(tmp_path, "list")
    assert asked.returncode == 2
    assert "--kubeconfig" in asked.stderr
    assert "sandbox-gateway local" in asked.stderr


def test_an_api_that_does_not_answer_is_told_and_exits_1(tmp_path: Path) -> None:
    cluster = {"name": "c", "cluster": {"server": f"http://127.0.0.1:{free_port()}"}}
    context = {"name": "c", "context": {"cluster": "c", "user": "c"}}
    users = [{"name": "c", "user": {}}]
    document = {"clusters": [cluster], "contexts": [context], "users": users}
    kubeconfig = write(tmp_path / "kubeconfig", document | {"current-context": "c"})
    asked = run(tmp_path, "list", "--kubeconfig", str(kubeconfig))
    assert asked.returncode == 1
    assert "Is it the right cluster" in asked.stderr


def test_settings_are_printed_and_checked(tmp_path: Path) -> None:
    printed = run(tmp_path, "settings")
    assert printed.returncode == 0
    assert "SBXGW_WAKE_TIMEOUT" in printed.stdout
    checked = run(tmp_path, "settings", "--check", SBXGW_AUTH_MODE="none", SBXGW_WAKE_TIMEOUT="90s")
    assert checked.returncode == 0
    assert "wake_timeout = 1m30s" in checked.stdout
    refused = run(tmp_path, "settings", "--check", SBXGW_WAKE_TIMEOUT="soon")
    assert refused.returncode == 2
    assert "SBXGW_WAKE_TIMEOUT" in refused.stderr
    assert "SBXGW_AUTH_MODE" in refused.stderr


def test_version_is_told(tmp_path: Path) -> None:
    assert run(tmp_path, "version").stdout.startswith("sandbox-gateway 0.")


def test_kubectl_prints_a_sandbox_in_columns(running: str, kubectl: Kubectl) -> None:
    header, row = kubectl("get", "sgw", running).splitlines()
    assert header.split() == ["NAME", "DESIRED", "PHASE", "IP", "AGE"]
    assert row.split()[:4] == [running, "Running", "Running", "127.0.0.1"]


def test_kubectl_watches_a_sandbox_fall_asleep(running: str, kubectl: Kubectl) -> None:
    with subprocess.Popen(
        [kubectl_binary(), "get", "sgw", running, "-w", "--no-headers"],
        env=kubectl.environment(),
        stdout=subprocess.PIPE,
        text=True,
    ) as watch:
        try:
            assert watch.stdout is not None
            assert watch.stdout.readline().split()[2] == "Running"
            kubectl.pause(running)
            assert "Paused" in (line.split()[2] for line in watch.stdout)
        finally:
            watch.kill()


def test_kubectl_describe_shows_that_traffic_woke_it(
    running: str, kubectl: Kubectl, local_mode: Gateway
) -> None:
    kubectl.pause(running)
    assert "Woken" not in kubectl("describe", "sgw", running)
    answer = httpx.get(local_mode.data, headers={"X-Sandbox-ID": running}, timeout=DEADLINE)
    assert answer.status_code == 200
    until(lambda: kubectl.events(running, "Woken"), "the wake is an Event")
    described = kubectl("describe", "sgw", running)
    assert "Traffic woke it." in described
    assert "sandbox-gateway" in described


def test_kubectl_delete_ends_the_process(running: str, kubectl: Kubectl) -> None:
    assert list(processes_of(running, kubectl.home).values()) != []
    kubectl("delete", "sgw", running)
    until(lambda: not processes_of(running, kubectl.home), "the process has ended")


def test_kubectl_delete_ends_a_frozen_process(running: str, kubectl: Kubectl) -> None:
    kubectl.pause(running)
    kubectl("delete", "sgw", running)
    until(lambda: not processes_of(running, kubectl.home), "the process has ended")
