"""A gateway, running sandboxes under load and sleepers, over an API whose faults are switched."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import httpx

from e2e.clusters import access_of, fresh_name
from e2e.gateways import Gateway, start_serve
from e2e.waiting import DEADLINE, soon

from .api_proxy import FaultyApi
from .platform import Platform
from .traffic import Mix, Target, Traffic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from e2e.programs import Programs
    from e2e.real_api import RealApi

    from .ledger import Ledger

    Stage = Callable[..., AbstractAsyncContextManager["Scene"]]

T = TypeVar("T")

RUNNING: Final = 4
#: What the running sandboxes have to answer in one test, at the least.
PROBES: Final = 200
_MIX: Final = Mix(gets=3, echoes=2, streams=1, sockets=1)
#: Patience in seconds that fits tests; `_BUSY` are the gauges that count what is under way.
_SETTINGS: Final = {
    "dialects": "native",
    "access_log": "false",
    "kube_request_timeout": "3s",
    "wake_breaker_max": "2s",
}
_BUSY: Final = ("requests_in_flight", "wake_waiting_requests", "wake_episodes_active")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request that should wake its sandbox was told."""

    status: int
    reason: str = ""
    detail: str = ""
    retry_after: str | None = None


@dataclass(slots=True)
class Scene:
    """What a test of the control plane works with. `answers` are those to all who woke."""

    proxy: FaultyApi
    platform: Platform
    gateway: Gateway
    ledger: Ledger
    answers: list[Answer] = field(default_factory=list)
    _generations: dict[str, int] = field(default_factory=dict)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    async def sleepers(self, *names: str, timeout: str = "60s") -> None:
        """Create sandboxes that sleep; their wakes may take so long."""
        rule = {"enabled": True, "timeout": timeout}
        await self.platform.create(*names, paused=True)
        for name in names:
            changed = await self.platform.api.patch(name, wakeOnTraffic=rule)
            self._generations[name] = changed["metadata"]["generation"]
        for name in names:
            await soon(lambda: self._wake_time(name) == timeout, f"{name} is known")  # noqa: B023

    def told(self, name: str) -> dict[str, Any]:
        """Return what the gateway explains of a sandbox."""
        told = self.gateway.told(self.platform.namespace, name)
        assert told is not None
        return told

    def watch(self) -> dict[str, Any]:
        """Return what `explain` says of the watch."""
        found: dict[str, Any] = self.told("running-0")["watch"]
        return found

    @property
    def watch_name(self) -> str:
        return f"native/{self.platform.namespace}"

    def health(self) -> float:
        return self.gateway.metric("watch_healthy", watch=self.watch_name)

    def silence(self) -> float:
        return self.gateway.metric("watch_silence_seconds", watch=self.watch_name)

    def state(self, name: str) -> str | None:
        return self.gateway.state_of(self.platform.namespace, name)

    def writes(self, outcome: str) -> float:
        """Return how many wakes met this outcome at the API."""
        return self.gateway.metric("cluster_writes_total", verb="wake", outcome=outcome)

    def restarts(self, reason: str) -> float:
        return self.gateway.metric("watch_restarts", reason=reason)

    def all_restarts(self) -> float:
        return sum(count for _, count in self.gateway.metrics("watch_restarts"))

    async def off_the_loop(self, deed: Callable[..., T], *arguments: Any) -> T:
        """Do what blocks; the load goes on meanwhile."""
        return await asyncio.to_thread(deed, *arguments)

    async def ask(self, name: str) -> Answer:
        """Send one request, once."""
        target = self.platform.target(name)
        headers = {
            "e2b-sandbox-id": f"{target.namespace}--{name}",
            "e2b-sandbox-port": str(target.port),
            "x-for": target.sandbox,
            "x-number": f"wake-{next(self._numbers)}",
        }
        transport = httpx.AsyncHTTPTransport(retries=0)
        async with httpx.AsyncClient(transport=transport, timeout=3 * DEADLINE) as client:
            response = await client.get(self.gateway.data, headers=headers)
        answer = _answer(response, target)
        self.answers.append(answer)
        return answer

    async def asked(self, *names: str) -> list[Answer]:
        """Ask all of them at once."""
        return await asyncio.gather(*(self.ask(name) for name in names))

    async def recovers(self, *names: str) -> None:
        """Ask each until it answers: nothing but time is needed for it."""

        async def answers(name: str) -> bool:
            return (await self.ask(name)).status == 200

        await asyncio.gather(
            *(soon(partial(answers, name), f"{name} wakes", 3 * DEADLINE) for name in names)
        )

    async def waited_for(self, *names: str, trouble: str | None = None) -> None:
        """Return once requests wait for each of them, held up by this."""
        for name in names:
            await soon(lambda: self._waking(name)["waiters"], f"{name} is waited for")  # noqa: B023
            if trouble is not None:
                await soon(
                    lambda: self._waking(name)["trouble"] == trouble,  # noqa: B023
                    f"{name} is held up by {trouble}",
                )

    def _waking(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.told(name)["waking"]
        return found

    def _wake_time(self, name: str) -> str:
        told = self.gateway.told(self.platform.namespace, name)
        lines = [line for one in told["sections"] for line in one["lines"]] if told else []
        found = [line.split()[4] for line in lines if line.startswith("one wake may take")]
        return f"{found[0]}s" if found else ""

    async def settles(self) -> None:
        """Check that all is as if nothing had been: no restart, no rest, no second write."""
        gateway = self.gateway
        await soon(lambda: self.health() == 1.0, "the watch is open", 3 * DEADLINE)
        await soon(lambda: gateway.readiness()[0] == 200, "the gateway is ready")
        for name in self._generations:
            await soon(lambda: self.state(name) == "running", name)  # noqa: B023
        assert self.ledger.failed() == []
        assert self.ledger.right >= PROBES
        for name, before in self._generations.items():
            written = (await self.platform.api.get(name))["metadata"]["generation"] - before
            assert written == 1, f"{name} was written {written} times"
        for gauge in _BUSY:
            await soon(lambda: gateway.metric(gauge) == 0, f"{gauge} is 0")  # noqa: B023
        assert self.platform.deliveries.astray == []
        assert self.platform.deliveries.repeated == []
        assert gateway.program.exit_status is None
        assert "Traceback" not in gateway.program.errors

    def summary(self, fault: str) -> dict[str, Any]:
        """Return a line of the table of faults."""
        woken = [one.reason or str(one.status) for one in self.answers]
        return {
            "fault": fault,
            "done": {deed.value: count for deed, count in self.proxy.done.items()},
            "running": self.ledger.summary(),
            "waking": {one: woken.count(one) for one in dict.fromkeys(woken)},
        }


def refused(answer: Answer, reason: str, detail: str) -> bool:
    """Tell whether it is a 503 for this reason that says when to come again."""
    assert (answer.status, answer.reason, answer.detail) == (503, reason, detail)
    return answer.retry_after is not None


def _answer(response: httpx.Response, target: Target) -> Answer:
    if response.status_code == 200:
        assert response.json()["sandbox"] == target.sandbox
        return Answer(200)
    told = response.json()
    return Answer(
        response.status_code, told["reason"], told["detail"], response.headers.get("Retry-After")
    )


@asynccontextmanager
async def staged(
    api: RealApi,
    programs: Programs,
    home: Path,
    *,
    token: str | Path | None = None,
    under: Sequence[str] = (),
    **settings: str,
) -> AsyncIterator[Scene]:
    """Run a gateway with running sandboxes under load for the body; then all has to settle.

    Its token is the administrator's unless it gets another one, or a file of one. `under` is what
    runs it.
    """
    namespace = fresh_name("control")
    api.kubectl("create", "namespace", namespace)
    token = token or access_of(api.kubeconfig)[1]
    with FaultyApi.over(api.kubeconfig, home, seed=1) as proxy:
        async with Platform.over(api.kubeconfig, namespace) as platform:
            targets = itertools.cycle(
                await platform.create(*(f"running-{number}" for number in range(RUNNING)))
            )
            gateway = await asyncio.to_thread(
                start_serve,
                programs,
                home,
                proxy.kubeconfig(token),
                under=under,
                **(_SETTINGS | {"namespaces": namespace} | settings),
            )
            await soon(lambda: gateway.readiness()[0] == 200, "the gateway is ready")
            traffic = Traffic(lambda: gateway, lambda: next(targets), _MIX)
            scene = Scene(proxy, platform, gateway, traffic.ledger)
            async with traffic.flowing():
                yield scene
                await soon(lambda: traffic.ledger.right >= PROBES, "enough was asked")
            await scene.settles()
            assert await asyncio.to_thread(gateway.program.end) == 0
