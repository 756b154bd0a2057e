"""What is measured and what it is measured with: the API, servers, gateways, load.

The first gateway has a core to itself; all else shares the others, but for filling the API, which
may have all.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from e2e.bench.stage import PROXY_CORE, listens
from e2e.clusters import connect
from e2e.gateways import start_serve
from e2e.programs import Programs, free_port
from e2e.real_api import RealApi
from e2e.scale.figures import Churned
from e2e.scale.objects import SERVED
from e2e.scale.running import Running
from e2e.scale.traffic import Heard
from e2e.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.gateways import Gateway
    from e2e.programs import Program

_CRD: Final = Path(__file__).parents[2] / "gateway" / "dialects" / "crds" / "native.yaml"
_ACCOUNT: Final = "sandbox-gateway"
#: What the gateway's account may do: API group, resource, verbs.
_RIGHTS: Final = (
    ("sandbox-gateway.dev", "sandboxes", ("get", "list", "watch", "patch")),
    ("", "events", ("create",)),
    ("events.k8s.io", "events", ("create",)),
)
#: How long a gateway may take until it is ready for each sandbox, in seconds, and for none.
_READY_EACH: Final = 0.002
_READY_NONE: Final = 60.0

_NGINX: Final = """
{user} daemon off; worker_processes 1; error_log stderr; pid {dir}/nginx.pid;
events {{ worker_connections 8192; }}
http {{
  access_log off; keepalive_requests 100000000; client_body_temp_path {dir}; proxy_temp_path {dir};
  fastcgi_temp_path {dir}; uwsgi_temp_path {dir}; scgi_temp_path {dir};
  server {{
    listen 127.0.0.1:{port}; {listen}
    location / {{ return 200 "$server_addr\\n"; }}
  }}
}}
"""


@dataclass(slots=True)
class Rig:
    """Everything that runs. `count` is how many sandboxes there are."""

    place: Path
    count: int
    rate: int
    programs: Programs = field(default_factory=Programs)
    server_port: int = field(default_factory=free_port)
    _api: RealApi | None = None
    _account: Path | None = None

    # ---- the API

    @property
    def api(self) -> RealApi:
        assert self._api is not None
        return self._api

    @property
    def api_program(self) -> Program:
        assert self.api.program is not None
        return self.api.program

    def start_api(self) -> None:
        """Start an API that knows Sandboxes and has none, and an account for gateways."""
        home = self.place / "api"
        home.mkdir()
        self._api = api = RealApi.not_yet_running(self.programs, home)
        api.start()
        api.install(_CRD)
        with connect(api.kubeconfig) as admin:
            for path, body in _account_and_rights():
                admin.post(path, json=body).raise_for_status()
        self.renew_account()

    def renew_account(self) -> None:
        """Give the gateways' account a fresh token: the API's own default lasts an hour."""
        self._account = self.api.kubeconfig_of(_ACCOUNT)

    # ---- cores

    def share_cores(self) -> None:
        """Leave the gateway's core to it, for this process and all that it starts, and the API."""
        others = set(range(os.cpu_count() or 1)) - {int(PROXY_CORE)}
        os.sched_setaffinity(0, others)
        named = ",".join(map(str, sorted(others)))
        # All threads that it has; those to come are like those that make them.
        argv = ["taskset", "-acp", named, str(self.api_program.pid)]
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)

    # ---- gateways

    def start_gateway(self) -> Gateway:
        """Start a gateway on the gateways' core; return once it listens, mostly not ready yet."""
        assert self._account is not None
        return start_serve(
            self.programs,
            self.place,
            self._account,
            under=["taskset", "-c", PROXY_CORE],
            access_log="false",
            dialects="native",
            drain_timeout="1s",
        )

    def wait_ready(self, gateway: Gateway) -> None:
        """Return once it is ready; raise TooLateError."""
        patience = _READY_NONE + self.count * _READY_EACH
        until(lambda: gateway.readiness()[0] == 200, "the gateway is ready", patience)

    # ---- load

    def start_servers(self) -> None:
        """Start what the sandboxes run: it tells by which address it was reached."""
        home = self.place / "servers"
        home.mkdir()
        user = "user root;" if os.geteuid() == 0 else ""  # else its workers cannot write there
        listen = " ".join(f"listen {one}:{self.server_port} backlog=4096;" for one in SERVED)
        config = home / "nginx.conf"
        text = _NGINX.format(dir=home, port=self.server_port, listen=listen, user=user)
        config.write_text(text)
        nginx = shutil.which("nginx")
        assert nginx is not None
        argv = [nginx, "-p", str(home), "-c", str(config), "-e", "stderr"]
        self.programs.start("servers", argv, home)
        until(lambda: listens(self.server_port), "the servers listen")

    def start_traffic(self, gateway: Gateway) -> Running[Heard]:
        """Send requests at the rig's rate to a gateway."""
        numbers = (gateway.data_port, self.server_port, self.rate)
        return Running(self.programs, self.place, "traffic", Heard, *map(str, numbers))

    def start_churn(self, rate: int) -> Running[Churned]:
        """Write so many statuses a second."""
        words = (str(self.api.kubeconfig), str(self.count), str(rate))
        return Running(self.programs, self.place, "churn", Churned, *words)

    def forward(self, port: int, to: int) -> None:
        """Pass connections to one port on to another; return once that is so."""
        argv = [sys.executable, "-m", "e2e.scale.forward", str(port), str(to)]
        program = self.programs.start("forward", argv, self.place, os.environ)
        until(lambda: bool(program.output), "the forwarder listens")


def _account_and_rights() -> Iterator[tuple[str, dict[str, Any]]]:
    """Give what an account of a gateway takes, each with the path where it is created."""
    rbac = "rbac.authorization.k8s.io"
    named = {"metadata": {"name": _ACCOUNT}}
    rules = [
        {"apiGroups": [group], "resources": [resource], "verbs": verbs}
        for group, resource, verbs in _RIGHTS
    ]
    subject = {"kind": "ServiceAccount", "name": _ACCOUNT, "namespace": "default"}
    role = {"apiGroup": rbac, "kind": "ClusterRole", "name": _ACCOUNT}
    yield "/api/v1/namespaces/default/serviceaccounts", named
    yield f"/apis/{rbac}/v1/clusterroles", named | {"rules": rules}
    yield (
        f"/apis/{rbac}/v1/clusterrolebindings",
        named | {"roleRef": role, "subjects": [subject]},
    )
