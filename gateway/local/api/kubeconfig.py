"""The kubeconfig by which kubectl and the gateway itself find the embedded API."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from urllib.parse import quote, urlsplit

import yaml

_NAME = "sandbox-gateway-local"


def write_kubeconfig(path: Path, server: str, token: str) -> None:
    """Write a kubeconfig for `server` (an http URL), readable by its owner alone, atomically.

    The token stands in the server's URL: over plain http client-go leaves out any other
    credential of a kubeconfig. kubectl shows that URL at `-v=6` and names its discovery cache
    after it, so a token should live no longer than the server's process.
    """
    parts = urlsplit(server)
    authority = f"{_NAME}:{quote(token, safe='')}@{parts.netloc}"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": _NAME, "cluster": {"server": f"{parts.scheme}://{authority}"}}],
        "users": [{"name": _NAME, "user": {}}],
        "contexts": [
            {
                "name": _NAME,
                "context": {"cluster": _NAME, "user": _NAME, "namespace": "default"},
            }
        ],
        "current-context": _NAME,
    }
    _replace(path, yaml.safe_dump(document, sort_keys=False))


def _replace(path: Path, text: str) -> None:
    # mkstemp creates with mode 0600 and never follows what lies there already.
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
