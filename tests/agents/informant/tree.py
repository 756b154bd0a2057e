"""The files of a machine or of a container, below a directory of the test's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1024 * 1024

PRESSURE = (
    "some avg10=1.00 avg60=0.50 avg300=0.10 total={}\n"
    "full avg10=0.50 avg60=0.20 avg300=0.05 total=1\n"
)


class Tree:
    """A root directory, as a process sees it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        # A reader never sees half a file, as it never does in the real ones.
        fresh = file.with_name(f".{file.name}")
        fresh.write_text(text)
        fresh.replace(file)


class MachineTree(Tree):
    """A machine: load averages and memory in MiB."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.set_load("0.52 0.58 0.59 2/1287 52741\n")
        self.set_memory(8192, 6144)

    def set_load(self, text: str) -> None:
        self.write("proc/loadavg", text)

    def set_memory(self, total: int, available: int) -> None:
        lines = {"MemTotal": total, "MemFree": 5, "MemAvailable": available}
        said = "".join(f"{name}:{count * 1024:>16} kB\n" for name, count in lines.items())
        self.write("proc/meminfo", f"{said}HugePages_Total:       0\n")

    def set_memory_pressure(self, stalled: float) -> None:
        self.write("proc/pressure/memory", PRESSURE.format(round(stalled * 1e6)))


class ContainerTree(Tree):
    """A container on a machine of 8 GiB: memory in MiB, times in seconds."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.machine = MachineTree(root)
        self.set_cpu(busy=1.0)
        self.set_memory(current=256, limit=512, idle=56)

    def set_cpu(self, busy: float, periods: int | None = None, throttled: int = 0) -> None:
        said = f"usage_usec {round(busy * 1e6)}\nuser_usec 1\nsystem_usec 1\n"
        if periods is not None:
            said += f"nr_periods {periods}\nnr_throttled {throttled}\nthrottled_usec 1\n"
        self.write("sys/fs/cgroup/cpu.stat", said)

    def set_memory(self, current: int, limit: int | str, idle: int = 0) -> None:
        self.write("sys/fs/cgroup/memory.current", f"{current * MIB}\n")
        most = limit * MIB if isinstance(limit, int) else limit
        self.write("sys/fs/cgroup/memory.max", f"{most}\n")
        self.write(
            "sys/fs/cgroup/memory.stat",
            f"anon 5\nfile 6\ninactive_anon 7\ninactive_file {idle * MIB}\nworkingset_x 3\n",
        )

    def set_pressure(self, kind: str, waited: float) -> None:
        self.write(f"sys/fs/cgroup/{kind}.pressure", PRESSURE.format(round(waited * 1e6)))
