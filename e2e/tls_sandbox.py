"""A sandbox that speaks TLS: `tls_sandbox.py PORT CERTIFICATE KEY`.

Both files are read for each connection.
"""

from __future__ import annotations

import http.server
import ssl
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import socket


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers each GET with its path."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = self.path.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(http.server.ThreadingHTTPServer):
    """Shakes hands in the thread of each connection."""

    daemon_threads = True

    def get_request(self) -> tuple[socket.socket, Any]:
        accepted, address = super().get_request()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[2], sys.argv[3])
        wrapped = context.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)
        return wrapped, address

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a client that does not believe us is what some tests are about."""


if __name__ == "__main__":
    Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
