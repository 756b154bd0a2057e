"""TLS from end to end: to clients, to operators and to sandboxes, with certificates that change."""

from __future__ import annotations

import asyncio
import datetime as dt
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest
from cryptography import x509

from .gateways import Gateway, start_local, start_serve
from .manifests import native, write
from .pki import Pki
from .programs import PROGRAM, environment, free_port
from .waiting import soon, until

if TYPE_CHECKING:
    import ssl

    from .programs import Programs

_SANDBOX: Final = str(Path(__file__).with_name("tls_sandbox.py"))
HOUR: Final = dt.timedelta(hours=1)
TO_BOX: Final = {"e2b-sandbox-id": "default--box"}


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    folder = tmp_path / "pki"
    folder.mkdir()
    return Pki(folder)


def with_sandbox(programs: Programs, home: Path, pki: Pki, **annotations: str) -> Gateway:
    """Start local mode with one sandbox that speaks TLS; return its gateway."""
    pair = pki.issue("sandbox", "127.0.0.1")
    port = free_port()
    command = [sys.executable, _SANDBOX, str(port), str(pair.certificate), str(pair.key)]
    box = native("box", port, command)
    box["metadata"]["annotations"] = {
        f"sandbox-gateway.dev/{name.replace('_', '-')}": value
        for name, value in annotations.items()
    }
    box["spec"]["ports"] = [port]
    return start_local(programs, home, "-f", str(write(home / "box.yaml", box)))


def port_of(gateway: Gateway) -> str:
    told = gateway.told("default", "box")
    assert told is not None
    (line,) = [
        line
        for section in told["sections"]
        for line in section["lines"]
        if line.startswith("ports: ")
    ]
    return str(line.removeprefix("ports: ").partition(";")[0])


def server_settings(pki: Pki, prefix: str = "") -> dict[str, str]:
    return {
        f"{prefix}tls_certificate_file": str(pki.server.certificate),
        f"{prefix}tls_key_file": str(pki.server.key),
    }


def secure(gateway: Gateway, pki: Pki, **more: Any) -> httpx.Client:
    verify = more.pop("verify", None) or pki.for_clients()
    return httpx.Client(
        base_url=f"https://127.0.0.1:{gateway.data_port}", verify=verify, trust_env=False, **more
    )


def admin_of(gateway: Gateway, pki: Pki) -> httpx.Client:
    return httpx.Client(
        base_url=f"https://127.0.0.1:{gateway.admin_port}",
        verify=pki.for_clients(),
        trust_env=False,
    )


def test_client_admin_and_sandbox_are_all_spoken_to_by_tls(
    programs: Programs, home: Path, pki: Pki
) -> None:
    local = with_sandbox(programs, home, pki, upstream_tls="true")
    until(lambda: local.state_of("default", "box") == "running", "the sandbox runs")
    settings = server_settings(pki) | server_settings(pki, "admin_")
    gateway = start_serve(
        programs, home, local.kubeconfig, upstream_tls_ca_file=str(pki.ca_file), **settings
    )
    to_box = TO_BOX | {"e2b-sandbox-port": port_of(local)}
    with admin_of(gateway, pki) as admin, secure(gateway, pki) as client:
        until(lambda: admin.get("/readyz").status_code == 200, "the gateway is ready")
        answer = until(
            lambda: one if (one := client.get("/a", headers=to_box)).status_code == 200 else None,
            "the sandbox answers",
        )
        assert answer.text == "/a"
        metrics = admin.get("/metrics").text
        assert (
            'sandbox_gateway_tls_handshakes_total{listener="data",outcome="established"}' in metrics
        )
        assert 'sandbox_gateway_tls_certificate_seconds_left{certificate="admin"}' in metrics
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://127.0.0.1:{gateway.data_port}/", trust_env=False)
    assert gateway.program.end() == 0
    assert "Traceback" not in gateway.program.errors


def test_only_clients_with_a_certificate_get_in_where_one_is_asked_for(
    local_mode: Gateway, programs: Programs, home: Path, pki: Pki
) -> None:
    settings = server_settings(pki) | {"tls_client_ca_file": str(pki.ca_file)}
    gateway = start_serve(programs, home, local_mode.kubeconfig, **settings)
    gateway.wait_ready()
    pair = pki.issue("client", "client")
    with secure(gateway, pki, verify=pki.for_clients(pair)) as client:
        assert client.get("/healthz").json() == {"status": "ok"}
    with secure(gateway, pki) as client, pytest.raises(httpx.TransportError):
        client.get("/healthz")
    url = f"https://127.0.0.1:{gateway.data_port}/healthz"
    known = ["--cert", str(pair.certificate), "--key", str(pair.key)]
    for proof, status in ((known, 0), ([], 56)):
        command = ["curl", "-sS", "--noproxy", "*", "--cacert", str(pki.ca_file), *proof, url]
        assert subprocess.run(command, capture_output=True, check=False).returncode == status
    assert gateway.metric("tls_handshakes_total", listener="data", outcome="certificate") == 2


async def test_a_certificate_is_renewed_under_traffic_and_no_request_fails(
    local_mode: Gateway, programs: Programs, home: Path, pki: Pki
) -> None:
    gateway = start_serve(programs, home, local_mode.kubeconfig, **server_settings(pki))
    gateway.wait_ready()
    url = f"https://127.0.0.1:{gateway.data_port}/healthz"
    context, running, answered = pki.for_clients(), True, 0

    async def ask(*, anew: bool) -> None:
        nonlocal answered
        limits = httpx.Limits(max_keepalive_connections=0 if anew else 1)
        async with httpx.AsyncClient(verify=context, limits=limits, trust_env=False) as client:
            while running:
                assert (await client.get(url)).status_code == 200
                answered += 1
                await asyncio.sleep(0.005)

    async with asyncio.TaskGroup() as group:
        for anew in (True, True, False, False):
            group.create_task(ask(anew=anew))
        old = await serial_of(gateway, context)
        pki.issue("server", "127.0.0.1")

        async def renewed() -> bool:
            return await serial_of(gateway, context) != old

        await soon(renewed, "the new certificate is shown")
        new = await serial_of(gateway, context)
        key = pki.server.key.read_bytes()
        # It may have found the new key beside the old certificate before.
        before = failed_reloads(gateway)
        pki.server.key.write_text("half of a key")
        await soon(lambda: failed_reloads(gateway) > before, "the broken key is noticed")
        assert await serial_of(gateway, context) == new
        running = False
    assert answered > 100
    assert key.decode() not in gateway.program.errors


def failed_reloads(gateway: Gateway) -> float:
    return gateway.metric("reloads_total", file="tls data", outcome="failed")


async def serial_of(gateway: Gateway, context: ssl.SSLContext) -> int:
    """Return the serial number of the certificate that the data listener shows now."""
    _, writer = await asyncio.open_connection("127.0.0.1", gateway.data_port, ssl=context)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    await writer.wait_closed()
    return x509.load_der_x509_certificate(shown).serial_number


def test_a_sandbox_whose_certificate_has_ended_is_502_until_it_has_another(
    programs: Programs, home: Path, pki: Pki
) -> None:
    local = with_sandbox(programs, home, pki, upstream_tls="true")
    until(lambda: local.state_of("default", "box") == "running", "the sandbox runs")
    now = dt.datetime.now(dt.UTC)
    pki.issue("sandbox", "127.0.0.1", not_before=now - 2 * HOUR, not_after=now - HOUR)
    gateway = start_serve(programs, home, local.kubeconfig, upstream_tls_ca_file=str(pki.ca_file))
    gateway.wait_ready()
    to_box = TO_BOX | {"e2b-sandbox-port": port_of(local)}
    until(
        lambda: (
            httpx.get(gateway.data, headers=to_box).json()["reason"] == "sandbox_unreachable"
            and gateway.metric("upstream_dial_failures_total", cause="tls") >= 1
        ),
        "the certificate is refused",
    )
    assert httpx.get(gateway.data, headers=to_box).status_code == 502
    told = [one for one in gateway.program.records() if "certificate has expired" in one["message"]]
    assert len(told) == 1
    assert "default/box" in told[0]["message"]

    pki.issue("sandbox", "127.0.0.1")
    assert httpx.get(f"{gateway.data}/well", headers=to_box).text == "/well"


def test_files_that_cannot_be_used_stop_the_start_and_are_named(
    programs: Programs, home: Path, pki: Pki
) -> None:
    other = pki.issue("other", "127.0.0.1")
    variables = {
        "SBXGW_AUTH_MODE": "none",
        "SBXGW_TLS_CERTIFICATE_FILE": str(pki.server.certificate),
        "SBXGW_TLS_KEY_FILE": str(other.key),
        "SBXGW_ADMIN_TLS_KEY_FILE": str(other.key),
    }
    program = programs.start("refused", [PROGRAM, "serve"], home, environment(home, **variables))
    assert program.wait() == 2
    assert "SBXGW_TLS_KEY_FILE: it is the key of another certificate" in program.errors
    assert "admin_tls_key_file needs admin_tls_certificate_file" in program.errors
    assert str(other.key) not in program.errors
