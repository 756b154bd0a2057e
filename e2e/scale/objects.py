"""The Sandboxes that are measured with, by their number, as they are written to a real API. Pure.

They are those of the benchmark, without what an API server adds itself. Each has an address of its
own: equal texts could be kept once, and of two sandboxes at one address the gateway asks the API
which of them is there. Servers listen for those that are reached.
"""

from __future__ import annotations

import json
from typing import Any, Final

from e2e.bench.scale_objects import (
    PER_NAMESPACE,
    REACHABLE,
    id_of,
    name_of,
    namespace_of,
    paused,
    render,
    template,
)

Object = dict[str, Any]

# ---- which sandbox plays which part -------------------------------------------------------------

#: They run, and traffic goes to them.
BUSY: Final = range(100)
#: It moves to and fro between two servers that are nobody else's.
MOVING: Final = 100
#: They are paused, and each is woken once.
SLEEPERS: Final = range(200, 700)
#: They are deleted while the gateway cannot see it.
DOOMED: Final = range(900, REACHABLE)
#: From here on all run, and nobody asks for them: their status changes.
FIRST_OTHER: Final = REACHABLE

#: The label and its value by which whoever wakes the sleepers watches no others.
ROLE: Final = "scale.example.com/role"
SLEEPER: Final = "sleeper"

_BY_THE_API: Final = (
    "creationTimestamp",
    "finalizers",  # nobody is here who would take them away
    "generation",
    "managedFields",
    "resourceVersion",
    "uid",
)


def namespaces(count: int) -> list[str]:
    """Return the namespaces that so many sandboxes need."""
    return [namespace_of(number) for number in range(0, count, PER_NAMESPACE)]


def collection_of(number: int) -> str:
    """Return the path of the collection that a sandbox is in, below that of the API's version."""
    return f"/namespaces/{namespace_of(number)}/sandboxes"


def path_of(number: int) -> str:
    """Return the path of a sandbox, below that of the API's version."""
    return f"{collection_of(number)}/{name_of(number)}"


def address_of(number: int) -> str:
    """Return where one of the first thousand lives."""
    return f"127.0.{2 + number // 250}.{1 + number % 250}"


#: The two between which one moves, once it has left where it was.
PLACES: Final = (address_of(REACHABLE), address_of(REACHABLE + 1))
#: Where servers listen.
SERVED: Final = (*map(address_of, (*BUSY, MOVING, *SLEEPERS)), *PLACES)


def manifest(number: int) -> Object:
    """Return a sandbox as it is created, and the status that its controller reports."""
    chosen = template(number)
    if number in SLEEPERS:
        chosen = paused(chosen)
    sandbox: Object = json.loads(render(chosen, 0))
    metadata = sandbox["metadata"]
    for name in _BY_THE_API:
        del metadata[name]
    if number in SLEEPERS:
        metadata["labels"][ROLE] = SLEEPER
    if number < REACHABLE:
        sandbox["status"]["podIP"] = address_of(number)
    return sandbox


def heartbeat(number: int, beat: int) -> Object:
    """Return a change of a status that tells nothing new of where the sandbox is."""
    conditions = manifest(number)["status"]["conditions"]
    for condition in conditions:
        condition["reason"] = f"Beat{beat}"
    return {"status": {"conditions": conditions}}


def request(number: int, port: int) -> bytes:
    """Return a request to a sandbox."""
    return (
        f"GET / HTTP/1.1\r\nHost: gateway\r\ne2b-sandbox-id: {id_of(number)}\r\n"
        f"e2b-sandbox-port: {port}\r\n\r\n"
    ).encode()
