"""One real API for all tests that leave it running; each uses objects of its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from e2e.real_api import RealApi, connect

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from e2e.programs import Programs

CRD: Final = Path(__file__).parents[2] / "charts/sandbox-gateway/crds/sandboxes.yaml"


@pytest.fixture(scope="session")
def api(shared_programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealApi]:
    """It knows native Sandboxes, and forgets what was within seconds."""
    started = RealApi.not_yet_running(shared_programs, tmp_path_factory.mktemp("api"))
    started.start("--etcd-compaction-interval=1s")
    started.install(CRD)
    yield started
    assert started.program is not None
    assert started.program.end() == 0


@pytest.fixture
def admin(api: RealApi) -> Iterator[httpx.Client]:
    """Plain HTTP as the administrator."""
    with connect(api.kubeconfig) as client:
        yield client
