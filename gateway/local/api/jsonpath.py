"""The part of JSONPath that printer columns use: fields, indexes, `[*]` and equality filters.

Source: Kubernetes documentation, "JSONPath Support" (simple JSON paths of CRD columns).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_STEP = re.compile(
    r"""\.(?P<field>(?:\\.|[^.\[\]\\])+)
      | \[(?P<index>-?\d+)\]
      | (?P<every>\[\*\]|\.\*)
      | \[(?P<quote>['"])(?P<quoted>.*?)(?P=quote)\]
      | \[\?\(@\.(?P<key>[\w.-]+)\s*==\s*(?P<mark>['"])(?P<value>.*?)(?P=mark)\)\]""",
    re.VERBOSE,
)


def find(path: str, obj: object) -> list[object]:
    """All values that a path leads to. Raises `ValueError` for a path beyond this subset."""
    found = [obj]
    for step in _steps(path):
        found = [value for item in found for value in _follow(step, item)]
    return found


@lru_cache(maxsize=256)
def _steps(path: str) -> tuple[re.Match[str], ...]:
    rest = path.strip().removeprefix("{").removesuffix("}").removeprefix("$")
    steps, position = [], 0
    while position < len(rest):
        step = _STEP.match(rest, position)
        if step is None:
            raise ValueError(f"unsupported JSONPath: {path}")
        steps.append(step)
        position = step.end()
    return tuple(steps)


def _follow(step: re.Match[str], item: object) -> Iterator[object]:
    if step["every"]:
        yield from _children(item)
    elif step["index"]:
        if isinstance(item, list) and -len(item) <= int(step["index"]) < len(item):
            yield item[int(step["index"])]
    elif step["key"]:
        yield from (
            child
            for child in _children(item)
            if isinstance(child, dict) and child.get(step["key"]) == step["value"]
        )
    else:
        name = step["quoted"] or re.sub(r"\\(.)", r"\1", step["field"] or "")
        if isinstance(item, dict) and name in item:
            yield item[name]


def _children(item: object) -> list[object]:
    if isinstance(item, dict):
        return list(item.values())
    return item if isinstance(item, list) else []
