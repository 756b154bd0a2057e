"""What two APIs showed to the same probe, held against each other and against what is known."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final

from .differences import DIFFERENCES
from .normal import flat

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_NOTHING: Final = "(nothing)"


@dataclass(frozen=True, slots=True)
class Deviation:
    """One place at which the two differ: `step: path/of/fields`."""

    place: str
    real: object
    embedded: object

    def __str__(self) -> str:
        return f"{self.place}\n    real:     {self.real!r}\n    embedded: {self.embedded!r}"


def deviations(real: Mapping[str, Any], embedded: Mapping[str, Any]) -> Iterator[Deviation]:
    """Give all of them; where answers are of different statuses or kinds, that alone."""
    for step in dict.fromkeys([*real, *embedded]):
        ours, theirs = embedded.get(step, _NOTHING), real.get(step, _NOTHING)
        if _status(ours) != _status(theirs):
            yield Deviation(f"{step}: status", _status(theirs), _status(ours))
        elif _kind(ours) != _kind(theirs):
            yield Deviation(f"{step}: kind", _kind(theirs), _kind(ours))
        else:
            yield from _within(step, flat(theirs), flat(ours))


def _status(seen: object) -> object:
    """Return the status of an answer; what else was noted comes of a good one."""
    return seen.get("status", 200) if isinstance(seen, dict) else 200


def _kind(seen: object) -> object:
    """Return the kind of the object that an answer has, or the text that it has instead."""
    body = seen.get("body") if isinstance(seen, dict) else None
    return body.get("kind") if isinstance(body, dict) else body


def _within(
    step: str, real: Mapping[str, object], embedded: Mapping[str, object]
) -> Iterator[Deviation]:
    for path in dict.fromkeys([*real, *embedded]):
        theirs, ours = real.get(path, _NOTHING), embedded.get(path, _NOTHING)
        if theirs != ours:
            yield Deviation(f"{step}: {path}", theirs, ours)


def faults(probe: str, real: Mapping[str, Any], embedded: Mapping[str, Any]) -> list[str]:
    """Return what is not listed, and what is listed in vain."""
    found = list(deviations(real, embedded))
    patterns = [pattern for one in DIFFERENCES for pattern in one.seen.get(probe, ())]
    unlisted = [
        str(one) for one in found if not any(fnmatchcase(one.place, each) for each in patterns)
    ]
    places = [one.place for one in found]
    in_vain = [
        f"no longer differs, so it need not be listed: {pattern}"
        for pattern in patterns
        if not any(fnmatchcase(place, pattern) for place in places)
    ]
    return unlisted + in_vain
