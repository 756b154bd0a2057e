"""Sandboxes that can fail, gateways in front of them, and the way from these to the API."""

from __future__ import annotations

import asyncio
import itertools
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import yaml

from e2e.clusters import fresh_name
from e2e.waiting import soon

from .api_proxy import FaultyApi
from .fleet import Fleet
from .platform import Platform
from .traffic import Mix, Target, Traffic
from .vitals import COUNTS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from e2e.gateways import Gateway
    from e2e.programs import Programs

    from .ledger import Ledger, Record


@dataclass(frozen=True, slots=True)
class Scene:
    """What a test of faults works with."""

    platform: Platform
    fleet: Fleet
    way: FaultyApi

    @classmethod
    @asynccontextmanager
    async def of(
        cls,
        gateways: int,
        kubeconfig: Path,
        programs: Programs,
        home: Path,
        seed: int = 0,
        settings: Mapping[str, str] | None = None,
    ) -> AsyncIterator[Scene]:
        """Put up so many gateways before a namespace of their own. `kubeconfig`: of a RealApi."""
        token = yaml.safe_load(kubeconfig.read_text())["users"][0]["user"]["token"]
        namespace = fresh_name("faults")
        with FaultyApi.over(kubeconfig, home, seed) as way:
            chosen = {"namespaces": namespace} | dict(settings or {})
            async with (
                Platform.over(kubeconfig, namespace) as platform,
                Fleet.of(
                    gateways, programs, home, lambda name: way.kubeconfig(token, name),
                    platform.timeline, chosen,
                ) as fleet,
            ):  # fmt: skip
                yield cls(platform, fleet, way)

    async def create(self, *names: str, paused: bool = False) -> list[Target]:
        """Create sandboxes; return once they are what they are to be, and all gateways know it."""
        targets = await self.platform.create(*names, paused=paused)
        wanted, namespace = "paused" if paused else "running", self.platform.namespace

        async def known() -> bool:
            asked = [
                asyncio.to_thread(one.gateway.state_of, namespace, name)
                for one in self.fleet.members
                for name in names
            ]
            return set(await asyncio.gather(*asked)) == {wanted}

        await soon(known, f"all gateways know that they are {wanted}")
        return targets

    def traffic(self, *targets: Target, mix: Mix | None = None) -> Traffic:
        """Return a load on these sandboxes in turn."""
        order = itertools.cycle(targets)
        return Traffic(self.fleet.place, lambda: next(order), mix or Mix())

    def unexcused(self, ledger: Ledger) -> list[Record]:
        """Return what clients saw that was not true, or that a gateway could have helped."""
        return [one for one in ledger.odd if not self.platform.timeline.excuses(one)]

    async def give_away(self, loser: str, heir: str) -> str:
        """Kill one sandbox's pod and give its address, which is returned, to another one's next.

        In between every gateway hears that it is not there any more. Networks keep an address back
        for a while for that reason: a gateway cannot know what it has not been told. (How its end
        may be told late is in `test_data_plane`.)
        """
        box = self.platform.boxes[loser]

        async def heard() -> bool:
            addresses = await self._addresses(loser)
            return box.pod is not None and box.running and addresses == {box.pod.ip}

        # One that has not heard yet that it is there would hear so when it is another's.
        await soon(heard, f"all gateways know where {loser} is")
        return await self.platform.give_away(loser, heir, known=self._forgotten)

    async def _forgotten(self, name: str, address: str) -> None:
        async def heard() -> bool:
            return address not in await self._addresses(name)

        await soon(heard, "all gateways know that a pod is gone")

    async def _addresses(self, name: str) -> set[str | None]:
        """Return where gateways have a sandbox."""
        path = f"/api/v1/sandboxes/{self.platform.namespace}/{name}"
        members = self.fleet.members
        asked = [asyncio.to_thread(_address, one.gateway, path) for one in members]
        return set(await asyncio.gather(*asked))

    async def comes_to_rest(self) -> None:
        """Return once nothing is under way and nobody waits; nothing may have gone wrong unseen."""
        await soon(lambda: not self._under_way(), "nothing is under way")
        deliveries = self.platform.deliveries
        assert deliveries.astray == []
        assert deliveries.repeated == []
        gateways = [*self.fleet.gone, *(one.gateway for one in self.fleet.members)]
        assert not [one for one in gateways if "Traceback" in one.program.errors]

    def _under_way(self) -> list[str]:
        return [name for name in COUNTS if self.fleet.total(name)]


def _address(gateway: Gateway, path: str) -> str | None:
    """Return where a gateway has a sandbox; one that is gone has it nowhere."""
    try:
        status, body = gateway.ask_admin(path)
    except OSError:
        return None
    found: str | None = json.loads(body).get("address") if status == 200 else None
    return found
