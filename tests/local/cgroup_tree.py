"""The files of a machine with control groups of version 2, below a directory of the test's own.

They only keep what is written to them: no kernel acts on it, nor makes files of itself.
"""

from __future__ import annotations

import os
from pathlib import Path

from tests.agents.informant.tree import MachineTree

#: Where a kernel has control groups of version 2, alone or beside the first ones, and lets us in.
REAL = [
    root
    for root in map(Path, ("/sys/fs/cgroup", "/sys/fs/cgroup/unified"))
    if (root / "cgroup.procs").exists() and os.access(root, os.W_OK) and os.geteuid() == 0
]

MIB = 1024 * 1024


class HostTree(MachineTree):
    """A machine of 8 GiB; the gateway is in a control group that is delegated to it."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.mount = root / "sys/fs/cgroup"
        self.own = self.mount / "user.slice/box.scope"
        self.write("proc/self/cgroup", "0::/user.slice/box.scope\n")
        for group in (self.mount, self.own):
            self.fill(group, "cgroup.controllers", "cpuset cpu io memory pids\n")

    def fill(self, group: Path, name: str, text: str) -> None:
        """Have a file of a group hold this."""
        self.write(str((group / name).relative_to(self.root)), text)

    @property
    def groups(self) -> list[Path]:
        """The groups of sandboxes."""
        return sorted(self.own.glob("sandbox-*"))

    def uses(self, group: Path, memory: int, busy: float = 0.0) -> None:
        """Have a group use so many MiB, and have used so many seconds of CPUs."""
        self.fill(group, "memory.current", f"{memory * MIB}\n")
        self.fill(group, "memory.stat", "inactive_file 0\n")
        self.fill(group, "cpu.stat", f"usage_usec {round(busy * 1e6)}\n")
