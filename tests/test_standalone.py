"""Local mode that cannot start says why in one line, names the place, and what to do."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def start(data_dir: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gateway.cli", "local", "--data-dir", str(data_dir), *more]
    ports = ("--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--api-listen")
    environ = {"PATH": os.environ["PATH"], "HOME": str(data_dir.parent)}
    return subprocess.run(
        [*command, *ports, "127.0.0.1:0"],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def below_a_file(place: Path) -> Path:
    (place / "file").touch()
    return place / "file" / "data"


def with_garbage_for_objects(place: Path) -> Path:
    data = place / "data"
    data.mkdir()
    (data / "objects.sqlite").write_bytes(b"this is no database, and long enough to be looked at")
    return data


@pytest.mark.parametrize("prepare", [below_a_file, with_garbage_for_objects])
def test_a_data_directory_that_is_of_no_use_is_named(
    tmp_path: Path, prepare: Callable[[Path], Path]
) -> None:
    done = start(prepare(tmp_path))
    assert done.returncode == 1
    assert str(tmp_path) in done.stderr
    assert "choose another --data-dir" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("option", ["-f", "--crd"])
def test_a_file_that_is_of_no_use_is_named(tmp_path: Path, option: str) -> None:
    file = tmp_path / "objects.yaml"
    file.write_text("kind: [\n")
    done = start(tmp_path / "data", option, str(file))
    assert done.returncode == 1
    assert str(file) in done.stderr
    assert "Traceback" not in done.stderr
