"""All pods that have a node, and all nodes, kept in step with the API by two reflectors."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Final, Generic, ParamSpec, Protocol

from gateway.cluster.answers import EventType
from gateway.cluster.intake import JUDGING_MISTAKES
from gateway.cluster.pod_facts import PodFacts
from gateway.cluster.pod_reading import read_node, read_pod
from gateway.cluster.pods import PODS
from gateway.cluster.selection import Selection
from gateway.dialects import base
from gateway.sandbox.errors import MalformedObject
from gateway.sandbox.scaling import Size

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator

    from gateway.cluster.pod_facts import NodeFacts
    from gateway.dialects.base import RawObject

    #: Called after a pod has come (None before), changed, or gone (None after).
    PodListener = Callable[[PodFacts | None, PodFacts | None], None]
    #: Called with the name of a node that has come, changed, or gone.
    NodeListener = Callable[[str], None]

_log = logging.getLogger(__name__)

P = ParamSpec("P")

NODES: Final = base.Resource("", "v1", "nodes", "Node")

#: The pods that take room of a node.
PLACED_PODS: Final = Selection(
    PODS, field_selector="spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed"
)
ALL_NODES: Final = Selection(NODES)


class Machines:
    """Where pods are, and how much room there is. News of `pods_sink` and `nodes_sink` fills it."""

    def __init__(self, is_stale: Callable[[], bool] = lambda: False) -> None:
        """`is_stale`: whether there was no news for so long that none of it can be gone by."""
        self._is_stale = is_stale
        self._pods = _PodTable()
        self._nodes = _NodeTable()
        self.pods_sink = MachineFeed(self._pods)
        self.nodes_sink = MachineFeed(self._nodes)

    def pod(self, uid: str) -> PodFacts | None:
        """Return a pod."""
        return self._pods.by_uid.get(uid)

    def pod_at(self, namespace: str, address: str) -> PodFacts | None:
        """Return the one pod that has this address for itself; None too if there are several.

        One that is being deleted may have lost it to another already.
        """
        found = (self._pods.by_uid[uid] for uid in self._pods.at.of((namespace, address)))
        living = [pod for pod in found if not pod.terminating]
        return living[0] if len(living) == 1 else None

    def node(self, name: str) -> NodeFacts | None:
        """Return a node; None too where too much may have happened since it was heard of."""
        return None if self._is_stale() else self._nodes.by_name.get(name)

    def on_node(self, name: str) -> Iterable[PodFacts]:
        """Return the pods that take room of a node."""
        return [self._pods.by_uid[uid] for uid in self._pods.on.of(name)]

    def claimed(self, node: str, without: Container[str] = ()) -> Size:
        """Return how much of a node is taken, but for the pods of these uids."""
        claims = [pod.claim for pod in self.on_node(node) if pod.uid not in without]
        return Size(sum(one.cpu for one in claims), sum(one.memory for one in claims))

    def learn(self, pod: PodFacts) -> None:
        """Take what a write has returned before the watch brings it; one that is gone stays so."""
        if pod.uid in self._pods.by_uid:
            self._pods.put(pod)

    def subscribe(self, listener: PodListener) -> Callable[[], None]:
        """Call `listener` after each change of a pod; the function returned ends that."""
        return self._pods.listeners.add(listener)

    def subscribe_nodes(self, listener: NodeListener) -> Callable[[], None]:
        """Call `listener` after each change of a node; the function returned ends that."""
        return self._nodes.listeners.add(listener)


class _Table(Protocol):
    """What a feed fills. Nothing that an object contains makes these raise."""

    def take(self, raw: RawObject) -> str:
        """Take news of an object; return its key, which is "" where it cannot be read."""

    def leave(self, raw: RawObject) -> None:
        """Take news of a deletion."""

    def sweep(self, listed: Container[str], version: float) -> Iterator[None]:
        """Remove what a complete list as of `version` lacks, in short steps."""


class MachineFeed:
    """The sink of one reflector."""

    def __init__(self, table: _Table) -> None:
        self._table = table
        self._listed: set[str] = set()

    def begin(self) -> None:
        """A list begins."""
        self._listed = set()

    def page(self, items: Iterable[RawObject]) -> None:
        """Enter a part of the list."""
        for raw in items:
            self._listed.add(self._table.take(raw))

    def complete(self, version: int) -> Iterator[None]:
        """Remove what the list lacked, in short steps for the caller to take."""
        yield from self._table.sweep(self._listed, version)
        self.begin()

    def event(self, kind: EventType, raw: RawObject) -> None:
        """Take news of one object."""
        if kind is EventType.DELETED:
            self._table.leave(raw)
        else:
            self._table.take(raw)

    def forget(self) -> None:
        """The API is not installed any more."""
        for _ in self._table.sweep((), math.inf):
            pass


class _Listeners(Generic[P]):
    """Who wants to know of changes."""

    def __init__(self) -> None:
        self._all: tuple[Callable[P, None], ...] = ()

    def add(self, listener: Callable[P, None]) -> Callable[[], None]:
        self._all = (*self._all, listener)

        def remove() -> None:
            self._all = tuple(one for one in self._all if one is not listener)

        return remove

    def tell(self, *change: P.args, **named: P.kwargs) -> None:
        for listener in self._all:
            listener(*change, **named)


class _Index:
    """Which pods are found by a key."""

    def __init__(self) -> None:
        self._uids: dict[object, set[str]] = {}

    def of(self, key: object) -> Iterable[str]:
        return self._uids.get(key, ())

    def add(self, key: object, uid: str) -> None:
        self._uids.setdefault(key, set()).add(uid)

    def remove(self, key: object, uid: str) -> None:
        uids = self._uids[key]
        uids.discard(uid)
        if not uids:
            del self._uids[key]


class _PodTable:
    """Pods by uid, by node and by address. Of each its newest state counts."""

    def __init__(self) -> None:
        self.by_uid: dict[str, PodFacts] = {}
        #: By the name of the node: those that take room of it.
        self.on = _Index()
        #: By namespace and address.
        self.at = _Index()
        self.listeners = _Listeners[PodFacts | None, PodFacts | None]()

    def take(self, raw: RawObject) -> str:
        try:
            pod = read_pod(raw)
        except MalformedObject as error:
            _log.warning("a pod cannot be read: %s", error)
            self.leave(raw)
            return ""
        except JUDGING_MISTAKES:
            _log.exception("a pod cannot be read")
            self.leave(raw)
            return ""
        self.put(pod)
        return pod.uid

    def put(self, pod: PodFacts) -> None:
        """Take a pod as it is now, or was."""
        known = self.by_uid.get(pod.uid)
        if known is not None:
            if pod.version <= known.version:
                return
            self._remove(known)
        self.by_uid[pod.uid] = pod
        for index, key in self._keys(pod):
            index.add(key, pod.uid)
        self.listeners.tell(known, pod)

    def leave(self, raw: RawObject) -> None:
        known = self.by_uid.get(_text_of(raw, "uid"))
        if known is not None:
            self._remove(known)
            self.listeners.tell(known, None)

    def sweep(self, listed: Container[str], version: float) -> Iterator[None]:
        for pod in tuple(self.by_uid.values()):
            missing = pod.uid not in listed and pod.version <= version
            if missing and self.by_uid.get(pod.uid) is pod:
                self._remove(pod)
                self.listeners.tell(pod, None)
            yield

    def _remove(self, pod: PodFacts) -> None:
        del self.by_uid[pod.uid]
        for index, key in self._keys(pod):
            index.remove(key, pod.uid)

    def _keys(self, pod: PodFacts) -> Iterator[tuple[_Index, object]]:
        if pod.node is not None and not pod.ended:
            yield self.on, pod.node
        for address in pod.addresses:
            yield self.at, (pod.namespace, address)


class _NodeTable:
    """Nodes by name."""

    def __init__(self) -> None:
        self.by_name: dict[str, NodeFacts] = {}
        self.listeners = _Listeners[str]()

    def take(self, raw: RawObject) -> str:
        try:
            node = read_node(raw)
        except MalformedObject as error:
            _log.warning("a node cannot be read: %s", error)
            self.leave(raw)
            return ""
        except JUDGING_MISTAKES:
            _log.exception("a node cannot be read")
            self.leave(raw)
            return ""
        # Kubelets write every few seconds that they are well, which is no news here.
        if self.by_name.get(node.name) != node:
            self.by_name[node.name] = node
            self.listeners.tell(node.name)
        return node.name

    def leave(self, raw: RawObject) -> None:
        self._remove(_text_of(raw, "name"))

    def sweep(self, listed: Container[str], version: float) -> Iterator[None]:  # noqa: ARG002
        for name in tuple(self.by_name):
            if name not in listed:
                self._remove(name)
            yield

    def _remove(self, name: str) -> None:
        if self.by_name.pop(name, None) is not None:
            self.listeners.tell(name)


def _text_of(raw: RawObject, name: str) -> str:
    """Return a text of an object's metadata; one that nothing has where it cannot be read."""
    try:
        return base.text(base.section(raw, "metadata"), name, "metadata") or ""
    except MalformedObject:
        return ""
