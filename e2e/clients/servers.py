"""Commands of the servers that the sandboxes here run; `PORT` stands for the port."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

_HERE: Final = Path(__file__).parent
#: Where npm has installed what package.json names, and where the programs for Node are.
NODE: Final = _HERE / "node"

SITE: Final = (sys.executable, str(_HERE / "site.py"), "PORT")
WS: Final = ("node", str(NODE / "ws_server.mjs"), "PORT")
SOCKETIO: Final = ("node", str(NODE / "socketio_server.mjs"), "PORT")
JUPYTER_TOKEN: Final = "let-me-in"
JUPYTER: Final = (
    *(sys.executable, "-m", "jupyter_server", "--port=PORT", "--ServerApp.port_retries=0"),
    "--no-browser",
    "--allow-root",
    f"--IdentityProvider.token={JUPYTER_TOKEN}",
    # It answers to its own addresses only, if not told that a proxy names it differently.
    "--ServerApp.allow_remote_access=True",
)
CODE_SERVER: Final = (
    *("node", str(NODE / "node_modules/code-server/out/node/entry.js")),
    *("--bind-addr", "127.0.0.1:PORT", "--auth", "none"),
    *("--disable-telemetry", "--disable-update-check", "--disable-workspace-trust"),
)
