"""A real kube-apiserver with its etcd (e2e/apiserver): built once, started and killed by tests.

`python -m e2e.real_api` builds it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .clusters import Cluster
from .programs import free_port
from .waiting import DEADLINE, TooLateError, until

if TYPE_CHECKING:
    from .programs import Program, Programs

_SOURCES: Final = Path(__file__).with_name("apiserver")
_BUILT: Final = Path(__file__).parents[1] / "build" / "apiserver"


def build() -> Path:
    """Return the program; build it, which takes Go and minutes, if its sources are new."""
    contents = [(_SOURCES / name).read_bytes() for name in ("go.mod", "go.sum", "main.go")]
    built = _BUILT / hashlib.sha256(b"\0".join(contents)).hexdigest()[:16]
    if not built.exists():
        # Two may build at once.
        own = built.with_name(f"{built.name}.{os.getpid()}")
        command = [_go(), "build", "-trimpath", "-ldflags=-s -w", "-o", str(own), "."]
        subprocess.run(command, cwd=_SOURCES, check=True)
        own.rename(built)
    return built


def _go() -> str:
    """Return Go, also from where its own archive puts it, which is on few search paths."""
    found = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if found is None:
        raise SystemExit("Go 1.26 or newer is needed to build the real API server")
    return found


@dataclass(slots=True)
class RealApi(Cluster):
    """One API; its objects, its address and its tokens outlast its processes."""

    port: int
    programs: Programs
    #: What it serves from its start on.
    crds: tuple[Path, ...] = ()
    program: Program | None = None

    @classmethod
    def not_yet_running(cls, programs: Programs, home: Path, *crds: Path) -> RealApi:
        return cls(home, free_port(), programs, crds)

    def start(self, *flags: str) -> None:
        """Return once it serves; `flags` are kube-apiserver's."""
        argv = [str(build()), str(self.home), str(self.port), *flags]
        program = self.program = self.programs.start("kube-apiserver", argv, self.home)
        until(lambda: _serves(program), "the API serves", 2 * DEADLINE)
        for crd in self.crds:
            self.install(crd)

    def kill(self) -> None:
        assert self.program is not None
        self.program.kill()


def _serves(program: Program) -> bool:
    if program.exit_status is not None:
        raise TooLateError(f"it ended with status {program.exit_status}:\n{program.errors}")
    return bool(program.output)


if __name__ == "__main__":
    build()
