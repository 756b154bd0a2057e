"""The part of the chart's values.schema.json that the settings' one definition gives.

`python -m tests.chart.schema --check` fails where it is out of date; `--write` renews it. The rest
of the schema is written by hand.
"""

from __future__ import annotations

import json
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args, get_origin

from gateway.settings import types
from gateway.settings.kinds import LABEL
from gateway.settings.model import GROUPS, NAMES, Settings, kind_of

if TYPE_CHECKING:
    from gateway.settings.group import Group

CHART: Final = Path(__file__).parents[2] / "charts" / "sandbox-gateway"
FILE: Final = CHART / "values.schema.json"

Shape = dict[str, Any]

_DURATION: Final = {"type": "string", "pattern": r"^([0-9]+(\.[0-9]*)?(ns|us|µs|ms|s|m|h))+$"}
#: From 1 to 65535, at the end of an address.
_PORT: Final = (
    ":([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])$"
)
_NAMESPACE: Final = {"type": "string", "pattern": f"^{LABEL}$"}
_SIZE: Final = {"type": ["integer", "string"], "minimum": 0, "pattern": "^[0-9]+ *([KMG]i)?B?$"}


def _kind(alias: Any) -> object:
    return get_args(alias)[1]


#: What the type alone does not tell.
_SHAPES: Final[dict[object, Shape]] = {
    _kind(types.Duration): _DURATION,
    _kind(types.DurationOrZero): _DURATION,
    _kind(types.Size): _SIZE,
    _kind(types.SizeOrZero): _SIZE,
    _kind(types.Cpu): {
        "type": ["number", "string"],
        "exclusiveMinimum": 0,
        "pattern": r"^[0-9]+(\.[0-9]+)?m?$",
    },
    _kind(types.Count): {"type": "integer", "minimum": 1, "maximum": 10_000_000},
    _kind(types.CountOrZero): {"type": "integer", "minimum": 0, "maximum": 10_000_000},
    _kind(types.Port): {"type": "integer", "minimum": 1, "maximum": 65535},
    _kind(types.Rate): {"type": "number", "exclusiveMinimum": 0},
    _kind(types.Listen): {"type": "string", "pattern": _PORT},
    _kind(types.Namespaces): {"type": "array", "items": _NAMESPACE, "uniqueItems": True},
    _kind(types.Place): {"type": "string", "pattern": "^https?://"},
}

_TYPES: Final[dict[object, str]] = {bool: "boolean", int: "integer", float: "number"}

#: In a pod the cluster is the pod's own; the replicas are those of the release; whether there are
#: observers is a value of its own.
NO_VALUES: Final = frozenset({
    "kubeconfig", "kube_context", "lease_name", "pod_name", "pod_namespace", "peer_selector",
    "observe_connections",
})  # fmt: skip
#: The chart mounts files and sets their paths.
_BY_THE_CHART: Final = NO_VALUES | {
    name for name in NAMES if kind_of(name) in (_kind(types.File), _kind(types.SecretFile))
}


def settings_schema() -> Shape:
    """Return the JSON schema of the value `settings`: every setting that the chart does not set."""
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            name: _shape(name) | {"description": _meaning(group, name)}
            for group in GROUPS
            for name in group.model_fields
            if name not in _BY_THE_CHART
        },
    }


def _shape(name: str) -> Shape:
    known = _SHAPES.get(kind_of(name))
    return known if known is not None else _shape_of_type(Settings.model_fields[name].annotation)


def _shape_of_type(annotation: Any) -> Shape:
    """Lists and maps are YAML's own: their comma-separated text is for the environment."""
    if get_origin(annotation) is tuple:
        items = _shape_of_type(get_args(annotation)[0])
        return {"type": "array", "items": items, "uniqueItems": True}
    if get_origin(annotation) is dict:
        return {"type": "object", "additionalProperties": {"type": "string"}}
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return {"enum": [one.value for one in annotation]}
    return {"type": _TYPES.get(annotation, "string")}


def _meaning(group: type[Group], name: str) -> str:
    return group.model_fields[name].description or ""


def inserted(document: str) -> str:
    """Return the schema with the current settings in it."""
    schema = json.loads(document)
    schema["properties"]["settings"] = settings_schema()
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def main(arguments: list[str]) -> int:
    """Check or write the schema; return the exit status."""
    if arguments not in (["--check"], ["--write"]):
        print("usage: python -m tests.chart.schema --check|--write", file=sys.stderr)
        return 2
    document = FILE.read_text(encoding="utf-8")
    wanted = inserted(document)
    if arguments == ["--write"]:
        FILE.write_text(wanted, encoding="utf-8")
    elif document != wanted:
        print(f"{FILE.name}: out of date; run with --write", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
