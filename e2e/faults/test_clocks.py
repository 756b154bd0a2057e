"""The wall clock jumps under a gateway, as after a node's clock was set; the monotonic one goes on.

Debian's libfaketime does it.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import httpx

from e2e.waiting import soon

from .api_proxy import Deed
from .test_control_plane import ANSWERED, MANY

if TYPE_CHECKING:
    from .control import Scene, Stage

HOUR: Final = 3600
#: Calls to the API that one wake may cost: a read, a patch, the Event, re-reads while it starts.
CALLS: Final = 10
#: How far the clocks of tests and gateways may be apart for being the same: seconds.
CLOSE: Final = 60.0


def library() -> Path:
    """Return what to preload."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    assert found, "libfaketime is needed: apt-get install libfaketime"
    return found[0]


async def set_clock(file: Path, scene: Scene, offset: int) -> None:
    """Let the gateway's wall clock be so many seconds off; return once it is."""
    new = file.with_suffix(".new")
    new.write_text(f"{offset:+d}\n")
    new.rename(file)

    def is_set() -> bool:
        told = httpx.get(f"{scene.gateway.admin}/healthz").headers["Date"]
        return abs(parsedate_to_datetime(told).timestamp() - time.time() - offset) < CLOSE

    await soon(is_set, "the clock is set")


async def test_the_wall_clock_jumps(stage: Stage, home: Path) -> None:
    file = home / "clock"
    file.write_text("+0\n")
    faked = (
        "env",
        f"LD_PRELOAD={library()}",
        f"FAKETIME_TIMESTAMP_FILE={file}",
        "FAKETIME_CACHE_DURATION=1",
        "FAKETIME_DONT_FAKE_MONOTONIC=1",
        "DONT_FAKE_MONOTONIC=1",
    )
    async with stage(under=faked) as scene:
        await scene.sleepers(*MANY, "held")
        await scene.platform.create("mortal")
        ends = datetime.now(UTC) + timedelta(seconds=HOUR)
        await scene.platform.api.patch("mortal", shutdownTime=ends.strftime("%Y-%m-%dT%H:%M:%SZ"))
        told = partial(scene.gateway.told, scene.platform.namespace, "mortal")
        await soon(lambda: "spec.shutdownTime" in str(told()), "its end is known")
        held = scene.platform.boxes["held"]
        held.start_delay = float(HOUR)
        waiting = asyncio.create_task(scene.ask("held"))
        await soon(lambda: scene.writes("written") == 1, "it is told to run")
        calls, restarts = scene.proxy.done[Deed.PASSED], scene.all_restarts()

        jumps = {2 * HOUR: "dead", -2 * HOUR: "running", 0: "running"}
        for number, (offset, state) in enumerate(jumps.items()):
            await set_clock(file, scene, offset)
            assert scene.state("mortal") == state
            part = MANY[number :: len(jumps)]
            assert await scene.asked(*part) == ANSWERED[: len(part)]
            assert not waiting.done()
            assert scene.gateway.readiness()[0] == 200
        held.hurried.set()
        assert (await waiting).status == 200
        # News of what was written may be quicker than the answer to the writing.
        await soon(lambda: scene.writes("written") == len(MANY) + 1, "each write is counted")
        assert scene.all_restarts() == restarts, "no watch has noticed"
        assert scene.proxy.done[Deed.PASSED] - calls <= CALLS * (len(MANY) + 1)
