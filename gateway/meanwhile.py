"""Something that runs for as long as a body does."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine


@contextlib.asynccontextmanager
async def meanwhile(running: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run something for the body's time; its failure, a bug of ours, ends the body."""
    failure: Exception | None = None
    async with asyncio.TaskGroup() as group:
        task = group.create_task(running)
        try:
            yield
        except Exception as error:  # noqa: BLE001 - it leaves as it came, not as a group of one
            failure = error
        finally:
            task.cancel()
    if failure is not None:
        raise failure
