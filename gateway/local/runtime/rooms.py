"""What the runtime needs of whoever limits what sandboxes have of the machine."""

from pathlib import Path
from typing import Protocol

from gateway.local.runtime.objects import SandboxObject
from gateway.local.runtime.spec import Identity


class Room(Protocol):
    """Where the processes of a sandbox are, from one start to their end."""

    @property
    def door(self) -> Path:
        """The file by which a process enters: it writes 0 to it."""
        ...

    def begin(self) -> None:
        """The first process is in it."""
        ...

    def end(self) -> None:
        """No process is in it any more, or none ever was."""
        ...


class Rooms(Protocol):
    """The rooms of all sandboxes."""

    def sweep(self) -> None:
        """Remove those of a runtime before this one, whose processes have ended."""
        ...

    def room(self, identity: Identity, obj: SandboxObject, incarnation: str) -> Room | None:
        """Make one for a start, which is named `incarnation`; None: it is to do without."""
        ...


class NoRooms:
    """No sandbox has one."""

    def sweep(self) -> None:
        """There is nothing to remove."""

    def room(self, identity: Identity, obj: SandboxObject, incarnation: str) -> None:
        """Make none."""
