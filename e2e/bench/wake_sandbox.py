"""One native Sandbox, and what traffic and a controller make of it."""

from __future__ import annotations

from typing import Any, Final

NAME: Final = "sleeper"
NAMESPACE: Final = "default"
COLLECTION: Final = "/apis/sandbox-gateway.dev/v1alpha1/sandboxes"
PATH: Final = f"/apis/sandbox-gateway.dev/v1alpha1/namespaces/{NAMESPACE}/sandboxes/{NAME}"

_API_VERSION: Final = "sandbox-gateway.dev/v1alpha1"
_SINCE: Final = "2025-01-01T00:00:00Z"


class Sandbox:
    """Begins paused. Every change takes a resourceVersion, every life a pod of its own."""

    def __init__(self) -> None:
        self.version = 1
        self._generation = 1
        self._lives = 0
        self._desired = "Paused"
        self._phase = "Paused"

    @property
    def asked_to_run(self) -> bool:
        """Whether Running is wanted and not reached yet."""
        return self._desired == "Running" and self._phase != "Running"

    def ask_to_run(self) -> None:
        """Change the spec, as the gateway's patch does."""
        self._desired = "Running"
        self._generation += 1
        self.version += 1

    def run(self) -> None:
        """Change the status, as a controller does once a new pod is ready."""
        self._lives += 1
        self._phase = "Running"
        self.version += 1

    def pause(self) -> None:
        """Change spec and status: it is to sleep, and does."""
        self._desired = self._phase = "Paused"
        self._generation += 1
        self.version += 1

    def as_json(self) -> dict[str, Any]:
        """Return the object as the API gives it."""
        running = self._phase == "Running"
        ready = {
            "type": "Ready",
            "status": "True" if running else "False",
            "reason": "PodReady" if running else "NoPod",
            "lastTransitionTime": _SINCE,
        }
        status = {
            "phase": self._phase,
            "observedGeneration": self._generation,
            "conditions": [ready],
        }
        if running:
            status |= {"podIP": "127.0.0.1", "podUID": f"pod-{self._lives}"}
        return {
            "apiVersion": _API_VERSION,
            "kind": "Sandbox",
            "metadata": {
                "name": NAME,
                "namespace": NAMESPACE,
                "uid": "5b1e7c3e-6a53-4c53-9a3e-0d5f5f6a1c01",
                "resourceVersion": str(self.version),
                "generation": self._generation,
                "creationTimestamp": _SINCE,
            },
            "spec": {"desiredState": self._desired, "wakeOnTraffic": {"enabled": True}},
            "status": status,
        }

    def as_list(self) -> dict[str, Any]:
        """Return the list of all Sandboxes."""
        return {
            "apiVersion": _API_VERSION,
            "kind": "SandboxList",
            "metadata": {"resourceVersion": str(self.version)},
            "items": [self.as_json()],
        }


def is_running(raw: dict[str, Any]) -> bool:
    """Return whether an object says that the sandbox runs."""
    running: bool = raw["spec"]["desiredState"] == raw["status"]["phase"] == "Running"
    return running
