"""The phases of a run, each on what the one before left."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from e2e.bench.loads import Load
from e2e.bench.loads import run as run_load
from e2e.bench.model import rank
from e2e.bench.scale_objects import id_of, name_of, namespace_of
from e2e.bench.stage import LoadFailed
from e2e.scale import moves, wakes
from e2e.scale.client import Client
from e2e.scale.figures import (
    Churn,
    Fan,
    FanOut,
    Listed,
    Most,
    Span,
    Start,
    Steady,
    Stored,
    Wakes,
)
from e2e.scale.fill import fill
from e2e.scale.objects import BUSY, MOVING
from e2e.scale.readings import Counters, Meter, etcd_bytes
from e2e.waiting import until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from e2e.gateways import Gateway
    from e2e.scale.figures import Lag
    from e2e.scale.rig import Rig

#: How long a load runs before it counts, in seconds.
SETTLE: Final = 1.0
#: How long a gateway is left alone before its memory is read, in seconds.
_REST: Final = 1.0
_CONNECTIONS: Final = 64


def start_empty(rig: Rig) -> Start:
    """Return what a gateway takes that has no sandboxes."""
    gateway, start = _start(rig)
    gateway.program.end()
    return start


def _start(rig: Rig) -> tuple[Gateway, Start]:
    began = time.monotonic()
    meter, gateway = Meter.of_start(rig.api_program, rig.start_gateway)
    rig.wait_ready(gateway)
    ready = time.monotonic() - began
    time.sleep(_REST)
    return gateway, Start(ready, meter.read())


def store(rig: Rig) -> Stored:
    """Write all sandboxes."""
    api_empty, etcd_empty = rig.api_program.resident_bytes, etcd_bytes(rig.api.home)
    filled = asyncio.run(fill(rig.api.kubeconfig, rig.count))
    return Stored(
        filled=filled,
        api_empty=api_empty,
        api_full=rig.api_program.resident_bytes,
        etcd_empty=etcd_empty,
        etcd_full=etcd_bytes(rig.api.home),
    )


def start_full(rig: Rig, empty: Start) -> tuple[Gateway, Listed]:
    """Start the gateway that all later phases use; raise LoadFailed if it lacks a sandbox."""
    before = Counters.read(rig.api)
    gateway, full = _start(rig)
    routes = int(gateway.metric("routes"))
    if routes != rig.count:
        raise LoadFailed(f"{routes} of {rig.count} sandboxes have a route")
    return gateway, Listed(empty, full, routes, Counters.read(rig.api).lists_since(before))


def steady(rig: Rig, gateway: Gateway, seconds: int) -> Steady:
    """Serve with nothing else going on."""
    traffic = rig.start_traffic(gateway)
    time.sleep(SETTLE)
    meter, began = Meter(rig.api_program, [gateway]), time.monotonic()
    time.sleep(seconds)
    use, ended = meter.read(), time.monotonic()
    heard = traffic.stop()
    most = _as_much_as_possible(rig, gateway, seconds)
    return Steady(heard.served(began, ended), use, most, heard.lateness)


def churn(rig: Rig, gateway: Gateway, seconds: int, rate: int) -> Churn:
    """Serve while statuses are written; see how soon a write is seen; raise LoadFailed."""
    writes = rig.start_churn(rate)
    traffic = rig.start_traffic(gateway)
    time.sleep(SETTLE)
    meter, began = Meter(rig.api_program, [gateway]), time.monotonic()
    time.sleep(seconds)
    use, ended = meter.read(), time.monotonic()
    heard = traffic.stop()
    lag = asyncio.run(_move(rig, gateway, seconds))
    most = _as_much_as_possible(rig, gateway, seconds)
    churned = writes.stop()
    return Churn(heard.served(began, ended), use, churned, lag, most, heard.lateness)


async def _move(rig: Rig, gateway: Gateway, seconds: int) -> Lag:
    try:
        async with Client.connect(rig.api.kubeconfig) as client:
            return await moves.measure(client, gateway.data_port, rig.server_port, seconds)
    except TimeoutError as error:
        told = gateway.told(namespace_of(MOVING), name_of(MOVING))
        raise LoadFailed(f"requests did not follow a sandbox that moved; it is: {told}") from error


def _as_much_as_possible(rig: Rig, gateway: Gateway, seconds: int) -> Most:
    load = Load("the busy ones in turn", _CONNECTIONS, ids=tuple(map(id_of, BUSY)))
    told = run_load(load.argv(gateway.data_port, rig.server_port, seconds), seconds)
    return Most(told["requests"] / told["duration"] * 1e6, told["p50"] / 1e6, told["p99"] / 1e6)


def wake(rig: Rig, gateway: Gateway, count: int) -> Wakes:
    """Wake sleepers; raise LoadFailed or TimeoutError where one does not answer."""
    meter = Meter(rig.api_program, [gateway])
    found = asyncio.run(_wake(rig, gateway, count))
    return Wakes(
        count=count,
        asked=_span([one.asked for one in found]),
        run=_span([one.run for one in found]),
        answered=_span([one.answered for one in found]),
        whole=_span([one.whole for one in found]),
        use=meter.read(),
    )


async def _wake(rig: Rig, gateway: Gateway, count: int) -> list[wakes.Wake]:
    async with Client.connect(rig.api.kubeconfig) as client:
        return await wakes.measure(client, gateway.data_port, rig.server_port, count)


def _span(times: Sequence[float]) -> Span:
    ordered = sorted(times)
    return Span(rank(ordered, 0.5), rank(ordered, 0.99), ordered[-1])


def fan_out(rig: Rig, gateway: Gateway, seconds: int, rate: int) -> FanOut:
    """Write without traffic while one gateway watches, and while three do."""
    meter = Meter(rig.api_program, [gateway])
    time.sleep(seconds)
    idle = meter.read()
    one = _fan(rig, [gateway], seconds, rate)

    before, meter = Counters.read(rig.api), Meter(rig.api_program, [gateway])
    began = time.monotonic()
    others = [rig.start_gateway(), rig.start_gateway()]
    for other in others:
        rig.wait_ready(other)
    started, api_cpu = time.monotonic() - began, meter.read().api_cpu
    lists = Counters.read(rig.api).lists_since(before)

    three = _fan(rig, [gateway, *others], seconds, rate)
    for other in others:
        other.program.end()
    return FanOut(idle, started, api_cpu, lists, one, three)


def _fan(rig: Rig, gateways: Sequence[Gateway], seconds: int, rate: int) -> Fan:
    """Return what writes cost; the API's counters are read around them, not within.

    Raise TooLateError if not every write was sent to every gateway.
    """
    before = Counters.read(rig.api)
    writes = rig.start_churn(rate)
    meter = Meter(rig.api_program, gateways)
    time.sleep(seconds)
    use = meter.read()
    churned = writes.stop()
    due = before.events + churned.written * len(gateways)

    def all_sent() -> Counters | None:
        now = Counters.read(rig.api)
        return now if now.events >= due else None

    after = until(all_sent, f"{churned.written} writes are sent to {len(gateways)} gateways")
    events, size = after.events - before.events, after.event_bytes - before.event_bytes
    return Fan(len(gateways), churned, use, int(events), size / events)
