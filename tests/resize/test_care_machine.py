"""Whatever happens to sandboxes, pods, nodes and the lead: the right ones have agents."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.resize.state import Phase
from gateway.sandbox.model import Key, Route, State
from tests.resize.doubles import SCALING
from tests.resize.test_controller import Rig, running
from tests.wake.virtual import in_virtual_time

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.cluster.pod_facts import PodFacts
    from gateway.resize.agent import Agent

    Event = tuple[str, dict[str, Any]]

NAMES = ("a", "b")
UIDS = ("pod-1", "pod-2", "pod-3")
ADDRESSES = ("10.0.0.1", "10.0.0.2")
#: Seconds between two events: none, less than a conversation needs to begin, and enough.
WAITS = (0.0, 0.005, 1.0)

names, uids = st.sampled_from(NAMES), st.sampled_from(UIDS)
addresses = st.sampled_from(ADDRESSES)
STATES = st.sampled_from([State.RUNNING] * 4 + list(State))
SLOTS = st.sampled_from([2**30] * 3 + [2**29])


def event(kind: str, /, **said: st.SearchStrategy[Any]) -> st.SearchStrategy[Event]:
    return st.tuples(st.just(kind), st.fixed_dictionaries(said))


EVENTS = st.one_of(
    event("pod", uid=uids, address=addresses, owner=names | st.none()),
    event("delete_pod", uid=uids),
    event("terminate", uid=uids),
    event("end", uid=uids),
    event(
        "sandbox",
        name=names,
        state=STATES,
        address=addresses,
        pod=uids | st.none(),
        scaled=st.sampled_from([True, True, True, False]),
        slot=SLOTS,
    ),
    event("delete_sandbox", name=names),
    event("drain", drains=st.booleans()),
    event("lead", acting=st.booleans()),
    event("restart", address=addresses),
)
#: Two sandboxes that run, the one in a pod that it owns, the other in one that its status names.
BEGINNING: list[Event] = [
    ("pod", {"uid": "pod-1", "address": ADDRESSES[0], "owner": "a"}),
    ("pod", {"uid": "pod-2", "address": ADDRESSES[1], "owner": None}),
]
for _name, _address, _pod in (("a", ADDRESSES[0], None), ("b", ADDRESSES[1], "pod-2")):
    _said = {"state": State.RUNNING, "scaled": True, "slot": 2**30, "pod": _pod}
    BEGINNING.append(("sandbox", _said | {"name": _name, "address": _address}))


def pod(rig: Rig, uid: str, address: str, owner: str | None) -> None:
    if rig.world.machines.pod(uid) is None:
        owner = "uid-of-nobody" if owner is None else f"uid-{owner}"
        rig.world.pod(uid, uid=uid, address=address, owner=owner)


def delete_pod(rig: Rig, uid: str) -> None:
    if rig.world.machines.pod(uid) is not None:
        rig.world.delete_pod(uid)


def terminate(rig: Rig, uid: str) -> None:
    if rig.world.machines.pod(uid) is not None:
        rig.world.change_pod(uid, metadata={"deletionTimestamp": "2026-11-22T10:20:30Z"})


def end(rig: Rig, uid: str) -> None:
    if rig.world.machines.pod(uid) is not None:
        rig.world.change_pod(uid, status={"phase": "Failed"})


def sandbox(
    rig: Rig, name: str, state: State, address: str, pod: str | None, scaled: bool, slot: int
) -> None:
    rig.world.sandbox(
        name,
        state=state,
        address=address if state is State.RUNNING else None,
        incarnation=f"uid-{name}/{pod}",
        scaling=type(SCALING)(SCALING.low, SCALING.high, slot=slot) if scaled else None,
    )


def delete_sandbox(rig: Rig, name: str) -> None:
    rig.world.delete_sandbox(name)


def drain(rig: Rig, drains: bool) -> None:
    rig.world.node(unschedulable=drains)


def lead(rig: Rig, acting: bool) -> None:
    if acting is not rig.lead.acting:
        rig.lead.pass_on(acting)


def restart(rig: Rig, address: str) -> None:
    guest = rig.world.guests.get(address)
    for link in [] if guest is None else guest.links:
        if not link.is_over:
            link.forget()


HAPPEN: dict[str, Callable[..., None]] = {
    "pod": pod,
    "delete_pod": delete_pod,
    "terminate": terminate,
    "end": end,
    "sandbox": sandbox,
    "delete_sandbox": delete_sandbox,
    "drain": drain,
    "lead": lead,
    "restart": restart,
}


def at_home(rig: Rig, route: Route) -> str | None:
    """Return the uid of the pod that certainly is a sandbox's, by all that is known."""
    pods = [found for uid in UIDS if (found := rig.world.machines.pod(uid)) is not None]
    here = [one for one in pods if route.address in one.addresses and not one.terminating]
    for one in here:
        if route.incarnation == f"{route.uid}/{one.uid}":
            return one.uid
    return here[0].uid if len(here) == 1 and route.uid in here[0].owners else None


def is_elsewhere(rig: Rig, route: Route, pod: PodFacts) -> bool:
    home = at_home(rig, route)
    return home is not None and home != pod.uid


def agent_of(rig: Rig, route: Route) -> Agent | None:
    assert rig.controller._care is not None
    return rig.controller._care.agent_of(route)


def check(rig: Rig) -> None:
    agents = rig.controller._agents
    assert rig.world.permits.held == len(agents)
    assert rig.world.permits.frozen == sum(one.state.phase is Phase.CHANGING for one in agents)
    cared = [one.pod.uid for one in agents]
    assert len(set(cared)) == len(cared)
    for one in agents:
        known = rig.world.machines.pod(one.pod.uid)
        assert known is one.pod
        assert not known.ended
    for address, guest in rig.world.guests.items():
        awake = [
            one
            for one in agents
            if one.state.phase in (Phase.AWAKE, Phase.DROWSY) and one.pod.addresses == (address,)
        ]
        assert len(guest.links) <= len(awake)
    if not rig.lead.acting:
        assert agents == []
        return
    for name in NAMES:
        route = rig.world.registry.get(Key("native", "team-a", name))
        agent = None if route is None else agent_of(rig, route)
        if route is None or route.scaling is None or route.state is State.DEAD:
            assert agent is None
        elif route.state is State.RUNNING and (home := at_home(rig, route)) is not None:
            assert home in cared
            assert agent is None or agent.pod.uid == home
            drains = rig.world.machines._nodes.by_name["node-1"].draining
            phase = Phase.CHANGING if drains else Phase.AWAKE
            assert agent is None or agent.state.phase is phase
        elif agent is not None:
            assert not is_elsewhere(rig, route, agent.pod)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(EVENTS, st.sampled_from(WAITS)), max_size=20))
@in_virtual_time
async def test_the_right_sandboxes_have_agents(happened: list[tuple[Event, float]]) -> None:
    async with running() as rig:
        for (name, said), wait in [*((one, 0.0) for one in BEGINNING), *happened]:
            HAPPEN[name](rig, **said)
            await asyncio.sleep(wait)
            if wait == max(WAITS):
                check(rig)
        await asyncio.sleep(10.0)
        check(rig)
