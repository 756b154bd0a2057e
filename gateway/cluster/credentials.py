"""Where the API is and what proves our right to it, kept fresh.

kubernetes_asyncio reads both, but its own refreshing is not enough: a kubeconfig's `tokenFile` is
read once, and a service account's file is believed for a minute after the API refused its token.
Service account tokens are replaced long before they end, so reading once a minute is plenty
(client-go does the same); after a refusal everything is read anew, from disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import aiohttp
import yaml
from kubernetes_asyncio.client import Configuration
from kubernetes_asyncio.config import ConfigException, load_incluster_config, load_kube_config
from kubernetes_asyncio.config.incluster_config import (
    SERVICE_CERT_FILENAME,
    SERVICE_HOST_ENV_NAME,
    SERVICE_TOKEN_FILENAME,
)
from kubernetes_asyncio.config.kube_config import KUBE_CONFIG_DEFAULT_LOCATION

from gateway.cluster.errors import ConfigInvalid

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubernetes_asyncio.config.kube_config import KubeConfigLoader

    from gateway.cluster.config import ClusterConfig

_log = logging.getLogger(__name__)

#: How long what was read is believed, and how soon a refused token is read again: seconds.
REFRESH_PERIOD: Final = 60.0
REJECTED_PERIOD: Final = 1.0

#: What a broken kubeconfig, file or plugin makes the loaders raise; they check little themselves.
LOAD_ERRORS: Final = (
    ConfigException,
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    yaml.YAMLError,
    aiohttp.ClientError,
)


class Origin(Protocol):
    """A place that configurations come from."""

    async def load(self, configuration: Configuration) -> None:
        """Read everything from disk."""

    async def refresh(self, configuration: Configuration) -> None:
        """Renew what may have run out."""


class InCluster:
    """The service account that a pod runs under."""

    def __init__(
        self, token_file: str = SERVICE_TOKEN_FILENAME, ca_file: str = SERVICE_CERT_FILENAME
    ) -> None:
        self._token_file = token_file
        self._ca_file = ca_file

    async def load(self, configuration: Configuration) -> None:
        load_incluster_config(  # type: ignore[no-untyped-call]
            client_configuration=configuration,
            try_refresh_token=False,
            token_filename=self._token_file,
            cert_filename=self._ca_file,
        )

    async def refresh(self, configuration: Configuration) -> None:
        await self.load(configuration)


class Kubeconfig:
    """A kubeconfig; the loader that read it remembers how long a plugin's token lasts."""

    def __init__(self, path: str | None, context: str | None) -> None:
        self._path = path
        self._context = context
        self._loader: KubeConfigLoader | None = None
        self._stamp: tuple[int, ...] = ()

    async def load(self, configuration: Configuration) -> None:
        self._stamp = self._changed_at()
        self._loader = await load_kube_config(
            config_file=self._path,
            context=self._context,
            client_configuration=configuration,
            persist_config=False,
        )

    async def refresh(self, configuration: Configuration) -> None:
        if self._loader is None or self._changed_at() != self._stamp:
            await self.load(configuration)
        else:
            await self._loader.load_and_set(configuration)

    def _changed_at(self) -> tuple[int, ...]:
        """Return when the files were last written, so that a new address or token is seen."""
        times = []
        for path in (self._path or KUBE_CONFIG_DEFAULT_LOCATION).split(os.pathsep):
            with contextlib.suppress(OSError):
                times.append(Path(path).expanduser().stat().st_mtime_ns)
        return tuple(times)


def origin_of(config: ClusterConfig) -> Origin:
    """Return the kubeconfig that was named, else the pod's account, else the default one."""
    named = config.kubeconfig is not None or config.context is not None
    if not named and os.environ.get(SERVICE_HOST_ENV_NAME):
        return InCluster()
    return Kubeconfig(config.kubeconfig, config.context)


class Credentials:
    """One API's configuration, and the Authorization header of this moment."""

    def __init__(self, origin: Origin, clock: Callable[[], float] = time.monotonic) -> None:
        self.configuration = Configuration()
        # As Go's verifier: a CA without the newer X.509 key identifiers is still verified.
        self.configuration.disable_strict_ssl_verification = True
        # Each watch holds a connection: a limit would let watches starve the writes.
        self.configuration.connection_pool_maxsize = 0
        self._origin = origin
        self._clock = clock
        self._lock = asyncio.Lock()
        self._read_at = clock()
        self._rejected = False

    async def load(self) -> None:
        """Read for the first time; raise ConfigInvalid."""
        try:
            await self._origin.load(self.configuration)
        except LOAD_ERRORS as error:
            raise ConfigInvalid(f"no usable Kubernetes configuration: {error}") from error
        self._read_at = self._clock()
        if not self.configuration.verify_ssl:
            _log.warning("the kubeconfig turns off verification of the API server's certificate")

    def reject(self) -> None:
        """Tell that the API refused the credential: the next request reads it anew."""
        self._rejected = True

    async def authorization(self) -> str | None:
        """Return the header's value, or None where a client certificate or nothing is used."""
        if self._is_due():
            async with self._lock:
                if self._is_due():
                    await self._read_again()
        value = self.configuration.api_key.get("BearerToken")
        return value.strip() if isinstance(value, str) else None

    def _is_due(self) -> bool:
        period = REJECTED_PERIOD if self._rejected else REFRESH_PERIOD
        return self._clock() - self._read_at >= period

    async def _read_again(self) -> None:
        """Read again. What was read before stays in use where that fails: it may still be good."""
        self._read_at = self._clock()
        try:
            if self._rejected:
                await self._origin.load(self.configuration)
            else:
                await self._origin.refresh(self.configuration)
        except LOAD_ERRORS as error:
            _log.warning("the Kubernetes credential cannot be read again: %s", error)
        else:
            self._rejected = False
