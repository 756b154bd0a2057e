"""Two ways of counting the instructions that the gateway spends on requests.

Both count in user space only: what the kernel does for a request is not in the figure.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from e2e.bench.lockstep import Lockstep
from e2e.bench.stage import LOAD_CORE, PATIENCE, StageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from e2e.gateways import Gateway

#: Hashes of texts, and so the order of sets and the shape of dicts, are the same in every run.
STEADY: Final = ("env", "PYTHONHASHSEED=0")
#: Sent before counting, so that the interpreter has adapted to the code and pools are filled.
_WARMING: Final = 400


@dataclass(frozen=True, slots=True)
class Asked:
    """What is sent: this request, on so many connections in step."""

    request: bytes
    connections: int


@dataclass(frozen=True, slots=True)
class Counted:
    """Instructions in all, and by shared library where the counter can tell."""

    total: int
    by_object: dict[str, int] = field(default_factory=dict)


class InstructionCounter(Protocol):
    """Counts what a gateway that `under` runs executes for so many requests, and a constant."""

    @property
    def name(self) -> str: ...

    @property
    def under(self) -> Sequence[str]: ...

    def count(self, gateway: Gateway, asked: Asked, requests: int) -> Counted: ...


class Perf:
    """The processor's own counter, over `perf stat`."""

    name = "perf stat"
    under = STEADY

    @staticmethod
    def works() -> bool:
        """Return whether the machine lets us count; virtual ones often do not."""
        if shutil.which("perf") is None:
            return False
        argv = ["perf", "stat", "-x,", "-e", "instructions:u", "true"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        return done.returncode == 0 and in_perf_output(done.stderr) is not None

    def count(self, gateway: Gateway, asked: Asked, requests: int) -> Counted:
        """Count while the client runs; its connecting is part of the constant."""
        with Lockstep(gateway.data_port, asked.connections, asked.request) as client:
            client.ask(_WARMING)
        argv = ["perf", "stat", "-x,", "-e", "instructions:u", "-p", str(gateway.program.pid)]
        argv += ["taskset", "-c", LOAD_CORE, sys.executable, "-m", "e2e.bench.lockstep"]
        argv += [str(gateway.data_port), str(asked.connections), str(requests)]
        done = subprocess.run(argv, input=asked.request, capture_output=True, check=False)
        found = in_perf_output(done.stderr.decode())
        if done.returncode or found is None:
            raise StageError(f"perf did not count:\n{done.stderr.decode()}")
        return Counted(found)


def in_perf_output(text: str) -> int | None:
    """Return the figure in what `perf stat -x,` wrote; None: it could not count."""
    found = re.search(r"^(\d+),[^,]*,instructions", text, re.MULTILINE)
    return int(found[1]) if found is not None else None


class Callgrind:
    """An emulated processor that counts: slow, and the same at every run."""

    name = "callgrind"

    def __init__(self, place: Path) -> None:
        self._place = place
        self._gate = f"--vgdb-prefix={place / 'vgdb'}"
        out = f"--callgrind-out-file={self._out_of('%p')}"
        self.under = (
            *STEADY,
            "valgrind",
            "--tool=callgrind",
            "--instr-atstart=no",
            self._gate,
            out,
        )
        self._dumps: dict[int, int] = {}

    @staticmethod
    def works() -> bool:
        """Return whether valgrind is installed."""
        return None not in (shutil.which("valgrind"), shutil.which("callgrind_control"))

    def count(self, gateway: Gateway, asked: Asked, requests: int) -> Counted:
        """Count from after the warming to the last answer."""
        pid = gateway.program.pid
        with Lockstep(gateway.data_port, asked.connections, asked.request) as client:
            client.ask(_WARMING)
            self._control(pid, "--instr=on")
            client.ask(requests)
            self._control(pid, "--instr=off")
        self._control(pid, "--dump")
        self._dumps[pid] = self._dumps.get(pid, 0) + 1
        with (self._out_of(f"{pid}.{self._dumps[pid]}")).open(encoding="utf-8") as lines:
            counted = in_callgrind_file(lines)
        if sum(counted.by_object.values()) != counted.total:
            raise StageError("the parts of callgrind's file do not add up to its total")
        return counted

    def _out_of(self, number: str) -> Path:
        return self._place / f"callgrind.{number}"

    def _control(self, pid: int, order: str) -> None:
        argv = ["callgrind_control", self._gate, order, str(pid)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=PATIENCE)
        if "OK" not in done.stdout:  # its status is 0 even where it reached nobody
            raise StageError(f"callgrind_control {order}: {done.stdout}{done.stderr}")


def in_callgrind_file(lines: Iterable[str]) -> Counted:
    """Return what the file tells: its total, and the own cost of each object's code.

    A line of cost that follows `calls=` is what the called function cost, which is counted there.
    """
    names: dict[str, str] = {}
    by_object: dict[str, int] = {}
    total, here, of_call = 0, "", False
    for line in lines:
        key, equals, value = line.partition("=")
        if equals:
            of_call = key == "calls"
            if key in ("ob", "cob"):
                number, _, name = value.strip().partition(" ")
                names.setdefault(number, name)
                here = names[number] if key == "ob" else here
        elif line.startswith("totals:"):
            total = int(line.split()[1])
        elif line[0] in "0123456789+-*":
            if not of_call:
                by_object[here] = by_object.get(here, 0) + int(line.split()[1])
            of_call = False
    return Counted(total, by_object)
