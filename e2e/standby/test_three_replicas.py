"""Three gateways with users who come and go: minutes of what `python -m e2e.standby` does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from e2e.platforms import NATIVE_CRD
from e2e.real_api import RealApi

from .run import run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.programs import Programs


@pytest.fixture(scope="module")
def api(shared_programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealApi]:
    started = RealApi.not_yet_running(shared_programs, tmp_path_factory.mktemp("api"), NATIVE_CRD)
    started.start("--etcd-compaction-interval=10s")
    yield started
    assert started.program is not None
    assert started.program.end() == 0


@pytest.mark.parametrize(("seed", "unrest"), [(1, False), (2, True)])
async def test_used_sandboxes_stay_awake_and_idle_ones_sleep(
    api: RealApi, programs: Programs, seed: int, unrest: bool
) -> None:
    result = await run(api, programs, seconds=60.0, seed=seed, sandboxes=30, unrest=unrest)
    print(result.shown())
    assert result.wrong == []
    assert result.sleeps >= 30
    assert result.cold >= 30
