"""Every test has a store and a data directory of its own, and leaves no process behind."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from .doubles import InMemoryObjects, free_port, kill_all, pids_of


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "data"
    yield directory
    left = pids_of(directory)
    kill_all(left)
    assert not left, "the test left processes behind"


@pytest.fixture
async def objects() -> InMemoryObjects:
    return InMemoryObjects()


@pytest.fixture
def port() -> int:
    return free_port()
