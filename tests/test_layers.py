"""The contracts of import-linter hold, and each of them sees what it is there to see.

The contracts stand in pyproject.toml. Whether they are kept is shown on this tree; that a breach
would be seen is shown on a copy of the bare packages with one forbidden import put in.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

#: The packages and modules of the design, from the top layer down.
PACKAGES = (
    "app", "cli", "explain", "settings", "admin", "local", "agents", "proxy", "auth", "wake",
    "standby", "resize", "replicas", "cluster", "upstream", "telemetry", "dialects", "sandbox",
)  # fmt: skip


def lint(at: Path) -> subprocess.CompletedProcess[str]:
    """Run lint-imports on the tree there, by the contracts of this project."""
    call = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    options = ["--no-cache", "--no-logo", "--config", str(ROOT / "pyproject.toml")]
    command = [sys.executable, "-c", call, *options]
    return subprocess.run(command, cwd=at, check=False, capture_output=True, text=True)


def bare_tree(at: Path) -> Path:
    """Make all packages, without a line in them."""
    for package in PACKAGES:
        (at / "gateway" / package).mkdir(parents=True)
        (at / "gateway" / package / "__init__.py").touch()
    (at / "gateway" / "__init__.py").touch()
    return at


def test_the_layers_are_kept() -> None:
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout


def test_bare_packages_break_nothing(tmp_path: Path) -> None:
    done = lint(bare_tree(tmp_path))
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("sandbox", "gateway.dialects"),
        ("dialects", "gateway.telemetry"),
        ("telemetry", "gateway.cluster"),
        ("cluster", "gateway.upstream"),
        ("upstream", "gateway.cluster"),
        ("upstream", "gateway.replicas"),
        ("replicas", "gateway.wake"),
        ("wake", "gateway.standby"),
        ("standby", "gateway.resize"),
        ("resize", "gateway.wake"),
        ("auth", "gateway.proxy"),
        ("proxy", "gateway.admin"),
        ("admin", "gateway.local"),
        ("local", "gateway.agents"),
        ("agents", "gateway.app"),
        ("wake", "gateway.settings"),
        ("admin", "gateway.settings"),
        ("settings", "gateway.app"),
        ("sandbox", "asyncio"),
        ("sandbox", "time"),
        ("sandbox", "os"),
        ("sandbox", "os.path"),
        ("dialects", "aiohttp.web"),
        ("dialects", "kubernetes_asyncio"),
        ("dialects", "time"),
        ("wake", "kubernetes_asyncio"),
        ("app", "kubernetes_asyncio.client"),
    ],
)
def test_a_forbidden_import_is_seen(tmp_path: Path, importer: str, imported: str) -> None:
    tree = bare_tree(tmp_path)
    (tree / "gateway" / importer / "deep.py").write_text(f"import {imported}\n")
    done = lint(tree)
    assert done.returncode == 1, done.stdout
    assert f"gateway.{importer}.deep -> {imported.partition('.')[0]}" in done.stdout


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("app", "gateway.settings"),
        ("settings", "gateway.wake"),
        ("proxy", "gateway.wake"),
        ("cluster", "kubernetes_asyncio"),
        ("sandbox", "math"),
    ],
)
def test_an_import_that_is_meant_to_be_is_let_through(
    tmp_path: Path, importer: str, imported: str
) -> None:
    tree = bare_tree(tmp_path)
    (tree / "gateway" / importer / "deep.py").write_text(f"import {imported}\n")
    done = lint(tree)
    assert done.returncode == 0, done.stdout


def test_a_package_that_stands_in_no_layer_is_seen(tmp_path: Path) -> None:
    tree = bare_tree(tmp_path)
    (tree / "gateway" / "misc.py").touch()
    done = lint(tree)
    assert done.returncode == 1
    assert "gateway.misc" in done.stdout
