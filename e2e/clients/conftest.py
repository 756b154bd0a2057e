"""A local mode that knows sandboxes by their host too, sleepers behind it, and a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from e2e.gateways import Gateway, start_local
from e2e.kubectl import Kubectl

from .browser import SUFFIX, Browser, start_browser
from .servers import SITE
from .sleepers import Sleeper, Sleepers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from e2e.programs import Programs


@pytest.fixture(scope="session")
def local_mode(
    shared_programs: Programs, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """One local mode for all tests of clients; each uses sandboxes of its own."""
    home = tmp_path_factory.mktemp("local")
    # What stands before it here (Envoy) comes from loopback.
    settings = {"host_suffixes": SUFFIX, "trusted_proxies": "127.0.0.1/32"}
    gateway = start_local(shared_programs, home, **settings)
    yield gateway
    assert gateway.program.end() == 0
    assert "Traceback" not in gateway.program.errors


@pytest.fixture
def sleepers(local_mode: Gateway, tmp_path: Path) -> Sleepers:
    # A kubectl of its own: the shared one stays with the first local mode, and a module may have
    # another one.
    kubectl = Kubectl(local_mode.kubeconfig, local_mode.program.home)
    return Sleepers(local_mode, kubectl, tmp_path)


@pytest.fixture(params=["freeze", "stop"])
def site(sleepers: Sleepers, request: pytest.FixtureRequest) -> Sleeper:
    """A sleeping web site, frozen or stopped."""
    return sleepers.make("site", *SITE, way=request.param)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    """A browser of its own for one test."""
    with start_browser(tmp_path) as started:
        yield started
