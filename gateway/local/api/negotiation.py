"""Content negotiation: JSON objects, or JSON Tables where a client prefers them."""

from __future__ import annotations

from enum import Enum

from gateway.local.api.errors import NotAcceptableError

_JSON = "application/json"
_RANGES = frozenset((_JSON, "application/*", "*/*"))


class Representation(Enum):
    """In what form an answer goes out; all are JSON."""

    OBJECT = "object"
    TABLE = "table"
    METADATA = "metadata"


_FORMS = {
    "Table": Representation.TABLE,
    "PartialObjectMetadata": Representation.METADATA,
    "PartialObjectMetadataList": Representation.METADATA,
}


def negotiate(accept: str, *, transforms: bool = True) -> Representation:
    """The first form in the client's list that is served (clients list their preference first).

    `transforms` says whether it can be served as anything but an object. Raises
    `NotAcceptableError` if there is none.
    """
    if not accept.strip():
        return Representation.OBJECT
    for entry in accept.split(","):
        media, parameters = _parse(entry)
        if media not in _RANGES or parameters.get("q") in ("0", "0.0", "0.00", "0.000"):
            continue
        match parameters.get("as"):
            case None:
                return Representation.OBJECT
            case form if form in _FORMS and transforms and _is_meta_v1(parameters):
                return _FORMS[form]
    raise NotAcceptableError(f"only the following media types are accepted: {_JSON}")


def _parse(entry: str) -> tuple[str, dict[str, str]]:
    media, *rest = (part.strip() for part in entry.split(";"))
    pairs = (part.partition("=") for part in rest)
    return media.lower(), {key.strip(): value.strip() for key, _, value in pairs}


def _is_meta_v1(parameters: dict[str, str]) -> bool:
    return parameters.get("g") == "meta.k8s.io" and parameters.get("v") == "v1"
