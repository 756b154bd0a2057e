"""How late the event loop is: what one callback takes too long for, every request waits for."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gateway.telemetry.instruments import Instruments

#: Time between two samples, in seconds. Whatever holds the loop for longer is in one of them.
PERIOD: Final = 0.1


async def watch(instruments: Instruments, period: float = PERIOD) -> None:
    """Count how late a timer comes, until cancelled."""
    lag = instruments.histogram(
        "event_loop_lag_seconds", "How late the event loop was for a timer, in seconds; sampled."
    )
    while True:
        due = time.monotonic() + period
        await asyncio.sleep(period)
        lag.observe(max(0.0, time.monotonic() - due))
