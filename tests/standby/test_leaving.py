"""A replica that leaves takes off the notes that are true no more: others would believe them."""

from __future__ import annotations

from tests.standby.world import EPOCH
from tests.wake.virtual import in_virtual_time

from .test_controller import LONG, running


@in_virtual_time
async def test_a_use_that_no_sweep_has_seen_yet_takes_off_its_note_at_the_end() -> None:
    async with running() as rig:
        rig.lead.pass_on(False)
        rig.add("idle", "used", policy=LONG, idle_since=EPOCH + rig.now - 100)
        rig.activity.enter("uid-used", rig.now).leave(rig.now)
        assert rig.api.notes == []
        await rig.controller.tidy()
        assert [name for _, name, _ in rig.api.notes] == ["used"]
