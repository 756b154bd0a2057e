"""What a write makes of an object: pure functions from (stored, proposed) to what is stored.

Rules: Kubernetes API conventions, "Metadata", "Spec and Status" and "Concurrency Control".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from gateway.local.api.definitions import EVENTS
from gateway.local.api.errors import (
    BadRequestError,
    Cause,
    ConflictError,
    Details,
    InvalidError,
)
from gateway.local.api.objectmeta import SERVER_OWNED, decode_metadata, validate_metadata
from gateway.local.api.objects import JsonObject, clone, meta
from gateway.local.api.timestamps import format_timestamp

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from gateway.local.api.definitions import Definition


class FieldValidation(StrEnum):
    """What becomes of fields that the schema does not know (they are never stored)."""

    IGNORE = "Ignore"
    WARN = "Warn"
    STRICT = "Strict"


class Subresource(StrEnum):
    """Which part of an object a write is for."""

    MAIN = ""
    STATUS = "status"


def _silent(_: str) -> None:
    """Nobody listens to warnings."""


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """How a write is done. In-process writers get the strict reading: a typo is their bug."""

    dry_run: bool = False
    field_validation: FieldValidation = FieldValidation.STRICT
    warn: Callable[[str], None] = _silent


@dataclass(frozen=True, slots=True)
class Preconditions:
    """What must hold of the stored object; empty means anything."""

    uid: str = ""
    resource_version: str = ""

    def check(self, definition: Definition, stored: JsonObject) -> None:
        """Raises `ConflictError` where the stored object is another one."""
        metadata = stored["metadata"]
        for what, wanted, found in (
            ("UID", self.uid, metadata["uid"]),
            ("ResourceVersion", self.resource_version, metadata["resourceVersion"]),
        ):
            if wanted and wanted != found:
                raise ConflictError(
                    f'Operation cannot be fulfilled on {definition.resource} "{metadata["name"]}": '
                    f"Precondition failed: {what} in precondition: {wanted}, "
                    f"{what} in object meta: {found}",
                    Details(metadata["name"], definition.resource.group, definition.kind),
                )


def decode_object(definition: Definition, obj: JsonObject, options: WriteOptions) -> None:
    """Check the object's identity and drop, in place, what is not part of it; fill defaults.

    Raises `BadRequestError` for another kind of object and, under strict field validation, for
    unknown fields.
    """
    _check_type_meta(definition, obj)
    if obj.get("metadata") is None:
        obj["metadata"] = {}
    unknown = decode_metadata(definition.kind, meta(obj)) + definition.schema.prune(obj)
    _report_unknown(definition, sorted(unknown), options)
    definition.schema.default(obj)


def _check_type_meta(definition: Definition, obj: JsonObject) -> None:
    expected = {"apiVersion": definition.api_version, "kind": definition.kind}
    if definition.built_in:
        obj.update(expected | obj)
    for field, value in expected.items():
        found = obj.get(field)
        if found == value:
            continue
        if field == "kind" and found and isinstance(found, str) and not definition.built_in:
            raise _other_kind(definition, found, obj)
        raise BadRequestError(
            f"the {field} in the data ({found or ''}) does not match the expected {field} ({value})"
        )


def _other_kind(definition: Definition, kind: str, obj: JsonObject) -> InvalidError:
    metadata = obj.get("metadata")
    name = str(metadata.get("name", "")) if isinstance(metadata, dict) else ""
    cause = Cause(
        "FieldValueInvalid", "kind", f'Invalid value: "{kind}": must be {definition.kind}'
    )
    return InvalidError(
        f'{kind}.{definition.resource.group} "{name}" is invalid: kind: {cause.message}',
        Details(name, definition.resource.group, kind, (cause,)),
    )


def _report_unknown(definition: Definition, unknown: list[str], options: WriteOptions) -> None:
    messages = [f'unknown field "{path}"' for path in unknown]
    match options.field_validation:
        case FieldValidation.STRICT if messages:
            raise BadRequestError(
                f'{definition.kind} in version "{definition.version}" cannot be handled as a '
                f"{definition.kind}: strict decoding error: {', '.join(messages)}"
            )
        case FieldValidation.WARN:
            for message in messages:
                options.warn(message)


def prepare_create(
    definition: Definition, namespace: str, obj: JsonObject, *, uid: str, now: datetime
) -> None:
    """Make a decoded object a new one, in place; its name must be set already."""
    metadata = meta(obj)
    if metadata.get("resourceVersion", "0") not in ("", "0"):
        raise BadRequestError("resourceVersion should not be set on objects to be created")
    for field in ("resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds"):
        metadata.pop(field, None)
    metadata["namespace"] = namespace
    metadata["uid"] = uid
    metadata["creationTimestamp"] = format_timestamp(now)
    metadata.pop("generation", None)
    if definition.counts_generations:
        metadata["generation"] = 1
    if definition.has_status:
        obj.pop("status", None)


def check_identity(namespace: str, name: str, obj: JsonObject) -> None:
    """The object may leave out what the URL says, but not contradict it (400)."""
    metadata = meta(obj)
    if metadata.setdefault("namespace", namespace) != namespace:
        raise BadRequestError(
            f"the namespace of the provided object ({metadata['namespace']}) does not match "
            f"the namespace sent on the request ({namespace})"
        )
    if name and metadata.get("name", "") != name:
        raise BadRequestError(
            f"the name of the object ({metadata.get('name', '')}) does not match "
            f"the name on the URL ({name})"
        )


def prepare_update(
    definition: Definition, stored: JsonObject, proposed: JsonObject, subresource: Subresource
) -> JsonObject:
    """What is to be stored when `proposed` (decoded) is written over `stored`.

    Raises `ConflictError` if `proposed` was made from another version, or of another object.
    """
    _check_version(definition, stored, proposed)
    if subresource is Subresource.STATUS:
        return _with(stored, "status", proposed.get("status"))
    _check_unchanged(definition, stored, proposed)
    result = _with(proposed, "status", stored.get("status")) if definition.has_status else proposed
    metadata = {key: value for key, value in meta(result).items() if key not in SERVER_OWNED}
    kept = {key: meta(stored)[key] for key in SERVER_OWNED if key in meta(stored)}
    result = {**result, "metadata": metadata | kept}
    if definition.counts_generations and _content(definition, result) != _content(
        definition, stored
    ):
        result["metadata"]["generation"] += 1
    return result


def _check_version(definition: Definition, stored: JsonObject, proposed: JsonObject) -> None:
    name = meta(stored)["name"]
    version = meta(proposed).get("resourceVersion", "")
    if version in ("", "0") and not definition.unconditional_update:
        message = "Invalid value: must be specified for an update"
        cause = Cause("FieldValueInvalid", "metadata.resourceVersion", message)
        raise invalid(definition, name, [cause], plural=True)
    if version not in ("", "0", meta(stored)["resourceVersion"]):
        raise conflict(
            definition,
            name,
            "the object has been modified; please apply your changes to the latest version and "
            "try again",
        )


def check_same(definition: Definition, stored: JsonObject, proposed: JsonObject) -> None:
    """Raises `ConflictError` if an object that is to be put is another one, by its uid."""
    name, uid = meta(stored)["name"], meta(proposed).get("uid", "")
    if uid not in ("", meta(stored)["uid"]):
        raise conflict(
            definition,
            name,
            f"Precondition failed: UID in precondition: {uid}, "
            f"UID in object meta: {meta(stored)['uid']}",
        )


def _check_unchanged(definition: Definition, stored: JsonObject, proposed: JsonObject) -> None:
    """What a client may leave out, but not contradict. Raises `InvalidError`."""
    causes = [
        Cause("FieldValueInvalid", f"metadata.{name}", "Invalid value: field is immutable")
        for name in ("uid", "deletionTimestamp", "deletionGracePeriodSeconds")
        if name in meta(proposed) and meta(proposed)[name] != meta(stored).get(name)
    ]
    if causes:
        raise invalid(definition, meta(stored)["name"], causes)


def _with(obj: JsonObject, field: str, value: object) -> JsonObject:
    copy = clone(obj)
    copy.pop(field, None)
    if value is not None:
        copy[field] = value
    return copy


def _content(definition: Definition, obj: JsonObject) -> JsonObject:
    """What a generation counts: everything but metadata and, where it is apart, status."""
    apart = {"metadata", "status"} if definition.has_status else {"metadata"}
    return {key: value for key, value in obj.items() if key not in apart}


def validate_object(
    definition: Definition, obj: JsonObject, stored: JsonObject | None = None
) -> None:
    """Raises `InvalidError` that names every offending field, and `BadRequestError` for a built-in
    object whose fields are of another type: the real server cannot even read it.
    """
    causes = validate_metadata(meta(obj)) + definition.schema.validate(obj)
    if definition.built_in:
        for cause in causes:
            if cause.reason == "FieldValueTypeInvalid":
                raise BadRequestError(
                    f'{definition.kind} in version "{definition.version}" cannot be handled as a '
                    f"{definition.kind}: {cause.field}: {cause.message}"
                )
    if definition.resource == EVENTS:
        causes += _far_object(obj)
    if stored is not None and "deletionTimestamp" in meta(stored):
        causes += _late_finalizers(stored, obj)
    if causes:
        raise invalid(definition, meta(obj)["name"], causes)


def _far_object(event: JsonObject) -> list[Cause]:
    """An Event lies in the namespace of what it is about, or in `default` if that has none."""
    namespace = event.get("involvedObject", {}).get("namespace", "")
    if (namespace or "default") == meta(event)["namespace"]:
        return []
    message = f'Invalid value: "{namespace}": does not match the namespace of the event'
    return [Cause("FieldValueInvalid", "involvedObject.namespace", message)]


def _late_finalizers(stored: JsonObject, obj: JsonObject) -> list[Cause]:
    before = meta(stored).get("finalizers", [])
    late = [name for name in meta(obj).get("finalizers", []) if name not in before]
    if not late:
        return []
    message = (
        "Forbidden: no new finalizers can be added if the object is being deleted, "
        f"found new finalizers {', '.join(late)}"
    )
    return [Cause("FieldValueForbidden", "metadata.finalizers", message)]


def prepare_deletion(definition: Definition, stored: JsonObject, now: datetime) -> JsonObject:
    """The object marked as being deleted: its finalizers still hold it."""
    marked = clone(stored)
    metadata = meta(marked)
    metadata["deletionTimestamp"] = format_timestamp(now)
    metadata["deletionGracePeriodSeconds"] = 0
    if definition.counts_generations:
        # As the real server does: being deleted is something a controller must observe.
        metadata["generation"] += 1
    return marked


def is_finalized(obj: JsonObject) -> bool:
    """Deletion was asked for and nothing holds the object any more."""
    return "deletionTimestamp" in meta(obj) and not meta(obj).get("finalizers")


def invalid(
    definition: Definition, name: str, causes: list[Cause], *, plural: bool = False
) -> InvalidError:
    """The 422 for an object that breaks the rules that `causes` name.

    Its details name the kind; `plural` is for the few rules whose refusals name the resource.
    """
    listed = [f"{cause.field}: {cause.message}" for cause in causes]
    shown = listed[0] if len(listed) == 1 else f"[{', '.join(listed)}]"
    return InvalidError(
        f'{definition.qualified_kind} "{name}" is invalid: {shown}',
        Details(
            name,
            definition.resource.group,
            definition.resource.plural if plural else definition.kind,
            tuple(causes),
        ),
    )


def conflict(definition: Definition, name: str, why: str) -> ConflictError:
    """The 409 for a write that was decided on another state of the object."""
    return ConflictError(
        f'Operation cannot be fulfilled on {definition.resource} "{name}": {why}',
        Details(name, definition.resource.group, definition.resource.plural),
    )
