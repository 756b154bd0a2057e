"""Reads and decodes all pages of a list and does nothing else: the least that a list can cost.

`python -m e2e.bench.scale_bare URL` prints the processor time, in seconds, that the pages took from
its first request to its last. It has the gateway's HTTP client with the same buffers, its event
loop and its memory allocator's settings, and decodes with orjson. In the end it opens a watch, by
which the API sees that it is done, as it does with a gateway.
"""

from __future__ import annotations

import sys
import time

import aiohttp
import orjson
import uvloop

from e2e.bench.scale_collection import PAGE
from e2e.bench.scale_objects import PATH
from gateway.app import settle

#: As kubernetes_asyncio, whose client the gateway has.
_BUFFER = 2**21


async def read_all(session: aiohttp.ClientSession) -> str:
    """Read the whole list; return its version."""
    token, version = "", ""
    while True:
        query = {"limit": str(PAGE)} | ({"continue": token} if token else {})
        async with session.get(PATH, params=query) as response:
            page = orjson.loads(await response.read())
        version = version or page["metadata"]["resourceVersion"]
        token = page["metadata"].get("continue", "")
        if not token:
            return version


async def main(url: str) -> None:
    settle()
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    async with aiohttp.ClientSession(url, headers=headers, read_bufsize=_BUFFER) as session:
        began = time.process_time()
        version = await read_all(session)
        took = time.process_time() - began
        watch = {"watch": "1", "resourceVersion": version}
        async with session.get(PATH, params=watch) as response:
            response.raise_for_status()
    print(took, flush=True)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
