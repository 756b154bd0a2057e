"""Programs on cores of their own: proxies have one, load, upstream and API the other."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from e2e.programs import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

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


@dataclass(frozen=True, slots=True)
class Program:
    """A running program; its output is in `log`."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def cpu_seconds(self) -> float:
        """Return the processor time that it has used, of user and kernel."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def resident_bytes(self) -> int:
        """Return how much memory it has now."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway that listens on two ports of loopback."""

    program: Program
    port: int
    admin_port: int


class Stage:
    """Starts programs and ends them all; use as a context manager."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._programs: list[Program] = []

    def __enter__(self) -> Self:
        self.place.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for program in reversed(self._programs):
            program.process.terminate()
        for program in reversed(self._programs):
            try:
                program.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                program.process.kill()

    def start(self, name: str, argv: Sequence[str], core: str, **environ: str) -> Program:
        """Start a program on a core, with these environment variables more."""
        log = self.place / f"{name}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                ["taskset", "-c", core, *argv],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=os.environ | environ,
            )
        program = Program(name, process, log)
        self._programs.append(program)
        return program

    def until(self, ready: Callable[[], bool], program: Program) -> None:
        """Wait until `ready` says so; raise StageError if the program ends or takes too long."""
        give_up = time.monotonic() + PATIENCE
        while not ready():
            if program.process.poll() is not None or time.monotonic() > give_up:
                raise StageError(f"{program.name} is not ready:\n{program.log.read_text()[-4000:]}")
            time.sleep(0.05)

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
        self.until(lambda: b"serving" in program.log.read_bytes(), program)
        return home / "kubeconfig"

    def gateway(
        self, kubeconfig: Path, name: str = "gateway", under: Sequence[str] = (), **settings: str
    ) -> Gateway:
        """Start `sandbox-gateway serve` on the proxies' core; return once it is ready.

        `under` is what runs it, for example a profiler. `settings` by their names.
        """
        port, admin_port = free_port(), free_port()
        chosen = {
            "access_log": "false",
            "auth_mode": "none",
            "data_listen": f"127.0.0.1:{port}",
            "admin_listen": f"127.0.0.1:{admin_port}",
            "dialects": "native",
            "drain_delay": "0s",
            "drain_timeout": "1s",
            "log_format": "json",
            "upstream_allow_cidrs": "127.0.0.0/8",
        } | settings
        environ = {f"SBXGW_{key.upper()}": value for key, value in chosen.items()}
        command = ["-m", "gateway.cli", "serve", "--kubeconfig", str(kubeconfig)]
        program = self.start(name, [*under, sys.executable, *command], PROXY_CORE, **environ)
        self.until(lambda: _is_ready(admin_port), program)
        return Gateway(program, port, admin_port)


def listens(port: int) -> bool:
    """Return whether somebody accepts connections on this port of loopback."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _is_ready(admin_port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", admin_port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        told: dict[str, Any] = json.loads(connection.getresponse().read())
    except OSError:
        return False
    finally:
        connection.close()
    return bool(told["ready"])


def _found(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise StageError(f"{program} is not installed")
    return path
