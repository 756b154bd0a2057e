"""An embedded Kubernetes-compatible API: the control plane of local mode."""

from gateway.local.api.database import ChangeType
from gateway.local.api.definitions import (
    EVENTS,
    LEASES,
    SANDBOXES,
    GroupResource,
    load_native_crd,
)
from gateway.local.api.errors import (
    AlreadyExistsError,
    ApiDefinitionError,
    ApiError,
    BadRequestError,
    ConflictError,
    ExpiredError,
    InvalidError,
    NotFoundError,
    StoreLockedError,
)
from gateway.local.api.events import EventType, new_event
from gateway.local.api.kubeconfig import write_kubeconfig
from gateway.local.api.listing import ListOptions, ObjectList
from gateway.local.api.objects import JsonObject
from gateway.local.api.selectors import Selector, parse_selector
from gateway.local.api.server import EmbeddedApi
from gateway.local.api.store import ObjectStore
from gateway.local.api.strategy import FieldValidation, Preconditions, Subresource, WriteOptions
from gateway.local.api.subscription import Event, Subscription
from gateway.local.api.watching import WatchTimes

__all__ = [
    "EVENTS",
    "LEASES",
    "SANDBOXES",
    "AlreadyExistsError",
    "ApiDefinitionError",
    "ApiError",
    "BadRequestError",
    "ChangeType",
    "ConflictError",
    "EmbeddedApi",
    "Event",
    "EventType",
    "ExpiredError",
    "FieldValidation",
    "GroupResource",
    "InvalidError",
    "JsonObject",
    "ListOptions",
    "NotFoundError",
    "ObjectList",
    "ObjectStore",
    "Preconditions",
    "Selector",
    "StoreLockedError",
    "Subresource",
    "Subscription",
    "WatchTimes",
    "WriteOptions",
    "load_native_crd",
    "new_event",
    "parse_selector",
    "write_kubeconfig",
]
