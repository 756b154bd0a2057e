"""Control groups that limit what local sandboxes have of CPU and memory: version 2, cgroups(7).

They are made below the group that the gateway itself is in, where somebody has delegated that to
it: the kernel lets a group limit CPU and memory of those below it only if no process is in it, so
the gateway moves to one below too. Where other processes share its group they are left in peace,
and nothing is limited.
"""

from __future__ import annotations

import errno
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.resize.guest.sources import CONTROL_GROUPS

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.sandbox.scaling import Size

_CONTROLLERS: Final = ("cpu", "memory")
_OF_THE_GATEWAY: Final = "gateway"
#: What the names of sandboxes' groups begin with.
_PREFIX: Final = "sandbox-"
#: In `/proc/self/cgroup`, what the path of the group of version 2 stands behind.
_VERSION_2: Final = "0::/"

#: Microseconds in which a group may use its quota: the kernel's own default.
_PERIOD: Final = 100_000
#: The least quota that the kernel takes, in microseconds.
_LEAST_QUOTA: Final = 1000


class Unusable(Exception):
    """Control groups cannot be used here; the text says what is missing."""


@dataclass(frozen=True, slots=True)
class ControlGroup:
    """The control group of one sandbox."""

    path: Path

    @property
    def door(self) -> Path:
        """The file by which a process joins: it writes 0 to it."""
        return self.path / "cgroup.procs"

    def limit(self, size: Size) -> None:
        """Limit what it has; raise OSError, also where it uses more memory than that.

        What it can give back is taken first, as far as that kills nobody: to set the limit itself
        below what is in use would.
        """
        high = self.path / "memory.high"
        high.write_text(str(size.memory))
        try:
            if int((self.path / "memory.current").read_text()) > size.memory:
                raise OSError(errno.EBUSY, "it uses more memory than that")
            self.confine(size)
        finally:
            high.write_text("max")

    def confine(self, size: Size) -> None:
        """Limit what it has, whoever dies of it; raise OSError."""
        (self.path / "memory.max").write_text(str(size.memory))
        quota = max(size.cpu * _PERIOD // 1000, _LEAST_QUOTA)
        (self.path / "cpu.max").write_text(f"{quota} {_PERIOD}")

    def remove(self) -> None:
        """Remove it, unless somebody is still in it; then the next start does."""
        with suppress(OSError):
            self.path.rmdir()


class ControlGroups:
    """Those below one group."""

    def __init__(self, parent: Path) -> None:
        self._parent = parent

    def group(self, name: str) -> ControlGroup:
        """Return the group of this name."""
        return ControlGroup(self._parent / f"{_PREFIX}{name}")

    def made(self, name: str, size: Size) -> ControlGroup:
        """Make a group of this size; raise OSError."""
        group = self.group(name)
        group.path.mkdir()
        try:
            group.confine(size)
        except OSError:
            group.remove()
            raise
        return group

    def sweep(self) -> None:
        """Remove what a gateway before this one has left; where processes are it stays."""
        for path in self._parent.glob(f"{_PREFIX}*"):
            ControlGroup(path).remove()


def find(root: Path) -> ControlGroups:
    """Return where groups can be made, as the file system below `root` tells; raise Unusable."""
    mount = root / CONTROL_GROUPS
    if not (mount / "cgroup.controllers").exists():
        raise Unusable(f"control groups of version 2 are not at {mount}")
    own = _own_group(root, mount)
    try:
        available = (own / "cgroup.controllers").read_text().split()
        missing = [one for one in _CONTROLLERS if one not in available]
        if missing:
            raise Unusable(f"{' and '.join(missing)} cannot be limited below {own}")
        _delegate(own)
    except OSError as error:
        raise Unusable(f"control groups cannot be made in {own}: {error.strerror}") from error
    return ControlGroups(own)


def _own_group(root: Path, mount: Path) -> Path:
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError as error:
        raise Unusable(f"the gateway's own control group is not known: {error.strerror}") from error
    paths = [line.removeprefix(_VERSION_2) for line in lines if line.startswith(_VERSION_2)]
    if not paths or paths[0].startswith(".."):
        raise Unusable(f"the gateway's own control group is not below {mount}")
    return mount / paths[0]


def _delegate(own: Path) -> None:
    """Have groups below this one limit CPU and memory; raise OSError or Unusable."""
    try:
        _enable(own)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        _make_way(own)


def _make_way(own: Path) -> None:
    """Leave a group for one below it, as long as that is of use."""
    leaf = own / _OF_THE_GATEWAY
    leaf.mkdir(exist_ok=True)
    try:
        (leaf / "cgroup.procs").write_text("0")
        _enable(own)
    except OSError as error:
        (own / "cgroup.procs").write_text("0")
        leaf.rmdir()
        if error.errno == errno.EBUSY:
            raise Unusable(f"other processes than the gateway are in {own}") from error
        raise


def _enable(own: Path) -> None:
    (own / "cgroup.subtree_control").write_text(" ".join(f"+{one}" for one in _CONTROLLERS))
