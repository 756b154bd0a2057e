"""`sandbox-gateway serve`: ready when it knows its sandboxes, and honest about bad settings."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import httpx
import pytest

from .apis import Api
from .gateways import Gateway, start_local, start_serve
from .programs import PROGRAM, environment, free_port
from .waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from .programs import Program, Programs

TARGET = {"e2b-sandbox-id": "default--any"}


@pytest.fixture
def api(programs: Programs, home: Path) -> Api:
    """An API of its own, not running."""
    return Api.not_yet_running(programs, home)


def reason(gateway: Gateway) -> tuple[int, str]:
    answer = httpx.get(gateway.data, headers=TARGET)
    return answer.status_code, answer.json()["reason"]


def test_it_is_alive_but_not_ready_until_it_has_read_its_sandboxes(
    api: Api, programs: Programs, home: Path
) -> None:
    gateway = start_serve(programs, home, api.kubeconfig)
    assert gateway.ask_admin("/healthz")[0] == 200
    status, told = gateway.readiness()
    assert (status, told["ready"], told["checks"]["synced"]) == (503, False, False)
    assert reason(gateway) == (503, "not_ready")
    assert httpx.get(f"{gateway.data}/healthz").json() == {"status": "ok"}

    api.start()
    gateway.wait_ready()
    found = {"native": "watching", "kruise": "watching", "agent-sandbox": "not_installed"}
    # It is ready once all is listed; the watches begin after that.
    until(lambda: gateway.readiness()[1]["reflectors"] == found, "it watches what there is")
    assert reason(gateway) == (502, "sandbox_not_found")
    assert gateway.program.end() == 0
    assert "Traceback" not in gateway.program.errors


def test_admin_is_not_to_be_had_on_the_data_port(api: Api, programs: Programs, home: Path) -> None:
    gateway = start_serve(programs, home, api.kubeconfig)
    for path in ("/metrics", "/readyz", "/api/v1/sandboxes"):
        assert httpx.get(gateway.data + path).status_code == 400


def refused(
    programs: Programs, home: Path, *arguments: str, command: str = "serve", **settings: str
) -> Program:
    """Run a start that is expected to fail, to its end."""
    variables = {f"SBXGW_{name.upper()}": value for name, value in settings.items()}
    argv = [PROGRAM, command, *arguments]
    program = programs.start("refused", argv, home, environment(home, **variables))
    program.wait()
    assert "Traceback" not in program.errors
    return program


GOOD = {"auth_mode": "none", "data_listen": "127.0.0.1:0", "admin_listen": "127.0.0.1:0"}


@pytest.mark.parametrize(
    ("settings", "culprits"),
    [
        ({}, ["SBXGW_AUTH_MODE"]),
        ({"auth_mode": "none", "wake_timeout": "soon"}, ["SBXGW_WAKE_TIMEOUT", "'soon'"]),
        ({"auth_mode": "none", "waek_timeout": "1m"}, ["SBXGW_WAEK_TIMEOUT"]),
        ({"auth_mode": "some", "max_headers": "-1"}, ["SBXGW_AUTH_MODE", "SBXGW_MAX_HEADERS"]),
        ({"auth_mode": "scoped-token"}, ["scoped_token_keys_file"]),
    ],
    ids=["no auth mode", "no duration", "mistyped", "two", "what belongs together"],
)
def test_settings_that_are_wrong_stop_the_start_and_are_named(
    settings: dict[str, str], culprits: list[str], programs: Programs, home: Path
) -> None:
    program = refused(programs, home, **settings)
    assert program.exit_status == 2
    for culprit in culprits:
        assert culprit in program.errors


def test_a_wrong_setting_in_the_file_is_named_with_the_file(programs: Programs, home: Path) -> None:
    config = home / "gateway.yaml"
    config.write_text("auth_mode: none\nwake_timeout: soon\n")
    program = refused(programs, home, "--config", str(config))
    assert program.exit_status == 2
    assert str(config) in program.errors
    assert "wake_timeout" in program.errors


def test_a_kubeconfig_that_is_not_there_stops_the_start(programs: Programs, home: Path) -> None:
    program = refused(programs, home, "--kubeconfig", str(home / "nowhere"), **GOOD)
    assert program.exit_status == 2
    assert "--kubeconfig: there is no such file" in program.errors


def test_an_address_that_is_taken_stops_the_start(api: Api, programs: Programs, home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = GOOD | {"data_listen": f"127.0.0.1:{taken.getsockname()[1]}"}
        program = refused(programs, home, "--kubeconfig", str(api.kubeconfig), **settings)
    assert program.exit_status == 1
    assert "data_listen" in program.errors


def test_a_second_local_mode_on_the_same_data_is_refused(programs: Programs, home: Path) -> None:
    gateway = start_local(programs, home)
    ports = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]
    argv = ["--data-dir", str(home / "data"), *ports, "--api-listen", f"127.0.0.1:{free_port()}"]
    program = refused(programs, home, *argv, command="local")
    assert program.exit_status == 1
    assert "in use by another local mode" in program.errors
    assert gateway.readiness()[0] == 200


def test_local_mode_listens_on_loopback_only(programs: Programs, home: Path) -> None:
    program = refused(programs, home, "--listen", "0.0.0.0:0", command="local")
    assert program.exit_status == 2
    assert "--listen" in program.errors


def test_a_watch_that_is_gone_makes_it_neither_unready_nor_blind(
    api: Api, programs: Programs, home: Path
) -> None:
    api.start()
    gateway = start_serve(programs, home, api.kubeconfig)
    gateway.wait_ready()
    api.kill()
    until(
        lambda: gateway.metric("watch_healthy", watch="native") == 0, "the watch is seen to be gone"
    )
    assert gateway.readiness()[0] == 200
    api.start()
    until(lambda: gateway.metric("watch_healthy", watch="native") == 1, "it watches again")
