"""Tokens that are replaced while we run."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from gateway.cluster.config import ClusterConfig
from gateway.cluster.credentials import (
    REFRESH_PERIOD,
    REJECTED_PERIOD,
    Credentials,
    InCluster,
    Kubeconfig,
    origin_of,
)
from gateway.cluster.errors import ConfigInvalid

if TYPE_CHECKING:
    from pathlib import Path


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pod's service account directory."""
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "6443")
    (tmp_path / "token").write_text("first\n")
    (tmp_path / "ca.crt").write_text("not looked at here")
    return tmp_path


async def load(account: Path, clock: Clock) -> Credentials:
    origin = InCluster(str(account / "token"), str(account / "ca.crt"))
    credentials = Credentials(origin, clock)
    await credentials.load()
    return credentials


async def test_a_service_account_names_the_server_and_the_token(account: Path) -> None:
    credentials = await load(account, Clock())
    assert credentials.configuration.host == "https://[fd00::1]:6443"
    assert credentials.configuration.verify_ssl
    assert await credentials.authorization() == "Bearer first"


async def test_a_replaced_token_is_used_within_a_minute(account: Path) -> None:
    clock = Clock()
    credentials = await load(account, clock)
    (account / "token").write_text("second\n")
    clock.now += REFRESH_PERIOD - 0.1
    assert await credentials.authorization() == "Bearer first"
    clock.now += 0.2
    assert await credentials.authorization() == "Bearer second"


async def test_a_refused_token_is_read_again_soon_but_not_each_time(account: Path) -> None:
    clock = Clock()
    credentials = await load(account, clock)
    (account / "token").write_text("second\n")
    credentials.reject()
    assert await credentials.authorization() == "Bearer first"
    clock.now += REJECTED_PERIOD
    assert await credentials.authorization() == "Bearer second"
    (account / "token").write_text("third\n")
    clock.now += REJECTED_PERIOD
    assert await credentials.authorization() == "Bearer second"


async def test_a_token_file_that_vanishes_leaves_the_last_token_in_use(account: Path) -> None:
    clock = Clock()
    credentials = await load(account, clock)
    (account / "token").unlink()
    clock.now += REFRESH_PERIOD
    assert await credentials.authorization() == "Bearer first"
    (account / "token").write_text("second\n")
    clock.now += REFRESH_PERIOD
    assert await credentials.authorization() == "Bearer second"


async def test_a_token_in_the_kubeconfig_itself_is_read_again_after_a_refusal(
    tmp_path: Path,
) -> None:
    text = """
current-context: it
clusters: [{name: it, cluster: {server: "http://127.0.0.1:1"}}]
users: [{name: it, user: {token: %s}}]
contexts: [{name: it, context: {cluster: it, user: it}}]
"""
    path, clock = tmp_path / "kubeconfig", Clock()
    path.write_text(text % "first")
    credentials = Credentials(Kubeconfig(str(path), None), clock)
    await credentials.load()
    path.write_text(text % "second")
    credentials.reject()
    clock.now += REJECTED_PERIOD
    assert await credentials.authorization() == "Bearer second"


async def test_a_kubeconfig_that_is_written_anew_is_read_again_address_and_all(
    tmp_path: Path,
) -> None:
    text = """
current-context: it
clusters: [{name: it, cluster: {server: "http://127.0.0.1:%d"}}]
users: [{name: it, user: {token: %s}}]
contexts: [{name: it, context: {cluster: it, user: it}}]
"""
    path, clock = tmp_path / "kubeconfig", Clock()
    path.write_text(text % (1, "first"))
    credentials = Credentials(Kubeconfig(str(path), None), clock)
    await credentials.load()
    path.write_text(text % (2, "second"))
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    clock.now += REFRESH_PERIOD
    assert await credentials.authorization() == "Bearer second"
    assert credentials.configuration.host == "http://127.0.0.1:2"


async def test_a_pod_without_a_token_has_no_configuration(account: Path) -> None:
    (account / "token").unlink()
    with pytest.raises(ConfigInvalid):
        await load(account, Clock())


def test_a_named_kubeconfig_is_preferred_to_the_pods_account(account: Path) -> None:
    assert isinstance(origin_of(ClusterConfig()), InCluster)
    assert isinstance(origin_of(ClusterConfig(kubeconfig="x")), Kubeconfig)
    assert isinstance(origin_of(ClusterConfig(context="x")), Kubeconfig)


def test_outside_a_pod_the_default_kubeconfig_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert isinstance(origin_of(ClusterConfig()), Kubeconfig)
