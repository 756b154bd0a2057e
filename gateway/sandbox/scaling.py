"""How large a sandbox may be: what its author writes, in two annotations.

The bounds are JSON: `{"min": {"cpu": "250m", "mem": "512Mi"}, "max": {"cpu": "2", "mem": "4Gi"}}`.
The configuration is JSON too, and may leave out anything: `{"loadAverageFractionTarget": 0.9,
"memoryUsageFractionTarget": 0.75, "memorySlotSize": "512Mi", "idleFloor": {"cpu": "100m",
"mem": "512Mi"}, "wakeBoost": {"cpu": "2", "mem": "4Gi", "for": "1m"}, "separateUnits": false}`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import msgspec

from gateway.sandbox.quantities import format_cpu, format_memory, parse_cpu, parse_memory
from gateway.sandbox.texts import format_duration, parse_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DEFAULT_LOAD_TARGET: Final = 0.9
DEFAULT_MEMORY_TARGET: Final = 0.75
DEFAULT_SLOT: Final = 512 * 1024**2

#: What an author wrote goes into what is said of it: characters of one part, and of the whole.
_LONGEST_QUOTED: Final = 64
_LONGEST_COMPLAINT: Final = 1024
#: A size on the wire has 32 bits for milli-CPUs and 16 for slots.
_MOST_MILLI: Final = 2**32 - 1
_MOST_SLOTS: Final = 2**16 - 1

_CONFIG: Final = (
    "loadAverageFractionTarget",
    "memoryUsageFractionTarget",
    "memorySlotSize",
    "idleFloor",
    "wakeBoost",
    "separateUnits",
)


class ScalingError(ValueError):
    """What is wrong in each of the annotations, all of it; `""` for one that may be taken."""

    def __init__(self, bounds: str, config: str) -> None:
        super().__init__("; ".join(filter(None, (bounds, config))))
        self.bounds = bounds
        self.config = config


class Size(msgspec.Struct, frozen=True, gc=False):
    """Milli-CPUs and bytes of memory."""

    cpu: int
    memory: int

    def as_json(self) -> dict[str, str]:
        """Return it as authors write it."""
        return {"cpu": format_cpu(self.cpu), "mem": format_memory(self.memory)}


class Boost(msgspec.Struct, frozen=True, gc=False):
    """The size that a sandbox has at least for so many seconds after a wake."""

    size: Size
    seconds: float


class Scaling(msgspec.Struct, frozen=True, gc=False):
    """Between which sizes a sandbox may be, and how its size follows from its load.

    Targets are shares: of the CPU's time, of the memory. `slot`: memory is given by so many bytes
    at a time. `floor`: the size that it is brought to before it sleeps, which may be below `low`.
    `separate`: CPU and memory each go by their own need, and not by whichever is greater.
    """

    low: Size
    high: Size
    load_target: float = DEFAULT_LOAD_TARGET
    memory_target: float = DEFAULT_MEMORY_TARGET
    slot: int = DEFAULT_SLOT
    floor: Size | None = None
    boost: Boost | None = None
    separate: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return it for people: the bounds and the configuration, with what goes by default."""
        told: dict[str, Any] = {
            "min": self.low.as_json(),
            "max": self.high.as_json(),
            "loadAverageFractionTarget": self.load_target,
            "memoryUsageFractionTarget": self.memory_target,
            "memorySlotSize": format_memory(self.slot),
            "separateUnits": self.separate,
        }
        if self.floor is not None:
            told["idleFloor"] = self.floor.as_json()
        if self.boost is not None:
            lasting = {"for": format_duration(self.boost.seconds)}
            told["wakeBoost"] = self.boost.size.as_json() | lasting
        return told


def parse_scaling(bounds: str, config: str | None) -> Scaling:
    """Return what the two annotations say; raise ScalingError with all that is wrong in either."""
    misbound: list[str] = []
    misset: list[str] = []
    found = _object(bounds, misbound)
    _refuse_unknown(found, ("min", "max"), "", misbound)
    low, high = (_size(found.get(name), name, misbound) for name in ("min", "max"))
    scaling = _configured(low, high, _object(config or "{}", misset), misset)
    _check_bounds(scaling, misbound)
    _check_config(scaling, misset)
    if misbound or misset:
        raise ScalingError(*("; ".join(wrong)[:_LONGEST_COMPLAINT] for wrong in (misbound, misset)))
    return scaling


def _configured(low: Size, high: Size, found: Mapping[str, Any], wrong: list[str]) -> Scaling:
    _refuse_unknown(found, _CONFIG, "", wrong)
    floor, boost = found.get("idleFloor"), found.get("wakeBoost")
    return Scaling(
        low=low,
        high=high,
        load_target=_share(found, "loadAverageFractionTarget", DEFAULT_LOAD_TARGET, 2.0, wrong),
        memory_target=_share(found, "memoryUsageFractionTarget", DEFAULT_MEMORY_TARGET, 1.0, wrong),
        slot=_amount(found, "memorySlotSize", parse_memory, wrong, DEFAULT_SLOT),
        floor=None if floor is None else _size(floor, "idleFloor", wrong),
        boost=None if boost is None else _boost(boost, wrong),
        separate=_switch(found, "separateUnits", wrong),
    )


def _check_bounds(scaling: Scaling, wrong: list[str]) -> None:
    """Find what contradicts itself in the bounds; an amount that is not readable is 0 here."""
    low, high, slot = scaling.low, scaling.high, scaling.slot
    _check_within(low, high, "min", wrong)
    _check_slots(low, slot, "min", wrong)
    _check_slots(high, slot, "max", wrong)
    if high.cpu > _MOST_MILLI:
        wrong.append(f"max.cpu must be {format_cpu(_MOST_MILLI)} at most")
    if slot and high.memory // slot > _MOST_SLOTS:
        wrong.append(f"max.mem must be {_MOST_SLOTS} times {format_memory(slot)} at most")


def _check_config(scaling: Scaling, wrong: list[str]) -> None:
    """Find what contradicts the bounds, or itself, in the configuration."""
    boost = None if scaling.boost is None else scaling.boost.size
    for name, size in (("idleFloor", scaling.floor), ("wakeBoost", boost)):
        if size is not None:
            _check_within(size, scaling.high, name, wrong)
            _check_slots(size, scaling.slot, name, wrong)


def _check_within(size: Size, high: Size, name: str, wrong: list[str]) -> None:
    if 0 < high.cpu < size.cpu:
        wrong.append(f"{name}.cpu must not exceed max.cpu")
    if 0 < high.memory < size.memory:
        wrong.append(f"{name}.mem must not exceed max.mem")


def _check_slots(size: Size, slot: int, name: str, wrong: list[str]) -> None:
    if slot and size.memory % slot:
        wrong.append(f"{name}.mem must be a multiple of {format_memory(slot)}")


def _object(text: str, wrong: list[str]) -> Mapping[str, Any]:
    try:
        found = json.loads(text, object_pairs_hook=_distinct)
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict):
        return found
    wrong.append("must be a JSON object that names each field once")
    return {}


def _distinct(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(fields)
    if len(found) < len(fields):
        raise ValueError("a field is named twice")
    return found


def _refuse_unknown(
    found: Mapping[str, Any], known: tuple[str, ...], path: str, wrong: list[str]
) -> None:
    unknown = (name for name in found if name not in known)
    wrong.extend(f"{path}{name[:_LONGEST_QUOTED]!r} is not known" for name in unknown)


def _size(value: object, path: str, wrong: list[str], also: tuple[str, ...] = ()) -> Size:
    if not isinstance(value, dict):
        wrong.append(f"{path} must have cpu and mem")
        return Size(0, 0)
    _refuse_unknown(value, ("cpu", "mem", *also), f"{path}.", wrong)
    return Size(
        _amount(value, "cpu", parse_cpu, wrong, path=f"{path}."),
        _amount(value, "mem", parse_memory, wrong, path=f"{path}."),
    )


def _amount(
    found: Mapping[str, Any],
    name: str,
    parse: Callable[[str], int],
    wrong: list[str],
    default: int | None = None,
    path: str = "",
) -> int:
    """Return an amount over 0; without a default it has to be there."""
    value = found.get(name)
    if value is None and default is not None:
        return default
    # A boolean is a number to Python alone.
    is_written = isinstance(value, str | int | float) and not isinstance(value, bool)
    try:
        amount = parse(str(value)) if is_written else 0
    except ValueError:
        amount = 0
    if amount <= 0:
        wrong.append(f"{path}{name} must be an amount over 0, such as 500m or 1Gi")
    return amount


def _share(
    found: Mapping[str, Any], name: str, default: float, below: float, wrong: list[str]
) -> float:
    value = found.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < below:
        wrong.append(f"{name} must be a number over 0 and below {below:g}")
        return default
    return float(value)


def _switch(found: Mapping[str, Any], name: str, wrong: list[str]) -> bool:
    value = found.get(name)
    if value is not None and not isinstance(value, bool):
        wrong.append(f"{name} must be true or false")
    return value is True


def _boost(value: object, wrong: list[str]) -> Boost:
    size = _size(value, "wakeBoost", wrong, also=("for",))
    lasts = value.get("for") if isinstance(value, dict) else None
    try:
        seconds = parse_duration(lasts) if isinstance(lasts, str) else 0.0
    except ValueError:
        seconds = 0.0
    if seconds <= 0:
        wrong.append("wakeBoost.for must be a duration over 0, such as 1m")
    return Boost(size, seconds)
