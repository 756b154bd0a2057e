"""Installs what node_proxy.js needs, once, below the build directory."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Final

_HERE: Final = Path(__file__).parent
_PLACE: Final = _HERE.parents[2] / "build" / "bench" / "node"
_FILES: Final = ("package.json", "package-lock.json")
#: How long npm may take, in seconds.
_PATIENCE: Final = 300.0

HTTP_PROXY_VERSION: Final[str] = json.loads((_HERE / "package.json").read_text())["dependencies"][
    "http-proxy"
]


class InstallError(Exception):
    """npm failed; says what it said first."""


def installed(npm: str) -> Path:
    """Return the directory of the modules, installed with this npm if they are not there yet."""
    modules = _PLACE / "node_modules"
    if (modules / ".package-lock.json").exists() and _same_as_asked():
        return modules
    _PLACE.mkdir(parents=True, exist_ok=True)
    for name in _FILES:
        shutil.copy(_HERE / name, _PLACE / name)
    argv = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
    try:
        done = subprocess.run(
            argv, cwd=_PLACE, capture_output=True, text=True, timeout=_PATIENCE, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise InstallError(f"npm did not install http-proxy in {_PATIENCE:.0f} s") from error
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("npm error")]
        why = errors[0] if errors else f"status {done.returncode}"
        raise InstallError(f"npm could not install http-proxy: {why}")
    return modules


def _same_as_asked() -> bool:
    return all((_PLACE / name).read_bytes() == (_HERE / name).read_bytes() for name in _FILES)
