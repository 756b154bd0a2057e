"""What of an answer is the same whenever and wherever it is given."""

from __future__ import annotations

import re
from typing import Any, Final

_UID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_MICROTIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
_GENERATED: Final = re.compile(r"(?<=enerated-)[bcdfghjklmnpqrstvwxz2456789]{5}")
_AGE: Final = re.compile(r"\b(\d+m)?\d+[sm]\b")
#: Lists tell up to where they are complete, which other clients of the API move on.
_LISTS: Final = ("items", "rows")


class Normal:
    """Replaces what chance and clocks decide; the same thing is called the same all along."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._uids: dict[str, str] = {}
        self._versions: dict[str, str] = {}

    def of(self, found: Any) -> Any:
        match found:
            case dict():
                return self._fields(found)
            case list():
                return [self.of(one) for one in found]
            case str():
                return self._text(found)
            case _:
                return found

    def _fields(self, found: dict[str, Any]) -> dict[str, Any]:
        kept = dict(found)
        if isinstance(metadata := found.get("metadata"), dict):
            of_many = any(name in found for name in _LISTS)
            kept["metadata"] = self._metadata(metadata, of_many=of_many)
        if isinstance(causes := found.get("causes"), list):
            kept["causes"] = _set_of(causes)
        if found.get("kind") == "Status":
            # Words for people, which change from version to version.
            kept.pop("message", None)
            if not kept.get("details"):
                kept.pop("details", None)
        if isinstance(verbs := found.get("verbs"), list):
            kept["verbs"] = sorted(verbs)
        if isinstance(cells := found.get("cells"), list):
            kept["cells"] = [_AGE.sub("AGE", one) if isinstance(one, str) else one for one in cells]
        if found.get("type") == "BOOKMARK":
            bookmark = found["object"]
            bookmarked = self._metadata(bookmark["metadata"], of_many=True)
            kept["object"] = bookmark | {"metadata": bookmarked}
        return {self._text(name): self.of(value) for name, value in kept.items()}

    def _metadata(self, metadata: dict[str, Any], *, of_many: bool) -> dict[str, Any]:
        kept = {name: value for name, value in metadata.items() if name != "managedFields"}
        name = self._text(kept.get("name", ""))
        if uid := kept.get("uid"):
            self._called(self._uids, uid, f"uid of {name}")
        version = kept.get("resourceVersion")
        if version and (of_many or not name):  # a bookmark among a table's rows has no name
            kept["resourceVersion"] = "some version"
        elif version and version not in self._versions.values():
            kept["resourceVersion"] = self._called(self._versions, version, f"version of {name}")
        if kept.get("continue"):
            kept["continue"] = "some token"
        return kept

    def _called(self, known: dict[str, str], found: str, what: str) -> str:
        """Return what something is called: the first of its kind, the second, and so on."""
        if found not in known:
            number = 1 + sum(name.startswith(f"{what} (") for name in known.values())
            known[found] = f"{what} ({number})"
        return known[found]

    def _text(self, text: str) -> str:
        text = text.replace(self._namespace, "NAMESPACE")
        text = _UID.sub(self._uid, text)
        text = _MICROTIME.sub("MICROTIME", text)
        text = _TIME.sub("TIME", text)
        return _GENERATED.sub("XXXXX", text)

    def _uid(self, found: re.Match[str]) -> str:
        return self._uids.get(found[0], "some uid")


def _set_of(causes: list[dict[str, Any]]) -> dict[str, str]:
    """Return fields and the reasons against them: in no promised order, and some told twice."""
    found = sorted({(cause.get("field", ""), cause["reason"]) for cause in causes})
    return {field or "no field": reason for field, reason in found}


def flat(found: object, path: str = "") -> dict[str, object]:
    """Return the leaves by their paths, which are parts with slashes between; of what is empty
    itself.
    """
    match found:
        case dict() if found:
            parts = {str(name): value for name, value in found.items()}
        case list() if found:
            parts = {str(index): value for index, value in enumerate(found)}
        case _:
            return {path: found}
    leaves: dict[str, object] = {}
    for name, value in parts.items():
        leaves |= flat(value, f"{path}/{name}" if path else name)
    return leaves
