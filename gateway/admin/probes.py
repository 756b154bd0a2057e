"""What kubelets and Prometheus ask: open to all, and nothing about any one sandbox."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp import web

from gateway.admin.parts import About, Answer, Guard, Operation, Schema, json_answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.admin.access import AdminAccess
    from gateway.admin.metrics import Metrics
    from gateway.admin.readiness import Readiness

_STATUS: Final[Schema] = {
    "type": "object",
    "required": ["status"],
    "properties": {"status": {"const": "ok"}},
}
_READINESS: Final[Schema] = {
    "type": "object",
    "required": ["ready", "checks", "reflectors"],
    "properties": {
        "ready": {"type": "boolean"},
        "checks": {
            "type": "object",
            "description": "Every check by its name: true where it is passed.",
            "additionalProperties": {"type": "boolean"},
        },
        "reflectors": {
            "type": "object",
            "description": "The state of each watch on the Kubernetes API, for people.",
            "additionalProperties": {"type": "string"},
        },
    },
}


class Probes:
    """Health, readiness and metrics."""

    def __init__(self, metrics: Metrics, readiness: Callable[[], Readiness]) -> None:
        self._metrics = metrics
        self._readiness = readiness

    def operations(self, access: AdminAccess) -> Iterable[Operation]:  # noqa: ARG002 - all are open
        """Return what it does."""
        yield Operation("GET", "/healthz", self._healthz, Guard.OPEN, _HEALTHZ)
        yield Operation("GET", "/readyz", self._readyz, Guard.OPEN, _READYZ)
        yield Operation("GET", "/metrics", self._show_metrics, Guard.OPEN, _METRICS)

    async def _healthz(self, _: web.Request) -> web.Response:
        return json_answer({"status": "ok"})

    async def _readyz(self, _: web.Request) -> web.Response:
        readiness = self._readiness()
        return json_answer(readiness.as_json(), 200 if readiness.ready else 503)

    async def _show_metrics(self, request: web.Request) -> web.Response:
        body, content_type = self._metrics.exposition(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})


_HEALTHZ: Final = About(
    id="isAlive",
    summary="Is this replica alive?",
    text="Answers as long as the process can answer at all, whatever else is wrong. It is a "
    "liveness probe: one that does not answer is to be started anew. Whether it should get "
    "traffic is told by `/readyz`.",
    answers={200: Answer("It is.", _STATUS)},
)
_READYZ: Final = About(
    id="isReady",
    summary="Should this replica get traffic?",
    text="It is a readiness probe: send traffic to a replica that answers 200, and none to one "
    "that answers 503, whose `checks` say why.",
    answers={
        200: Answer("It should.", _READINESS),
        503: Answer("It should not.", _READINESS),
    },
)
_METRICS: Final = About(
    id="showMetrics",
    summary="All metrics, for Prometheus",
    text="Scrape it from every replica: each counts for itself.",
    answers={200: Answer("The metrics, in the format that Accept asks for.", None, "text/plain")},
)
