"""A pod's service account over real TLS: the API server is verified, and the token follows."""

from __future__ import annotations

import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, cast

import pytest
from kubernetes_asyncio.client.rest import RESTClientObject

from gateway.cluster.client import KubeClient
from gateway.cluster.config import ClusterConfig
from gateway.cluster.credentials import Credentials, InCluster
from gateway.cluster.errors import ApiUnreachable
from gateway.cluster.selection import Selection
from gateway.dialects.native import RESOURCE

from .faultapi import FaultApi
from .test_direct_tls import issued

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.cluster.client import Rest


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[FaultApi]:
    issued(tmp_path, "ca")
    issued(tmp_path, "stranger")
    issued(tmp_path, "server", for_name="IP:127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")
    made = FaultApi(tls=context)
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


@asynccontextmanager
async def pod(
    server: FaultApi, folder: Path, monkeypatch: pytest.MonkeyPatch, ca: str
) -> AsyncIterator[KubeClient]:
    """A client that finds the server as a pod does."""
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(server.port))
    (folder / "token").write_text("first\n")
    credentials = Credentials(InCluster(str(folder / "token"), str(folder / f"{ca}.crt")))
    await credentials.load()
    rest = cast("Rest", RESTClientObject(credentials.configuration))
    try:
        yield KubeClient(rest, credentials, ClusterConfig())
    finally:
        await rest.close()


async def test_a_server_of_the_clusters_own_authority_gets_the_token(
    server: FaultApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.token = "first"
    async with pod(server, tmp_path, monkeypatch, "ca") as client:
        assert not list((await client.list_page(Selection(RESOURCE), None)).items)


async def test_a_server_of_another_authority_gets_nothing(
    server: FaultApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pod(server, tmp_path, monkeypatch, "stranger") as client:
        with pytest.raises(ApiUnreachable):
            await client.list_page(Selection(RESOURCE), None)
    assert server.seen == []
