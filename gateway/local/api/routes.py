"""Paths of the API: which resource, object or subresource a request is for."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote


@dataclass(frozen=True, slots=True)
class ResourcePath:
    """A path below `/api/{version}` or `/apis/{group}/{version}`.

    An empty namespace means all namespaces, an empty name the collection.
    """

    group: str
    version: str
    plural: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""


def parse_resource_path(path: str) -> ResourcePath | None:
    """What a raw (percent-encoded) path names, or None if it is no path of a resource."""
    segments = [unquote(segment) for segment in path.strip("/").split("/")]
    if not all(segments):
        return None
    match segments:
        case ["api", version, *rest]:
            return _within("", version, rest)
        case ["apis", group, version, *rest]:
            return _within(group, version, rest)
        case _:
            return None


def _within(group: str, version: str, rest: list[str]) -> ResourcePath | None:
    match rest:
        case ["namespaces", namespace, plural, *more] if len(more) <= 2:
            return ResourcePath(group, version, plural, namespace, *more)
        case ["namespaces", name] if not group:
            return ResourcePath(group, version, "namespaces", name=name)
        case [plural]:
            return ResourcePath(group, version, plural)
        case _:
            return None
