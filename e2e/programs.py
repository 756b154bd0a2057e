"""Starting programs with their output kept, and ending them whatever happens."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from functools import cache
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PROGRAM: Final = str(Path(sys.executable).with_name("sandbox-gateway"))
#: How long an asked-to program may take to end before it is killed, in seconds.
PATIENCE: Final = 90.0
#: What of a log is shown with a failure, in bytes.
_SHOWN: Final = 20_000
#: Ports that no kernel gives away by itself: not to a connection, and not where any will do.
_PORTS: Final = range(10_000, 20_000)
#: How many of them one process has for itself.
_BLOCK: Final = 100


def environment(home: Path, **more: str) -> dict[str, str]:
    """Return an environment in which nothing of the caller's own setup is found."""
    kept = ("PATH", "PYTHONDONTWRITEBYTECODE")
    own = {name: os.environ[name] for name in kept if name in os.environ}
    return own | {"HOME": str(home), "LANG": "C.UTF-8"} | more


class Program:
    """A running program; its output goes to files."""

    def __init__(
        self, name: str, argv: Sequence[str], home: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.home = home
        self._output, self._errors = home / f"{name}.out", home / f"{name}.err"
        self._shown_from = 0
        with self._output.open("ab") as output, self._errors.open("ab") as errors:
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                env=dict(env) if env is not None else environment(home),
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def cpu_seconds(self) -> float:
        """The processor time that it has used, of user and kernel."""
        return sum(self._ticks()) / os.sysconf("SC_CLK_TCK")

    @property
    def kernel_seconds(self) -> float:
        """The part of its processor time that the kernel took."""
        return self._ticks()[1] / os.sysconf("SC_CLK_TCK")

    @property
    def resident_bytes(self) -> int:
        """How much memory it has now."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def _ticks(self) -> tuple[int, int]:
        """Return its clock ticks of user and kernel (proc(5))."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]), int(fields[12])

    @property
    def output(self) -> str:
        """What it wrote to standard output so far."""
        return self._output.read_text()

    @property
    def errors(self) -> str:
        """What it wrote to standard error so far."""
        return self._errors.read_text()

    @property
    def exit_status(self) -> int | None:
        """Its exit status; None: it runs."""
        return self._process.poll()

    def records(self) -> Iterator[dict[str, Any]]:
        """Give the JSON lines of its log."""
        for line in self.errors.splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                yield json.loads(line)

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self, timeout: float = PATIENCE) -> int:
        """Return its exit status once it has ended."""
        return self._process.wait(timeout)

    def kill(self) -> None:
        """End it as a crash would: at once, without a word to what it started."""
        self._process.kill()
        self._process.wait()

    def end(self) -> int:
        """Ask it to end, insist after a while, and return its exit status."""
        if self.exit_status is None:
            self._process.terminate()
        try:
            return self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            return self._process.wait()

    def begin_chapter(self) -> None:
        """Show with a failure only what is written from now on."""
        self._shown_from = self._errors.stat().st_size

    def chapter(self) -> str:
        """Return the end of what it wrote since `begin_chapter`."""
        with self._errors.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(self._shown_from, size - _SHOWN))
            return log.read().decode(errors="replace")


class Programs:
    """Programs that end when their owner does."""

    def __init__(self) -> None:
        self._all: list[Program] = []

    def __iter__(self) -> Iterator[Program]:
        return iter(self._all)

    def start(
        self, name: str, argv: Sequence[str], home: Path, env: Mapping[str, str] | None = None
    ) -> Program:
        program = Program(f"{name}-{len(self._all)}", argv, home, env)
        self._all.append(program)
        return program

    def end(self) -> None:
        """End all of them, the last started first, and every sandbox that one left behind."""
        for program in reversed(self._all):
            program.end()
            _end_sandboxes_below(program.home)
        self._all.clear()


def _end_sandboxes_below(home: Path) -> None:
    """Kill the sandboxes that a crash has left."""
    for process in _sandboxes_below(home):
        with contextlib.suppress(OSError):
            os.kill(int(process.name), signal.SIGKILL)


def _sandboxes_below(home: Path) -> Iterator[Path]:
    """Give the processes (in /proc) that carry the mark of a data directory in `home`.

    Names alone would not do: somebody else may run the same tests on this machine.
    """
    marks = [path.read_text().strip().encode() for path in home.glob("*/runtime/id")]
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            variables = (process / "environ").read_bytes()
            if any(mark in variables for mark in marks):
                yield process


def processes_of(sandbox: str, home: Path) -> dict[int, str]:
    """Return a sample server's processes: pid → state letter (proc(5)).

    `home` is that of the local mode which runs it.
    """
    wanted = f"\0--name\0{sandbox}\0".encode()
    found = {}
    for process in _sandboxes_below(home):
        with contextlib.suppress(OSError):
            if wanted in (process / "cmdline").read_bytes():
                stat = (process / "stat").read_text()
                found[int(process.name)] = stat.rpartition(")")[2].split()[0]
    return found


def free_port() -> int:
    """Return a port on which nobody listens now, and that nobody else is given meanwhile."""
    for port in islice(_own_ports(), _BLOCK):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("all ports of this process are taken")


@cache
def _own_ports() -> Iterator[int]:
    """Give ports of a block that this process alone has: it holds the first one to its end."""
    for block in range(_PORTS.start, _PORTS.stop, _BLOCK):
        with socket.socket() as claim, contextlib.suppress(OSError):
            claim.bind(("127.0.0.1", block))
            claim.detach()
            return cycle(range(block + 1, block + _BLOCK))
    raise OSError("too many processes ask for ports")
