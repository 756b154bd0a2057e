"""Where load and memory are read: a container's control group, or a machine of its own.

By default it is found out which. A container shares a kernel with others, which tells it of the
whole node: to take that for the sandbox's own is worse than to measure nothing.

    the root of the control groups that are seen is below another    the container's own group
    it is not, but the first process is in a group below it          the group that this one is in
    neither: the first process is in no group, or an init system's   the machine

Of control groups v1 a container's are recognised the same way, and not measured.
"""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path
from typing import Final, Protocol

from gateway.resize.guest.load import Load, Usage
from gateway.resize.guest.pressure import Memory, Strain

_MICROSECOND: Final = 1e-6
_KIB: Final = 1024

#: `/proc/loadavg` begins with the averages over one and over five minutes.
_LOADS: Final = re.compile(r"(\d+\.\d+) (\d+\.\d+) ")
#: A name and a number, as `cpu.stat`, `memory.stat` and `/proc/meminfo` have them in each line.
_VALUE: Final = re.compile(r"^(\w+):? +(\d+)", re.MULTILINE)
#: Pressure stall information: the microseconds in which some task waited.
_SOME_WAITED: Final = re.compile(r"^some .*\btotal=(\d+)", re.MULTILINE)
#: A hierarchy of control groups: its number, what it controls (nothing: v2), and the path in it.
_GROUP: Final = re.compile(r"^\d+:([^:\n]*):(/.*)$", re.MULTILINE)
_UNLIMITED: Final = "max"

#: Where control groups are, below the root.
CONTROL_GROUPS: Final = Path("sys/fs/cgroup")
#: What every group of v2 has but the root of all; `memory.max` only where memory is limited.
_BELOW_ANOTHER: Final = ("cgroup.type", "memory.max")
#: What of v1 is only at the root of all.
_AT_THE_V1_ROOT: Final = "release_agent"
#: The groups in which the first process of a machine is: no init system, or systemd.
_OF_A_MACHINE: Final = ("/", "/init.scope")
_SAY_WHICH: Final = "--load machine measures the whole machine, if it is the sandbox's own"


class Unmeasurable(Exception):
    """Neither load nor memory can be read here; the text says what is missing."""


class Place(Enum):
    """What is measured."""

    AUTO = "auto"
    MACHINE = "machine"
    CGROUP = "cgroup"


class Source(Protocol):
    """Reads how it stands now. All raise Unmeasurable."""

    def load(self) -> Load | Usage:
        """Return the load, or what it is to be reckoned from."""
        ...

    def memory(self) -> Memory:
        """Return how much memory there is, and how much is in use."""
        ...

    def strain(self) -> Strain:
        """Return what has been lacking so far."""
        ...


class Machine:
    """A machine of its own, be it a virtual one: what its kernel says of the whole."""

    def __init__(self, root: Path) -> None:
        self._proc = root / "proc"

    def load(self) -> Load:
        """Return the kernel's own load averages."""
        file = self._proc / "loadavg"
        found = _LOADS.match(_text(file))
        if found is None:
            raise Unmeasurable(f"{file} does not begin with load averages")
        return Load(float(found[1]), float(found[2]))

    def memory(self) -> Memory:
        """Return all memory, and what the kernel says could not be had without swapping."""
        info = self._proc / "meminfo"
        total, available = _values(info, "MemTotal", "MemAvailable")
        return Memory(total * _KIB, (total - available) * _KIB)

    def strain(self) -> Strain:
        """Return it; a machine has no CPU limit that it could reach."""
        return Strain(_waited(self._proc / "pressure" / "memory"))


class ControlGroup:
    """A container: the control group at the root of what it sees, or one at another path."""

    def __init__(self, root: Path, path: Path = CONTROL_GROUPS) -> None:
        self._group = root / path
        self._machine = Machine(root)

    @property
    def is_container(self) -> bool:
        """Return whether this is a control group, and not the root of all."""
        return any((self._group / name).exists() for name in _BELOW_ANOTHER)

    def load(self) -> Usage:
        """Return what has been used of CPUs."""
        (busy,) = _values(self._group / "cpu.stat", "usage_usec")
        return Usage(busy * _MICROSECOND, _waited(self._group / "cpu.pressure"))

    def memory(self) -> Memory:
        """Return the limit, and what the kubelet calls the working set.

        Without a limit the machine's memory is all that there is.
        """
        most = self._machine.memory().total
        total = min(_amount(self._group / "memory.max", unlimited=most), most)
        current = _amount(self._group / "memory.current")
        (idle,) = _values(self._group / "memory.stat", "inactive_file")
        return Memory(total, max(current - idle, 0))

    def strain(self) -> Strain:
        """Return it; without a CPU limit there are no periods."""
        periods, throttled = _values(
            self._group / "cpu.stat", "nr_periods", "nr_throttled", otherwise=0
        )
        return Strain(_waited(self._group / "memory.pressure"), periods, throttled)


def find(place: Place, root: Path) -> Source:
    """Return what can be read there; raise Unmeasurable, which says what is missing."""
    source: Source
    match place:
        case Place.AUTO:
            source = _found_out(root)
        case Place.CGROUP:
            source = ControlGroup(root)
        case Place.MACHINE:
            source = Machine(root)
    source.load()
    source.memory()
    source.strain()
    return source


def _found_out(root: Path) -> Source:
    """Return the container that this is, or else the machine; raise Unmeasurable."""
    if ControlGroup(root).is_container:
        return ControlGroup(root)
    v1 = root / CONTROL_GROUPS / "memory"
    if v1.exists() and not (v1 / _AT_THE_V1_ROOT).exists():
        raise Unmeasurable(f"{v1} is a container's, of control groups v1, not v2; {_SAY_WHICH}")
    first = _groups(root, "1")
    if all(path in _OF_A_MACHINE for path in first.values()):
        return Machine(root)
    own = ControlGroup(root, CONTROL_GROUPS / _groups(root, "self").get("", "/").lstrip("/"))
    if not own.is_container:
        raise Unmeasurable(
            f"this is a container, and its control group (v2) is not below "
            f"{root / CONTROL_GROUPS}; {_SAY_WHICH}"
        )
    return own


def _groups(root: Path, process: str) -> dict[str, str]:
    """Return the paths of a process's control groups by what they control; that of v2 by "".

    A kernel without control groups has none. Raise Unmeasurable if that cannot be told.
    """
    if not (root / "proc/self/cgroup").exists():
        return {}
    said = _text(root / "proc" / process / "cgroup")
    return dict(_GROUP.findall(said))


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise Unmeasurable(f"{file} cannot be read: {error.strerror}") from error


def _values(file: Path, *names: str, otherwise: int | None = None) -> list[int]:
    """Return the numbers that stand behind names."""
    found = {name: int(number) for name, number in _VALUE.findall(_text(file))}
    missing = [name for name in names if name not in found]
    if missing and otherwise is None:
        raise Unmeasurable(f"{file} does not have {', '.join(missing)}")
    return [found.get(name, otherwise or 0) for name in names]


def _amount(file: Path, unlimited: int | None = None) -> int:
    """Return the bytes that are all that a file says."""
    said = _text(file).strip()
    if said == _UNLIMITED and unlimited is not None:
        return unlimited
    if not said.isdecimal():
        raise Unmeasurable(f"{file} is no number of bytes")
    return int(said)


def _waited(file: Path) -> float:
    """Return for how long some task has waited, in seconds; 0 where the kernel does not say."""
    try:
        found = _SOME_WAITED.search(_text(file))
    except Unmeasurable:
        return 0.0
    return int(found[1]) * _MICROSECOND if found is not None else 0.0
