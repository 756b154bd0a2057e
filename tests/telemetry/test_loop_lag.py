"""The lag of the event loop, as it is shown."""

from __future__ import annotations

import asyncio
import time

from gateway.telemetry.instruments import PREFIX, Instruments
from gateway.telemetry.loop_lag import watch


def shown(instruments: Instruments, sample: str, **labels: str) -> float:
    (family,) = instruments.collect()
    name = PREFIX + "event_loop_lag_seconds_" + sample
    return next(float(s.value) for s in family.samples if (s.name, s.labels) == (name, labels))


async def test_what_holds_the_loop_is_seen_as_lag() -> None:
    instruments = Instruments()
    watching = asyncio.create_task(watch(instruments, period=0.01))
    try:
        async with asyncio.timeout(5):
            while not (any(instruments.collect()) and shown(instruments, "count")):
                await asyncio.sleep(0.001)
        before = shown(instruments, "sum")
        time.sleep(0.25)  # to hold the loop is what is tested
        async with asyncio.timeout(5):
            while shown(instruments, "sum") - before < 0.2:
                await asyncio.sleep(0.001)
    finally:
        watching.cancel()
    late = shown(instruments, "count") - shown(instruments, "bucket", le="0.1")
    assert late >= 1
