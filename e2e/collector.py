"""A collector of traces: takes what is sent to it by OTLP/HTTP and keeps it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from opentelemetry.proto.common.v1.common_pb2 import KeyValue
    from opentelemetry.proto.trace.v1.trace_pb2 import Span


@dataclass(slots=True)
class Collector:
    """`spans` it got, whose origin `resource` tells; `headers` of the last request to it."""

    url: str = ""
    spans: list[Span] = field(default_factory=list)
    resource: dict[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    @asynccontextmanager
    async def listening(cls) -> AsyncIterator[Collector]:
        made = cls()
        app = web.Application()
        app.router.add_post("/v1/traces", made._take)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield made
        finally:
            await runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        self.headers = request.headers
        for origin in ExportTraceServiceRequest.FromString(await request.read()).resource_spans:
            self.resource = facts(origin.resource.attributes)
            self.spans += [span for scope in origin.scope_spans for span in scope.spans]
        return web.Response(
            body=ExportTraceServiceResponse().SerializeToString(),
            content_type="application/x-protobuf",
        )

    def called(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]


def facts(attributes: Any) -> dict[str, Any]:
    """Return attributes as they are written in Python."""
    return {one.key: _value(one) for one in attributes}


def _value(attribute: KeyValue) -> Any:
    return getattr(attribute.value, attribute.value.WhichOneof("value") or "string_value")
