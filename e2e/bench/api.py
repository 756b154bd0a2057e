"""The embedded Kubernetes API as a process, with sandboxes that run on loopback.

`python -m e2e.bench.api DIRECTORY NAME...` writes a kubeconfig to the directory and serves until
it is ended. It says "serving" once it does.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path
from typing import Any, Final

from gateway.local.api import (
    SANDBOXES,
    EmbeddedApi,
    ObjectStore,
    load_native_crd,
    write_kubeconfig,
)

_TOKEN: Final = "benchmark"
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


async def main(directory: Path, names: list[str]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(
        ObjectStore(directory / "objects.sqlite", [load_native_crd()])
    ) as store:
        for name in names:
            made = store.create(SANDBOXES, _NAMESPACE, running(name))
            store.update_status(SANDBOXES, _NAMESPACE, name, made["metadata"]["uid"], mark_running)
        api = EmbeddedApi(store, _TOKEN)
        await api.start("127.0.0.1", 0)
        write_kubeconfig(directory / "kubeconfig", api.address, _TOKEN)
        print("serving", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2:]))
