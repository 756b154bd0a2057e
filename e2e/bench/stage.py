"""Programs on cores of their own: proxies have one, load, upstream and API the other."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from typing import TYPE_CHECKING, Final, Self

from e2e.gateways import start_serve
from e2e.programs import Programs, free_port
from e2e.waiting import TooLateError, until

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from e2e.gateways import Gateway
    from e2e.programs import Program

#: One core for what is measured, one for all that it needs.
PROXY_CORE: Final = "0"
LOAD_CORE: Final = "1"

#: How long a program may take to be ready or to end, in seconds.
PATIENCE: Final = 60.0

NGINX: Final = """
{user} daemon off; worker_processes 1; error_log stderr; pid {dir}/nginx.pid;
events {{ worker_connections 8192; }}
http {{
  access_log off; keepalive_requests 100000000; client_body_temp_path {dir}; proxy_temp_path {dir};
  fastcgi_temp_path {dir}; uwsgi_temp_path {dir}; scgi_temp_path {dir};
  server {{
    listen 127.0.0.1:{port} backlog=4096; client_max_body_size 0; client_body_buffer_size 2m;
    location = /1MiB {{ alias {dir}/1MiB; sendfile on; sendfile_max_chunk 256k; }}
    location / {{ return 200 "hello world\\n"; }}
  }}
}}
"""


class StageError(Exception):
    """A program did not start, or ended by itself."""


class LoadFailed(Exception):
    """A load did not go as it was meant to: there is no figure."""


class Stage:
    """Starts programs and ends them all; use as a context manager."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._programs = Programs()

    def __enter__(self) -> Self:
        self.place.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._programs.end()

    def start(self, name: str, argv: Sequence[str], core: str, **environ: str) -> Program:
        """Start a program on a core, with these environment variables more."""
        return self._programs.start(name, _on(core, argv), self.place, os.environ | environ)

    def until(self, ready: Callable[[], bool], program: Program) -> None:
        """Wait until `ready` says so; raise StageError if the program ends or takes too long."""

        def looked() -> bool:
            if ready():
                return True
            if program.exit_status is not None:
                raise StageError(_trouble(program))
            return False

        try:
            until(looked, f"{program.name} is ready", PATIENCE)
        except TooLateError as error:
            raise StageError(_trouble(program)) from error

    # ---- what every suite needs

    def upstream(self) -> int:
        """Start an nginx that says hello, and serves and takes a MiB; return its port."""
        port, home = free_port(), self.place / "upstream"
        home.mkdir()
        (home / "1MiB").write_bytes(os.urandom(1 << 20))
        user = "user root;" if os.geteuid() == 0 else ""  # else its workers cannot read the files
        config = home / "nginx.conf"
        config.write_text(NGINX.format(dir=home, port=port, user=user))
        argv = [_found("nginx"), "-p", str(home), "-c", str(config), "-e", "stderr"]
        program = self.start("upstream", argv, LOAD_CORE)
        self.until(lambda: listens(port), program)
        return port

    def api(self, *names: str) -> Path:
        """Start an API that has these sandboxes, running on loopback; return its kubeconfig."""
        home = self.place / "api"
        argv = [sys.executable, "-m", "e2e.bench.api", str(home), *names]
        program = self.start("api", argv, LOAD_CORE)
        self.until(lambda: "serving" in program.output, program)
        return home / "kubeconfig"

    def gateway(
        self, kubeconfig: Path, name: str = "gateway", under: Sequence[str] = (), **settings: str
    ) -> Gateway:
        """Start `sandbox-gateway serve` on the proxies' core; return once it is ready.

        `under` is what runs it, for example a profiler. `settings` by their names.
        """
        chosen = {
            "access_log": "false",
            "dialects": "native",
            "drain_timeout": "1s",
        } | settings
        started = start_serve(
            self._programs, self.place, kubeconfig, name, _on(PROXY_CORE, under), **chosen
        )
        self.until(lambda: started.readiness()[0] == 200, started.program)
        return started


def listens(port: int) -> bool:
    """Return whether somebody accepts connections on this port of loopback."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _on(core: str, argv: Sequence[str]) -> list[str]:
    return ["taskset", "-c", core, *argv]


def _trouble(program: Program) -> str:
    said = (program.output + program.errors)[-4000:]
    return f"{program.name} is not ready:\n{said}"


def _found(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise StageError(f"{program} is not installed")
    return path
