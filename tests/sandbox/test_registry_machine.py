"""The registry against a simple model: news in any order, twice, late, of changing uids and ids.

The model keeps every rule as a scan over a flat table of routes, so that an index that drifts
from it is found at once. Each invariant is checked after each step.
"""

from __future__ import annotations

from collections import defaultdict, deque

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from msgspec.structs import replace

from gateway.sandbox.errors import AmbiguousTarget, SandboxNotFound
from gateway.sandbox.model import Backing, Key, Route, State
from gateway.sandbox.registry import Registry

from .routes import make_route

DIALECTS = ("kruise", "native")
NAMESPACES = ("a", "b")
NAMES = ("x", "y")
IDS = ("id-1", "id-2", "id-3")

keys = st.builds(
    Key, st.sampled_from(DIALECTS), st.sampled_from(NAMESPACES), st.sampled_from(NAMES)
)
ADDRESSES = ("10.0.0.1", "10.0.0.2")
#: A uid belongs to one key for good: which one is in its text.
generations = st.integers(0, 2)
versions = st.integers(1, 12)
states = st.sampled_from([State.RUNNING, State.PAUSED, State.DEAD])


#: A dialect, and one of its namespaces or None for all of them.
Scope = tuple[str, str | None]
scopes = st.tuples(st.sampled_from(DIALECTS), st.sampled_from((None, *NAMESPACES)))


def within(scope: Scope, key: Key) -> bool:
    return key.dialect == scope[0] and scope[1] in (None, key.namespace)


def uid_of(key: Key, generation: int) -> str:
    return f"{key.dialect}/{key}/{generation}"


routes = st.builds(
    lambda key, generation, version, sandbox_id, state, address: make_route(
        key=key,
        uid=uid_of(key, generation),
        version=version,
        id=sandbox_id,
        state=state,
        address=address,
    ),
    keys,
    generations,
    versions,
    st.sampled_from(IDS),
    states,
    st.sampled_from((None, *ADDRESSES)),
)


class Model:
    """What must be known, by rules over a flat table."""

    def __init__(self) -> None:
        self.table: dict[Key, Route] = {}
        self.gone: dict[str, int] = {}
        self.claims: dict[Key, int] = {}
        self.came: set[Key] = set()

    def put(self, route: Route) -> None:
        known = self.table.get(route.key)
        if known is not None and known.uid != route.uid:
            known = None
        where = (route.address, route.incarnation)
        if known is None or route.address is None or (known.address, known.incarnation) != where:
            self.claims[route.key] = route.version
            self.came.discard(route.key)
            if known is not None and route.address is not None:
                self.came.add(route.key)
        self.table[route.key] = route

    def rivals(self, route: Route) -> list[Route]:
        """Return those that may have come after a route to its address."""
        others = [
            one
            for one in self.table.values()
            if one.key != route.key and one.address == route.address is not None
        ]
        earlier = [one for one in others if self.claims[one.key] < self.claims[route.key]]
        told = route.backing is None and all(one.backing is None for one in others)
        return [] if route.key in self.came and told and len(earlier) == len(others) else others

    def apply(self, route: Route) -> bool:
        if route.version <= self.gone.get(route.uid, -1):
            return False
        known = self.table.get(route.key)
        if known is not None and known.uid != route.uid:
            loser = known.uid if known.version <= route.version else route.uid
            self._fence(loser, max(known.version, route.version))
            if loser == route.uid:
                return False
        elif known is not None and known.version >= route.version:
            return False
        self.put(route)
        return True

    def remove(self, key: Key, uid: str, version: int) -> bool:
        known = self.table.get(key)
        self._fence(uid, version)
        if known is None or known.uid != uid or known.version > version:
            return False
        del self.table[key]
        return True

    def replace(self, scope: Scope, listed: list[Route], version: int) -> None:
        for route in listed:
            self.apply(route)
        uids = {route.uid for route in listed}
        for key, route in list(self.table.items()):
            if within(scope, key) and route.uid not in uids and route.version <= version:
                self.remove(key, route.uid, version)

    def forget(self, scope: Scope) -> None:
        self.table = {key: route for key, route in self.table.items() if not within(scope, key)}

    def _fence(self, uid: str, version: int) -> None:
        self.gone[uid] = max(version, self.gone.get(uid, -1))


class RegistryMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.registry = Registry()
        self.model = Model()
        self.mirror: dict[Key, Route] = {}
        self.sent: list[Route] = []
        self.amending = False
        self.registry.subscribe(self.hear)

    def hear(self, before: Route | None, after: Route | None) -> None:
        """Follow the changes; each one must begin where the last of its key ended."""
        assert before is not None or after is not None
        key = (before or after).key  # type: ignore[union-attr]
        assert self.mirror.get(key) is before
        if after is None:
            del self.mirror[key]
            return
        assert after.key == key
        assert before is None or before.uid == after.uid
        assert before is None or before.version < after.version or self.amending
        self.mirror[key] = after

    @rule(route=routes)
    def news(self, route: Route) -> None:
        self.sent.append(route)
        assert self.registry.apply(route) is self.model.apply(route)

    @rule(position=st.integers(0, 1000))
    def news_again(self, position: int) -> None:
        if self.sent:
            route = self.sent[position % len(self.sent)]
            assert self.registry.apply(route) is self.model.apply(route)

    @rule(
        position=st.integers(0, 1000),
        address=st.sampled_from((None, *ADDRESSES)),
        backing=st.sampled_from((None, Backing("web", named=False, available=True, life="1"))),
    )
    def amendment(self, position: int, address: str | None, backing: Backing | None) -> None:
        if not self.sent:
            return
        route = self.sent[position % len(self.sent)]
        amended = replace(route, address=address, backing=backing)
        known = self.model.table.get(route.key) is route
        self.amending = True
        assert self.registry.amend(route, amended) is known
        self.amending = False
        if known:
            self.model.put(amended)
            self.sent.append(amended)

    @rule(key=keys, generation=generations, version=versions)
    def deletion(self, key: Key, generation: int, version: int) -> None:
        uid = uid_of(key, generation)
        removed = self.registry.remove(key, uid, version)
        assert removed is self.model.remove(key, uid, version)

    @rule(scope=scopes, listed=st.lists(routes, max_size=5), version=versions)
    def complete_list(self, scope: Scope, listed: list[Route], version: int) -> None:
        by_key = {route.key: route for route in listed if within(scope, route.key)}
        in_list = [route for route in by_key.values() if route.version <= version]
        for route in in_list:
            self.registry.apply(route)
        uids = {route.uid for route in in_list}
        deque(self.registry.retain(scope[0], uids, version, scope[1]), maxlen=0)
        self.model.replace(scope, in_list, version)

    @rule(scope=scopes)
    def api_gone(self, scope: Scope) -> None:
        self.registry.forget(*scope)
        self.model.forget(scope)

    @invariant()
    def knows_what_the_model_knows(self) -> None:
        assert {route.key: route for route in self.registry} == self.model.table
        assert len(self.registry) == len(self.model.table)
        for key in self.model.table:
            assert self.registry.get(key) is self.model.table[key]

    @invariant()
    def listeners_saw_every_change(self) -> None:
        assert self.mirror == self.model.table

    @invariant()
    def who_may_have_come_later_to_an_address_is_a_rival(self) -> None:
        for route in self.model.table.values():
            rivals = self.model.rivals(route)
            found = self.registry.rival(route)
            assert found in rivals if rivals else found is None

    @invariant()
    def ids_and_names_agree_with_an_index_from_scratch(self) -> None:
        by_id: dict[str, list[Route]] = defaultdict(list)
        by_name: dict[tuple[str, str], list[Route]] = defaultdict(list)
        for route in self.model.table.values():
            by_id[route.id].append(route)
            by_name[route.key.namespace, route.key.name].append(route)
        for sandbox_id in IDS:
            self.check(by_id[sandbox_id], found_by_id(self.registry, sandbox_id))
        for name in [(namespace, name) for namespace in NAMESPACES for name in NAMES]:
            self.check(by_name[name], found_by_name(self.registry, name))
        groups = [*by_id.values(), *by_name.values()]
        live = [[route.key for route in group if is_live(route)] for group in groups]
        assert self.registry.ambiguous() == {tuple(sorted(ks)) for ks in live if len(ks) > 1}

    def check(self, candidates: list[Route], found: Route | type[Exception]) -> None:
        """Compare what a name finds with all routes that answer to it."""
        live = [route for route in candidates if is_live(route)]
        if len(live) > 1:
            assert found is AmbiguousTarget
        elif live:
            assert found is live[0]
        elif candidates:
            assert found in candidates
        else:
            assert found is SandboxNotFound


def is_live(route: Route) -> bool:
    return route.state is not State.DEAD


def found_by_id(registry: Registry, sandbox_id: str) -> Route | type[Exception]:
    try:
        return registry.by_id(sandbox_id)
    except (AmbiguousTarget, SandboxNotFound) as error:
        return type(error)


def found_by_name(registry: Registry, name: tuple[str, str]) -> Route | type[Exception]:
    try:
        return registry.by_name(*name)
    except (AmbiguousTarget, SandboxNotFound) as error:
        return type(error)


TestRegistry = RegistryMachine.TestCase
TestRegistry.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
