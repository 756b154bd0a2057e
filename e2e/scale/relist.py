"""The API goes away and comes back without the history that a watch needs, while traffic runs.

While it is away for the gateway, it takes changes at another port, and is started once more: what
comes back knows nothing older than its own start, so the gateway's watch is told 410 and the
gateway has to list. It comes back by a forwarder at its old port, opened when Sandboxes can be
watched: one that is starting answers 404, then 429, which would be other reasons to list.
"""

from __future__ import annotations

import asyncio
import time
from datetime import datetime
from typing import TYPE_CHECKING, Final

from e2e.bench.scale_objects import PATH, name_of, namespace_of
from e2e.bench.stage import LoadFailed
from e2e.clusters import connect
from e2e.programs import free_port
from e2e.scale.client import Client
from e2e.scale.figures import Relist
from e2e.scale.objects import DOOMED, FIRST_OTHER
from e2e.scale.phases import SETTLE
from e2e.scale.readings import Counters, Meter
from e2e.waiting import until

if TYPE_CHECKING:
    from collections.abc import Sequence

    import httpx

    from e2e.gateways import Gateway
    from e2e.scale.rig import Rig

#: Sandboxes that come to their end meanwhile, at most.
_CHANGES: Final = 1_000
#: Writes at a time.
_WRITERS: Final = 32
#: Within which an API that starts again has read all of them into its cache, in seconds.
_CACHE_PATIENCE: Final = 900.0
#: From the API's return until the gateway must be in step, in seconds.
_PATIENCE: Final = 180.0
_ENDED: Final = {"status": {"phase": "Succeeded"}}


def measure(rig: Rig, gateway: Gateway) -> Relist:
    """Take the API away and give it back; raise LoadFailed if the watch was not told 410."""
    step = max(1, (rig.count - FIRST_OTHER) // _CHANGES)
    changed = range(FIRST_OTHER, rig.count, step)[:_CHANGES]
    expired = _expired(gateway)
    traffic = rig.start_traffic(gateway)
    time.sleep(SETTLE)

    resident = gateway.program.resident_bytes
    left, port = time.monotonic(), rig.api.port
    _restart(rig)
    asyncio.run(_change(rig, changed))
    _restart(rig)
    before = Counters.read(rig.api)
    began, clock = time.monotonic(), time.time()
    meter = Meter(rig.api_program, [gateway])
    rig.forward(port, rig.api.port)
    first_page, in_step = _in_step(gateway, clock)
    use = meter.read()
    time.sleep(SETTLE)

    heard = traffic.stop()
    expired = int(_expired(gateway) - expired)
    if not expired:
        reasons = gateway.metrics("watch_restarts")
        raise LoadFailed(f"the watch was not told that its version is gone, but: {reasons}")
    return Relist(
        away=began - left,
        changed=len(changed),
        deleted=len(DOOMED),
        first_page=first_page,
        in_step=in_step,
        expired=expired,
        wrong=_wrong(gateway, changed),
        lists=Counters.read(rig.api).lists_since(before),
        resident_before=resident,
        use=use,
        served_away=heard.served(left, began + first_page),
        served_listing=heard.served(began + first_page, began + in_step),
        late=heard.lateness,
    )


def _restart(rig: Rig) -> None:
    """End the API as a crash would, start it at another port; return once it serves watches."""
    rig.api.kill()
    rig.api.port = free_port()
    rig.api.start()
    with connect(rig.api.kubeconfig) as admin:
        until(lambda: _serves_watches(admin), "Sandboxes can be watched", _CACHE_PATIENCE)


def _serves_watches(admin: httpx.Client) -> bool:
    """Tell whether its watch cache is filled: until then lists work, and watches are told 429."""
    listed = admin.get(PATH, params={"limit": 1})
    if not listed.is_success:
        return False
    version = listed.json()["metadata"]["resourceVersion"]
    watch = {"watch": "1", "resourceVersion": version, "timeoutSeconds": "1"}
    with admin.stream("GET", PATH, params=watch) as opened:
        return opened.is_success


def _expired(gateway: Gateway) -> float:
    return gateway.metric("watch_restarts", reason="expired")


async def _change(rig: Rig, changed: Sequence[int]) -> None:
    async with Client.connect(rig.api.kubeconfig) as client:
        numbers = iter(changed)

        async def end() -> None:
            for number in numbers:
                await client.change_status(number, _ENDED)

        async with asyncio.TaskGroup() as group:
            for _ in range(_WRITERS):
                group.create_task(end())
        for number in DOOMED:
            await client.delete(number)


def _in_step(gateway: Gateway, began: float) -> tuple[float, float]:
    """Return how long after `began` (Unix time) it had a page of the list, and then all of it."""

    def entered(phase: str) -> float | None:
        """Return when its log says that the watch last entered a phase."""
        times = [
            datetime.fromisoformat(one["time"]).timestamp()
            for one in gateway.program.records()
            if one["message"].startswith(f"native: {phase}, ")
        ]
        return times[-1] if times and times[-1] > began else None

    def both() -> tuple[float, float] | None:
        listing, watching = entered("listing"), entered("watching")
        if listing is None or watching is None or watching < listing:
            return None
        return listing - began, watching - began

    return until(both, "the gateway has listed and watches again", _PATIENCE)


def _wrong(gateway: Gateway, changed: Sequence[int]) -> int:
    """Return how many of the changed and deleted sandboxes the gateway shows as they were."""
    shown = [gateway.state_of(namespace_of(one), name_of(one)) for one in changed]
    left = [gateway.state_of(namespace_of(one), name_of(one)) for one in DOOMED]
    return sum(one != "dead" for one in shown) + sum(one is not None for one in left)
