"""What the objects of a registry take, without what allocators keep around them.

`python -m e2e.bench.scale_registry COUNT` prints the bytes of all objects that a registry of so
many routes holds, entered by pages as a list's are. Beside the growth of a whole gateway it tells
what of that are the routes themselves.
"""

from __future__ import annotations

import gc
import sys
from collections import deque
from types import FunctionType, ModuleType
from typing import Any, Final

import orjson

from e2e.bench.scale_collection import Collection
from gateway.cluster.answers import page_of
from gateway.cluster.feed import Feed
from gateway.cluster.intake import Intake
from gateway.cluster.metrics import ClusterCounters
from gateway.dialects.native import Native
from gateway.sandbox.registry import Registry
from gateway.telemetry.instruments import Instruments

#: They are the program's and not the registry's, although everything leads to them.
_CODE: Final = (type, ModuleType, FunctionType)


def fill(feed: Feed, collection: Collection) -> None:
    """Enter all pages."""
    token: str | None = ""
    feed.begin()
    while token is not None:
        page = page_of(orjson.loads(collection.page(token)))
        feed.page(page.items)
        token = page.next_token
    deque(feed.complete(collection.version), maxlen=0)


def held_by(root: object) -> int:
    """Return the bytes of an object and of all that it leads to, each counted once."""
    seen = {id(root)}
    waiting: list[Any] = [root]
    total = 0
    while waiting:
        one = waiting.pop()
        total += sys.getsizeof(one)
        for other in gc.get_referents(one):
            if id(other) not in seen and not isinstance(other, _CODE):
                seen.add(id(other))
                waiting.append(other)
    return total


def main(count: int) -> None:
    # Nothing here is garbage: to look for it takes most of the time.
    gc.disable()
    registry = Registry()
    feed = Feed(Intake(Native(), registry, ClusterCounters(Instruments())))
    fill(feed, Collection(count))
    if len(registry) != count:
        sys.exit(f"{len(registry)} routes of {count} objects")
    print(held_by(registry))


if __name__ == "__main__":
    main(int(sys.argv[1]))
