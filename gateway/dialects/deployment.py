"""Deployments and StatefulSets of `apps/v1` that ask for it by a label, scaled to zero and back.

They tell how many of their pods are available but not where: a Service does (`Backing`). A spec
that was changed begins another life as far as its Service's own address is concerned: to wake one
is such a change. Whether the pods of an endpoint are the workload's own is not checked: who may
write Services and workloads of a namespace is one party.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from gateway.dialects import base, own
from gateway.sandbox import states
from gateway.sandbox.errors import MalformedObject
from gateway.sandbox.model import Backing, Problem, Route

if TYPE_CHECKING:
    from collections.abc import Mapping

ENABLED_LABEL: Final = own.PREFIX + "enabled"
#: How many replicas a wake asks for; a standby keeps here how many there were.
REPLICAS: Final = own.PREFIX + "replicas"
#: The Service that tells where the workload is; without it, one of the workload's own name.
SERVICE: Final = own.PREFIX + "service"

#: spec.replicas is an int32.
_MOST_REPLICAS: Final = 2**31 - 1
#: RFC 1123 §2.1, one label.
_SERVICE_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)


class ScaledWorkload:
    """Judges the workloads of one kind."""

    required_labels: Final[Mapping[str, str]] = {ENABLED_LABEL: "true"}
    by_service = True

    def __init__(self, name: str, resource: base.Resource) -> None:
        """Use `DEPLOYMENT` or `STATEFUL_SET`."""
        self.name = name
        self.resource = resource

    def route(self, raw: base.RawObject) -> Route:
        """Judge an object; raise MalformedObject where it cannot be judged."""
        metadata, _, _ = sections = base.sections(raw)
        key, uid = base.identity_in(metadata, self.name)
        if not base.has_labels(raw, self.required_labels):
            raise MalformedObject(f"metadata.labels.{ENABLED_LABEL}", 'is not "true"')
        seen = _observe(sections)
        judged = states.judge(seen)
        annotations = base.text_map(metadata, "annotations")
        labels = base.text_map(metadata, "labels")
        ours = own.read(annotations, labels)
        service, misnamed = _service(annotations)
        _, miscounted = _wanted_replicas(annotations)
        life = str(_generation(metadata))
        return Route(
            key=key,
            uid=uid,
            id=base.sandbox_id(labels, key, base.ID_LABEL),
            version=base.version_in(metadata),
            state=judged.state,
            reason=judged.reason,
            incarnation=f"{uid}/{life}",
            ports=ours.ports,
            wake=ours.wake_policy(None),
            credential=ours.credential,
            problems=ours.problems + misnamed + miscounted,
            tls=ours.tls,
            idle=ours.idle_rules(),
            backing=Backing(
                service=service or key.name,
                named=service is not None,
                available=seen.ready and not (seen.wants_pause or seen.deleting or misnamed),
                life=life,
            ),
            scaling=ours.scaling,
        )

    def check_resumable(self, raw: base.RawObject, now: float) -> None:
        """Return if the object may be woken at `now`; raise the NotResumable that says why not."""
        states.check_resumable(_observe(base.sections(raw)), now)

    def wake_patch(self, raw: base.RawObject, now: float) -> base.Patch | None:  # noqa: ARG002
        """Return the merge patch that asks for replicas, or None if any are asked for already."""
        if _replicas(base.section(raw, "spec")):
            return None
        wanted, _ = _wanted_replicas(base.string_map(raw, "annotations"))
        return {"spec": {"replicas": wanted}}

    def standby_patch(self, raw: base.RawObject, now: float) -> base.Patch | None:  # noqa: ARG002
        """Return the merge patch that asks for none, or None if none are asked for already."""
        replicas = _replicas(base.section(raw, "spec"))
        if not replicas:
            return None
        return {"metadata": {"annotations": {REPLICAS: str(replicas)}}, "spec": {"replicas": 0}}

    def postpone_patch(self, raw: base.RawObject, now: float) -> None:
        """Return None: no workload has a clock of its own that would end it."""


DEPLOYMENT: Final = ScaledWorkload(
    "deployment", base.Resource("apps", "v1", "deployments", "Deployment")
)
STATEFUL_SET: Final = ScaledWorkload(
    "statefulset", base.Resource("apps", "v1", "statefulsets", "StatefulSet")
)


def _observe(sections: base.Sections) -> states.Observed:
    """Return what judging reads; these APIs have no phase, and what runs has its address elsewhere.

    A pause is complete once the controller has seen it and no pod is left of its own.
    """
    metadata, spec, status = sections
    wants_pause = not _replicas(spec)
    left = _count(status, "replicas", "status", missing=0)
    settled = not left and not _is_behind(metadata, status)
    return states.Observed(
        phase="Paused" if wants_pause and settled else "Running",
        wants_pause=wants_pause,
        deleting=base.is_deleting(metadata),
        ready=_count(status, "availableReplicas", "status", missing=0) > 0,
    )


def _replicas(spec: base.RawObject) -> int:
    return _count(spec, "replicas", "spec", missing=1)


def _is_behind(metadata: base.RawObject, status: base.RawObject) -> bool:
    return _count(status, "observedGeneration", "status", missing=0) < _generation(metadata)


def _generation(metadata: base.RawObject) -> int:
    return _count(metadata, "generation", "metadata", missing=0)


def _count(raw: base.RawObject, name: str, path: str, *, missing: int) -> int:
    value = raw.get(name)
    if value is None:
        return missing
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise MalformedObject(f"{path}.{name}", "is not a number from 0 on")
    return value


def _wanted_replicas(annotations: Mapping[str, str]) -> tuple[int, tuple[Problem, ...]]:
    """Return how many replicas a wake asks for, and what did not parse."""
    value = annotations.get(REPLICAS)
    if value is None:
        return 1, ()
    wanted = base.whole_number(value)
    if wanted is not None and 1 <= wanted <= _MOST_REPLICAS:
        return wanted, ()
    return 1, (Problem(REPLICAS, "must be a number of replicas over 0; 1 is used"),)


def _service(annotations: Mapping[str, str]) -> tuple[str | None, tuple[Problem, ...]]:
    """Return the Service that is named, if any, and what is wrong with the name."""
    value = annotations.get(SERVICE)
    if value is None or _SERVICE_NAME.fullmatch(value):
        return value, ()
    return value, (Problem(SERVICE, "is not the name of a Service; there is no address"),)
