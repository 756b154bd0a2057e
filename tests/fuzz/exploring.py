"""Hypothesis beside an event loop: it is synchronous, so it runs in a thread of its own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from hypothesis import HealthCheck, Phase, given, seed, settings

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from hypothesis.strategies import SearchStrategy

    from .rig import Rig


T = TypeVar("T")


async def explore(
    rig: Rig,
    check: Callable[[Rig, T], Coroutine[Any, Any, None]],
    examples: SearchStrategy[T],
    count: int,
    begin: int | None = None,
) -> None:
    """Check so many examples on the rig: always the same ones, or those that a seed begins."""
    loop = asyncio.get_running_loop()

    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=begin is None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(examples)
    def each(example: T) -> None:
        asyncio.run_coroutine_threadsafe(rig.judged(check(rig, example)), loop).result()

    await asyncio.to_thread(each if begin is None else seed(begin)(each))
