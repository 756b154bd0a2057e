"""What the tests share: programs that end with them, one local mode, and logs shown on failure.

Most stand on the embedded API. Those of what controllers and API servers do stand on a real one
with `--api=real`: one that is started, or the cluster of $KUBECONFIG.
"""

from __future__ import annotations

import os
import resource
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from .apis import Api
from .clusters import GivenCluster, InUseError
from .gateways import KRUISE_CRD, Gateway, start_local, start_serve
from .kubectl import Kubectl
from .platforms import KruisePlatform, NativePlatform
from .programs import Programs
from .real_api import RealApi
from .world import World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from .clusters import Cluster
    from .platforms import Platform

    #: Gives the kubeconfig of an API that serves these platforms' objects.
    Serving = Callable[..., AbstractContextManager[Path]]

_PROGRAMS = pytest.StashKey[list[Programs]]()
_MARKERS = (
    "local_mode: of local mode itself, which has its own API",
    "needs_own_api: kills the API, starts it with flags, or wants no other controllers there",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    text = "What tests of controllers stand on: the embedded API, or a real one."
    parser.addoption("--api", choices=("embedded", "real"), default="embedded", help=text)


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_PROGRAMS] = []
    for marker in _MARKERS:
        config.addinivalue_line("markers", marker)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not _is_real(config):
        return
    dropped = [item for item in items if item.get_closest_marker("local_mode")]
    config.hook.pytest_deselected(items=dropped)
    items[:] = [item for item in items if item not in dropped]


def _is_real(config: pytest.Config) -> bool:
    return bool(config.getoption("--api") == "real")


def _is_given() -> bool:
    """Return whether the real API is somebody's cluster."""
    return bool(os.environ.get("KUBECONFIG"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("needs_own_api") and _is_given():
        pytest.skip("needs_own_api: $KUBECONFIG names a cluster")
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
def cluster(
    shared_programs: Programs, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """One real API for all tests that leave it running; each uses objects of its own.

    The one that is started here forgets what was within seconds.
    """
    home = tmp_path_factory.mktemp("api")
    if _is_given():
        with GivenCluster.of_environment(home) as given:
            yield given
        return
    started = RealApi.not_yet_running(shared_programs, home)
    started.start("--etcd-compaction-interval=1s")
    yield started
    assert started.program is not None
    assert started.program.end() == 0


@pytest.fixture(scope="session")
def serving(request: pytest.FixtureRequest, shared_programs: Programs) -> Serving:
    """Serve the objects of platforms, for the length of a `with`, by an API as chosen."""
    factory: pytest.TempPathFactory = request.getfixturevalue("tmp_path_factory")

    @contextmanager
    def embedded(*platforms: Platform) -> Iterator[Path]:
        home = factory.mktemp("api")
        # It has the native ones anyway.
        added = [one for one in platforms if not isinstance(one, NativePlatform)]
        api = Api.not_yet_running(shared_programs, home, *(one.crd(home) for one in added))
        api.start()
        yield api.kubeconfig

    @contextmanager
    def real(*platforms: Platform) -> Iterator[Path]:
        cluster: Cluster = request.getfixturevalue("cluster")
        try:
            with cluster.serving(*(one.crd(cluster.home) for one in platforms)) as kubeconfig:
                yield kubeconfig
        except InUseError as error:
            pytest.skip(f"needs_own_api: {error}")

    return real if _is_real(request.config) else embedded


@pytest.fixture(scope="session")
def local_mode(
    shared_programs: Programs, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """One local mode for all tests that leave it running; each uses sandboxes of its own."""
    home = tmp_path_factory.mktemp("local")
    # As with the API that another program serves: what sleeps is put to sleep by tests.
    gateway = start_local(shared_programs, home, "--crd", str(KRUISE_CRD), standby="false")
    yield gateway
    assert gateway.program.end() == 0
    assert "Traceback" not in gateway.program.errors


@contextmanager
def serve(
    programs: Programs, home: Path, kubeconfig: Path, name: str = "serve", **settings: str
) -> Iterator[Gateway]:
    """Run a gateway that is ready, and see it end as it should."""
    gateway = start_serve(programs, home, kubeconfig, name, **settings)
    gateway.wait_ready()
    yield gateway
    assert gateway.program.end() == 0
    assert "Traceback" not in gateway.program.errors


@pytest.fixture(scope="session")
def kubectl(local_mode: Gateway) -> Kubectl:
    return Kubectl(local_mode.kubeconfig, local_mode.program.home)


@pytest.fixture(scope="session")
def kruise_gateway(
    request: pytest.FixtureRequest,
    serving: Serving,
    shared_programs: Programs,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Gateway]:
    """One gateway for all tests of OpenKruise sandboxes: local mode's, or over a real API."""
    if not _is_real(request.config):
        yield request.getfixturevalue("local_mode")
        return
    home = tmp_path_factory.mktemp("gateway")
    with (
        serving(KruisePlatform()) as kubeconfig,
        serve(shared_programs, home, kubeconfig, dialects="kruise") as gateway,
    ):
        yield gateway


@pytest.fixture
async def world(kruise_gateway: Gateway) -> AsyncIterator[World]:
    """OpenKruise sandboxes in a namespace of their own."""
    async with World.over(kruise_gateway) as made:
        yield made


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The home directory of the programs of one test."""
    return tmp_path
