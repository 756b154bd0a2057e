"""A WebSocket server to have in a sandbox: it echoes, and at `bye` it closes with 4001."""

from __future__ import annotations

import sys

from websockets.sync.server import ServerConnection, serve


def handle(connection: ServerConnection) -> None:
    for message in connection:
        if message == "bye":
            connection.close(4001, "as asked")
            return
        connection.send(message)


if __name__ == "__main__":
    with serve(handle, "127.0.0.1", int(sys.argv[1])) as server:
        server.serve_forever()
