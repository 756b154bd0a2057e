"""The handful of Kubernetes API calls that the gateway makes, on raw JSON objects.

kubernetes_asyncio gives configuration, TLS, proxies and the connection pool. Requests go through
its REST layer and not through its generated API or its `Watch`: those decode twenty times slower,
send a patch of a custom object as JSON patch, and have neither a limit on silence nor on haste.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final, NoReturn, Protocol, cast
from urllib.parse import quote

import aiohttp
from kubernetes_asyncio.client.rest import RESTClientObject

from gateway import __version__
from gateway.cluster.answers import LineSplitter, Page, error_of, read_names, read_page
from gateway.cluster.credentials import Credentials, origin_of
from gateway.cluster.decoding import decode_frame, decode_object
from gateway.cluster.errors import (
    ApiNotInstalled,
    ApiUnreachable,
    ConfigInvalid,
    PathUnknown,
    Silence,
)
from gateway.sandbox.errors import ApiUnavailable, ObjectGone
from gateway.sandbox.texts import format_duration

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Sequence

    from gateway.cluster.config import ClusterConfig
    from gateway.cluster.selection import Selection
    from gateway.dialects.base import Patch, RawObject, Resource

    Query = Sequence[tuple[str, str | int]]

USER_AGENT: Final = f"sandbox-gateway/{__version__}"
MERGE_PATCH: Final = "application/merge-patch+json"
STRATEGIC_PATCH: Final = "application/strategic-merge-patch+json"
JSON: Final = "application/json"

#: Seconds for which the answer to a bounded write is waited for after it can be made no more.
LAST_ANSWER: Final = 0.25

#: What aiohttp raises where there is no answer, or no more of it.
_NO_ANSWER: Final = (aiohttp.ClientError, TimeoutError, OSError)


class Rest(Protocol):
    """What is used of kubernetes_asyncio's RESTClientObject, which has no types."""

    async def request(
        self,
        method: str,
        url: str,
        query_params: Query | None = None,
        headers: dict[str, str] | None = None,
        body: RawObject | None = None,
        *,
        _preload_content: bool,
        _request_timeout: aiohttp.ClientTimeout | None,
    ) -> aiohttp.ClientResponse: ...

    async def close(self) -> None: ...


class WatchStream:
    """The frames of one open watch."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._content = response.content
        self._lines = LineSplitter()

    async def read(self) -> Iterable[RawObject] | None:
        """Wait for frames; None after the API ended the watch. Raise Silence or ApiUnreachable.

        Frames are decoded as they are taken, which raises Garbled.
        """
        while True:
            try:
                chunk = await self._content.readany()
            except TimeoutError as error:
                raise Silence("the watch went silent") from error
            except _NO_ANSWER as error:
                raise ApiUnreachable(f"the watch broke: {type(error).__name__}") from error
            if not chunk:
                return None
            if lines := self._lines.feed(chunk):
                return map(decode_frame, lines)


class KubeClient:
    """One API server. Every method raises a ClusterError where it fails, and nothing else."""

    def __init__(self, rest: Rest, credentials: Credentials, config: ClusterConfig) -> None:
        """Use `connect`."""
        self._rest = rest
        self._credentials = credentials
        self._config = config
        self._served: dict[Resource, Resource] = {}

    @classmethod
    @asynccontextmanager
    async def connect(cls, config: ClusterConfig) -> AsyncIterator[KubeClient]:
        """Read the configuration and own the connections; raise ConfigInvalid."""
        credentials = Credentials(origin_of(config))
        await credentials.load()
        try:
            rest = cast("Rest", RESTClientObject(credentials.configuration))
        except OSError as error:  # of which ssl.SSLError is one
            raise ConfigInvalid(f"the certificates cannot be used: {error}") from error
        try:
            yield cls(rest, credentials, config)
        finally:
            await rest.close()

    async def list_page(self, selection: Selection, token: str | None) -> Page:
        """Read one page of a list; raise Expired where the list has to begin anew.

        The first page finds out which version of the API is served. Every other call is about that
        one, until a list begins anew.
        """
        query = [*selection.query(), ("limit", self._config.list_page_size)]
        if token is not None:
            query.append(("continue", token))
        resource = selection.resource
        missing: ObjectGone | None = None
        for candidate in resource.candidates if token is None else (self._as_served(resource),):
            path = _path(candidate, selection.namespace)
            try:
                answer = await self._fetch("GET", path, query, timeout=self._config.list_timeout)
            except ObjectGone as error:
                missing = error
                continue
            self._served[resource] = candidate
            return read_page(answer)
        raise ApiNotInstalled(str(missing)) from missing

    def _as_served(self, resource: Resource) -> Resource:
        """Return the version that the last list found."""
        return self._served.get(resource, resource)

    @asynccontextmanager
    async def watch(
        self, selection: Selection, version: int, timeout: float
    ) -> AsyncIterator[WatchStream]:
        """Watch from `version`; the API ends it after `timeout`, silence ends it sooner."""
        query = [
            *selection.query(),
            ("watch", "1"),
            ("allowWatchBookmarks", "true"),
            ("resourceVersion", str(version)),
            ("timeoutSeconds", max(1, round(timeout))),
        ]
        path = _path(self._as_served(selection.resource), selection.namespace)
        patience = aiohttp.ClientTimeout(
            connect=self._config.request_timeout, sock_read=self._config.watch_idle_timeout
        )
        response = await self._open(path, query, patience)
        try:
            yield WatchStream(response)
        finally:
            response.close()

    async def _open(
        self, path: str, query: Query, patience: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        """Begin a watch and return its response once the API has agreed to it."""
        try:
            response = await self._send("GET", path, query, timeout=patience)
            if response.status == 200:
                return response
            async with response, asyncio.timeout(self._config.request_timeout):
                await self._raise_for(response, f"GET {path}")
        except ObjectGone as error:
            raise ApiNotInstalled(str(error)) from error
        except _NO_ANSWER as error:
            raise _unreachable("GET", path, error) from error

    async def get(self, resource: Resource, namespace: str, name: str) -> RawObject:
        """Read one object, as of now."""
        with _said_of_the_object():
            path = _path(self._as_served(resource), namespace, name)
            return decode_object(await self._fetch("GET", path))

    async def merge_patch(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        patch: Patch,
        within: float | None = None,
    ) -> RawObject:
        """Apply a JSON merge patch (RFC 7396); return the object as it is then.

        With `within`, the API is told to give up after so many seconds, by the `timeout` that each
        of its requests may bring. A refused credential then ends it: sent again, the patch would
        have that time once more.
        """
        with _said_of_the_object():
            path = _path(self._as_served(resource), namespace, name)
            return await self._patch(path, patch, MERGE_PATCH, within)

    async def strategic_patch(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        patch: Patch,
        subresource: str,
        within: float,
    ) -> RawObject:
        """Apply a strategic merge patch, by which lists of named parts are merged by name.

        To a subresource of an object: return the object as it is then. `within`: see `merge_patch`.
        """
        with _said_of_the_object():
            path = f"{_path(resource, namespace, name)}/{subresource}"
            return await self._patch(path, patch, STRATEGIC_PATCH, within)

    async def _patch(
        self, path: str, patch: Patch, content_type: str, within: float | None
    ) -> RawObject:
        send = partial(self._fetch, "PATCH", path, body=patch, content_type=content_type)
        if within is None:
            return decode_object(await send())
        bound = [("timeout", format_duration(within))]
        return decode_object(await send(bound, timeout=within + LAST_ANSWER, once=True))

    async def served_beside(self, resource: Resource) -> frozenset[str]:
        """Return what the API serves in the version of its group that a resource is of.

        Subresources are told as `pods/status`.
        """
        try:
            answer = await self._fetch("GET", resource.path)
        except ObjectGone as error:
            raise ApiNotInstalled(str(error)) from error
        return read_names(answer)

    async def create(self, resource: Resource, namespace: str, body: RawObject) -> RawObject:
        """Create an object; return it as stored."""
        return decode_object(await self._fetch("POST", _path(resource, namespace), body=body))

    async def _fetch(
        self,
        method: str,
        path: str,
        query: Query = (),
        *,
        body: RawObject | None = None,
        content_type: str = JSON,
        timeout: float | None = None,
        once: bool = False,
    ) -> bytes:
        """Make one request and read its answer to the end, all within the time-out."""
        try:
            async with asyncio.timeout(timeout or self._config.request_timeout):
                response = await self._send(
                    method, path, query, body=body, content_type=content_type, once=once
                )
                async with response:
                    if not 200 <= response.status < 300:
                        await self._raise_for(response, f"{method} {path}")
                    return await response.read()
        except _NO_ANSWER as error:
            raise _unreachable(method, path, error) from error

    async def _send(
        self,
        method: str,
        path: str,
        query: Query,
        *,
        body: RawObject | None = None,
        content_type: str = JSON,
        timeout: aiohttp.ClientTimeout | None = None,
        once: bool = False,
    ) -> aiohttp.ClientResponse:
        """Send a request; a refused credential that was replaced meanwhile costs nothing.

        Unless it may be sent but `once`.
        """
        send = partial(self._send_as, method, path, query, body, content_type, timeout)
        authorization = await self._credentials.authorization()
        response = await send(authorization)
        if response.status != 401:
            return response
        await response.read()
        self._credentials.reject()
        if once:
            return response
        renewed = await self._credentials.authorization()
        return response if renewed == authorization else await send(renewed)

    async def _send_as(
        self,
        method: str,
        path: str,
        query: Query,
        body: RawObject | None,
        content_type: str,
        timeout: aiohttp.ClientTimeout | None,
        authorization: str | None,
    ) -> aiohttp.ClientResponse:
        headers = {
            "Accept": JSON,
            # Inside a cluster the network is cheaper than our one core.
            "Accept-Encoding": "identity",
            "Content-Type": content_type,
            "User-Agent": USER_AGENT,
        }
        if authorization is not None:
            headers["Authorization"] = authorization
        try:
            return await self._rest.request(
                method,
                str(self._credentials.configuration.host).rstrip("/") + path,
                query_params=query,
                headers=headers,
                body=body,
                _preload_content=False,
                _request_timeout=timeout,
            )
        except _NO_ANSWER:  # among them a certificate's error, which is a ValueError too
            raise
        except ValueError as error:  # a line break in the token, or a .netrc that contradicts it
            raise ConfigInvalid(f"the request cannot be made: {type(error).__name__}") from error

    async def _raise_for(self, response: aiohttp.ClientResponse, what: str) -> NoReturn:
        body = await response.read()
        raise error_of(response.status, body, response.headers.get("Retry-After"), what)


@contextmanager
def _said_of_the_object() -> Iterator[None]:
    """Take a 404 for the end of an object only where the API says so.

    One that starts does not know custom resources for a while, nor does one that is set up anew.
    """
    try:
        yield
    except PathUnknown as error:
        raise ApiUnavailable(str(error)) from error


def _unreachable(method: str, path: str, error: BaseException) -> ApiUnreachable:
    return ApiUnreachable(f"{method} {path}: {type(error).__name__}")


def _path(resource: Resource, namespace: str | None, name: str | None = None) -> str:
    parts = [resource.path]
    if namespace is not None:
        parts += ["namespaces", _segment(namespace)]
    parts.append(resource.plural)
    if name is not None:
        parts.append(_segment(name))
    return "/".join(parts)


def _segment(value: str) -> str:
    # Names come from API objects; a path that walks up would name something else.
    if value in ("", ".", ".."):
        raise ObjectGone("no object can have this name")
    return quote(value, safe="")
