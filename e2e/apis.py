"""A Kubernetes API that a test starts and kills, apart from any gateway."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.local.api import write_kubeconfig

from .api_server import TOKEN
from .gateways import KRUISE_CRD
from .programs import free_port
from .waiting import until

if TYPE_CHECKING:
    from .programs import Program, Programs

_SERVER: Final = str(Path(__file__).with_name("api_server.py"))


@dataclass(slots=True)
class Api:
    """One API; its objects, its address and its token outlast its processes."""

    home: Path
    port: int
    programs: Programs
    crds: tuple[Path, ...]
    program: Program | None = None

    @classmethod
    def not_yet_running(cls, programs: Programs, home: Path, *crds: Path) -> Api:
        """Return an API that does not run, and whose kubeconfig is there already.

        Beside native ones it has the sandboxes of these definitions, if none: OpenKruise's.
        """
        api = cls(home, free_port(), programs, crds or (KRUISE_CRD,))
        write_kubeconfig(api.kubeconfig, f"http://127.0.0.1:{api.port}", TOKEN)
        return api

    @property
    def kubeconfig(self) -> Path:
        return self.home / "kubeconfig"

    def start(self) -> None:
        """Return once it serves."""
        argv = [sys.executable, _SERVER, str(self.home), str(self.port), *map(str, self.crds)]
        program = self.program = self.programs.start("api", argv, self.home)
        until(lambda: "serving" in program.output, "the API serves")

    def kill(self) -> None:
        assert self.program is not None
        self.program.kill()
