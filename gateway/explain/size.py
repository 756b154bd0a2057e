"""How large it is, should be and may be, and what is in the way of that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.resize.snapshot import Status

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.explain.case import Case
    from gateway.resize.snapshot import ResizeSnapshot

_PLAIN: Final[Mapping[Status, str]] = {
    Status.UNSUPPORTED: "this gateway right-sizes nothing: {reason}",
    Status.ELSEWHERE: "another replica may right-size it, and knows: {reason}",
    Status.PREPARING: "it is not right-sized yet: {reason}",
    Status.NO_POD: "it is not right-sized: {reason}",
    Status.OBSTACLE: "it is not right-sized: {obstacle}",
    Status.FROZEN: "its size is not touched now: {reason}",
    Status.UNINFORMED: "it may grow by permit but is not shrunk: {reason}",
    Status.LIMITED: "it does not have what it needs: {reason}",
    Status.SIZED: "it is right-sized",
}
_OBSTACLES: Final[Mapping[str, str]] = {
    "no_container": "its pod has no such container as its annotation "
    "kubectl.kubernetes.io/default-container names",
    "no_amounts": "its container asks for no CPU or no memory: give it requests of both",
    "restarts": "its container's resizePolicy would have it restarted",
    "pod_level": "its amounts are those of its pod as a whole",
    "claims": "it has some of its CPU or memory by a resource claim",
    "static": "its pod is one that its node runs by itself",
    "windows": "its pod runs on Windows",
    "old_node": "its node does not tell what its containers have: its kubelet is too old",
}


def told_size(case: Case) -> Iterator[str]:
    """Tell how its size stands; nothing where nobody asks for any."""
    scaling, told = case.route.scaling, case.size
    if scaling is None:
        return
    yield _bounds(case)
    if told is None:
        yield "how it stands now, only a gateway knows"
        return
    obstacle = _OBSTACLES.get(told.reason, told.reason)
    yield _PLAIN[told.status].format(reason=told.reason, obstacle=obstacle)
    yield from _numbers(told)


def _bounds(case: Case) -> str:
    scaling = case.route.scaling
    assert scaling is not None, "that is told of alone"
    low, high = scaling.low.as_json(), scaling.high.as_json()
    return (
        f"it asks for {low['cpu']} CPU and {low['mem']} of memory at least, "
        f"{high['cpu']} CPU and {high['mem']} at most"
    )


def _numbers(told: ResizeSnapshot) -> Iterator[str]:
    sizes = {
        "has": told.actual,
        "is to have": told.desired,
        "should have by its load": told.wanted,
        "is permitted": told.permitted,
        "has agreed to": told.approved,
    }
    for what, size in sizes.items():
        if size is not None:
            yield f"it {what}: {size['cpu']} CPU, {size['mem']} of memory"
    if told.load1 is not None and told.memory_in_use is not None:
        yield (
            f"its guest reports {told.load1:.2f} busy CPUs over one minute and "
            f"{told.memory_in_use // 2**20} MiB in use"
        )
