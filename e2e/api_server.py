"""The embedded Kubernetes API as a process of its own, so that a test can kill it.

`python api_server.py DIRECTORY PORT CRD ...` keeps everything in the directory, the kubeconfig
too. It has the same token each time: whoever knew it before a restart still does.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import yaml

from gateway.local.api import EmbeddedApi, ObjectStore, load_native_crd, write_kubeconfig

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.local.api import JsonObject

TOKEN: Final = "the-same-in-every-life"


async def serve(
    directory: Path,
    port: int,
    crds: Sequence[JsonObject] = (),
    prepare: Callable[[ObjectStore], None] = lambda _: None,
) -> None:
    """Serve for ever; `prepare` the objects, and say "serving" then."""
    definitions = [load_native_crd(), *crds]
    with contextlib.closing(ObjectStore(directory / "objects.sqlite", definitions)) as store:
        prepare(store)
        api = EmbeddedApi(store, TOKEN)
        await api.start("127.0.0.1", port)
        write_kubeconfig(directory / "kubeconfig", api.address, TOKEN)
        print("serving", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    crds = [yaml.safe_load(Path(one).read_text()) for one in sys.argv[3:]]
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2]), crds))
