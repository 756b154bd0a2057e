"""A process killed in the middle of writing loses nothing that it had acknowledged."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import TYPE_CHECKING

from gateway.local.api import SANDBOXES, ObjectStore, load_native_crd

if TYPE_CHECKING:
    from pathlib import Path

WRITER = """
import sys
from gateway.local.api import SANDBOXES, ObjectStore, load_native_crd

store = ObjectStore(sys.argv[1], [load_native_crd()], history_limit=100)
for number in range(1_000_000):
    obj = {
        "apiVersion": "sandbox-gateway.dev/v1alpha1",
        "kind": "Sandbox",
        "metadata": {"name": f"s{number:07}"},
    }
    created = store.create(SANDBOXES, "default", obj)
    print(created["metadata"]["name"], created["metadata"]["resourceVersion"], flush=True)
"""


async def written_until_killed(path: Path, count: int) -> list[tuple[str, str]]:
    """What a writing process acknowledged before and while it was killed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WRITER, str(path), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(60):
        lines = [await process.stdout.readline() for _ in range(count)]
        process.send_signal(signal.SIGKILL)
        rest = await process.stdout.read()
        await process.wait()
    # The last line may be cut off in the middle: such a write was not acknowledged.
    lines += rest.splitlines(keepends=True)
    pairs = (line.decode().split() for line in lines if line.endswith(b"\n"))
    return [(name, version) for name, version in pairs]


async def test_every_acknowledged_write_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    acknowledged = await written_until_killed(path, 300)
    store = ObjectStore(path, [load_native_crd()])
    stored = {
        obj["metadata"]["name"]: obj["metadata"]["resourceVersion"]
        for obj in store.list(SANDBOXES).items
    }
    assert len(acknowledged) >= 300
    assert dict(acknowledged).items() <= stored.items()
    # At most the one write whose acknowledgement was under way is there unannounced.
    assert len(stored) - len(acknowledged) <= 1
    assert store.resource_version == str(len(stored))
    store.close()
