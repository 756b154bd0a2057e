"""The embedded API as a program that forgets as a real one does that compacts often.

`python -m e2e.differential.embedded DIRECTORY PORT`
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import yaml

from e2e.api_server import serve

if TYPE_CHECKING:
    from gateway.local.api import ObjectStore

WIDGETS_CRD: Final = Path(__file__).with_name("widgets.yaml")
#: A version is remembered for one to two of these, in seconds.
_INTERVAL: Final = 2.0


async def _forget(store: ObjectStore) -> None:
    while True:
        then = int(store.resource_version)
        await asyncio.sleep(_INTERVAL)
        store.compact(then)


async def main(directory: Path, port: int) -> None:
    tasks = []
    widgets = yaml.safe_load(WIDGETS_CRD.read_text())

    def prepare(store: ObjectStore) -> None:
        tasks.append(asyncio.create_task(_forget(store)))

    await serve(directory, port, [widgets], prepare)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
