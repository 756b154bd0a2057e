"""The right-sized sandboxes of a soak: loads that come and go, and what befalls them."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from e2e.guest import answering
from e2e.real.sized import GI, load_for
from gateway.sandbox.scaling import Size

from .plan import Fault
from .timeline import Cause

if TYPE_CHECKING:
    import random

    from e2e.real.sized import Sized

    from .plan import Step
    from .sizing import SizedScene
    from .traffic import Target

COUNT: Final = 4
#: What the node has to give: less than all of them may want at once; and in the end, when all do.
ROOM: Final = Size(6000, 12 * GI)
_PLENTY: Final = Size(16000, 32 * GI)
#: As much as an author lets one have, in units.
_MOST: Final = 12
#: Between two changes of a load, shortest and longest, in seconds.
_CHANGES: Final = (1.0, 5.0)
_GARBAGE: Final = b'{"Ok": "perhaps"}'


@dataclass(slots=True)
class SoakSizes:
    """What a soak does with them."""

    scene: SizedScene
    boxes: list[Sized] = field(default_factory=list)

    async def begin(self) -> None:
        """Make them; return once all are right-sized."""
        for number in range(COUNT):
            self.boxes.append(await self.scene.sandbox(f"sized-{number}"))
        for box in self.boxes:
            await self.scene.is_told(box, "sized")

    @property
    def targets(self) -> list[Target]:
        return [self.scene.target(box) for box in self.boxes]

    async def vary(self, chance: random.Random) -> None:
        """Change the load of one of them now and then, until cancelled."""
        while True:
            await asyncio.sleep(chance.uniform(*_CHANGES))
            chance.choice(self.boxes).guest.loads(load_for(chance.randint(0, _MOST)))

    async def befall(self, step: Step) -> None:
        """Let something happen to one of them."""
        box = self.boxes[step.whom[0] % len(self.boxes)]
        match step.fault:
            case Fault.INFORMANT_KILLED:
                box.informant.kill()
                await asyncio.sleep(step.lasts)
                box.start_informant()
            case Fault.INFORMANT_HALTED:
                box.informant.signal(signal.SIGSTOP)
                await asyncio.sleep(step.lasts)
                box.informant.signal(signal.SIGCONT)
            case Fault.INFORMANT_GARBLES:
                box.informant.kill()
                async with answering(box.address, self.scene.sizes.port, _GARBAGE):
                    await asyncio.sleep(step.lasts)
                box.start_informant()
            case Fault.POD_REPLACED:
                self._end_a_life(box)
                await box.put_in_another_pod()

    def _end_a_life(self, box: Sized) -> None:
        sandbox = self.scene.target(box).sandbox
        self.scene.timeline.begin(Cause.LIFE_ENDS, sandbox).close()

    async def converge(self) -> None:
        """Return once all have as much as they may, since they need it; raise TooLateError.

        To shrink again what has grown again would take minutes, as it should.
        """
        await self.scene.sizes.kubelet.offer(_PLENTY)
        await asyncio.gather(*(self.scene.becomes(box, _MOST) for box in self.boxes))

    async def end(self) -> None:
        """Delete them, and whatever they ran."""
        for box in self.boxes:
            box.delete()
            await asyncio.to_thread(box.informant.end)
