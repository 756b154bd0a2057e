"""Every failure that has a meaning, as one class each. Nothing anywhere matches on text.

`GatewayError` and below are answers that the gateway gives itself: status, `reason` and the
error token of Proxy-Status (RFC 9209 §2.3) are the class's, the texts never echo input.
`NotResumable` and below say why an object cannot be woken now. `ClusterError` and below are what
talking to the Kubernetes API may end in.
"""

from __future__ import annotations

from typing import ClassVar


class GatewayError(Exception):
    """An answer the gateway makes itself."""

    status: ClassVar[int] = 500
    reason: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "Internal error"
    detail: ClassVar[str] = "The gateway failed; its log says why."
    proxy_error: ClassVar[str] = "proxy_internal_error"
    #: After how many seconds a page that shows this loads itself again; None: it does not.
    refresh: ClassVar[int | None] = None

    def __init__(self, detail: str | None = None, *, retry_after: float | None = None) -> None:
        """Take a safe text for the client (never input, addresses or traces) and a hint in s."""
        super().__init__(detail or self.detail)
        self.text = detail or self.detail
        self.retry_after = retry_after


class BadRequest(GatewayError):
    status = 400
    reason = "bad_request"
    title = "Bad request"
    detail = "The request is not legal HTTP/1.1."
    proxy_error = "http_request_error"


class InvalidTarget(BadRequest):
    reason = "invalid_target"
    title = "Invalid target"
    detail = "The request does not name exactly one sandbox and port."


class MethodNotAllowed(BadRequest):
    status = 405
    reason = "method_not_allowed"
    title = "Method not allowed"
    detail = "CONNECT and TRACE are not proxied."


class PayloadTooLarge(BadRequest):
    status = 413
    reason = "payload_too_large"
    title = "Payload too large"
    detail = "The request body is over the gateway's limit."


class UriTooLong(BadRequest):
    status = 414
    reason = "uri_too_long"
    title = "URI too long"
    detail = "The request target is over the gateway's limit."


class HeadersTooLarge(BadRequest):
    status = 431
    reason = "headers_too_large"
    title = "Request header fields too large"
    detail = "The request head is over the gateway's limit."


class RequestTimeout(BadRequest):
    status = 408
    reason = "request_timeout"
    title = "Request timeout"
    detail = "The request did not arrive in time."


class NotImplementedByGateway(BadRequest):
    status = 501
    reason = "not_implemented"
    title = "Not implemented"
    detail = "The gateway does not implement this transfer coding or method."


class VersionNotSupported(BadRequest):
    status = 505
    reason = "version_not_supported"
    title = "HTTP version not supported"
    detail = "The gateway speaks HTTP/1.0 and HTTP/1.1."


class LoopDetected(GatewayError):
    status = 508
    reason = "loop_detected"
    title = "Loop detected"
    detail = "The request has been through this gateway already."
    proxy_error = "proxy_loop_detected"


class Unauthenticated(GatewayError):
    status = 401
    reason = "unauthenticated"
    title = "Unauthenticated"
    detail = "A valid credential for this sandbox is needed, such as its X-Access-Token."
    proxy_error = "http_request_denied"


class Forbidden(GatewayError):
    status = 403
    reason = "forbidden"
    title = "Forbidden"
    detail = "The credential or the sandbox does not allow this."
    proxy_error = "http_request_denied"


class AuthUnavailable(GatewayError):
    status = 503
    reason = "auth_unavailable"
    title = "Credentials cannot be judged"
    detail = "The keys that credentials are judged by cannot be had now."
    proxy_error = "proxy_internal_error"


class SandboxNotFound(GatewayError):
    status = 502
    reason = "sandbox_not_found"
    title = "Sandbox not found"
    detail = "No sandbox answers to this name."
    proxy_error = "destination_not_found"


class AmbiguousTarget(GatewayError):
    status = 502
    reason = "ambiguous_target"
    title = "Ambiguous target"
    detail = "More than one sandbox answers to this name."
    proxy_error = "destination_not_found"


class SandboxBlocked(GatewayError):
    status = 502
    reason = "sandbox_blocked"
    title = "Sandbox blocked"
    detail = "The sandbox is in a state that takes no traffic."
    proxy_error = "destination_unavailable"


class SandboxNotWakeable(GatewayError):
    status = 502
    reason = "sandbox_not_wakeable"
    title = "Sandbox asleep"
    detail = "The sandbox is asleep and this request may not wake it."
    proxy_error = "destination_unavailable"


class SandboxDead(GatewayError):
    status = 502
    reason = "sandbox_dead"
    title = "Sandbox gone"
    detail = "The sandbox is terminating, expired or finished."
    proxy_error = "destination_unavailable"


class SandboxUnreachable(GatewayError):
    status = 502
    reason = "sandbox_unreachable"
    title = "Sandbox unreachable"
    detail = "The sandbox runs, but nothing answers on this port."
    proxy_error = "connection_refused"


class UpstreamProtocolError(GatewayError):
    status = 502
    reason = "upstream_protocol_error"
    title = "Illegal response"
    detail = "The sandbox answered with something that is not legal HTTP/1.1."
    proxy_error = "http_protocol_error"


class UpstreamReset(GatewayError):
    status = 502
    reason = "upstream_reset"
    title = "Connection lost"
    detail = "The sandbox closed the connection before it answered."
    proxy_error = "connection_terminated"


class UpstreamTimeout(GatewayError):
    status = 504
    reason = "upstream_timeout"
    title = "Sandbox too slow"
    detail = "The sandbox did not answer in time."
    proxy_error = "http_response_timeout"


class WakeFailed(GatewayError):
    status = 503
    reason = "wake_failed"
    title = "Wake failed"
    detail = "The sandbox could not be woken."
    proxy_error = "destination_unavailable"


class WakeTimeout(GatewayError):
    status = 503
    reason = "wake_timeout"
    title = "Wake timed out"
    detail = "The sandbox was not ready in time."
    proxy_error = "connection_timeout"


class StillWaking(GatewayError):
    status = 503
    reason = "waking"
    title = "Waking up"
    detail = "The sandbox is being started. This page goes on by itself as soon as it is ready."
    proxy_error = "destination_unavailable"
    refresh = 1


class WakeOverloaded(GatewayError):
    status = 503
    reason = "wake_overloaded"
    title = "Wake put off"
    detail = "Too many requests wait or too many sandboxes wake at once."
    proxy_error = "connection_limit_reached"


class Overloaded(GatewayError):
    status = 503
    reason = "overloaded"
    title = "Gateway overloaded"
    detail = "The gateway serves as many clients, or holds as much for them, as it may."
    proxy_error = "connection_limit_reached"


class NotReady(GatewayError):
    status = 503
    reason = "not_ready"
    title = "Gateway not ready"
    detail = "The gateway does not know its sandboxes yet, or it is shutting down."
    proxy_error = "proxy_internal_response"


class MalformedObject(Exception):
    """An API object that cannot be judged; `field` is the JSON path at fault."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


class NotResumable(Exception):
    """The object cannot be woken as it stands."""


class SandboxIsTerminating(NotResumable):
    """It is being deleted."""


class ShutdownTimeReached(NotResumable):
    """Its shutdownTime has passed."""


class SandboxIsPausing(NotResumable):
    """Its pause is not finished: wait, then wake. The only transient one."""


class SandboxPhaseNotAllowed(NotResumable):
    """Its phase allows no waking."""


class WakeForbidden(NotResumable):
    """Traffic may not wake it."""


class ClusterError(Exception):
    """The Kubernetes API did not do what was asked."""


class ObjectGone(ClusterError):
    """The object does not exist, or another one has taken its name (404, or a uid mismatch)."""


class Conflict(ClusterError):
    """Somebody else wrote first (409): read and judge again."""


class AccessDenied(ClusterError):
    """The gateway's own credentials do not allow it (401, 403)."""


class InvalidWrite(ClusterError):
    """The API refuses this write for good (400, 415, 422)."""


class NotWritten(ClusterError):
    """A write was not begun: what it depends on could not be read, or its time was over."""


class StandbyForbidden(ClusterError):
    """What was just read of a sandbox rules its standby out."""


class ApiUnavailable(ClusterError):
    """The API cannot be had now (429, 5xx, no connection, time-out); may be tried again.

    `retry_after` is the API's own hint in seconds, if it gave one.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
