"""What must hold of sizes at all times, judged version by version in the order of their writing.

- A size is within its author's bounds, or the idle floor.
- A resize changes no QoS class and restarts no container.
- Nothing grows beyond what its node has: the sum over its pods, but for those that have just come,
  of the most of what each is to have, was promised and has.
- Only a pod is resized that a right-sized sandbox names as its own, and that its writer has meant.
- Whoever resizes leads, as the Lease stood at that moment.
- What is between two states is left alone; what is paused loses CPU alone, down to its floor, and
  what wakes only gets more.

All this goes by resourceVersions: one API has one order of writes for all that it keeps.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from gateway.sandbox.quantities import parse_cpu, parse_memory
from gateway.sandbox.scaling import Size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from .api_proxy import Resize

    Object = dict[str, Any]

T = TypeVar("T")

_PREFIX: Final = "sandbox-gateway.dev/scaling-"
#: How long after a change it may still be acted on as if it had not been, in seconds.
GRACE: Final = 3.0


class Kind(Enum):
    """What is looked at."""

    POD = "pods"
    SANDBOX = "sandboxes"
    NODE = "nodes"
    LEASE = "leases"


@dataclass(frozen=True, slots=True)
class Seen:
    """One version of an object, seen at a time of the monotonic clock; `gone`: its last one."""

    version: int
    at: float
    kind: Kind
    obj: Object
    gone: bool = False

    @property
    def name(self) -> str:
        name: str = self.obj["metadata"]["name"]
        return name

    @property
    def uid(self) -> str:
        uid: str = self.obj["metadata"]["uid"]
        return uid


@dataclass(frozen=True, slots=True)
class Pod:
    """What of a pod is judged. `taken`: the most of what it is to have, was promised and has."""

    name: str
    node: str
    desired: Size
    taken: Size
    qos: str
    restarts: int


@dataclass(frozen=True, slots=True)
class Author:
    """What the author of a sandbox wants."""

    low: Size
    high: Size
    floor: Size | None

    @property
    def least(self) -> Size:
        """As little as it may have while it runs."""
        return self.low if self.floor is None else _least(self.low, self.floor)


@dataclass(slots=True)
class Fact(Generic[T]):
    """What something is, and what it was until when, as far as who resizes may not know better."""

    now: T
    before: list[tuple[float, T]] = field(default_factory=list)

    def become(self, value: T, known_after: float) -> None:
        if value != self.now:
            self.before.append((known_after, self.now))
            self.now = value

    def possible(self, at: float) -> list[T]:
        """Return all that it may be taken for at that time."""
        return [self.now, *(value for until, value in self.before if at <= until)]


@dataclass(slots=True)
class Box:
    """A right-sized sandbox: who its pod is, and in which phase it is."""

    author: Fact[Author]
    pod: Fact[str]
    phase: Fact[str]


@dataclass(slots=True)
class SizeJudge:
    """Takes all versions in their order. `violations` is what did not hold.

    `resizes`: those that went through, by the version that came of them. `known_after`: by when, at
    the latest, who resizes knows what was changed at a time. `leaders`: the name of their Lease.
    """

    resizes: Mapping[int, Resize]
    leaders: str
    known_after: Callable[[float], float] = lambda at: at + GRACE
    violations: list[str] = field(default_factory=list)
    #: How many resizes were judged.
    count: int = 0
    _pods: dict[str, Pod] = field(default_factory=dict)
    #: From when on a pod is surely known to who resizes.
    _known: dict[str, float] = field(default_factory=dict)
    _boxes: dict[str, Box] = field(default_factory=dict)
    _nodes: dict[str, Fact[Size]] = field(default_factory=dict)
    _leader: str = ""

    def take(self, seen: Seen) -> None:
        match seen.kind:
            case Kind.POD:
                self._take_pod(seen)
            case Kind.SANDBOX:
                self._take_sandbox(seen)
            case Kind.NODE:
                self._take_node(seen)
            case Kind.LEASE if seen.name == self.leaders:
                self._leader = "" if seen.gone else seen.obj["spec"].get("holderIdentity") or ""

    def _take_node(self, seen: Seen) -> None:
        room = _size(seen.obj.get("status", {}).get("allocatable", {}))
        self._nodes.setdefault(seen.name, Fact(room)).become(room, self.known_after(seen.at))

    def _take_sandbox(self, seen: Seen) -> None:
        author = _author(seen.obj["metadata"])
        if seen.gone or author is None:
            self._boxes.pop(seen.uid, None)
            return
        status, known = seen.obj.get("status", {}), self.known_after(seen.at)
        phase, pod = status.get("phase", ""), status.get("podUID") or ""
        box = self._boxes.setdefault(seen.uid, Box(Fact(author), Fact(pod), Fact(phase)))
        box.author.become(author, known)
        box.phase.become(phase, known)
        if pod:  # one that is paused may still have its pod
            box.pod.become(pod, known)

    def _take_pod(self, seen: Seen) -> None:
        before = self._pods.get(seen.uid)
        if seen.gone:
            self._pods.pop(seen.uid, None)
            return
        now = self._pods[seen.uid] = _pod(seen.obj)
        if before is None:
            self._known[seen.uid] = self.known_after(seen.at)
            return
        if before.qos and now.qos != before.qos:
            self._violates(seen, f"QoS class {before.qos} became {now.qos}")
        if now.restarts != before.restarts:
            self._violates(seen, f"{now.restarts - before.restarts} restarts")
        if now.desired != before.desired:
            self.count += 1
            self._judge_room(seen, before, now)
            self._judge_writer(seen)
            self._judge_size(seen, before, now)

    # ---- a resize -----------------------------------------------------------------------------

    def _judge_room(self, seen: Seen, before: Pod, now: Pod) -> None:
        """What grows is to have room; what a node has lost is not taken from those that had it."""
        others = [
            one.taken
            for uid, one in self._pods.items()
            if one.node == now.node and (uid == seen.uid or self._known[uid] < seen.at)
        ]
        room = self._nodes[now.node].possible(seen.at) if now.node in self._nodes else []
        for kind in ("cpu", "memory"):
            taken = sum(getattr(one, kind) for one in others)
            most = max((getattr(one, kind) for one in room), default=0)
            if getattr(now.desired, kind) > getattr(before.desired, kind) and taken > most:
                self._violates(seen, f"{taken} {kind} are taken of a node that has {most}")

    def _judge_writer(self, seen: Seen) -> None:
        resize = self.resizes.get(seen.version)
        if resize is None:
            self._violates(seen, "nobody known has resized it")
            return
        if resize.uid != seen.uid:
            self._violates(seen, f"{resize.who} meant {resize.uid}, another pod")
        if self._leader.rpartition("_")[0] != resize.who:
            self._violates(seen, f"{resize.who} resized it, while {self._leader or 'nobody'} led")

    def _judge_size(self, seen: Seen, before: Pod, now: Pod) -> None:
        boxes = [one for one in self._boxes.values() if seen.uid in one.pod.possible(seen.at)]
        if not boxes:
            self._violates(seen, "it is no right-sized sandbox's own")
            return
        (box,) = boxes
        phases = box.phase.possible(seen.at)
        authors = box.author.possible(seen.at)
        if not any(
            _is_right(phase, author, before.desired, now.desired)
            for phase in phases
            for author in authors
        ):
            what = f"{before.desired} became {now.desired} while it was {' or '.join(phases)}"
            self._violates(seen, f"{what}; its author wants {authors}")

    def _violates(self, seen: Seen, what: str) -> None:
        self.violations.append(f"{seen.kind.value} {seen.name} at {seen.version}: {what}")


def _is_right(phase: str, author: Author, before: Size, now: Size) -> bool:
    match phase:
        case "Running":
            return _is_within(author.least, now, author.high)
        case "Paused":
            least = math.inf if author.floor is None else author.floor.cpu
            return now.memory == before.memory and least <= now.cpu < before.cpu
        case "Resuming":
            return _is_within(before, now, author.high)
    return False


def _is_within(low: Size, size: Size, high: Size) -> bool:
    return low.cpu <= size.cpu <= high.cpu and low.memory <= size.memory <= high.memory


def _author(metadata: Object) -> Author | None:
    """Return what the author of a sandbox wants; None: not that it is right-sized."""
    if metadata.get("labels", {}).get(f"{_PREFIX}enabled") != "true":
        return None
    written = metadata["annotations"]
    bounds = json.loads(written[f"{_PREFIX}bounds"])
    floor = json.loads(written.get(f"{_PREFIX}config", "{}")).get("idleFloor")
    low, high = (_size(bounds[which], "mem") for which in ("min", "max"))
    return Author(low, high, None if floor is None else _size(floor, "mem"))


def _pod(obj: Object) -> Pod:
    spec, status = obj["spec"], obj.get("status", {})
    told = status.get("containerStatuses", ())
    desired = _total(one.get("resources", {}).get("requests", {}) for one in spec["containers"])
    promised = _total(one.get("allocatedResources", {}) for one in told)
    has = _total(one.get("resources", {}).get("requests", {}) for one in told)
    return Pod(
        name=obj["metadata"]["name"],
        node=spec.get("nodeName", ""),
        desired=desired,
        taken=_most(_most(desired, promised), has),
        qos=status.get("qosClass", ""),
        restarts=sum(one["restartCount"] for one in told),
    )


def _size(amounts: Mapping[str, str], memory: str = "memory") -> Size:
    return Size(parse_cpu(amounts.get("cpu", "0")), parse_memory(amounts.get(memory, "0")))


def _total(amounts: Iterable[Mapping[str, str]]) -> Size:
    sizes = [_size(one) for one in amounts]
    return Size(sum(one.cpu for one in sizes), sum(one.memory for one in sizes))


def _most(one: Size, other: Size) -> Size:
    return Size(max(one.cpu, other.cpu), max(one.memory, other.memory))


def _least(one: Size, other: Size) -> Size:
    return Size(min(one.cpu, other.cpu), min(one.memory, other.memory))
