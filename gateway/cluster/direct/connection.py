"""One HTTP connection to the Kubernetes API, with the credentials that a kubeconfig gives."""

from __future__ import annotations

import base64
import re
import ssl
import tempfile
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import urlencode, urlsplit

import urllib3

from gateway.cluster.answers import error_of
from gateway.cluster.decoding import decode_object
from gateway.cluster.direct.kubeconfig import KubeconfigError
from gateway.cluster.direct.plugin import issue
from gateway.cluster.errors import ApiUnreachable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.cluster.direct.kubeconfig import Access
    from gateway.dialects.base import RawObject

#: Seconds for one request: to connect, and between two reads of the response.
CONNECT_TIMEOUT: Final = 5.0
READ_TIMEOUT: Final = 30.0


class Connection(Protocol):
    """Sends one request and returns the JSON object of its answer."""

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str | None = None,
    ) -> RawObject:
        """Return the answer's object; raise a ClusterError."""

    def close(self) -> None:
        """Close the sockets."""


def connect(access: Access) -> Connection:
    """Return a connection; raise KubeconfigError where the credentials cannot be used."""
    return _PooledConnection(access)


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: bytes
    retry_after: str | None


class _PooledConnection:
    def __init__(self, access: Access) -> None:
        self._access = access
        self._prefix = urlsplit(access.server).path
        self._pool, self._headers = self._open()

    def close(self) -> None:
        """Close the sockets."""
        self._pool.close()

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str | None = None,
    ) -> RawObject:
        """Send one request. A plugin's credential that was refused is asked for anew, once."""
        url = f"{self._prefix}{path}"
        fields = {} if content_type is None else {"Content-Type": content_type}
        if query:
            url += "?" + urlencode(query)
        answer = self._send(method, url, body, fields)
        if answer.status == 401 and self._access.plugin is not None:
            self._pool.close()
            self._pool, self._headers = self._open()
            answer = self._send(method, url, body, fields)
        return _object(answer, f"{method} {path}")

    def _open(self) -> tuple[urllib3.HTTPConnectionPool, dict[str, str]]:
        access = _with_issued(self._access)
        headers = {"Accept": "application/json", "User-Agent": "sandbox-gateway"}
        return _pool(access), headers | _authorization(access)

    def _send(self, method: str, url: str, body: bytes | None, fields: dict[str, str]) -> _Answer:
        with warnings.catch_warnings():
            if self._access.insecure:
                # The kubeconfig says so itself; urllib3 would say it at every request.
                warnings.simplefilter("ignore", urllib3.exceptions.InsecureRequestWarning)
            try:
                response = self._pool.urlopen(
                    method, url, body=body, headers=self._headers | fields, redirect=False,
                    retries=False,
                )  # fmt: skip
            except urllib3.exceptions.HTTPError as error:
                raise ApiUnreachable(_why_unreachable(error, self._access.server)) from error
        return _Answer(response.status, response.data, response.headers.get("Retry-After"))


def _authorization(access: Access) -> dict[str, str]:
    if access.token is not None:
        if re.fullmatch(r"[!-~]+", access.token) is None:
            raise KubeconfigError("the token is not plain text")
        return {"Authorization": f"Bearer {access.token}"}
    if access.basic is not None:
        return {"Authorization": f"Basic {base64.b64encode(access.basic.encode()).decode()}"}
    return {}


def _with_issued(access: Access) -> Access:
    if access.plugin is None:
        return access
    given = issue(access.plugin, access)
    return replace(
        access,
        token=given.token or access.token,
        client_certificate=given.client_certificate or access.client_certificate,
        client_key=given.client_key or access.client_key,
    )


def _pool(access: Access) -> urllib3.HTTPConnectionPool:
    parts = urlsplit(access.server)
    assert parts.hostname is not None
    timeout = urllib3.Timeout(connect=CONNECT_TIMEOUT, read=READ_TIMEOUT)
    if parts.scheme == "http":
        return urllib3.HTTPConnectionPool(parts.hostname, parts.port, timeout=timeout)
    return urllib3.HTTPSConnectionPool(
        parts.hostname,
        parts.port,
        timeout=timeout,
        ssl_context=_tls(access),
        server_hostname=access.tls_server_name,
        assert_hostname=False if access.insecure else access.tls_server_name,
    )


def _tls(access: Access) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cadata=access.ca)
        # As Go's verifier: a CA without the newer X.509 key identifiers is still verified.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if access.client_certificate is not None and access.client_key is not None:
            _load_client(context, access.client_certificate, access.client_key)
    except (ssl.SSLError, ValueError) as error:
        raise KubeconfigError("a certificate or key cannot be used: is it PEM?") from error
    if access.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _load_client(context: ssl.SSLContext, certificate: str, key: str) -> None:
    """Load a certificate and its key. The ssl module takes files only; these live for a moment."""
    with tempfile.TemporaryDirectory(prefix="sandbox-gateway-") as folder:
        files = Path(folder, "certificate"), Path(folder, "key")
        for path, content in zip(files, (certificate, key), strict=True):
            path.touch(mode=0o600)
            path.write_text(content, encoding="ascii")
        context.load_cert_chain(*files)


def _why_unreachable(error: urllib3.exceptions.HTTPError, server: str) -> str:
    if isinstance(error, urllib3.exceptions.SSLError):
        return f"{server}: no trusted TLS connection ({error})"
    if isinstance(error, urllib3.exceptions.NameResolutionError):
        return f"{server}: its name cannot be resolved"
    # A subclass of the one below it, though no time has run out.
    if isinstance(error, urllib3.exceptions.NewConnectionError):
        return f"{server}: nothing answers there"
    if isinstance(error, urllib3.exceptions.ConnectTimeoutError):
        return f"{server}: no connection within {CONNECT_TIMEOUT:g} s"
    if isinstance(error, urllib3.exceptions.ReadTimeoutError):
        return f"{server}: no answer within {READ_TIMEOUT:g} s"
    return f"{server}: the connection broke"


def _object(answer: _Answer, what: str) -> RawObject:
    if 200 <= answer.status < 300:
        return decode_object(answer.body)
    raise error_of(answer.status, answer.body, answer.retry_after, what)
