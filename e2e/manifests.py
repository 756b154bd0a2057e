"""Sandboxes of both kinds, as users write them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

import yaml

NATIVE: Final = "sandbox-gateway.dev/v1alpha1"
KRUISE: Final = "agents.kruise.io/v1alpha1"
_WEBSOCKET_SANDBOX: Final = Path(__file__).with_name("websocket_sandbox.py")


def native(name: str, port: int, command: list[str], **spec: Any) -> dict[str, Any]:
    """A native Sandbox in the default namespace; `pause` goes to its process."""
    process = {"command": command, "port": port, "pause": spec.pop("pause", "freeze")}
    return {
        "apiVersion": NATIVE,
        "kind": "Sandbox",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"wakeOnTraffic": {"enabled": True}, "process": process} | spec,
    }


def sample(name: str, port: int, **spec: Any) -> dict[str, Any]:
    """One that runs the sample server, which tells its name and counts its requests."""
    command = [sys.executable, "-m", "gateway.local.sample_server"]
    return native(name, port, [*command, "--port", str(port), "--name", name], **spec)


def websocket(name: str, port: int, **spec: Any) -> dict[str, Any]:
    """One that runs a WebSocket server."""
    return native(name, port, [sys.executable, str(_WEBSOCKET_SANDBOX), str(port)], **spec)


def write(path: Path, *objects: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump_all(objects))
    return path


def kruise(name: str, **parts: Any) -> dict[str, Any]:
    """An OpenKruise Sandbox that traffic may wake, unless `spec` says otherwise.

    `labels`, `annotations` and `ownerReferences` go to its metadata.
    """
    rule: dict[str, Any] = {"resume": {"onIngressTraffic": {}}}
    spec = {"autoPausePolicy": rule} | parts.pop("spec", {})
    return {
        "apiVersion": KRUISE,
        "kind": "Sandbox",
        "metadata": {"name": name} | parts,
        "spec": {field: value for field, value in spec.items() if value is not None},
    }
