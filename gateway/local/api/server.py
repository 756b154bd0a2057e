"""The HTTP server of the embedded API: guard, documents, verbs; start and stop."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from aiohttp import web

from gateway.local.api.definitions import EVENTS
from gateway.local.api.documents import Documents
from gateway.local.api.errors import (
    ApiError,
    BadRequestError,
    NotFoundError,
    TooLargeError,
    too_large,
)
from gateway.local.api.guard import check_request, is_loopback_host
from gateway.local.api.routes import parse_resource_path
from gateway.local.api.verbs import Verbs, json_response
from gateway.local.api.watching import WatchTimes

if TYPE_CHECKING:
    from gateway.local.api.store import ObjectStore

_BODY_LIMIT = 3 * 1024 * 1024
_EVENT_SWEEP = 60.0
_STOP_TIMEOUT = 2.0
_WATCH_TIMES = WatchTimes()
_log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class EmbeddedApi:
    """Serves a store on a loopback address; the store stays its owner's to close.

    `token` is what every request must bring. `event_age` is how many seconds an Event
    is kept at least; it is gone a minute later, or after twice its age if that is shorter.
    """

    def __init__(
        self,
        store: ObjectStore,
        token: str,
        *,
        watch_times: WatchTimes = _WATCH_TIMES,
        event_age: float = 3600.0,
    ) -> None:
        if not token:
            raise ValueError("an embedded API needs a token")
        self._store = store
        self._token = token
        self._event_age = event_age
        self._verbs = Verbs(store, watch_times, lambda: datetime.now(UTC))
        self._documents = Documents(store)
        self._runner: web.AppRunner | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._address = ""
        self._port = 0

    @property
    def address(self) -> str:
        """The base URL, once started."""
        return self._address

    @property
    def port(self) -> int:
        """The port listened on, once started."""
        return self._port

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen on `host`, which must be loopback (`ValueError` else); port 0 means any free.

        Raises `OSError` if the address cannot be had.
        """
        if not is_loopback_host(host):
            raise ValueError(f"the embedded API listens on loopback only, not on {host}")
        # What `localhost` resolves to is for a hosts file to say, which need not say loopback.
        literal = "127.0.0.1" if host.lower() == "localhost" else host
        runner = web.AppRunner(
            self._application(),
            access_log=None,
            # Else a watch would go on unseen when its client has left.
            handler_cancellation=True,
            shutdown_timeout=_STOP_TIMEOUT,
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, literal, port).start()
        except BaseException:
            await runner.cleanup()
            raise
        self._runner = runner
        bound = runner.addresses[0]
        shown = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
        self._port = bound[1]
        self._address = f"http://{shown}:{self._port}"
        self._sweeper = asyncio.create_task(self._sweep_events())

    async def stop(self) -> None:
        """End open watches, finish what is being answered, and stop listening."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.wait([self._sweeper])
            self._sweeper = None
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def _application(self) -> web.Application:
        application = web.Application(
            client_max_size=_BODY_LIMIT, middlewares=[self._answer_errors, self._check]
        )
        application.router.add_route("*", "/{path:.*}", self._serve)
        application.on_shutdown.append(self._close_watches)
        return application

    async def _close_watches(self, _: web.Application) -> None:
        self._verbs.close_watches()

    @web.middleware
    async def _answer_errors(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except ApiError as error:
            response = json_response(error.status(), error.code)
            if error.details.retry_after_seconds:
                response.headers["Retry-After"] = str(error.details.retry_after_seconds)
            return response
        except web.RequestPayloadError:
            unreadable = BadRequestError("the body of the request cannot be read")
            return json_response(unreadable.status(), unreadable.code)
        except web.HTTPRequestEntityTooLarge:
            return json_response(too_large().status(), TooLargeError.code)
        except ConnectionError:
            # The client has gone; aiohttp finds that out once more, and lets it be.
            return json_response(ApiError("nobody is there").status(), ApiError.code)
        except Exception:  # noqa: BLE001 - logged, and a Status is owed whatever happened
            _log.exception("%s failed", request.method)
            return json_response(ApiError("internal error").status(), ApiError.code)

    @web.middleware
    async def _check(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        check_request(
            target=request.raw_path,
            hosts=request.headers.getall("Host", []),
            origins=request.headers.getall("Origin", []),
            authorizations=request.headers.getall("Authorization", []),
            token=self._token,
        )
        return await handler(request)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        raw_path = request.rel_url.raw_path
        document = self._documents.respond(request, raw_path)
        if document is not None:
            return document
        path = parse_resource_path(raw_path)
        if path is None:
            raise NotFoundError("the server could not find the requested resource")
        return await self._verbs.serve(request, path)

    async def _sweep_events(self) -> None:
        """Events are news, not state: the real server drops them after an hour, too."""
        while True:
            await asyncio.sleep(min(_EVENT_SWEEP, self._event_age))
            try:
                self._store.expire(EVENTS, self._event_age)
            except sqlite3.Error:
                _log.warning("old events could not be removed", exc_info=True)
