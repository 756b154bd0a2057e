"""One real API for all tests that leave it running; each uses objects of its own."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from e2e.clusters import connect
from e2e.platforms import NATIVE_CRD
from e2e.real_api import RealApi

from . import sizing
from .accounts import Account
from .control import staged

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    import httpx

    from e2e.programs import Programs

    from .control import Scene, Stage
    from .sizing import SizedStage


@pytest.fixture(scope="session")
def api(shared_programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealApi]:
    """It knows native Sandboxes, and forgets what was within seconds."""
    started = RealApi.not_yet_running(shared_programs, tmp_path_factory.mktemp("api"))
    started.start("--etcd-compaction-interval=1s")
    started.install(NATIVE_CRD)
    yield started
    assert started.program is not None
    assert started.program.end() == 0


@pytest.fixture
def admin(api: RealApi) -> Iterator[httpx.Client]:
    """Plain HTTP as the administrator."""
    with connect(api.kubeconfig) as client:
        yield client


@pytest.fixture
def account(api: RealApi) -> Account:
    return Account.of(api)


@pytest.fixture
def sizer(api: RealApi) -> Account:
    """One that right-sizes."""
    return Account.of_sizer(api)


@pytest.fixture
def sized_stage(api: RealApi, programs: Programs, home: Path) -> SizedStage:
    """What `sizing.sized_stage` gives, over the shared API."""
    return partial(sizing.sized_stage, api, programs, home)


@pytest.fixture
def stage(api: RealApi, programs: Programs, home: Path, request: pytest.FixtureRequest) -> Stage:
    """What `staged` gives, over the shared API; what clients saw is recorded with the test."""

    @asynccontextmanager
    async def made(**options: Any) -> AsyncIterator[Scene]:
        async with staged(api, programs, home, **options) as scene:
            yield scene
        request.node.user_properties.append(("fault", scene.summary(request.node.name)))

    return made
