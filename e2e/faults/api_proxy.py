"""The Kubernetes API as gateways see it on a bad day: a proxy with faults that can be switched.

It runs in a thread of its own: a test that waits for something does not hold it up.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import ssl
import threading
from collections import Counter
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, TypeVar

import aiohttp
import orjson
import yaml
from aiohttp import web
from yarl import URL

from e2e.sessions import abort, session

from . import api_requests as requests
from .api_answers import not_found, status, status_body
from .api_connections import bound, none, reset
from .api_requests import BY

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from pathlib import Path

T = TypeVar("T")

#: How long what is under way may take at the end, in seconds.
_LAST_CALLS: Final = 2.0


class Deed(Enum):
    """What was done to a request, for counting; `PATCHED` are those patches that went through."""

    PASSED = "passed"
    PATCHED = "patched"
    SPEC_PATCHED = "spec patched"
    """Those of them that told a sandbox what to be."""
    WATCHED = "watched"
    REFUSED = "refused"
    CONFLICT = "conflict"
    LOST = "lost"
    MISSING = "missing"
    EXPIRED = "expired"
    UNREACHED = "unreached"
    """The real API gave no answer, so that there was none."""
    RESET = "reset"
    """Connections that were broken, by `down` and `cut`."""


@dataclass(frozen=True, slots=True)
class Resize:
    """A resize that went through: by whom, and of which pod, as it says itself."""

    who: str
    uid: str


class FaultyApi:
    """The real API behind faults; each attribute may be changed at any time. Use `over`.

    `delay`: seconds that each answer takes; how many of them pass before the request has its
    effect is drawn. `lag`: seconds that pass before that in any case. `refuse`: share of the
    requests, but for watches, that are answered with a status. `conflicts`: share of the patches
    that are answered 409 and not passed on. `lost_answers`: share of the patches that are passed on
    and whose answer nobody gets. `aim`: of these faults only those paths know that end so.
    `missing`: sandboxes answer 404, as where their API is not installed; open watches stay open.
    """

    def __init__(self, kubeconfig: Path, home: Path, seed: int) -> None:
        self.aim = ""
        self.delay = self.lag = 0.0
        self.refuse: dict[int, float] = {}
        self.conflicts = 0.0
        self.lost_answers = 0.0
        self.missing = False
        self.done: Counter[Deed] = Counter()
        #: By the resourceVersion that a pod has from it.
        self.resizes: dict[int, Resize] = {}
        #: How many of those are under way.
        self.resizing = 0
        self._real = yaml.safe_load(kubeconfig.read_text())["clusters"][0]["cluster"]
        self._home = home
        self._files = itertools.count()
        self._random = random.Random(seed)
        # One for each fault: how often it strikes does not hang on what else is asked meanwhile.
        self._chances = {deed: random.Random(f"{seed} {deed.value}") for deed in Deed}
        self._loop = asyncio.new_event_loop()
        # Holds the port while nobody listens on it: a bound socket refuses, and none other gets it.
        self._port_holder = bound(0)
        self.port: int = self._port_holder.getsockname()[1]
        self._listener: asyncio.Server | None = None
        self._flows = asyncio.Event()
        self._flows.set()
        self._expired = asyncio.Event()
        self._watches: set[asyncio.BaseTransport | None] = set()
        self._calls: set[asyncio.Task[Any]] = set()
        self._ends = AsyncExitStack()

    @classmethod
    @contextmanager
    def over(cls, kubeconfig: Path, home: Path, seed: int = 0) -> Iterator[FaultyApi]:
        """Serve what `kubeconfig` names; files are written to `home`, chance comes from `seed`."""
        proxy = cls(kubeconfig, home, seed)
        thread = threading.Thread(target=proxy._loop.run_forever, name="faulty-api")
        thread.start()
        try:
            proxy._run(proxy._open())
            yield proxy
        finally:
            proxy._run(proxy._close())
            proxy._loop.call_soon_threadsafe(proxy._loop.stop)
            thread.join()
            proxy._loop.close()
            proxy._port_holder.close()

    def kubeconfig(self, token: str | Path, who: str = "anyone") -> Path:
        """Return a new kubeconfig of this proxy; a path is of a file that holds the token.

        `who` is going to use it.
        """
        user = {"token": token} if isinstance(token, str) else {"tokenFile": str(token)}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "faulty",
                    "cluster": {"server": f"http://127.0.0.1:{self.port}{BY}{who}"},
                }
            ],
            "users": [{"name": "faulty", "user": user}],
            "contexts": [{"name": "faulty", "context": {"cluster": "faulty", "user": "faulty"}}],
            "current-context": "faulty",
        }
        path = self._home / f"kubeconfig-faulty-{next(self._files)}"
        path.write_text(yaml.safe_dump(document))
        return path

    # ---- faults that need a deed ----------------------------------------------------------------

    @property
    def down(self) -> bool:
        """Whether nobody listens; what is connected at that moment is reset."""
        return self._listener is None

    @down.setter
    def down(self, value: bool) -> None:
        self._run(self._go_down() if value else self._come_up())

    @property
    def stalled(self) -> bool:
        """Whether watches, open and new ones, say nothing; what they hold back comes later."""
        return not self._flows.is_set()

    @stalled.setter
    def stalled(self, value: bool) -> None:
        self._run(_called(self._flows.clear if value else self._flows.set))

    @property
    def expired(self) -> bool:
        """Whether watches, open and new ones, are told that their version is too old."""
        return self._expired.is_set()

    @expired.setter
    def expired(self, value: bool) -> None:
        self._run(_called(self._expired.set if value else self._expired.clear))

    def cut(self) -> None:
        """Break all watches now."""
        self._run(self._cut())

    # ---- in the thread --------------------------------------------------------------------------

    def _run(self, deed: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(deed, self._loop).result()

    async def _open(self) -> None:
        self._server = web.Server(self._answer, handler_cancellation=True, access_log=None)
        trust = ssl.create_default_context(cafile=self._real["certificate-authority"])
        self._session = await self._ends.enter_async_context(session(trust, auto_decompress=False))
        await self._come_up()

    async def _close(self) -> None:
        await self._go_down()
        await self._server.shutdown(0)
        if self._calls:
            await asyncio.wait(self._calls, timeout=_LAST_CALLS)
        for call in self._calls:
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)
        await self._ends.aclose()

    async def _come_up(self) -> None:
        if self._listener is None:
            listening = bound(self.port)
            self._listener = await self._loop.create_server(self._server, sock=listening)

    async def _go_down(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for connection in list(self._server.connections):
            self._reset(connection.transport)

    async def _cut(self) -> None:
        for transport in list(self._watches):
            self._reset(transport)

    def _reset(self, transport: asyncio.BaseTransport | None) -> None:
        if isinstance(transport, asyncio.Transport) and not transport.is_closing():
            reset(transport)
            self.done[Deed.RESET] += 1

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if self.down:  # it was accepted just before
            return none(request)
        if request.query.get("watch") in ("1", "true"):
            return await self._watch(request)
        # Whoever asked may leave: what was begun goes on, as in a real server.
        return await asyncio.shield(self._begun(self._call(request, await request.read())))

    def _begun(self, call: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(call)
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
        return task

    async def _call(self, request: web.BaseRequest, body: bytes) -> web.StreamResponse:
        delay, lag = (self.delay, self.lag) if self._is_aimed_at(request) else (0.0, 0.0)
        early = delay * self._random.random()
        self.resizing += requests.is_resize(request)
        try:
            await asyncio.sleep(lag + early)
            answer = self._own_answer(request) or await self._passed_on(request, body)
        finally:
            self.resizing -= requests.is_resize(request)
        await asyncio.sleep(delay - early)
        if answer is None:
            return none(request)
        return answer

    def _is_aimed_at(self, request: web.BaseRequest) -> bool:
        return request.path.endswith(self.aim)

    def _own_answer(self, request: web.BaseRequest) -> web.Response | None:
        """Return the answer that a fault gives in the API's place."""
        if self.missing and requests.is_of_sandboxes(request):
            self.done[Deed.MISSING] += 1
            return not_found()
        if not self._is_aimed_at(request):
            return None
        refusals = self.refuse
        draw = self._chances[Deed.REFUSED].random() if refusals else 1.0
        for code, share in refusals.items():
            if draw < share:
                self.done[Deed.REFUSED] += 1
                return status(code)
            draw -= share
        if request.method == "PATCH" and self._strikes(Deed.CONFLICT, self.conflicts):
            return status(409)
        return None

    def _strikes(self, deed: Deed, share: float) -> bool:
        """Draw whether a fault is on a request, and count it if so."""
        struck = share > 0.0 and self._chances[deed].random() < share
        self.done[deed] += struck
        return struck

    async def _passed_on(self, request: web.BaseRequest, body: bytes) -> web.Response | None:
        """Return the API's answer, or None where nobody is to get one."""
        try:
            async with self._asked(request, body) as answer:
                content = await answer.read()
        except aiohttp.ClientError:
            self.done[Deed.UNREACHED] += 1
            return None
        self.done[Deed.PASSED] += 1
        if request.method == "PATCH":
            self.done[Deed.PATCHED] += answer.ok
            self.done[Deed.SPEC_PATCHED] += answer.ok and requests.tells_a_sandbox(request, body)
            if answer.ok and requests.is_resize(request):
                self._note_resize(request, body, content)
            if self._is_aimed_at(request) and self._strikes(Deed.LOST, self.lost_answers):
                return None
        return web.Response(
            status=answer.status, headers=requests.kept(answer.headers), body=content
        )

    def _note_resize(self, request: web.BaseRequest, body: bytes, content: bytes) -> None:
        version = int(orjson.loads(content)["metadata"]["resourceVersion"])
        wanted: str = orjson.loads(body)["metadata"]["uid"]
        self.resizes[version] = Resize(requests.who(request), wanted)

    async def _watch(self, request: web.BaseRequest) -> web.StreamResponse:
        self.done[Deed.WATCHED] += 1
        transport = request.transport
        self._watches.add(transport)
        try:
            await asyncio.sleep(self.delay)
            if self.missing and requests.is_of_sandboxes(request):
                self.done[Deed.MISSING] += 1
                return not_found()
            # A real server tells it either way.
            if self.expired and self._strikes(Deed.EXPIRED, 0.5):
                return status(410)
            async with await self._opened(request) as answer:
                try:
                    return await self._relay(request, answer)
                finally:
                    abort(answer)
        except (aiohttp.ClientError, ConnectionError):
            self.done[Deed.UNREACHED] += 1
            return none(request)
        finally:
            self._watches.discard(transport)

    async def _opened(self, request: web.BaseRequest) -> aiohttp.ClientResponse:
        """Begin a watch, to the end even if who asked leaves: asyncio may leak half a TLS."""

        async def ask() -> aiohttp.ClientResponse:
            answer: aiohttp.ClientResponse = await self._asked(request, b"")
            return answer

        opening = self._begun(ask())
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_answer)
            raise

    async def _relay(
        self, request: web.BaseRequest, answer: aiohttp.ClientResponse
    ) -> web.StreamResponse:
        response = web.StreamResponse(status=answer.status, headers=requests.kept(answer.headers))
        await response.prepare(request)
        telling = asyncio.create_task(self._tell(answer, response))
        expiry = asyncio.create_task(self._expired.wait())
        try:
            await asyncio.wait({telling, expiry}, return_when=asyncio.FIRST_COMPLETED)
            if telling.done():
                await telling
            else:
                telling.cancel()
                await asyncio.wait({telling})
                self.done[Deed.EXPIRED] += 1
                await response.write(b'{"type":"ERROR","object":%s}\n' % status_body(410))
        finally:
            telling.cancel()
            expiry.cancel()
            await asyncio.gather(telling, expiry, return_exceptions=True)
        return response

    async def _tell(self, answer: aiohttp.ClientResponse, response: web.StreamResponse) -> None:
        """Pass on whole lines, so that what is told in the API's place stands on one of its own."""
        rest = b""
        async for piece in answer.content.iter_any():
            lines, newline, rest = (rest + piece).rpartition(b"\n")
            await self._flows.wait()
            await response.write(lines + newline)
        await self._flows.wait()
        await response.write(rest)

    def _asked(self, request: web.BaseRequest, body: bytes) -> Any:
        """Return the request to the real API, a context of its answer."""
        return self._session.request(
            request.method,
            URL(self._real["server"] + requests.path(request), encoded=True),
            headers=requests.kept(request.headers),
            data=body or None,
        )


async def _called(deed: Callable[[], None]) -> None:
    deed()


def _close_answer(opening: asyncio.Task[aiohttp.ClientResponse]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        abort(opening.result())
