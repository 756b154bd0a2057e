"""The tour of the main job: real sandboxes, real requests, a line and its milliseconds a step."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from gateway.local.api import SANDBOXES, ApiError
from gateway.local.manifests import ManifestError, apply

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.local.api import JsonObject, ObjectStore

    Echo = Callable[[str], object]

NAMESPACE: Final = "default"
FREEZER: Final = "demo-freezes"
STOPPER: Final = "demo-stops"
SLEEPER: Final = "demo-sleeps-on"

#: Longer than any step takes on a slow machine, in seconds.
PATIENCE: Final = 30.0


class StepFailed(Exception):
    """A step of the tour did not go as promised."""


#: What a tour may fail with: a step, time, the connection, an answer or object of another form.
_FAILURES: Final = (
    StepFailed,
    TimeoutError,
    aiohttp.ClientError,
    ApiError,
    ManifestError,
    ValueError,
    LookupError,
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for one request."""

    status: int
    body: dict[str, Any]
    cold: bool
    milliseconds: float


def sandbox(name: str, port: int, *, pause: str, wake: bool) -> JsonObject:
    """Return a sample sandbox: a small HTTP server on this port."""
    command = [sys.executable, "-m", "gateway.local.sample_server"]
    return {
        "apiVersion": "sandbox-gateway.dev/v1alpha1",
        "kind": "Sandbox",
        "metadata": {"namespace": NAMESPACE, "name": name},
        "spec": {
            "desiredState": "Running",
            "wakeOnTraffic": {"enabled": wake, "timeout": "30s"},
            "process": {
                "command": [*command, "--port", str(port), "--name", name],
                "port": port,
                "pause": pause,
            },
        },
    }


async def tour(store: ObjectStore, gateway: tuple[str, int], echo: Echo) -> bool:
    """Show the main job; return whether every step went as promised."""
    guide = Guide(store, gateway, echo)
    try:
        async with asyncio.timeout(10 * PATIENCE), aiohttp.ClientSession() as client:
            await guide.show(client)
    except _FAILURES as error:
        echo(f"\nThe tour failed: {str(error) or type(error).__name__}")
        return False
    echo("\nEvery step went as promised.")
    return True


class Guide:
    """Does and tells the steps."""

    def __init__(self, store: ObjectStore, gateway: tuple[str, int], echo: Echo) -> None:
        host, port = gateway
        self._store = store
        self._url = f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
        self._echo = echo

    async def show(self, client: aiohttp.ClientSession) -> None:
        """Go through all steps; raise StepFailed at the first that fails."""
        self._echo("\nThree sandboxes start: one is frozen when paused, one is stopped, and one")
        self._echo("may not be woken by traffic.")
        for name, pause, wake in (
            (FREEZER, "freeze", True),
            (STOPPER, "stop", True),
            (SLEEPER, "freeze", False),
        ):
            apply(self._store, sandbox(name, _free_port(), pause=pause, wake=wake))
        for name in (FREEZER, STOPPER, SLEEPER):
            await self._timed(f"{name} runs", self._phase(name, "Running"))
        for name in (FREEZER, STOPPER):
            await self._wake_by_a_request(client, name)
        await self._refuse(client)

    async def _wake_by_a_request(self, client: aiohttp.ClientSession, name: str) -> None:
        self._echo(f"\n{name}")
        await self._pause(name)
        moments = asyncio.create_task(self._moments(name))
        began = time.perf_counter()
        try:
            answer = await self._ask(client, name)
            _expect(answer.status == 200 and answer.cold, f"the request got {answer.status}")
            _expect(answer.body.get("sandbox") == name, "somebody else answered")
            patched, running = await asyncio.wait_for(moments, PATIENCE)
        finally:
            moments.cancel()
        self._step("one request is sent", 0.0)
        self._step("the gateway patches desiredState to Running", (patched - began) * 1000)
        self._step("the sandbox is Running and ready", (running - began) * 1000)
        self._step(f"the sandbox answers that very request: {answer.status}", answer.milliseconds)
        second = await self._ask(client, name)
        _expect(second.status == 200 and not second.cold, "the second request was not warm")
        self._step("a second request finds it awake", second.milliseconds)

    async def _refuse(self, client: aiohttp.ClientSession) -> None:
        self._echo(f"\n{SLEEPER} (wake-on-traffic is off)")
        await self._pause(SLEEPER)
        answer = await self._ask(client, SLEEPER)
        reason = answer.body.get("reason")
        _expect((answer.status, reason) == (502, "sandbox_not_wakeable"), f"got {answer.status}")
        self._step(f"a request is answered {answer.status} {reason}", answer.milliseconds)
        _expect(self._read(SLEEPER)["status"]["phase"] == "Paused", "it was woken")

    async def _pause(self, name: str) -> None:
        def pause(stored: JsonObject) -> None:
            stored["spec"]["desiredState"] = "Paused"

        self._store.patch(SANDBOXES, NAMESPACE, name, pause)
        await self._timed("paused", self._phase(name, "Paused"))

    async def _ask(self, client: aiohttp.ClientSession, name: str) -> Answer:
        began = time.perf_counter()
        headers = {"e2b-sandbox-id": f"{NAMESPACE}--{name}"}
        async with client.get(self._url, headers=headers) as response:
            text = await response.text()
            took = (time.perf_counter() - began) * 1000
            cold = response.headers.get("X-Sandbox-Cold-Start") == "true"
            return Answer(response.status, json.loads(text), cold, took)

    async def _moments(self, name: str) -> tuple[float, float]:
        """Return when the wake was asked for and when it was done, by `time.perf_counter`."""
        patched = await self._seen(name, lambda obj: obj["spec"]["desiredState"] == "Running")
        return patched, await self._phase(name, "Running")

    async def _phase(self, name: str, phase: str) -> float:
        return await self._seen(name, lambda obj: (obj.get("status") or {}).get("phase") == phase)

    async def _seen(self, name: str, wanted: Callable[[JsonObject], bool]) -> float:
        """Return when the sandbox was first seen like this, by `time.perf_counter`."""
        subscription = self._store.subscribe(SANDBOXES)
        try:
            async for event in subscription:
                if event.object["metadata"]["name"] == name and wanted(event.object):
                    return time.perf_counter()
        finally:
            subscription.close()
        raise StepFailed("the API has stopped")

    async def _timed(self, what: str, step: Any) -> None:
        began = time.perf_counter()
        try:
            done = await asyncio.wait_for(step, PATIENCE)
        except TimeoutError as error:
            raise StepFailed(f"this did not happen in {PATIENCE:.0f} s: {what}") from error
        self._step(what, (done - began) * 1000)

    def _read(self, name: str) -> JsonObject:
        return self._store.get(SANDBOXES, NAMESPACE, name)

    def _step(self, what: str, milliseconds: float) -> None:
        self._echo(f"  {milliseconds:8.1f} ms  {what}")


def _expect(held: bool, otherwise: str) -> None:
    if not held:
        raise StepFailed(otherwise)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
