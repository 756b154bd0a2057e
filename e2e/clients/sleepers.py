"""Paused sandboxes that run real servers, and how a client names them."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from e2e.manifests import native, write
from e2e.programs import free_port

from .browser import SUFFIX

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.gateways import Gateway
    from e2e.kubectl import Kubectl


@dataclass(frozen=True, slots=True)
class Sleeper:
    """A sandbox that was put to sleep, behind a gateway."""

    name: str
    port: int
    gateway: Gateway
    kubectl: Kubectl

    @property
    def url(self) -> str:
        """Where a client goes that names the sandbox in its header fields."""
        return self.gateway.data

    @property
    def websocket_url(self) -> str:
        return self.url.replace("http://", "ws://")

    @property
    def headers(self) -> dict[str, str]:
        """The header fields that name it."""
        return {"e2b-sandbox-id": f"default--{self.name}", "e2b-sandbox-port": str(self.port)}

    @property
    def host(self) -> str:
        """The host that names it, with the gateway's port: what a browser is given."""
        return f"{self.port}-default--{self.name}.{SUFFIX}:{self.gateway.data_port}"

    @property
    def site(self) -> str:
        """Its address for a client that names it by its host."""
        return f"http://{self.host}"

    @property
    def writes(self) -> int:
        """How often its spec was written: when it was made, for each pause and for each wake."""
        generation: int = self.kubectl.object(self.name)["metadata"]["generation"]
        return generation

    def pause(self) -> None:
        self.kubectl.pause(self.name)


class Sleepers:
    """Makes sandboxes, lets each run once and pauses it."""

    def __init__(self, gateway: Gateway, kubectl: Kubectl, home: Path) -> None:
        self._gateway, self._kubectl, self._home = gateway, kubectl, home

    def make(self, kind: str, *command: str, way: str = "freeze", **process: Any) -> Sleeper:
        """Return one that runs a command; `PORT` among its words stands for its port.

        `way` is how it is paused; `process` goes to its process as it is. `kind` begins its name.
        """
        name, port = f"{kind}-{uuid.uuid4().hex[:8]}", free_port()
        argv = [word.replace("PORT", str(port)) for word in command]
        manifest = native(name, port, argv, pause=way)
        manifest["spec"]["process"] |= process
        self._kubectl("apply", "-f", str(write(self._home / f"{name}.yaml", manifest)))
        self._kubectl.wait(name, "Running")
        self._kubectl.pause(name)
        return Sleeper(name, port, self._gateway, self._kubectl)
