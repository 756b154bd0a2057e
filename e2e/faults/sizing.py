"""Right-sized sandboxes under load behind gateways of which one leads, over an API with faults."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from e2e.clusters import access_of
from e2e.programs import free_port
from e2e.real.sandboxes import said
from e2e.real.sized import GI, Sizes, load_for, units
from e2e.standby.replicas import LEASE, Replicas
from e2e.waiting import DEADLINE, soon
from gateway.sandbox.scaling import Size

from .api_proxy import FaultyApi
from .ledger import Kind, Outcome
from .pods import Deliveries, Pod
from .size_judge import SizeJudge
from .size_watch import SizeWatch
from .timeline import Cause, Timeline
from .traffic import Mix, Target, Traffic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from e2e.programs import Programs
    from e2e.real.sized import Object, Sized
    from e2e.real_api import RealApi

    from .fleet import Member
    from .platform import Platform

    SizedStage = Callable[..., AbstractAsyncContextManager["SizedScene"]]

#: The Lease of those that right-size.
RESIZE_LEASE: Final = f"{LEASE}-resize"
LEASE_DURATION: Final = 5.0
GATEWAYS: Final = 2
#: What the node has to give.
ROOM: Final = Size(5000, 10 * GI)
#: The longest that a loop may take to converge after a fault, in seconds.
PATIENCE: Final = 2 * DEADLINE
#: What sandboxes have to answer in one test, at the least.
_PROBES: Final = 100
_MIX: Final = Mix(gets=2, echoes=1, streams=1, sockets=1, pause=0.1)
_SETTINGS: Final = {
    "standby": "false",
    "access_log": "false",
    "lease_duration": f"{LEASE_DURATION:g}s",
    "kube_request_timeout": "3s",
}


@dataclass(slots=True)
class SizedScene:
    """What a test of right-sizing works with. Two sandboxes run: `one`, which it is about.

    No test grows what has shrunk, to have it shrink again: that takes minutes, as it should.
    """

    sizes: Sizes
    fleet: Replicas
    way: FaultyApi
    judge: SizeJudge
    watch: SizeWatch
    timeline: Timeline
    deliveries: Deliveries = field(default_factory=Deliveries)
    #: Where sandboxes answer requests.
    port: int = field(default_factory=free_port)
    _boxes: dict[str, Sized] = field(default_factory=dict)
    _serving: list[Pod] = field(default_factory=list)
    _asleep: set[str] = field(default_factory=set)
    _turn: itertools.count[int] = field(default_factory=itertools.count)

    @classmethod
    @asynccontextmanager
    async def over(
        cls,
        api: RealApi,
        programs: Programs,
        home: Path,
        way: FaultyApi,
        room: Size,
        gateways: int,
        settings: Mapping[str, str],
        *,
        token: str | Path | None = None,
        beside: Platform | None = None,
    ) -> AsyncIterator[SizedScene]:
        """Run so many gateways that right-size what is on a node with so much room.

        Their token is the administrator's unless they get another one, or a file of one. `beside`:
        other sandboxes are theirs too, and what clients see is counted together.
        """
        token = token or access_of(api.kubeconfig)[1]
        timeline = Timeline() if beside is None else beside.timeline
        async with Sizes.on_a_node(api, programs, home, room) as sizes:
            _make_lease(sizes)
            namespaces = [sizes.namespace, *([beside.namespace] if beside is not None else ())]
            own = {"namespaces": ",".join(namespaces)}
            judge = SizeJudge(way.resizes, RESIZE_LEASE, timeline.known_after)
            async with (
                SizeWatch.over(api.kubeconfig, sizes.namespace, judge) as watch,
                Replicas.over(
                    gateways, programs, home, api.kubeconfig,
                    lambda name: way.kubeconfig(token, name), sizes.namespace, timeline,
                    sizes.settings | _SETTINGS | own | dict(settings),
                ) as fleet,
            ):  # fmt: skip
                scene = cls(sizes, fleet, way, judge, watch, timeline)
                if beside is not None:
                    scene.deliveries, scene.port = beside.deliveries, beside.port
                try:
                    yield scene
                finally:
                    await asyncio.gather(*(pod.kill() for pod in scene._serving))

    @property
    def one(self) -> Sized:
        return self._boxes["one"]

    @property
    def other(self) -> Sized:
        return self._boxes["other"]

    async def sandbox(self, name: str, config: Object | None = None) -> Sized:
        """Make one more sandbox, which answers requests."""
        made = self._boxes[name] = await self.sizes.sandbox(name, config=config)
        sandbox = f"{self.sizes.namespace}/{name}"
        pod = Pod(sandbox, made.address, self.port, self.deliveries)
        await pod.open()
        self._serving.append(pod)
        return made

    def target(self, sandbox: Sized) -> Target:
        return Target(self.sizes.namespace, sandbox.name, self.port)

    def next_target(self) -> Target:
        """Return whom clients ask next: those that do not sleep in turn."""
        awake = [one for name, one in self._boxes.items() if name not in self._asleep]
        return self.target(awake[next(self._turn) % len(awake)])

    @asynccontextmanager
    async def asleep(self, sandbox: Sized) -> AsyncIterator[None]:
        """Have nobody ask a sandbox for the body's time, nor count on what it was asked."""
        self._asleep.add(sandbox.name)
        subject = self.target(sandbox).sandbox
        spans = [self.timeline.begin(cause, subject) for cause in (Cause.ASLEEP, Cause.LIFE_ENDS)]
        yield
        for span in spans:
            span.close()
        self._asleep.discard(sandbox.name)

    # ---- who leads ----------------------------------------------------------------------------

    def leading(self) -> list[Member]:
        """Return who leads, by their own word."""
        return [one for one in self.fleet.members if not one.halted and _leads(one)]

    async def leader(self, other_than: Member | None = None) -> Member:
        """Return who leads, once somebody does."""
        await soon(lambda: set(self.leading()) - {other_than}, "somebody leads", PATIENCE)
        return next(one for one in self.leading() if one is not other_than)

    async def is_told(self, sandbox: Sized, status: str) -> Object:
        """Return what the leader tells of a sandbox once it tells this status."""
        told: Object = {}

        def is_so() -> bool:
            told.update(self._told(sandbox))
            return told.get("status") == status

        await soon(is_so, lambda: f"{sandbox.name} is {told}, and not {status}", PATIENCE)
        return told

    def _told(self, sandbox: Sized) -> Object:
        """Return what the leader tells of a sandbox, if there is one and it knows anything."""
        leading = self.leading()
        return (sandbox.told_if_known(leading[0].gateway) or {}) if leading else {}

    # ---- sizes --------------------------------------------------------------------------------

    async def becomes(self, sandbox: Sized, count: int) -> None:
        """Give a sandbox the load of so many units; return once it has them, and knows."""
        self.loads(sandbox, count)
        await self.has(sandbox, count)

    def loads(self, sandbox: Sized, count: int) -> None:
        """Give a sandbox the load of so many units, if that is not less than it has at least."""
        sandbox.guest.loads(load_for(count) if count > 2 else 0.0)

    async def has(self, sandbox: Sized, count: int) -> None:
        """Return once a sandbox has so many units, and its guest knows of them."""
        await sandbox.becomes(units(count), PATIENCE)
        await self.is_told_units(sandbox, "approved", count)

    async def is_told_units(self, sandbox: Sized, which: str, count: int) -> None:
        """Return once the leader tells that so many units are what is `wanted`, for example."""
        size = units(count).as_json()
        what = f"{size} is {which} of {sandbox.name}"
        await soon(lambda: self._told(sandbox).get(which) == size, what, PATIENCE)

    async def asked_for(self, sandbox: Sized, count: int) -> None:
        """Return once the API has been asked for so many units."""

        def desired() -> bool:
            (container,) = sandbox.pod["spec"]["containers"]
            cpu: str = container["resources"]["requests"]["cpu"]
            return cpu == units(count).as_json()["cpu"]

        await soon(desired, f"{sandbox.name} is to have {count} units", PATIENCE)

    # ---- at the end ---------------------------------------------------------------------------

    async def settles(self, traffic: Traffic) -> None:
        """Check that sizes follow loads, that all answer, and that nothing was ever wrong."""
        # One that has lost nothing yet: what is got back after that is kept for minutes.
        late = await self.sandbox("late")
        await self.is_told(late, "sized")
        for count in (4, 2):
            await self.becomes(late, count)
        for sandbox, member in itertools.product(self._boxes.values(), self.fleet.members):
            record = await traffic.once(Kind.GET, self.target(sandbox), member)
            assert record.outcome is Outcome.RIGHT, record
        await self.watch.catch_up()
        assert self.judge.violations == [], self.judge.violations
        assert self.judge.count >= 3
        odd = [one for one in traffic.ledger.odd if not self.timeline.excuses(one)]
        assert odd == [], odd
        assert self.deliveries.astray == self.deliveries.repeated == []
        for gateway in (*self.fleet.gone, *(one.gateway for one in self.fleet.members)):
            assert "Traceback" not in gateway.program.errors
        assert all(one.gateway.program.exit_status is None for one in self.fleet.members)


def _leads(member: Member) -> bool:
    """Return whether a gateway leads by its own word; one that has just ended does not."""
    try:
        return bool(member.gateway.metric("resize_leader"))
    except OSError:
        return False


@asynccontextmanager
async def sized_stage(
    api: RealApi,
    programs: Programs,
    home: Path,
    *,
    token: str | Path | None = None,
    config: Object | None = None,
    **settings: str,
) -> AsyncIterator[SizedScene]:
    """Right-size two sandboxes under load for the body; then all has to settle.

    The gateways' token is the administrator's unless they get another one, or a file of one.
    `config`: what the author of the sandboxes wants beside the bounds.
    """
    with FaultyApi.over(api.kubeconfig, home, seed=1) as way:
        async with SizedScene.over(
            api, programs, home, way, ROOM, GATEWAYS, settings, token=token
        ) as scene:
            async with _under_load(scene, config) as traffic:
                yield scene
            await scene.settles(traffic)


@asynccontextmanager
async def _under_load(scene: SizedScene, config: Object | None) -> AsyncIterator[Traffic]:
    boxes = [await scene.sandbox(name, config) for name in ("one", "other")]
    for one in boxes:
        await scene.is_told(one, "sized")
    traffic = Traffic(scene.fleet.place, scene.next_target, _MIX)
    async with traffic.flowing():
        yield traffic
        await soon(lambda: traffic.ledger.right >= _PROBES, "enough was asked")


def _make_lease(sizes: Sizes) -> None:
    """Make the Lease as one that was given up, so that nobody has to wait until it is free."""
    path = f"/apis/coordination.k8s.io/v1/namespaces/{sizes.namespace}/leases"
    spec = {"holderIdentity": "", "leaseDurationSeconds": round(LEASE_DURATION)}
    said(sizes.admin.post(path, json={"metadata": {"name": RESIZE_LEASE}, "spec": spec}))
