"""What the tests share: programs that end with them, one local mode, and logs shown on failure."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

import pytest

from .gateways import KRUISE_CRD, Gateway, start_local
from .kubectl import Kubectl
from .programs import Programs
from .world import World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator, Iterator
    from pathlib import Path

_PROGRAMS = pytest.StashKey[list[Programs]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_PROGRAMS] = []


def pytest_runtest_setup(item: pytest.Item) -> None:
    for programs in item.config.stash[_PROGRAMS]:
        for program in programs:
            program.begin_chapter()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show with a failure what the programs wrote meanwhile."""
    report = yield
    if report.failed:
        for programs in item.config.stash[_PROGRAMS]:
            for program in programs:
                report.sections.append((f"log of {program.name}", program.chapter()))
    return report


@pytest.fixture(scope="session", autouse=True)
def many_files() -> None:
    """Let a thousand connections be open at once, here and in what is started."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _owned(config: pytest.Config) -> Iterator[Programs]:
    owner = Programs()
    config.stash[_PROGRAMS].append(owner)
    try:
        yield owner
    finally:
        owner.end()
        config.stash[_PROGRAMS].remove(owner)


@pytest.fixture
def programs(request: pytest.FixtureRequest) -> Iterator[Programs]:
    """Programs of one test."""
    yield from _owned(request.config)


@pytest.fixture(scope="session")
def shared_programs(request: pytest.FixtureRequest) -> Iterator[Programs]:
    """Programs of all tests."""
    yield from _owned(request.config)


@pytest.fixture(scope="session")
def local_mode(
    shared_programs: Programs, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """One local mode for all tests that leave it running; each uses sandboxes of its own."""
    home = tmp_path_factory.mktemp("local")
    gateway = start_local(shared_programs, home, "--crd", str(KRUISE_CRD))
    yield gateway
    assert gateway.program.end() == 0
    assert "Traceback" not in gateway.program.errors


@pytest.fixture(scope="session")
def kubectl(local_mode: Gateway) -> Kubectl:
    return Kubectl(local_mode.kubeconfig, local_mode.program.home)


@pytest.fixture
async def world(local_mode: Gateway) -> AsyncIterator[World]:
    """OpenKruise sandboxes in a namespace of their own, behind the local mode's gateway."""
    async with World.over(local_mode) as made:
        yield made


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The home directory of the programs of one test."""
    return tmp_path
