"""A gateway as a process: started, asked, measured."""

from __future__ import annotations

import http.client
import json
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from prometheus_client.parser import text_string_to_metric_families

from .programs import PROGRAM, environment
from .waiting import TooLateError, until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .programs import Program, Programs

KRUISE_CRD: Final = Path(__file__).with_name("kruise_crd.yaml")
_LISTEN: Final = ("--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0")
LOCAL: Final = (PROGRAM, "local", *_LISTEN, "--api-listen", "127.0.0.1:0")


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway that listens; the URLs are of its data and its admin listener."""

    program: Program
    kubeconfig: Path
    data: str
    admin: str
    #: What opens its admin API, where that needs anything.
    token: str = ""

    @property
    def data_port(self) -> int:
        return urlsplit(self.data).port or 0

    @property
    def admin_port(self) -> int:
        return urlsplit(self.admin).port or 0

    def ask_admin(self, path: str) -> tuple[int, bytes]:
        """Return status and body of what the admin listener answers; raise OSError."""
        where = urlsplit(self.admin)
        with closing(http.client.HTTPConnection(where.netloc, timeout=30)) as connection:
            headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
            connection.request("GET", path, headers=headers)
            try:
                response = connection.getresponse()
                return response.status, response.read()
            except http.client.HTTPException as error:
                raise ConnectionError(f"it ended in its answer: {error!r}") from error

    def readiness(self) -> tuple[int, dict[str, Any]]:
        status, body = self.ask_admin("/readyz")
        return status, json.loads(body)

    def wait_ready(self) -> None:
        until(lambda: self.readiness()[0] == 200, "the gateway is ready")

    def metric(self, name: str, **labels: str) -> float:
        """Return one sample of the gateway's own metrics; 0 where it was never counted."""
        found = (value for labelled, value in self.metrics(name) if labelled == labels)
        return next(found, 0.0)

    def metrics(self, name: str) -> list[tuple[dict[str, str], float]]:
        """Return all samples of one name, labels and value, as they were at one moment."""
        text = self.ask_admin("/metrics")[1].decode()
        return [
            (sample.labels, float(sample.value))
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == f"sandbox_gateway_{name}"
        ]

    @property
    def wakes_written(self) -> float:
        """How many objects it has changed to wake a sandbox."""
        return self.metric("cluster_writes_total", verb="wake", outcome="written")

    def told(self, namespace: str, name: str) -> dict[str, Any] | None:
        """Return what the gateway makes of a sandbox; None: it knows no such one."""
        status, body = self.ask_admin(f"/api/v1/sandboxes/{namespace}/{name}/explain")
        if status != 200:
            return None
        found: dict[str, Any] = json.loads(body)
        return found

    def state_of(self, namespace: str, name: str) -> str | None:
        told = self.told(namespace, name)
        return told["state"] if told is not None else None

    def waiters(self, namespace: str, name: str) -> int:
        """Return how many requests wait for this sandbox."""
        told = self.told(namespace, name)
        return int(told["waking"]["waiters"]) if told is not None else 0


def start_local(
    programs: Programs, home: Path, *arguments: str, data_dir: str = "data", **settings: str
) -> Gateway:
    """Start `sandbox-gateway local` and return once it is ready."""
    place = home / data_dir
    program = programs.start(
        "local", [*LOCAL, "--data-dir", str(place), *arguments], home, _environment(home, settings)
    )
    gateway = _listening(program, place / "kubeconfig")
    gateway.wait_ready()
    return gateway


def start_serve(
    programs: Programs,
    home: Path,
    kubeconfig: Path,
    name: str = "serve",
    under: Sequence[str] = (),
    **settings: str,
) -> Gateway:
    """Start `sandbox-gateway serve` over sandboxes on loopback; return once it listens.

    `under` is what runs it, for example a profiler.
    """
    chosen = {
        "auth_mode": "none",
        "data_listen": "127.0.0.1:0",
        "admin_listen": "127.0.0.1:0",
        "upstream_allow_cidrs": "127.0.0.0/8",
        "drain_delay": "0s",
    }
    argv = [*under, PROGRAM, "serve", "--kubeconfig", str(kubeconfig)]
    program = programs.start(name, argv, home, _environment(home, chosen | settings))
    token_file = settings.get("admin_token_file")
    token = Path(token_file).read_text() if token_file is not None else ""
    return replace(_listening(program, kubeconfig), token=token)


def _environment(home: Path, settings: dict[str, str]) -> dict[str, str]:
    variables = {f"SBXGW_{name.upper()}": value for name, value in settings.items()}
    # The log tells where it listens.
    return environment(home, SBXGW_LOG_FORMAT="json", SBXGW_LOG_LEVEL="info", **variables)


def _listening(program: Program, kubeconfig: Path) -> Gateway:
    """Wait for the line of its log that tells where it listens."""

    def place() -> dict[str, Any] | None:
        if program.exit_status is not None:
            raise TooLateError(f"it ended with status {program.exit_status}:\n{program.errors}")
        return next((one for one in program.records() if one["message"] == "listening"), None)

    where = until(place, "the gateway listens")
    return Gateway(program, kubeconfig, f"http://{where['data']}", f"http://{where['admin']}")
