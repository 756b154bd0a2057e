"""Everything the embedded API can answer with other than success.

Each class is one (code, reason) pair of the Kubernetes API conventions
("Response Status Kind"); `ApiError.status` is the `metav1.Status` that goes over the wire.
Callers branch on the class, never on the text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from gateway.local.api.objects import JsonObject


class ApiDefinitionError(ValueError):
    """A CustomResourceDefinition that this server cannot serve faithfully."""


class StoreLockedError(Exception):
    """Another process has the store open; two writers would break the version counter."""


@dataclass(frozen=True, slots=True)
class Cause:
    """One reason why an object was refused (`metav1.StatusCause`)."""

    reason: str
    field: str
    message: str

    def as_json(self) -> JsonObject:
        body = {"reason": self.reason, "message": self.message, "field": self.field}
        return {key: value for key, value in body.items() if value}


@dataclass(frozen=True, slots=True)
class Details:
    """What an error is about (`metav1.StatusDetails`)."""

    name: str = ""
    group: str = ""
    kind: str = ""
    causes: tuple[Cause, ...] = ()
    retry_after_seconds: int = 0

    def as_json(self) -> JsonObject:
        body: JsonObject = {"name": self.name, "group": self.group, "kind": self.kind}
        if self.causes:
            body["causes"] = [cause.as_json() for cause in self.causes]
        if self.retry_after_seconds:
            body["retryAfterSeconds"] = self.retry_after_seconds
        return {key: value for key, value in body.items() if value}


class ApiError(Exception):
    """Base of all refusals; `code` is the HTTP status, `reason` the machine-readable word."""

    code: ClassVar[int] = 500
    reason: ClassVar[str] = "InternalError"

    def __init__(self, message: str, details: Details | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details = details or Details()

    def status(self) -> JsonObject:
        """The `metav1.Status` body of this error."""
        body: JsonObject = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        }
        if details := self.details.as_json():
            body["details"] = details
        return body


class BadRequestError(ApiError):
    code = 400
    reason = "BadRequest"


class UnauthorizedError(ApiError):
    code = 401
    reason = "Unauthorized"


class ForbiddenError(ApiError):
    code = 403
    reason = "Forbidden"


class NotFoundError(ApiError):
    code = 404
    reason = "NotFound"


class MethodNotAllowedError(ApiError):
    code = 405
    reason = "MethodNotAllowed"


class NotAcceptableError(ApiError):
    code = 406
    reason = "NotAcceptable"


class AlreadyExistsError(ApiError):
    code = 409
    reason = "AlreadyExists"


class ConflictError(ApiError):
    code = 409
    reason = "Conflict"


class ExpiredError(ApiError):
    """The version asked for was compacted away: list again."""

    code = 410
    reason = "Expired"

    def __init__(self, message: str, continue_from: str = "") -> None:
        """`continue_from` is a token for the rest of a list as it is now."""
        super().__init__(message)
        self._continue_from = continue_from

    def status(self) -> JsonObject:
        metadata = {"continue": self._continue_from} if self._continue_from else {}
        return super().status() | {"metadata": metadata}


class TooLargeError(ApiError):
    code = 413
    reason = "RequestEntityTooLarge"


def too_large() -> TooLargeError:
    """The 413 for an object or a body that is too large to be taken."""
    return TooLargeError("Request entity too large")


class UnsupportedMediaTypeError(ApiError):
    code = 415
    reason = "UnsupportedMediaType"


class InvalidError(ApiError):
    """The object breaks its schema or a metadata rule; `details.causes` name the fields."""

    code = 422
    reason = "Invalid"


def invalid_options(kind: str, *causes: Cause) -> InvalidError:
    """The 422 for parameters of a request; `kind` is that of the options that they make up."""
    listed = ", ".join(f"{cause.field}: {cause.message}" for cause in causes)
    message = f'{kind}.meta.k8s.io "" is invalid: {listed}'
    return InvalidError(message, Details(group="meta.k8s.io", kind=kind, causes=causes))


class FutureVersionError(ApiError):
    """A resourceVersion that this store has not reached (it was wiped, or it is made up)."""

    code = 504
    reason = "Timeout"

    def __init__(self, asked: int, current: int) -> None:
        cause = Cause("ResourceVersionTooLarge", "", "Too large resource version")
        super().__init__(
            f"Too large resource version: {asked}, current: {current}",
            Details(causes=(cause,), retry_after_seconds=1),
        )
