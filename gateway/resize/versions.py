"""Versions of the two protocols by which a sandbox's size is settled, and how a version is chosen.

They are numbers on the wire, from 1 on. Names follow semantic versioning, which promises nothing:
what two sides share is the newest version in both of their ranges.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final, Generic, TypeVar


class Version(int):
    """A version of a protocol; a later one is greater. Zero is none."""

    names: ClassVar[tuple[str, ...]] = ()

    def __str__(self) -> str:
        if self < 1:
            return "<invalid: zero>"
        if self <= len(self.names):
            return self.names[self - 1]
        latest = len(self.names)
        return f"<unknown = {self.names[-1]} + {self - latest}>"

    @property
    def is_valid(self) -> bool:
        """Return whether this is a version at all, be it known or not."""
        return self >= 1


class InformantVersion(Version):
    """Between the agent and the informant in the guest."""

    names = ("v1.0", "v1.1", "v1.2", "v2.0")

    @property
    def has_try_upscale(self) -> bool:
        """The informant may ask the agent for more (`/try-upscale`)."""
        return self >= INFORMANT_V1_1

    @property
    def allows_health_check(self) -> bool:
        """The agent may ask the informant whether it is well (`/health-check`)."""
        return self >= INFORMANT_V1_2

    @property
    def signs_resource_updates(self) -> bool:
        """Sizes come in messages that carry an id and a sequence number."""
        return self >= INFORMANT_V2_0


class PluginVersion(Version):
    """Between the agent and who permits."""

    names = ("v1.0", "v1.1", "v2.0")

    @property
    def allows_nil_metrics(self) -> bool:
        """A request may come before the first metrics."""
        return self >= PLUGIN_V1_1

    @property
    def supports_fractional_cpu(self) -> bool:
        """A size need not be whole CPUs."""
        return self >= PLUGIN_V2_0


class RunnerVersion(Version):
    """Between the agent and what runs the workload."""

    names = ("v1",)


INFORMANT_V1_0: Final = InformantVersion(1)
INFORMANT_V1_1: Final = InformantVersion(2)
INFORMANT_V1_2: Final = InformantVersion(3)
INFORMANT_V2_0: Final = InformantVersion(4)
PLUGIN_V1_0: Final = PluginVersion(1)
PLUGIN_V1_1: Final = PluginVersion(2)
PLUGIN_V2_0: Final = PluginVersion(3)
RUNNER_V1: Final = RunnerVersion(1)

V = TypeVar("V", bound=Version)


@dataclass(frozen=True, slots=True)
class VersionRange(Generic[V]):
    """All versions from `min` to `max`; none if they are the wrong way round."""

    min: V
    max: V

    def __str__(self) -> str:
        return str(self.min) if self.min == self.max else f"{self.min} to {self.max}"

    def __contains__(self, version: V) -> bool:
        return self.min <= version <= self.max


def latest_shared_version(one: VersionRange[V], other: VersionRange[V]) -> V | None:
    """Return the newest version that both speak, if there is one."""
    newest = min(one.max, other.max)
    oldest = max(one.min, other.min)
    return newest if newest >= oldest else None
