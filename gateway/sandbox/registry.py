"""The routes of one replica: an index that is changed in place, of routes that never change.

Applying one event costs the same at ten routes and at a hundred thousand. The rules that keep it
right whatever order news arrives in:

- the newest resourceVersion of one uid wins; older news is dropped;
- another uid under a known key is a deletion followed by an addition;
- a deletion fences: news of that uid from before it is dropped, however late it arrives;
- a complete list replaces: what it lacks is deleted, unless it is known to be newer than the list;
- two live sandboxes that answer to one name make that name ambiguous: neither is found by it;
- of several that run at one address, the one that was seen to come there after all others has it;
  where that was not seen, or another object tells of the address, nobody knows who has it. Further
  news of one that is there is no new claim: its controller may be late to tell that it has left;
- where an address is another object's to tell, its news amends the route without being older or
  newer: only what was made of the very route that is known may take that one's place.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from gateway.sandbox.errors import AmbiguousTarget, SandboxNotFound
from gateway.sandbox.model import Key, Route, State

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Container, Iterator

    #: Told of each change after it was made: (before, after); None stands for "does not exist".
    Listener = Callable[[Route | None, Route | None], None]

#: Deletions remembered. An event that is later than this many deletions could revive a sandbox
#: until the next list; a watch is never that late.
FENCES: Final = 16_384

NameT = TypeVar("NameT", str, tuple[str, str])


class _Index(Generic[NameT]):
    """name → the routes that answer to it: nearly always one, else a dict of them by key."""

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        self._entries: dict[NameT, Route | dict[Key, Route]] = {}

    def put(self, name: NameT, route: Route) -> None:
        entry = self._entries.get(name)
        if entry is None or (isinstance(entry, Route) and entry.key == route.key):
            self._entries[name] = route
        elif isinstance(entry, Route):
            self._entries[name] = {entry.key: entry, route.key: route}
        else:
            entry[route.key] = route

    def drop(self, name: NameT, key: Key) -> None:
        entry = self._entries.get(name)
        if isinstance(entry, Route):
            if entry.key == key:
                del self._entries[name]
        elif entry is not None and entry.pop(key, None) is not None and len(entry) == 1:
            self._entries[name] = next(iter(entry.values()))

    def find(self, name: NameT) -> Route:
        entry = self._entries.get(name)
        if isinstance(entry, Route):
            return entry
        if entry is None:
            raise SandboxNotFound
        live = [route for route in entry.values() if route.state is not State.DEAD]
        if len(live) > 1:
            raise AmbiguousTarget
        return live[0] if live else next(iter(entry.values()))

    def all(self, name: NameT) -> Collection[Route]:
        entry = self._entries.get(name)
        if entry is None:
            return ()
        return (entry,) if isinstance(entry, Route) else entry.values()

    def ambiguous(self) -> Iterator[tuple[Key, ...]]:
        for entry in self._entries.values():
            if isinstance(entry, dict):
                live = [key for key, route in entry.items() if route.state is not State.DEAD]
                if len(live) > 1:
                    yield tuple(sorted(live))


class Registry:
    """All routes that this replica knows, by key, by id and by namespace and name."""

    def __init__(self, *, addresses_shared: bool = False) -> None:
        """`addresses_shared`: sandboxes are told apart by their ports, so there are no rivals."""
        self._routes: dict[Key, Route] = {}
        self._addresses_shared = addresses_shared
        self._by_address: _Index[str] = _Index()
        #: As of which version at the latest a sandbox is where it is, if it was heard of since.
        self._claims: dict[Key, int] = {}
        #: The sandboxes that were known before they came to where they are.
        self._came: set[Key] = set()
        self._by_id: _Index[str] = _Index()
        self._by_name: _Index[tuple[str, str]] = _Index()
        self._fences: OrderedDict[str, int] = OrderedDict()
        self._listeners: tuple[Listener, ...] = ()

    def __len__(self) -> int:
        return len(self._routes)

    def __iter__(self) -> Iterator[Route]:
        return iter(self._routes.values())

    def get(self, key: Key) -> Route | None:
        """Return the route under this key, whatever its state."""
        return self._routes.get(key)

    def by_id(self, sandbox_id: str) -> Route:
        """Return the one route with this id; raise SandboxNotFound or AmbiguousTarget."""
        return self._by_id.find(sandbox_id)

    def by_name(self, namespace: str, name: str) -> Route:
        """Return the one route of this name in any dialect; raise as `by_id` does."""
        return self._by_name.find((namespace, name))

    def at(self, address: str) -> Collection[Route]:
        """Return the routes that have this address, which may be several for a while."""
        return self._by_address.all(address)

    def rival(self, route: Route) -> Route | None:
        """Return one that may have come to the route's address after it; None: there is none."""
        if route.address is None:
            return None
        claims = self._by_address.all(route.address)
        others = [one for one in claims if one.key != route.key]
        if not others:
            return None
        last = max(others, key=self._claimed_at)
        seen = route.key in self._came and not any(one.backing for one in (route, *others))
        return None if seen and self._claimed_at(last) < self._claimed_at(route) else last

    def ambiguous(self) -> set[tuple[Key, ...]]:
        """Return the groups of keys of which none is routed, since they share an id or a name."""
        return {*self._by_id.ambiguous(), *self._by_name.ambiguous()}

    def unseen(self, key: Key) -> None:
        """Take note that a list brought the last news of a sandbox: it came there before."""
        self._came.discard(key)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` after each change; the function returned ends that."""
        self._listeners = (*self._listeners, listener)

        def unsubscribe() -> None:
            self._listeners = tuple(one for one in self._listeners if one is not listener)

        return unsubscribe

    def apply(self, route: Route) -> bool:
        """Take news of one sandbox; return whether it changed anything."""
        if route.version <= self._fences.get(route.uid, -1):
            return False
        known = self._routes.get(route.key)
        if known is not None and known.uid != route.uid:
            if route.version < known.version:
                self._fence(route.uid, known.version)
                return False
            self._remove(known, route.version)
            known = None
        if known is not None and route.version <= known.version:
            return False
        self._put(known, route)
        return True

    def amend(self, known: Route, route: Route) -> bool:
        """Put `route` in the place of the route that it was made of; False if that is not there.

        Both are of one state of one object. So `apply` has nothing to order them by.
        """
        if self._routes.get(known.key) is not known:
            return False
        self._put(known, route)
        return True

    def remove(self, key: Key, uid: str, version: int) -> bool:
        """Take news of a deletion that happened at `version`; return whether it changed anything.

        News of the same uid from after `version` is believed: an object can leave a selection and
        come back.
        """
        known = self._routes.get(key)
        if known is None or known.uid != uid or known.version > version:
            self._fence(uid, version)
            return False
        self._remove(known, version)
        return True

    def retain(
        self, dialect: str, uids: Container[str], version: int, namespace: str | None = None
    ) -> Iterator[None]:
        """Remove what a complete list of one dialect (in one namespace), read at `version`, lacks.

        Each step looks at one route: there may be very many, and other work waits. What is heard
        between two steps is heeded.
        """
        for known in tuple(self._routes.values()):
            if (
                known.uid not in uids
                and known.version <= version
                and _is_within(known.key, dialect, namespace)
            ):
                self.remove(known.key, known.uid, version)
            yield

    def forget(self, dialect: str, namespace: str | None = None) -> None:
        """Drop what is known of one dialect (in one namespace): its API is gone.

        Nothing is fenced: if the API only seemed to be gone, its next list brings all back.
        """
        for known in tuple(self._routes.values()):
            if _is_within(known.key, dialect, namespace):
                self._drop(known)

    def _put(self, known: Route | None, route: Route) -> None:
        if known is not None and known.id != route.id:
            self._by_id.drop(known.id, known.key)
        if known is not None and known.address != route.address:
            self._leave(known)
        self._note_claim(known, route)
        self._routes[route.key] = route
        self._by_id.put(route.id, route)
        self._by_name.put((route.key.namespace, route.key.name), route)
        if route.address is not None and not self._addresses_shared:
            self._by_address.put(route.address, route)
        self._tell(known, route)

    def _remove(self, known: Route, version: int) -> None:
        self._fence(known.uid, version)
        self._drop(known)

    def _drop(self, known: Route) -> None:
        del self._routes[known.key]
        self._forget_claim(known.key)
        self._by_id.drop(known.id, known.key)
        self._by_name.drop((known.key.namespace, known.key.name), known.key)
        self._leave(known)
        self._tell(known, None)

    def _note_claim(self, known: Route | None, route: Route) -> None:
        if known is None or not _stays(known, route):
            self._forget_claim(route.key)
            if known is not None and route.address is not None:
                self._came.add(route.key)
        else:
            self._claims.setdefault(route.key, known.version)

    def _forget_claim(self, key: Key) -> None:
        self._claims.pop(key, None)
        self._came.discard(key)

    def _claimed_at(self, route: Route) -> int:
        """Return the version from which on, at the latest, a sandbox is where it is."""
        return self._claims.get(route.key, route.version)

    def _leave(self, known: Route) -> None:
        if known.address is not None:
            self._by_address.drop(known.address, known.key)

    def _fence(self, uid: str, version: int) -> None:
        self._fences[uid] = max(version, self._fences.get(uid, -1))
        self._fences.move_to_end(uid)
        if len(self._fences) > FENCES:
            self._fences.popitem(last=False)

    def _tell(self, before: Route | None, after: Route | None) -> None:
        for listener in self._listeners:
            listener(before, after)


def _stays(known: Route, route: Route) -> bool:
    """Return whether a sandbox still has the address of the life that is known."""
    return (
        route.address is not None
        and route.address == known.address
        and route.incarnation == known.incarnation
    )


def _is_within(key: Key, dialect: str, namespace: str | None) -> bool:
    return key.dialect == dialect and namespace in (None, key.namespace)
