"""The embedded Kubernetes API as a process, with sandboxes that run on loopback.

`python -m e2e.bench.api DIRECTORY NAME...` writes a kubeconfig to the directory and serves until
it is ended. It says "serving" once it does.
"""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from e2e.api_server import serve
from gateway.local.api import SANDBOXES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.local.api import ObjectStore

_NAMESPACE: Final = "default"


def running(name: str) -> dict[str, Any]:
    """Return a native Sandbox that traffic may wake."""
    return {
        "apiVersion": "sandbox-gateway.dev/v1alpha1",
        "kind": "Sandbox",
        "metadata": {"name": name, "namespace": _NAMESPACE},
        "spec": {"desiredState": "Running", "wakeOnTraffic": {"enabled": True}},
    }


def mark_running(status: dict[str, Any]) -> None:
    """Say what a controller says of a sandbox that runs."""
    status |= {
        "phase": "Running",
        "podIP": "127.0.0.1",
        "podUID": "the-pod",
        "conditions": [{"type": "Ready", "status": "True"}],
    }


def create(names: Sequence[str], store: ObjectStore) -> None:
    """Create a running sandbox of each name."""
    for name in names:
        made = store.create(SANDBOXES, _NAMESPACE, running(name))
        store.update_status(SANDBOXES, _NAMESPACE, name, made["metadata"]["uid"], mark_running)


if __name__ == "__main__":
    home = Path(sys.argv[1])
    home.mkdir(parents=True, exist_ok=True)
    asyncio.run(serve(home, 0, prepare=partial(create, sys.argv[2:])))
