"""The embedded Kubernetes API as a process of its own, so that a test can kill it.

`python api_server.py DIRECTORY PORT CRD` keeps everything in the directory, the kubeconfig too. It
has the same token each time: whoever knew it before a restart still does.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path
from typing import Final

import yaml

from gateway.local.api import EmbeddedApi, ObjectStore, load_native_crd, write_kubeconfig

TOKEN: Final = "the-same-in-every-life"


async def main(directory: Path, port: int, crd: Path) -> None:
    crds = [load_native_crd(), yaml.safe_load(crd.read_text())]
    with contextlib.closing(ObjectStore(directory / "objects.sqlite", crds)) as store:
        api = EmbeddedApi(store, TOKEN)
        await api.start("127.0.0.1", port)
        write_kubeconfig(directory / "kubeconfig", api.address, TOKEN)
        print("serving", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])))
