"""The synchronous client over real TLS: whom it trusts, and what it shows of itself."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from gateway.cluster.direct import Access, DirectClient, KubeconfigError, connect
from gateway.cluster.errors import ApiUnreachable
from gateway.dialects.native import RESOURCE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.dialects.base import RawObject


def openssl(folder: Path, *arguments: str) -> None:
    program = shutil.which("openssl")
    assert program is not None, "these tests make their certificates with openssl"
    subprocess.run([program, *arguments], cwd=folder, check=True, capture_output=True)


def issued(folder: Path, name: str, *, for_name: str | None = None) -> None:
    """Issue NAME.crt and NAME.key; without a name to certify, a CA of its own."""
    options = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
               "-days", "2", "-subj", f"/CN={name}", "-keyout", f"{name}.key",
               "-out", f"{name}.crt"]  # fmt: skip
    if for_name is not None:
        options += ["-CA", "ca.crt", "-CAkey", "ca.key", "-addext", f"subjectAltName={for_name}",
                    "-addext", "basicConstraints=critical,CA:FALSE"]  # fmt: skip
    openssl(folder, *options)


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pki")
    issued(folder, "ca")
    issued(folder, "stranger")
    issued(folder, "by-address", for_name="IP:127.0.0.1")
    issued(folder, "by-name", for_name="DNS:kubernetes.default")
    issued(folder, "client", for_name="DNS:client")
    return folder


@asynccontextmanager
async def serving(pki: Path, certificate: str, *, ask_client: bool = False) -> AsyncIterator[int]:
    """Serve one empty list over TLS; give the port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki / f"{certificate}.crt", pki / f"{certificate}.key")
    if ask_client:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(pki / "ca.crt")

    async def handle(_: web.BaseRequest) -> web.Response:
        return web.json_response({"metadata": {"resourceVersion": "1"}, "items": []})

    runner = web.ServerRunner(web.Server(handle), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def listed(port: int, **fields: Any) -> list[RawObject]:
    access = Access(server=f"https://127.0.0.1:{port}", **fields)

    def work() -> list[RawObject]:
        with DirectClient(connect(access)) as client:
            return client.list(RESOURCE)

    return await asyncio.to_thread(work)


async def test_a_server_of_the_named_ca_is_trusted(pki: Path) -> None:
    async with serving(pki, "by-address") as port:
        assert await listed(port, ca=(pki / "ca.crt").read_text()) == []


async def test_a_server_of_another_ca_is_not_trusted(pki: Path) -> None:
    async with serving(pki, "by-address") as port:
        with pytest.raises(ApiUnreachable, match="no trusted TLS connection"):
            await listed(port, ca=(pki / "stranger.crt").read_text())
        with pytest.raises(ApiUnreachable, match="no trusted TLS connection"):
            await listed(port)


async def test_a_server_of_another_name_is_not_trusted_unless_that_name_is_given(
    pki: Path,
) -> None:
    ca = (pki / "ca.crt").read_text()
    async with serving(pki, "by-name") as port:
        with pytest.raises(ApiUnreachable, match="no trusted TLS connection"):
            await listed(port, ca=ca)
        with pytest.raises(ApiUnreachable, match="no trusted TLS connection"):
            await listed(port, ca=ca, tls_server_name="kubernetes.other")
        assert await listed(port, ca=ca, tls_server_name="kubernetes.default") == []


async def test_only_the_kubeconfigs_own_word_turns_verification_off(pki: Path) -> None:
    async with serving(pki, "stranger") as port:
        assert await listed(port, insecure=True) == []


async def test_a_client_certificate_is_shown(pki: Path) -> None:
    ca = (pki / "ca.crt").read_text()
    certificate, key = ((pki / f"client.{end}").read_text() for end in ("crt", "key"))
    async with serving(pki, "by-address", ask_client=True) as port:
        assert await listed(port, ca=ca, client_certificate=certificate, client_key=key) == []
        with pytest.raises(ApiUnreachable):
            await listed(port, ca=ca)


async def test_a_certificate_that_is_no_pem_is_refused(pki: Path) -> None:
    with pytest.raises(KubeconfigError, match="PEM"):
        await listed(1, ca="not a certificate")
    ca = (pki / "ca.crt").read_text()
    with pytest.raises(KubeconfigError, match="PEM"):
        await listed(1, ca=ca, client_certificate="no", client_key="no")
