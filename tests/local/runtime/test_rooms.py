"""What limits the size of a sandbox: it is there from a start to the end of all processes."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gateway.local.runtime import Identity, Room, SandboxObject

from .doubles import InMemoryObjects, eventually, is_served, running, sandbox


@dataclass
class NotedRoom:
    """A room, and what became of it; `incarnation` is the start that it was made for."""

    door: Path
    incarnation: str
    story: list[str] = field(default_factory=list)

    def begin(self) -> None:
        self.story.append("begin")

    def end(self) -> None:
        self.story.append("end")


class NotedRooms:
    """Makes one for each start, or none."""

    def __init__(self, door: Path | None) -> None:
        self.door = door
        self.made: list[NotedRoom] = []
        self.sweeps = 0

    def sweep(self) -> None:
        assert self.made == [], "first of all"
        self.sweeps += 1

    def room(self, identity: Identity, obj: SandboxObject, incarnation: str) -> Room | None:
        assert identity.uid == obj["metadata"]["uid"]
        if self.door is None:
            return None
        room = NotedRoom(self.door, incarnation)
        self.made.append(room)
        return room

    @property
    def stories(self) -> list[list[str]]:
        return [room.story for room in self.made]


async def test_each_start_is_in_a_room_of_its_own(
    objects: InMemoryObjects, data_dir: Path, port: int, tmp_path: Path
) -> None:
    rooms = NotedRooms(tmp_path / "door")
    async with running(objects, data_dir, rooms=rooms):
        objects.add(sandbox("box", port, pause="stop"))
        status = await objects.reaches("box", "Running")
        assert rooms.stories == [["begin"]]
        assert status["podUID"] == rooms.made[0].incarnation
        assert rooms.made[0].door.read_text() == "0"
        objects.pause("box")
        await objects.reaches("box", "Paused")
        assert rooms.stories == [["begin", "end"]]
        objects.resume("box")
        await objects.reaches("box", "Running")
        assert rooms.stories == [["begin", "end"], ["begin"]]
    assert rooms.stories == [["begin", "end"], ["begin", "end"]]
    assert rooms.sweeps == 1


async def test_one_that_does_not_get_into_its_room_runs_without(
    objects: InMemoryObjects, data_dir: Path, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    rooms = NotedRooms(Path("/dev/full"))
    async with running(objects, data_dir, rooms=rooms):
        objects.add(sandbox("box", port))
        await objects.reaches("box", "Running")
        assert rooms.stories == [["end"]]
    assert rooms.stories == [["end"]]
    assert "the size of default/box is not limited" in caplog.text


async def test_one_that_is_to_have_no_room_runs_without(
    objects: InMemoryObjects, data_dir: Path, port: int
) -> None:
    async with running(objects, data_dir, rooms=NotedRooms(None)):
        objects.add(sandbox("box", port))
        await objects.reaches("box", "Running")
        assert is_served(port)


async def test_a_command_that_cannot_be_started_leaves_no_room(
    objects: InMemoryObjects, data_dir: Path, port: int, tmp_path: Path
) -> None:
    rooms = NotedRooms(tmp_path / "door")
    async with running(objects, data_dir, rooms=rooms):
        objects.add(sandbox("box", port, ["/no/such/command"]))
        await objects.reaches("box", "Failed", "StartFailed")
        assert rooms.stories == [["end"]]


async def test_a_runtime_in_a_hurry_leaves_no_room_either(
    objects: InMemoryObjects, data_dir: Path, port: int, tmp_path: Path
) -> None:
    rooms = NotedRooms(tmp_path / "door")
    async with running(objects, data_dir, rooms=rooms) as task:
        objects.add(sandbox("box", port))
        await objects.reaches("box", "Running")
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()
        await eventually(task.done)
    assert rooms.stories == [["begin", "end"]]


async def test_a_place_to_work_that_cannot_be_made_leaves_no_room(
    objects: InMemoryObjects, data_dir: Path, port: int, tmp_path: Path
) -> None:
    (data_dir / "work").mkdir(parents=True)
    rooms = NotedRooms(tmp_path / "door")
    box = sandbox("box", port)
    (data_dir / "work" / box["metadata"]["uid"]).symlink_to(tmp_path / "nowhere")
    async with running(objects, data_dir, rooms=rooms):
        objects.add(box)
        await objects.reaches("box", "Failed")
        assert rooms.made == []
