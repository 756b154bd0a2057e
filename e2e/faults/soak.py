"""Everything that can fail, at random, for as long as you like: `python -m e2e.faults.soak --help`.

What must hold is looked at all the time: whoever answers is the sandbox that was asked, and who is
refused is told what was true (`timeline`). At the end everything works, and nothing is left.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import resource
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from e2e.clusters import fresh_name
from e2e.platforms import NATIVE_CRD
from e2e.programs import Programs
from e2e.real_api import RealApi
from e2e.waiting import TooLateError, soon

from . import plan
from .api_proxy import Deed, FaultyApi
from .injector import Injector
from .ledger import Kind, Ledger, Outcome, Record
from .platform import Platform
from .scene import Scene
from .sizing import SizedScene
from .soak_report import Report
from .soak_sizes import ROOM, SoakSizes
from .traffic import Mix, Target, Traffic
from .vitals import Memory, Vitals

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SETTINGS: Final = {
    "upstream_dead_after": "5s",
    "upstream_connect_timeout": "2s",
    # Short, so that at the end it is soon seen whether descriptors are left.
    "pool_idle_timeout": "5s",
    "watch_idle_timeout": "15s",
    # Shorter than a fault is forgiven after its end: they keep wakes from being tried.
    "wake_breaker_min": "1s",
    "wake_breaker_max": "2s",
    "drain_delay": "2s",
}
#: Half of the clients ask sandboxes that nobody pauses, whatever those of the others wait for.
_MIX: Final = Mix(gets=6, echoes=3, streams=2, sockets=3, pause=0.12)
#: The share of requests that go where something is amiss, if something is.
_CURIOSITY: Final = 0.4
#: Between two lines of progress, and two looks at what gateways hold, in seconds.
_EVERY: Final = 10.0
#: How long after the last fault everything must work again, in seconds.
_RECOVERY: Final = 120.0
#: Violations that are kept whole.
_SHOWN: Final = 50


@dataclass(slots=True)
class Soak:
    """One run."""

    scene: Scene
    sized: SizedScene
    injector: Injector
    ledger: Ledger = field(default_factory=Ledger)
    memory: Memory = field(default_factory=Memory)
    violations: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    async def run(self, seconds: float, sandboxes: int, gateways: int, seed: int) -> None:
        scene = self.scene
        names = [f"box-{number:04}" for number in range(sandboxes)]
        targets = await scene.create(*names)
        elder = scene.fleet.members[0]
        await self._ask_all(targets)
        # As it is in the end: whoever leads holds more.
        await soon(self.sized.leading, "it leads")
        await soon(lambda: Vitals.of(elder.gateway).at_rest, "nothing stands")
        before = Vitals.of(elder.gateway)
        await asyncio.gather(*(scene.fleet.add() for _ in range(gateways - 1)))
        sizes = self.injector.sizes
        await sizes.begin()
        chance = random.Random(seed)
        steady = [*targets[: self.injector.steady], *sizes.targets]
        shaken = targets[self.injector.steady :]

        def troubled() -> Target:
            """Ask those most that something happens to."""
            found = self.injector.in_trouble()
            if found and chance.random() < _CURIOSITY:
                return scene.platform.target(chance.choice(found))
            return chance.choice(shaken)

        self.began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._load(lambda: chance.choice(steady), seconds))
            group.create_task(self._load(troubled, seconds))
            group.create_task(self._watch(seconds))
            varying = group.create_task(sizes.vary(random.Random(f"{seed} loads")))
            async with self.injector.running():
                await asyncio.sleep(seconds)
            varying.cancel()
        await self._ask_all([*targets, *sizes.targets])
        await self._judge_sizes()
        for member in scene.fleet.members[1:]:
            await scene.fleet.drain(member)
        await sizes.end()
        await self._comes_to_rest(before)
        self._judge_writes()
        self._judge_logs()

    async def _load(self, choose: Callable[[], Target], seconds: float) -> None:
        place = self.scene.fleet.place
        traffic = Traffic(place, choose, _MIX, self.ledger, note=self._note)
        async with traffic.flowing():
            await asyncio.sleep(seconds)

    def _note(self, record: Record) -> None:
        if record.outcome is Outcome.RIGHT:
            self.scene.platform.deliveries.settle(record.number)
        if not self.scene.platform.timeline.excuses(record):
            at_work = self.scene.platform.timeline.at_work(record)
            causes = ", ".join(sorted(cause.value for cause in at_work))
            self.violates(f"{record.outcome.value} without a cause ({causes}): {record}")

    def violates(self, what: str) -> None:
        if len(self.violations) < _SHOWN:
            self.violations.append(what)
        print("VIOLATION:", what, file=sys.stderr)

    # ---- meanwhile

    async def _watch(self, seconds: float) -> None:
        while (spent := time.monotonic() - self.began) < seconds:
            self.memory.sample(self.scene.fleet.members[0].gateway)
            self._judge_deliveries()
            self._note_sizes()
            print(self.progress(spent), file=sys.stderr)
            await asyncio.sleep(_EVERY)

    def progress(self, spent: float) -> str:
        faults = len(self.injector.done)
        megabytes = self.memory.samples[-1] / 2**20
        return (
            f"{spent:6.0f} s  {self.ledger.right} right ({self.ledger.cold} cold), "
            f"{len(self.ledger.odd)} not; {faults} faults; {megabytes:.0f} MiB; "
            f"{len(self.violations)} violations"
        )

    def _judge_deliveries(self) -> None:
        deliveries = self.scene.platform.deliveries
        for what in (deliveries.astray, deliveries.repeated):
            while what:
                self.violates(f"delivered: {what.pop()}")

    def _note_sizes(self) -> None:
        wrong = self.sized.judge.violations
        while wrong:
            self.violates(f"resized: {wrong.pop(0)}")

    # ---- afterwards

    async def _judge_sizes(self) -> None:
        """Sizes follow loads again, and never were what they must not be."""
        try:
            await self.injector.sizes.converge()
        except TooLateError as error:
            self.violates(f"sizes: {error}")
        await self.sized.watch.catch_up()
        self._note_sizes()

    async def _ask_all(self, targets: Sequence[Target]) -> None:
        """Ask each sandbox through each gateway; all must answer, by themselves and soon."""
        traffic = Traffic(self.scene.fleet.place, lambda: targets[0], note=self._note)
        ends = time.monotonic() + _RECOVERY
        for target in targets:
            for member in self.scene.fleet.members:
                while (await traffic.once(Kind.GET, target, member)).outcome is not Outcome.RIGHT:
                    if time.monotonic() > ends:
                        self.violates(f"{target.sandbox} does not answer again")
                        return
                    await asyncio.sleep(0.5)

    async def _comes_to_rest(self, before: Vitals) -> None:
        elder = self.scene.fleet.members[0].gateway
        try:
            await soon(self.sized.leading, "it leads")
            await soon(lambda: not elder.metric("resize_agents"), "no agent is left")
            await soon(lambda: Vitals.of(elder).at_rest, "nothing stands")
            await soon(lambda: not Vitals.of(elder).left_since(before), "nothing is left")
        except TooLateError:
            self.violates(f"left over: {Vitals.of(elder).left_since(before)}")
        if not self.memory.flat:
            self.violates(f"memory grew: {self.memory.quarters}")
        self._judge_deliveries()

    def _judge_writes(self) -> None:
        """Each wake is one write that went through, whoever wrote it."""
        wakes = sum(box.wakes for box in self.scene.platform.boxes.values())
        patched = self.scene.way.done[Deed.SPEC_PATCHED]
        if patched != wakes:
            self.violates(f"{patched} writes for {wakes} wakes")

    def _judge_logs(self) -> None:
        fleet = self.scene.fleet
        for gateway in [*fleet.gone, *(one.gateway for one in fleet.members)]:
            if "Traceback" in gateway.program.errors:
                self.violates(f"a traceback in the log of {gateway.program.name}")


async def soak(options: argparse.Namespace, api: RealApi, programs: Programs) -> bool:
    """Return whether everything held."""
    namespace = fresh_name("faults")
    with FaultyApi.over(api.kubeconfig, api.home, options.seed) as way:
        async with (
            Platform.over(api.kubeconfig, namespace) as platform,
            # The others begin once it is known what this one holds.
            SizedScene.over(
                api, programs, api.home, way, ROOM, 1, SETTINGS, beside=platform
            ) as sized,
        ):
            scene = Scene(platform, sized.fleet, way)
            injector = Injector(scene, SoakSizes(sized), options.seed, options.sandboxes // 2)
            run = Soak(scene, sized, injector)
            await run.run(options.seconds, options.sandboxes, options.gateways, options.seed)
            wakes = sum(box.wakes for box in platform.boxes.values())
            report = Report(
                options.seed, options.seconds, injector.done, run.ledger, run.violations,
                run.memory.quarters, wakes, sized.judge.count, platform.timeline,
            )  # fmt: skip
    print(report.markdown())
    if options.out is not None:
        report.write(options.out)
    return not run.violations


def main() -> int:
    options = _options()
    if options.plan:
        print("\n".join(plan.shown(options.seed, options.seconds)))
        return 0
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    programs = Programs()
    with tempfile.TemporaryDirectory(prefix="soak-") as home:
        try:
            api = RealApi.not_yet_running(programs, Path(home), NATIVE_CRD)
            api.start("--etcd-compaction-interval=10s")
            return 0 if asyncio.run(soak(options, api, programs)) else 1
        finally:
            programs.end()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m e2e.faults.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600.0, help="how long faults go on")
    parser.add_argument("--seed", type=int, default=7, help="what the plan is drawn from")
    parser.add_argument("--sandboxes", type=int, default=200)
    parser.add_argument("--gateways", type=int, default=3, help="two at least")
    parser.add_argument("--plan", action="store_true", help="show the plan, and do nothing")
    parser.add_argument("--out", type=Path, help="directory for soak.md and soak.json")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
