"""Events for `kubectl describe`: what a controller of this process has to say of an object."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from gateway.local.api.timestamps import format_timestamp

if TYPE_CHECKING:
    from datetime import datetime

    from gateway.local.api.objects import JsonObject

_NAME_LIMIT = 52
_MESSAGE_LIMIT = 1024


class EventType(StrEnum):
    """Whether an event is in the order of things."""

    NORMAL = "Normal"
    WARNING = "Warning"


def new_event(
    about: JsonObject,
    *,
    type: EventType,  # noqa: A002 - the field's own name
    reason: str,
    message: str,
    component: str,
    now: datetime,
) -> JsonObject:
    """A core/v1 Event about an object of the store, to be created in the object's namespace."""
    metadata = about["metadata"]
    moment = format_timestamp(now)
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "generateName": f"{metadata['name'][:_NAME_LIMIT].rstrip('.-')}.",
            "namespace": metadata["namespace"],
        },
        "involvedObject": {
            "apiVersion": about["apiVersion"],
            "kind": about["kind"],
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"],
        },
        "type": type.value,
        "reason": reason,
        "message": message[:_MESSAGE_LIMIT],
        "source": {"component": component},
        "reportingComponent": component,
        "count": 1,
        "firstTimestamp": moment,
        "lastTimestamp": moment,
    }
