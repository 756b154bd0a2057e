"""Two sandboxes at one address: who is looked up, and what that decides."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from gateway.proxy.claims import LOOK_AGAIN, REMEMBERED, Claims
from gateway.sandbox.errors import (
    ApiUnavailable,
    ClusterError,
    ObjectGone,
    SandboxUnreachable,
    WakeFailed,
)
from gateway.sandbox.model import Key, Route, State
from gateway.sandbox.registry import Registry
from tests.conformance.harness import eventually


def running(name: str, version: int, address: str = "10.0.0.1") -> Route:
    return Route(
        key=Key("native", "team", name),
        uid=f"uid-{name}",
        id=name,
        version=version,
        state=State.RUNNING,
        incarnation=f"{name}/1",
        address=address,
    )


class Api:
    """What a read of the API brings."""

    def __init__(self, registry: Registry, answer: Route | ClusterError) -> None:
        self.registry = registry
        self.answer = answer
        self.reads: list[tuple[Key, str]] = []

    async def read(self, key: Key, uid: str) -> Route:
        self.reads.append((key, uid))
        await asyncio.sleep(0)
        if isinstance(self.answer, ClusterError):
            raise self.answer
        return self.answer


def claims_of(
    *routes: Route, answer: Route | ClusterError, doubt: float = 0.0
) -> tuple[Claims, Api]:
    registry = Registry()
    for route in routes:
        registry.apply(replace(route, version=1, state=State.PAUSED, address=None))
    for route in routes:
        registry.apply(route)
    api = Api(registry, answer)
    return Claims(registry, api.read, doubt), api


OLD, NEW = running("old", 5), running("new", 9)


def test_only_the_older_claim_is_in_doubt() -> None:
    claims, _ = claims_of(OLD, NEW, answer=OLD)
    assert claims.stands(NEW)
    assert not claims.stands(OLD)
    alone, _ = claims_of(OLD, running("new", 9, "10.0.0.2"), answer=OLD)
    assert alone.stands(OLD)


async def test_a_claim_that_the_api_confirms_stands_from_then_on() -> None:
    claims, api = claims_of(OLD, NEW, answer=OLD)
    await claims.settle(OLD)
    assert claims.stands(OLD)
    await claims.settle(OLD)
    assert api.reads == [(OLD.key, OLD.uid)]


async def test_it_is_confirmed_beside_that_rival_alone() -> None:
    claims, api = claims_of(OLD, NEW, answer=OLD)
    await claims.settle(OLD)
    api.registry.apply(running("third", 12))
    assert not claims.stands(OLD)


async def test_news_that_the_sandbox_is_elsewhere_is_in_the_registry_afterwards() -> None:
    moved = replace(OLD, version=8, incarnation="old/2", address="10.0.0.7")
    claims, api = claims_of(OLD, NEW, answer=moved)
    await claims.settle(OLD)
    assert not claims.stands(OLD)
    assert api.registry.get(OLD.key) == moved
    assert claims.stands(moved)


async def test_while_there_is_doubt_the_api_is_asked_again_instead_of_believed() -> None:
    """The controller of the older one may not have told yet that its pod is gone."""
    claims, api = claims_of(OLD, NEW, answer=OLD, doubt=3600.0)
    settling = asyncio.create_task(claims.settle(OLD))
    await eventually(lambda: len(api.reads) == 2, "it is looked up again", 10 * LOOK_AGAIN)
    assert not claims.stands(OLD)
    assert not settling.done()
    api.answer = replace(OLD, version=10, state=State.RESUMING, address=None)
    await settling
    assert api.registry.get(OLD.key) == api.answer
    assert not claims.stands(OLD)


async def test_after_the_doubt_a_claim_that_the_api_still_confirms_stands() -> None:
    claims, api = claims_of(OLD, NEW, answer=OLD, doubt=LOOK_AGAIN / 10)
    await claims.settle(OLD)
    assert claims.stands(OLD)
    assert len(api.reads) == 2


@pytest.mark.parametrize(
    ("error", "answered"),
    [(ObjectGone("x"), WakeFailed), (ApiUnavailable("x"), SandboxUnreachable)],
)
async def test_nothing_is_guessed(error: ClusterError, answered: type[Exception]) -> None:
    claims, _ = claims_of(OLD, NEW, answer=error)
    with pytest.raises(answered):
        await claims.settle(OLD)
    assert not claims.stands(OLD)


async def test_rivals_one_after_the_other_do_not_prolong_the_doubt() -> None:
    """A neighbour that claims the address under ever new names keeps nobody from the world."""
    claims, api = claims_of(OLD, NEW, answer=OLD, doubt=3 * LOOK_AGAIN)
    settling = asyncio.create_task(claims.settle(OLD))
    for version in range(20, 30):
        reads = len(api.reads)
        await eventually(lambda: len(api.reads) > reads or settling.done(), "it is looked up", 5)  # noqa: B023
        if settling.done():
            break
        api.registry.apply(replace(NEW, version=version, incarnation=f"new/{version}"))
    await settling
    assert len(api.reads) < 8
    assert claims.stands(OLD)


async def test_a_crowd_asks_once() -> None:
    claims, api = claims_of(OLD, NEW, answer=OLD)
    await asyncio.gather(*(claims.settle(OLD) for _ in range(50)))
    assert len(api.reads) == 1


async def test_one_who_leaves_the_crowd_leaves_the_others_their_turn() -> None:
    claims, api = claims_of(OLD, NEW, answer=OLD)
    tasks = [asyncio.create_task(claims.settle(OLD)) for _ in range(3)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    tasks[1].cancel()
    await asyncio.wait(tasks)
    assert tasks[2].exception() is None
    assert claims.stands(OLD)
    assert len(api.reads) == 2


async def test_what_is_remembered_is_bounded() -> None:
    claims, api = claims_of(OLD, NEW, answer=OLD)
    await claims.settle(OLD)
    for number in range(REMEMBERED):
        api.answer = running(f"box-{number}", 5)
        await claims.settle(api.answer)
    assert not claims.stands(OLD)
