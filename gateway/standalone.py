"""Local mode put together: embedded API, process runtime and the same gateway as in a cluster."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import secrets
import sqlite3
from typing import TYPE_CHECKING, Final

import click

from gateway import app, demo
from gateway.local.api import (
    ApiDefinitionError,
    EmbeddedApi,
    ObjectStore,
    StoreLockedError,
    load_native_crd,
    write_kubeconfig,
)
from gateway.local.bridge import StoredSandboxes
from gateway.local.manifests import ManifestError, apply, read_documents
from gateway.local.options import KUBECONFIG
from gateway.local.runtime import DataDirInUseError, ProcessRuntime, UnsupportedPlatformError
from gateway.local.sizes import LocalSizes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.local.options import LocalOptions
    from gateway.settings import Settings

_DATABASE: Final = "objects.sqlite"
#: Where local sandboxes are; in a cluster nothing may be dialled there.
_LOOPBACK: Final = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))

_GREETING: Final = """\
Sandboxes are processes of this machine here: no isolation, run what you would run anyway.
  requests   http://{data}     e.g. curl -H 'e2b-sandbox-id: NAMESPACE--NAME' http://{data}/
  admin      http://{admin}     /healthz /readyz /metrics
  API        {api}     export KUBECONFIG={kubeconfig}
Ctrl-C ends it, and the sandboxes with it."""


def run(options: LocalOptions, settings: Settings) -> int:
    """Run `sandbox-gateway local` until a signal, or with `once` until the tour's end."""
    led = _led_here(options, settings)
    return app.run(led, lambda stop: _run(options, led, stop))


async def _run(options: LocalOptions, settings: Settings, stop: asyncio.Event) -> int:
    _make_data_dir(options.data_dir)
    sizes = LocalSizes() if settings.resize else None
    dialects = app.dialects_of(settings, local=True)
    async with (
        _embedded_api(options) as (store, api),
        app.running(settings, dialects, local=True, ground=sizes) as gateway,
    ):
        addresses = await gateway.start()
        reserved = {addresses.data[1], addresses.admin[1], api.port}
        async with _runtime(options, store, reserved, sizes):
            app.settle()
            _greet(options, addresses, api)
            status = await _stay(options, store, addresses, stop)
            await gateway.drain()
    return status


async def _stay(
    options: LocalOptions, store: ObjectStore, addresses: app.Addresses, stop: asyncio.Event
) -> int:
    """Give the tour if it is asked for, then stay until stopped; return the exit status."""
    worked = True
    if options.demo or options.once:
        tour = asyncio.create_task(demo.tour(store, addresses.data, click.echo))
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait((tour, stopped), return_when=asyncio.FIRST_COMPLETED)
            worked = tour.done() and tour.result()
        finally:
            for task in (tour, stopped):
                task.cancel()
            await asyncio.gather(tour, stopped, return_exceptions=True)
    if not options.once:
        await stop.wait()
        click.echo("\nEnding: requests under way are finished. Ctrl-C again ends at once.")
    return app.EXIT_OK if worked or not options.once else app.EXIT_FAILED


def _make_data_dir(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise app.StartError(
            f"{path}: {error.strerror}; choose another --data-dir, one that can be written"
        ) from error


@contextlib.asynccontextmanager
async def _embedded_api(options: LocalOptions) -> AsyncIterator[tuple[ObjectStore, EmbeddedApi]]:
    """Serve the API for the body; its token lives as long as the process. Raise StartError."""
    database = options.data_dir / _DATABASE
    try:
        crds = [load_native_crd(), *read_documents(options.crds)]
        store = ObjectStore(database, crds)
    except (ApiDefinitionError, ManifestError) as error:
        raise app.StartError(str(error)) from error
    except StoreLockedError as error:
        raise app.StartError(
            f"{options.data_dir} is in use by another local mode; choose another --data-dir"
        ) from error
    except (OSError, sqlite3.Error) as error:
        raise app.StartError(
            f"{database}: {error}; move the file away, or choose another --data-dir"
        ) from error
    with contextlib.closing(store):
        token = secrets.token_urlsafe(32)
        api = EmbeddedApi(store, token)
        try:
            await api.start(*options.api)
        except OSError as error:
            raise app.StartError(
                f"cannot listen on {options.api[0]}:{options.api[1]}: {error.strerror or error}; "
                "choose another --api-listen"
            ) from error
        try:
            write_kubeconfig(options.data_dir / KUBECONFIG, api.address, token)
            _apply_files(options, store)
            yield store, api
        finally:
            await api.stop()


def _apply_files(options: LocalOptions, store: ObjectStore) -> None:
    try:
        for document in read_documents(options.files):
            apply(store, document)
    except ManifestError as error:
        raise app.StartError(str(error)) from error


def _led_here(options: LocalOptions, settings: Settings) -> Settings:
    """Return the settings, led to the embedded API and to sandboxes on loopback."""
    return settings.model_copy(
        update={
            "kubeconfig": options.data_dir / KUBECONFIG,
            "kube_context": None,
            "upstream_allow_cidrs": (*settings.upstream_allow_cidrs, *_LOOPBACK),
        }
    )


@contextlib.asynccontextmanager
async def _runtime(
    options: LocalOptions, store: ObjectStore, reserved: set[int], sizes: LocalSizes | None
) -> AsyncIterator[None]:
    """Run the sandboxes' processes for the body; they have ended when it returns."""
    runtime = ProcessRuntime(StoredSandboxes(store), options.data_dir, reserved, rooms=sizes)
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(runtime.run(), name="process runtime")
            try:
                yield
            finally:
                task.cancel()
    except* (DataDirInUseError, UnsupportedPlatformError) as errors:
        raise app.StartError(str(errors.exceptions[0])) from errors


def _greet(options: LocalOptions, addresses: app.Addresses, api: EmbeddedApi) -> None:
    click.echo(
        _GREETING.format(
            data=app.shown(addresses.data),
            admin=app.shown(addresses.admin),
            api=api.address,
            kubeconfig=options.data_dir / KUBECONFIG,
        )
    )
