"""Passes connections on to another port, as a process of its own.

`python -m e2e.scale.forward PORT TO` says "forwarding" once it listens, and does so until ended.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Final

import uvloop

_PIECE: Final = 1 << 18


async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on all that comes, then the end."""
    try:
        while piece := await reader.read(_PIECE):
            writer.write(piece)
            await writer.drain()
    except OSError:
        pass  # the other direction is told by the end of this one
    finally:
        writer.close()


async def main(port: int, to: int) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", to)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_pour(reader, far_writer), _pour(far_reader, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    print("forwarding", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2])))
