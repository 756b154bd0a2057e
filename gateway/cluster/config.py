"""What talking to one Kubernetes API can be told. All durations are seconds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """Which API, which objects, and the patience for both.

    Without `kubeconfig` and `context` the pod's service account is used, and outside a pod the
    default kubeconfig. No `namespaces` means all; several get a watch each.

    A real API server ends a watch after `watch_timeout` (varied by a fifth) and sends a bookmark
    about once a minute: a watch that is silent for `watch_idle_timeout` has lost its peer.
    `stale_after` without any answer, the routes may be wrong; it has to outlast that silence and
    one reconnection. Nothing is listed before `begin_after`.
    """

    kubeconfig: str | None = None
    context: str | None = None
    namespaces: tuple[str, ...] = ()
    label_selector: str = ""
    list_page_size: int = 500
    watch_timeout: float = 300.0
    watch_idle_timeout: float = 90.0
    request_timeout: float = 10.0
    #: As long as a real API server itself works on a request: a cut list begins anew, which costs
    #: a server that is slow already more than patience does.
    list_timeout: float = 60.0
    backoff_min: float = 0.25
    backoff_max: float = 30.0
    stale_after: float = 180.0
    begin_after: float = 0.0
