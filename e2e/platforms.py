"""The sandbox APIs, and what the controllers behind them tell: as the real ones do, phase by phase.

What is awkward about them is kept. A sandbox that sleeps shows the address that it had. Ready comes
after Running. agent-sandbox has told its sleep in three ways, of which one is that it is ready.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import yaml

from .gateways import KRUISE_CRD
from .manifests import KRUISE, NATIVE, kruise

if TYPE_CHECKING:
    from .kube_api import Object
    from .pods import Pod

NATIVE_CRD: Final = Path(__file__).parents[1] / "gateway/dialects/crds/native.yaml"
AGENT_SANDBOX_CRD: Final = Path(__file__).with_name("agent_sandbox_crd.yaml")
_GROUP: Final = "agents.x-k8s.io"
_OPTED_IN: Final = {"sandbox-gateway.dev/wake-on-traffic": "true"}


class Stage(Enum):
    """What a controller has told of a sandbox last."""

    NEW = auto()
    RESUMING = auto()
    STARTED = auto()
    """Its pod runs and is not ready."""
    READY = auto()
    PAUSING = auto()
    """Its pod is gone, or going; that it sleeps was not said yet."""
    ASLEEP = auto()


class Platform(Protocol):
    """One sandbox API in one version, and its controller's way to tell things."""

    @property
    def label(self) -> str:
        """What tests call it."""

    @property
    def dialect(self) -> str:
        """What the gateway calls its API."""

    @property
    def version(self) -> str:
        """The apiVersion of its objects."""

    def crd(self, directory: Path) -> Path:
        """Return its definition, with this version only; it may be written into the directory."""

    def manifest(self, name: str, **parts: Any) -> Object:
        """Return a sandbox that traffic may wake; parts are its `spec` and of its metadata."""

    def wanting(self, *, sleep: bool) -> Object:
        """Return the part of the spec that says what is wanted."""

    def wants_sleep(self, obj: Object) -> bool:
        """Return whether an object is to sleep."""

    def status(self, obj: Object, stage: Stage, pod: Pod | None) -> Object:
        """Return the merge patch of its status; `pod` None leaves the address as it was."""


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _manifest(version: str, name: str, spec: Object, metadata: Object) -> Object:
    return {
        "apiVersion": version,
        "kind": "Sandbox",
        "metadata": {"name": name} | metadata,
        "spec": spec,
    }


def _plain(**conditions: bool) -> list[Object]:
    return [
        {"type": kind, "status": str(holds), "lastTransitionTime": now()}
        for kind, holds in conditions.items()
    ]


@dataclass(frozen=True, slots=True)
class NativePlatform:
    """Whoever implements the native API."""

    label: str = "native"
    dialect: str = "native"
    version: str = NATIVE

    def crd(self, directory: Path) -> Path:
        return NATIVE_CRD

    def manifest(self, name: str, **parts: Any) -> Object:
        spec = {"wakeOnTraffic": {"enabled": True}} | parts.pop("spec", {})
        return _manifest(NATIVE, name, spec, parts)

    def wanting(self, *, sleep: bool) -> Object:
        return {"desiredState": "Paused" if sleep else "Running"}

    def wants_sleep(self, obj: Object) -> bool:
        return bool(obj["spec"].get("desiredState") == "Paused")

    def status(self, obj: Object, stage: Stage, pod: Pod | None) -> Object:
        phases = {
            Stage.RESUMING: "Resuming",
            Stage.STARTED: "Running",
            Stage.READY: "Running",
            Stage.PAUSING: "Pausing",
            Stage.ASLEEP: "Paused",
        }
        told: Object = {
            "phase": phases[stage],
            "observedGeneration": obj["metadata"]["generation"],
            "conditions": _plain(Ready=stage is Stage.READY),
        }
        return told | ({} if pod is None else {"podIP": pod.ip, "podUID": pod.uid})


@dataclass(frozen=True, slots=True)
class KruisePlatform:
    """OpenKruise agents.

    Pausing: Running and `paused` for a while, then Paused, and only SandboxPaused=True ends it.
    """

    label: str = "kruise"
    dialect: str = "kruise"
    version: str = KRUISE

    def crd(self, directory: Path) -> Path:
        return KRUISE_CRD

    def manifest(self, name: str, **parts: Any) -> Object:
        return kruise(name, **parts)

    def wanting(self, *, sleep: bool) -> Object:
        return {"paused": sleep}

    def wants_sleep(self, obj: Object) -> bool:
        return bool(obj["spec"].get("paused"))

    def status(self, obj: Object, stage: Stage, pod: Pod | None) -> Object:
        phases = {
            Stage.RESUMING: "Resuming",
            Stage.STARTED: "Running",
            Stage.READY: "Running",
            Stage.PAUSING: "Paused",
            Stage.ASLEEP: "Paused",
        }
        told: Object = {
            "phase": phases[stage],
            "observedGeneration": obj["metadata"]["generation"],
            "conditions": _plain(Ready=stage is Stage.READY, SandboxPaused=stage is Stage.ASLEEP),
        }
        where = {} if pod is None else {"podInfo": {"podIP": pod.ip, "podUID": pod.uid}}
        return told | where


class Sleep(Enum):
    """How agent-sandbox's controller has told that a sandbox sleeps, the latest first."""

    ALWAYS_TOLD = "Suspended always told"
    LINGERING = "Suspended lingers"
    """Suspended is told while that is wanted, and stays as it was afterwards."""
    READY = "Suspended unknown"
    """Ready is True of a sandbox whose pod is gone as was wanted."""


#: Of Ready, by stage: status and reason.
_READY: Final = {
    Stage.RESUMING: ("False", "DependenciesNotReady"),
    Stage.STARTED: ("False", "DependenciesNotReady"),
    Stage.READY: ("True", "DependenciesReady"),
    Stage.PAUSING: ("False", "SandboxSuspended"),
    Stage.ASLEEP: ("False", "SandboxSuspended"),
}
#: Of Suspended.
_SUSPENDED: Final = {
    Stage.PAUSING: ("False", "PodTerminating"),
    Stage.ASLEEP: ("True", "PodTerminated"),
}


@dataclass(frozen=True, slots=True)
class AgentSandboxPlatform:
    """agent-sandbox in one version of its API, with a controller of one age."""

    of: str
    sleep: Sleep

    @property
    def label(self) -> str:
        return f"{self.dialect} {self.of}, {self.sleep.value}"

    @property
    def dialect(self) -> str:
        return "agent-sandbox"

    @property
    def version(self) -> str:
        return f"{_GROUP}/{self.of}"

    def crd(self, directory: Path) -> Path:
        """Return it with one version: no webhook is here that converts one into another."""
        crd: Object = yaml.safe_load(AGENT_SANDBOX_CRD.read_text())
        kept = [one for one in crd["spec"]["versions"] if one["name"] == self.of]
        crd["spec"]["versions"] = [one | {"storage": True} for one in kept]
        path = directory / f"{_GROUP}-{self.of}.yaml"
        path.write_text(yaml.safe_dump(crd))
        return path

    def manifest(self, name: str, **parts: Any) -> Object:
        spec = self.wanting(sleep=False) | parts.pop("spec", {})
        return _manifest(self.version, name, spec, {"annotations": _OPTED_IN} | parts)

    def wanting(self, *, sleep: bool) -> Object:
        if self.of == "v1alpha1":
            return {"replicas": 0 if sleep else 1}
        return {"operatingMode": "Suspended" if sleep else "Running"}

    def wants_sleep(self, obj: Object) -> bool:
        wanted = self.wanting(sleep=True)
        return bool(obj["spec"] == obj["spec"] | wanted)

    def status(self, obj: Object, stage: Stage, pod: Pod | None) -> Object:
        told = self._conditions(stage)
        before = obj.get("status", {}).get("conditions", [])
        seen = {"observedGeneration": obj["metadata"]["generation"], "lastTransitionTime": now()}
        kept = [one for one in before if one["type"] not in told]
        conditions = [
            {"type": kind, "status": status, "reason": reason} | seen
            for kind, (status, reason) in told.items()
        ]
        return {"conditions": [*kept, *conditions]} | self._addresses(stage, pod)

    def _conditions(self, stage: Stage) -> dict[str, tuple[str, str]]:
        ready, suspended = _READY[stage], _SUSPENDED.get(stage)
        match self.sleep:
            case Sleep.READY if stage is Stage.ASLEEP:
                return {"Ready": ("True", "DependenciesReady")}
            case Sleep.READY if stage is Stage.PAUSING:
                return {"Ready": ("False", "ReconcilerError")}
            case Sleep.ALWAYS_TOLD:
                return {"Ready": ready, "Suspended": suspended or ("False", "NotSuspended")}
        return {"Ready": ready} | ({} if suspended is None else {"Suspended": suspended})

    def _addresses(self, stage: Stage, pod: Pod | None) -> Object:
        if stage is Stage.ASLEEP and self.sleep is not Sleep.LINGERING:
            return {"podIPs": []}
        return {} if pod is None else {"podIPs": [pod.ip]}


AGENT_SANDBOXES: Final = (
    AgentSandboxPlatform("v1beta1", Sleep.ALWAYS_TOLD),
    AgentSandboxPlatform("v1beta1", Sleep.LINGERING),
    AgentSandboxPlatform("v1alpha1", Sleep.LINGERING),
    AgentSandboxPlatform("v1alpha1", Sleep.READY),
)
PLATFORMS: Final[tuple[Platform, ...]] = (NativePlatform(), KruisePlatform(), *AGENT_SANDBOXES)
