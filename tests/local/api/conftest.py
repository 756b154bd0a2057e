from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .support import Client, connected, memory_store, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from gateway.local.api import EmbeddedApi, ObjectStore


@pytest.fixture
def store() -> Iterator[ObjectStore]:
    opened = memory_store()
    yield opened
    opened.close()


@pytest.fixture
async def api(store: ObjectStore) -> AsyncIterator[EmbeddedApi]:
    async with serving(store) as started:
        yield started


@pytest.fixture
async def client(api: EmbeddedApi) -> AsyncIterator[Client]:
    async with connected(api) as speaking:
        yield speaking
