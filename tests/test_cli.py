"""The commands, run as programs, against the embedded API."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click
import pytest
from click.testing import CliRunner

from e2e.pki import Pki
from gateway import __version__
from gateway.cli.main import COMMANDS, cli
from gateway.local.api import (
    SANDBOXES,
    EmbeddedApi,
    GroupResource,
    JsonObject,
    ObjectStore,
    load_native_crd,
    write_kubeconfig,
)
from gateway.local.options import default_data_dir
from gateway.sandbox.texts import parse_time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

TOKEN = "hunter2"
KRUISE = GroupResource("agents.kruise.io", "sandboxes")
READY = [{"type": "Ready", "status": "True"}]

KRUISE_CRD: JsonObject = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "sandboxes.agents.kruise.io"},
    "spec": {
        "group": "agents.kruise.io",
        "scope": "Namespaced",
        "names": {"plural": "sandboxes", "singular": "sandbox", "kind": "Sandbox"},
        "versions": [
            {
                "name": "v1alpha1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "x-kubernetes-preserve-unknown-fields": True,
                    }
                },
            }
        ],
    },
}


@dataclass(frozen=True)
class Done:
    """How a run ended."""

    status: int
    out: str
    err: str


def environment(home: Path, **others: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH",) if name in os.environ}
    return kept | {"HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path)} | others


async def run(home: Path, *arguments: str, **environ: str) -> Done:
    """Run the program; whatever it does, it must not end in a traceback."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-m", "gateway.cli", *arguments,
        env=environment(home, **environ), cwd=home,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(30):
        out, err = await process.communicate()
    assert b"Traceback" not in err, err.decode()
    assert process.returncode is not None
    return Done(process.returncode, out.decode(), err.decode())


@dataclass(frozen=True)
class Cluster:
    """An embedded API, and a home directory with its kubeconfig."""

    store: ObjectStore
    api: EmbeddedApi
    home: Path

    async def run(self, *arguments: str, **environ: str) -> Done:
        return await run(self.home, *arguments, **environ)

    def put(self, name: str, phase: str, namespace: str = "default", **spec: Any) -> JsonObject:
        spec = {"desiredState": "Paused" if phase == "Paused" else "Running"} | spec
        made = self.store.create(SANDBOXES, namespace, _object("sandbox-gateway.dev", name, spec))
        return self.report(name, phase, namespace, made)

    def report(
        self, name: str, phase: str, namespace: str = "default", seen: JsonObject | None = None
    ) -> JsonObject:
        """Report a phase, as a controller does."""
        seen = seen or self.store.get(SANDBOXES, namespace, name)

        def mutate(status: JsonObject) -> None:
            status.clear()
            status["phase"] = phase
            if phase == "Running":
                status.update(podIP="127.0.0.1", conditions=READY)

        return self.store.update_status(SANDBOXES, namespace, name, seen["metadata"]["uid"], mutate)

    def desired(self, name: str) -> str:
        return str(self.store.get(SANDBOXES, "default", name)["spec"]["desiredState"])


def _object(group: str, name: str, spec: JsonObject) -> JsonObject:
    return {
        "apiVersion": f"{group}/v1alpha1",
        "kind": "Sandbox",
        "metadata": {"name": name},
        "spec": spec,
    }


@asynccontextmanager
async def serving(home: Path, *crds: JsonObject) -> AsyncIterator[Cluster]:
    store = ObjectStore(":memory:", crds)
    api = EmbeddedApi(store, TOKEN)
    await api.start()
    kubeconfig = home / ".kube" / "config"
    kubeconfig.parent.mkdir()
    write_kubeconfig(kubeconfig, api.address, TOKEN)
    try:
        yield Cluster(store, api, home)
    finally:
        await api.stop()
        store.close()


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with serving(tmp_path, load_native_crd()) as served:
        yield served


# ---- weight and shape ---------------------------------------------------------------------------

PROBE = """
import sys
from click.testing import CliRunner
from gateway.cli.main import cli
result = CliRunner().invoke(cli, sys.argv[1:])
assert result.exit_code in (0, 1, 2), result.exc_info
print("\\n".join(sys.modules))
"""


def modules_after(home: Path, *arguments: str) -> set[str]:
    command = [sys.executable, "-c", PROBE, *arguments]
    done = subprocess.run(command, env=environment(home), capture_output=True, check=True)
    return set(done.stdout.decode().split())


@pytest.mark.parametrize(
    "arguments",
    [
        ["list"],
        ["list", "--help"],
        ["explain", "default/demo"],
        ["wake", "default/demo"],
        ["pause", "default/demo"],
        ["pin", "default/demo"],
        ["hold", "default/demo", "--for", "15m"],
    ],
)
def test_client_commands_load_neither_an_event_loop_nor_the_big_client(
    tmp_path: Path, arguments: list[str]
) -> None:
    loaded = modules_after(tmp_path, *arguments)
    assert "urllib3" in loaded
    for heavy in ("kubernetes_asyncio", "aiohttp", "asyncio", "pydantic", "prometheus_client"):
        assert heavy not in loaded


def test_the_help_loads_no_command(tmp_path: Path) -> None:
    loaded = modules_after(tmp_path, "--help")
    assert not loaded & {"urllib3", "yaml", "pydantic", "gateway.cli.show"}


@pytest.mark.parametrize(
    ("arguments", "budget"), [(["--help"], 200), (["list"], 400), (["settings"], 450)]
)
def test_a_command_stays_in_its_budget_of_modules(
    tmp_path: Path, arguments: list[str], budget: int
) -> None:
    """A budget of modules stands for one of time, which would depend on the machine."""
    loaded = modules_after(tmp_path, *arguments)
    assert len(loaded) <= budget, f"{len(loaded)} modules for {arguments}"


async def test_help_and_version_need_nothing(tmp_path: Path) -> None:
    told = await run(tmp_path, "--help")
    assert told.status == 0
    for name, place in COMMANDS.items():
        assert name in told.out
        assert place.meaning in told.out
    assert (await run(tmp_path, "version")).out.startswith(f"sandbox-gateway {__version__} ")
    assert (await run(tmp_path, "--version")).out == f"sandbox-gateway, version {__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_help(name: str) -> None:
    told = CliRunner().invoke(cli, [name, "--help"], prog_name="sandbox-gateway")
    assert told.exit_code == 0
    assert told.output.startswith(f"Usage: sandbox-gateway {name}")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["frobnicate"], "frobnicate"),
        (["explain"], "NAMESPACE/NAME"),
        (["explain", "demo"], "such as default/demo"),
        (["explain", "default/../x"], "a Kubernetes name"),
        (["wake", "Default/demo"], "a Kubernetes name"),
        (["wake", "default/demo", "--timeout", "5"], "a duration such as 90s"),
        (["list", "--dialect", "other"], "native"),
        (["list", "-o", "yaml"], "json"),
        (["local", "-f", "missing.yaml"], "missing.yaml"),
    ],
)
def test_wrong_usage_ends_with_two(arguments: list[str], told: str) -> None:
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 2
    assert told in done.stderr


def test_all_commands_are_there() -> None:
    context = click.Context(cli)
    for name in COMMANDS:
        assert cli.get_command(context, name) is not None
    assert cli.get_command(context, "other") is None


# ---- which cluster ------------------------------------------------------------------------------


async def test_without_any_kubeconfig_the_next_step_is_named(tmp_path: Path) -> None:
    done = await run(tmp_path, "list")
    assert done.status == 2
    assert f"{tmp_path}/.kube/config" in done.err
    assert f"{tmp_path}/.local/state/sandbox-gateway/kubeconfig" in done.err
    assert "sandbox-gateway local" in done.err


async def test_local_modes_kubeconfig_is_found_where_there_is_no_other(
    cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = tmp_path_factory.mktemp("home")
    state = home / "state"
    (state / "sandbox-gateway").mkdir(parents=True)
    write_kubeconfig(state / "sandbox-gateway" / "kubeconfig", cluster.api.address, TOKEN)
    done = await run(home, "list", XDG_STATE_HOME=str(state))
    assert (done.status, done.err) == (0, "there are no sandboxes\n")


async def test_a_cluster_that_does_not_answer_is_named_without_its_credential(
    tmp_path: Path,
) -> None:
    write_kubeconfig(tmp_path / "kubeconfig", "http://127.0.0.1:1", TOKEN)
    done = await run(tmp_path, "list", "--kubeconfig", "kubeconfig")
    assert done.status == 1
    assert "http://127.0.0.1:1: nothing answers there" in done.err
    assert "context sandbox-gateway-local of kubeconfig" in done.err
    assert TOKEN not in done.err


async def test_a_refused_credential_is_told_with_what_to_check(cluster: Cluster) -> None:
    path = cluster.home / "other"
    write_kubeconfig(path, cluster.api.address, "wrong")
    done = await cluster.run("list", KUBECONFIG=str(path))
    assert done.status == 1
    assert "kubectl auth whoami" in done.err


async def test_a_cluster_without_any_sandbox_api_is_told(tmp_path: Path) -> None:
    async with serving(tmp_path) as cluster:
        done = await cluster.run("list")
    assert done.status == 1
    assert "serves no Sandbox API of: native, kruise" in done.err


# ---- list ---------------------------------------------------------------------------------------


async def test_the_list_is_an_aligned_table(cluster: Cluster) -> None:
    cluster.put("b", "Running")
    cluster.put("a-long-name", "Paused", wakeOnTraffic={"enabled": True})
    done = await cluster.run("list")
    assert done.status == 0
    assert done.out.splitlines() == [
        "NAMESPACE  NAME         DIALECT  STATE    WAKE  ADDRESS    ID",
        "default    a-long-name  native   paused   on    -          default--a-long-name",
        "default    b            native   running  off   127.0.0.1  default--b",
    ]


async def test_the_list_as_json_tells_more_but_no_credential(cluster: Cluster) -> None:
    made = cluster.put("a", "Paused")
    done = await cluster.run("list", "-o", "json")
    (told,) = json.loads(done.out)
    assert told["name"] == "a"
    assert told["uid"] == made["metadata"]["uid"]
    assert told["state"] == "paused"
    assert told["wake_on_traffic"] is False
    assert told["has_credential"] is False


async def test_the_list_may_be_narrowed(cluster: Cluster) -> None:
    cluster.put("a", "Running")
    cluster.put("b", "Running", namespace="team-b")
    done = await cluster.run("list", "-n", "team-b")
    assert [line.split()[:2] for line in done.out.splitlines()[1:]] == [["team-b", "b"]]
    assert (await cluster.run("list", "-l", "app=none")).out == ""


# ---- explain ------------------------------------------------------------------------------------


async def test_explain_tells_the_why_and_the_next_step(cluster: Cluster) -> None:
    cluster.put("demo", "Paused")
    done = await cluster.run("explain", "default/demo")
    assert done.status == 0
    assert done.out.startswith("default/demo (native) is paused\n")
    assert "502 sandbox_not_wakeable" in done.out
    assert "kubectl annotate sandboxes.sandbox-gateway.dev -n default demo" in done.out
    as_json = json.loads((await cluster.run("explain", "default/demo", "-o", "json")).out)
    assert as_json["state"] == "paused"


async def test_of_a_local_process_only_its_own_port_may_be_reached(cluster: Cluster) -> None:
    cluster.put("demo", "Running", process={"command": ["serve"], "port": 8123})
    told = (await cluster.run("explain", "default/demo")).out
    assert "ports: 8123; any other is 403" in told
    assert "e2b-sandbox-port: 8123" in told


async def test_explaining_what_is_not_there_fails(cluster: Cluster) -> None:
    done = await cluster.run("explain", "default/none")
    assert done.status == 1
    assert "there is no sandbox default/none" in done.err
    assert "sandbox-gateway list" in done.err


async def test_one_name_in_two_dialects_wants_a_choice(tmp_path: Path) -> None:
    async with serving(tmp_path, load_native_crd(), KRUISE_CRD) as cluster:
        cluster.put("demo", "Running")
        cluster.store.create(KRUISE, "default", _object("agents.kruise.io", "demo", {}))
        done = await cluster.run("explain", "default/demo")
        assert done.status == 1
        assert "--dialect native or --dialect kruise" in done.err
        chosen = await cluster.run("explain", "default/demo", "--dialect", "kruise")
        assert chosen.out.startswith("default/demo (kruise) is creating")
        assert len((await cluster.run("list")).out.splitlines()) == 3


async def test_an_object_that_cannot_be_judged_is_told_and_the_others_are_listed(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path, load_native_crd(), KRUISE_CRD) as cluster:
        cluster.put("good", "Running")
        bad = _object("agents.kruise.io", "bad", {"paused": "yes"})
        cluster.store.create(KRUISE, "default", bad)
        done = await cluster.run("list")
        assert done.status == 0
        assert "default/bad cannot be judged and is not routed: spec.paused" in done.err
        assert "good" in done.out
        explained = await cluster.run("explain", "default/bad")
        assert explained.status == 1
        assert "spec.paused" in explained.err


# ---- wake and pause -----------------------------------------------------------------------------


@asynccontextmanager
async def controlled(cluster: Cluster, name: str, *on_the_way: str) -> AsyncIterator[None]:
    """Do what a controller does: report what is wanted, over the phases on the way."""

    async def control() -> None:
        while True:
            raw = cluster.store.get(SANDBOXES, "default", name)
            wanted = raw["spec"]["desiredState"]
            if raw["status"]["phase"] != wanted:
                for phase in (*on_the_way, wanted):
                    cluster.report(name, phase)
                    await asyncio.sleep(0.05)
            await asyncio.sleep(0.01)

    task = asyncio.create_task(control())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_wake_asks_and_leaves(cluster: Cluster) -> None:
    cluster.put("demo", "Paused")
    done = await cluster.run("wake", "default/demo")
    assert done.status == 0
    assert "default/demo is waking" in done.out
    assert cluster.desired("demo") == "Running"


async def test_wake_with_wait_stays_until_it_runs(cluster: Cluster) -> None:
    cluster.put("demo", "Paused")
    async with controlled(cluster, "demo", "Resuming"):
        done = await cluster.run("wake", "default/demo", "--wait")
    assert done.status == 0
    assert done.out.startswith("default/demo is running (")
    assert "default/demo: paused (" in done.err
    assert "default/demo: running (" in done.err


async def test_a_running_sandbox_is_not_written_to(cluster: Cluster) -> None:
    before = cluster.put("demo", "Running")
    done = await cluster.run("wake", "default/demo", "--wait")
    assert (done.status, done.out) == (0, "default/demo is running\n")
    after = cluster.store.get(SANDBOXES, "default", "demo")
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


async def test_wake_during_a_pause_needs_wait_and_then_wakes_after_it(cluster: Cluster) -> None:
    cluster.put("demo", "Running", desiredState="Paused")
    done = await cluster.run("wake", "default/demo")
    assert done.status == 1
    assert "add --wait" in done.err
    assert cluster.desired("demo") == "Paused"
    async with controlled(cluster, "demo"):
        waited = await cluster.run("wake", "default/demo", "--wait")
    assert waited.status == 0, waited.err
    assert cluster.desired("demo") == "Running"


async def test_wake_waits_for_one_that_starts_without_writing(cluster: Cluster) -> None:
    cluster.put("demo", "Pending")
    async with controlled(cluster, "demo"):
        done = await cluster.run("wake", "default/demo", "--wait")
    assert done.status == 0
    assert done.out.startswith("default/demo is running")


@pytest.mark.parametrize(
    ("phase", "spec", "told"),
    [
        ("Failed", {}, "its phase does not allow it"),
        ("Paused", {"shutdownTime": "2020-01-01T00:00:00Z"}, "its shutdownTime has passed"),
    ],
)
async def test_wake_of_what_cannot_be_woken_says_why(
    cluster: Cluster, phase: str, spec: dict[str, Any], told: str
) -> None:
    cluster.put("demo", phase, **spec)
    done = await cluster.run("wake", "default/demo", "--wait")
    assert done.status == 1
    assert told in done.err
    assert "sandbox-gateway explain default/demo" in done.err


async def test_a_wait_has_an_end(cluster: Cluster) -> None:
    cluster.put("demo", "Paused")
    done = await cluster.run("wake", "default/demo", "--wait", "--timeout", "300ms")
    assert done.status == 1
    assert "is not running after 0.3 s" in done.err
    assert cluster.desired("demo") == "Running"


async def test_pause_asks_and_with_wait_stays_until_it_sleeps(cluster: Cluster) -> None:
    cluster.put("one", "Running")
    assert "default/one is pausing" in (await cluster.run("pause", "default/one")).out
    assert cluster.desired("one") == "Paused"
    cluster.put("two", "Running")
    async with controlled(cluster, "two", "Pausing"):
        done = await cluster.run("pause", "default/two", "--wait")
    assert done.status == 0
    assert done.out.startswith("default/two is paused (")


@pytest.mark.parametrize("phase", ["Pending", "Failed"])
async def test_pause_of_what_does_not_run_fails(cluster: Cluster, phase: str) -> None:
    cluster.put("demo", phase)
    done = await cluster.run("pause", "default/demo")
    assert done.status == 1
    assert "only a sandbox that runs can be paused" in done.err
    assert cluster.desired("demo") == "Running"


async def test_a_change_that_somebody_undoes_ends_the_wait(cluster: Cluster) -> None:
    cluster.put("demo", "Paused")

    async def undo() -> None:
        while cluster.desired("demo") != "Running":
            await asyncio.sleep(0.01)

        def pause(raw: JsonObject) -> None:
            raw["spec"]["desiredState"] = "Paused"

        cluster.store.patch(SANDBOXES, "default", "demo", pause)

    done, _ = await asyncio.gather(cluster.run("wake", "default/demo", "--wait"), undo())
    assert done.status == 1
    assert "was paused again meanwhile" in done.err


# ---- pin, unpin, hold ---------------------------------------------------------------------------

PREFIX = "sandbox-gateway.dev/"


def noted(cluster: Cluster, name: str = "demo") -> JsonObject:
    found = cluster.store.get(SANDBOXES, "default", name)["metadata"].get("annotations") or {}
    return {key.removeprefix(PREFIX): value for key, value in found.items()}


def note(cluster: Cluster, **annotations: str) -> None:
    def write(raw: JsonObject) -> None:
        named = {PREFIX + key.replace("_", "-"): value for key, value in annotations.items()}
        raw["metadata"]["annotations"] = named

    cluster.store.patch(SANDBOXES, "default", "demo", write)


async def test_a_pin_is_put_on_and_taken_off_and_either_may_be_repeated(cluster: Cluster) -> None:
    cluster.put("demo", "Running")
    runs = [
        ("unpin", "default/demo is not pinned\n", {}),
        ("pin", "default/demo is pinned\n", {"pinned": "true"}),
        ("pin", "default/demo is pinned already\n", {"pinned": "true"}),
        ("unpin", "default/demo is not pinned any more\n", {}),
    ]
    for command, told, left in runs:
        done = await cluster.run(command, "default/demo")
        assert (done.status, done.err) == (0, "")
        assert done.out.startswith(told)
        assert noted(cluster) == left


async def test_a_pin_of_what_sleeps_wakes_nothing_and_says_so(cluster: Cluster) -> None:
    cluster.put("demo", "Paused")
    done = await cluster.run("pin", "default/demo")
    assert "it sleeps now" in done.out
    assert "sandbox-gateway unpin default/demo" in done.out
    assert cluster.desired("demo") == "Paused"


async def test_a_hold_is_only_ever_extended(cluster: Cluster) -> None:
    cluster.put("demo", "Running")
    before = time.time()
    assert (await cluster.run("hold", "default/demo", "--for", "1h")).status == 0
    until = noted(cluster)["hold-until"]
    assert before + 3600 <= parse_time(until) <= time.time() + 3601
    shorter = await cluster.run("hold", "default/demo", "--for", "5m")
    assert (shorter.status, shorter.out) == (0, f"default/demo is held already until {until}\n")
    longer = await cluster.run("hold", "default/demo", "--for", "2h")
    assert longer.status == 0
    assert noted(cluster)["hold-until"] > until
    still = await cluster.run("unpin", "default/demo")
    assert f"but held until {noted(cluster)['hold-until']}" in still.out


async def test_a_hold_that_does_not_parse_is_left_for_a_person(cluster: Cluster) -> None:
    cluster.put("demo", "Running")
    note(cluster, hold_until="tomorrow")
    done = await cluster.run("hold", "default/demo", "--for", "5m")
    assert done.status == 1
    assert "hold-until does not parse" in done.err
    assert noted(cluster) == {"hold-until": "tomorrow"}
    assert "does not parse" in (await cluster.run("unpin", "default/demo")).out


@pytest.mark.parametrize("duration", ["0", "x"])
async def test_a_hold_is_for_some_time(tmp_path: Path, duration: str) -> None:
    done = await run(tmp_path, "hold", "default/demo", "--for", duration)
    assert done.status == 2
    assert "such as" in done.err


# ---- settings, serve, local ---------------------------------------------------------------------


async def test_settings_prints_the_reference(tmp_path: Path) -> None:
    done = await run(tmp_path, "settings")
    assert done.status == 0
    assert "SBXGW_WAKE_TIMEOUT: a duration" in done.out


async def test_settings_check_prints_what_is_in_force(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text("wake_timeout: 3m\nauth_mode: none\n")
    (tmp_path / "token").write_text(TOKEN)
    done = await run(
        tmp_path, "settings", "--check", "--config", "gateway.yaml",
        SBXGW_WAIT_TIMEOUT="150s", SBXGW_ADMIN_TOKEN_FILE="token",
    )  # fmt: skip
    assert done.status == 0, done.err
    assert "wake_timeout = 3m\n" in done.out
    assert "wait_timeout = 2m30s\n" in done.out
    assert TOKEN not in done.out


@pytest.mark.parametrize("command", [["settings", "--check"], ["serve"]])
async def test_wrong_settings_stop_the_start_with_all_culprits(
    tmp_path: Path, command: list[str]
) -> None:
    done = await run(tmp_path, *command, SBXGW_WAKE_TIMOUT="5s", SBXGW_LOG_LEVEL="loud")
    assert done.status == 2
    assert "3 settings are wrong" in done.err
    for culprit in ("SBXGW_WAKE_TIMOUT", "SBXGW_LOG_LEVEL", "SBXGW_AUTH_MODE"):
        assert culprit in done.err
    assert done.err.rstrip().endswith("sandbox-gateway settings")


async def test_an_option_of_serve_is_a_culprit_by_its_own_name(tmp_path: Path) -> None:
    done = await run(
        tmp_path, "serve", "--kubeconfig", "/nowhere", SBXGW_AUTH_MODE="none"
    )  # fmt: skip
    assert done.status == 2
    assert "--kubeconfig: there is no such file" in done.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--listen", "0.0.0.0:8080"],
        ["--admin-listen", "[::]:8081"],
        ["--api-listen", "example.com:8082"],
    ],
)
async def test_local_mode_listens_on_loopback_only(tmp_path: Path, arguments: list[str]) -> None:
    done = await run(tmp_path, "local", *arguments)
    assert done.status == 2
    assert arguments[0] in done.err
    assert "loopback" in done.err


async def test_local_mode_on_every_address_by_the_environment_is_refused_too(
    tmp_path: Path,
) -> None:
    done = await run(tmp_path, "local", SBXGW_DATA_LISTEN="0.0.0.0:8080")
    assert done.status == 2
    assert "loopback" in done.err


async def test_local_mode_speaks_no_tls(tmp_path: Path) -> None:
    pair = Pki(tmp_path).server
    done = await run(
        tmp_path,
        "local",
        SBXGW_ADMIN_TLS_CERTIFICATE_FILE=str(pair.certificate),
        SBXGW_ADMIN_TLS_KEY_FILE=str(pair.key),
    )
    assert done.status == 2
    assert "local mode speaks plain HTTP" in done.err


async def test_an_address_that_is_none_is_refused(tmp_path: Path) -> None:
    done = await run(tmp_path, "local", "--api-listen", "8082")
    assert done.status == 2
    assert "--api-listen: wanted an address" in done.err


@pytest.mark.parametrize("named", ["", "relative/state"])
def test_state_lies_below_the_home_where_the_environment_names_no_absolute_place(
    named: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    expected = tmp_path / ".local" / "state" / "sandbox-gateway"
    assert default_data_dir({"XDG_STATE_HOME": named}) == expected
    assert default_data_dir({"XDG_STATE_HOME": "/srv"}).as_posix() == "/srv/sandbox-gateway"
