"""Waiting for something to become so, with a deadline: nothing here ever sleeps to be safe."""

from __future__ import annotations

import asyncio
import inspect
import time
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

#: Longer than anything takes on a slow and busy machine, in seconds.
DEADLINE: Final = 60.0
_PAUSE: Final = 0.02


class TooLateError(AssertionError):
    """Something did not become so in time; the text says what."""


def until(check: Callable[[], T | None], what: str, deadline: float = DEADLINE) -> T:
    """Return the first true value of `check`."""
    ends = time.monotonic() + deadline
    while True:
        if found := check():
            return found
        if time.monotonic() > ends:
            raise TooLateError(f"not within {deadline:.0f} s: {what}")
        time.sleep(_PAUSE)


async def soon(
    check: Callable[[], object], what: str | Callable[[], str], deadline: float = DEADLINE
) -> None:
    """Return once `check`, which may be a coroutine function, gives something true.

    `what` was waited for; one that tells how things are is called when they did not come about.
    """
    ends = time.monotonic() + deadline
    while True:
        answer = check()
        if await answer if inspect.isawaitable(answer) else answer:
            return
        if time.monotonic() > ends:
            told = what() if callable(what) else what
            raise TooLateError(f"not within {deadline:.0f} s: {told}")
        await asyncio.sleep(_PAUSE)
