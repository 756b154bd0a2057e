"""The kinds of values that settings take: how each is written, read and shown.

A value arrives as text from the environment or as a scalar or list from YAML. A kind either gives
the value of the right type or raises `Refused` with a hint; what it accepts is told from `accepts`.
"""

from __future__ import annotations

import ipaddress
import math
import re
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar

from pydantic_core import core_schema

from gateway.sandbox.texts import parse_duration

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
EnumT = TypeVar("EnumT", bound=Enum)

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: No wait is longer: a year in seconds. Above it a typo is likelier than a wish.
MAX_DURATION: Final = 8760 * 3600.0


class Refused(ValueError):
    """A value that a setting does not take. The text is a hint, or empty; it never echoes."""


class ListenAddress(NamedTuple):
    """Where to listen. Port 0 takes any free one."""

    host: str
    port: int


class HostTarget(NamedTuple):
    """The sandbox that an exact host stands for; without a port, the default one is meant."""

    id: str
    port: int | None


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """One kind of value. `accepts` completes "wanted …"; `hidden` values are never repeated."""

    accepts: str
    parse: Callable[[object], T]
    show: Callable[[T], str] = str
    hidden: bool = False

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self.parse)


# ---- durations and sizes ------------------------------------------------------------------------


def duration(*, zero: bool = False) -> Kind[float]:
    """Seconds, written like 90s; with `zero`, 0s is allowed and means "not at all"."""

    def parse(value: object) -> float:
        text = number_as_text(value)
        if re.fullmatch(r"\d+(\.\d+)?", text, re.ASCII) and float(text) > 0:
            raise Refused(f"a bare number has no unit: did you mean {text}s?")
        seconds = 0.0 if zero and text == "0" else _go_duration(text)
        if seconds > MAX_DURATION:
            raise Refused("the longest is 8760h")
        if seconds == 0 and not zero:
            raise Refused("it must be over 0")
        return seconds

    return Kind("a duration such as 90s, 5m or 1h30m", parse, show_duration)


def _go_duration(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise Refused("") from error


def show_duration(seconds: float) -> str:
    """Return seconds as they are written in settings: 90.0 → 1m30s."""
    if seconds != int(seconds):
        return f"{seconds * 1000:g}ms" if seconds < 1 else f"{seconds:g}s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [f"{amount}{unit}" for amount, unit in ((hours, "h"), (minutes, "m"), (rest, "s"))]
    return "".join(part for part in parts if part[0] != "0") or "0s"


_SIZE_UNITS: Final = {"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_SIZE = re.compile(r"(\d{1,18})\s*([A-Za-z]*)", re.ASCII)
_LOOSE_UNITS: Final = {"k": "KiB", "kb": "KiB", "m": "MiB", "mb": "MiB", "g": "GiB", "gb": "GiB"}


def size(*, zero: bool = False) -> Kind[int]:
    """Bytes, written like 64KiB; a bare number is bytes; with `zero`, 0 means "unlimited"."""

    def parse(value: object) -> int:
        match = _SIZE.fullmatch(number_as_text(value))
        if match is None:
            raise Refused("")
        amount, unit = int(match[1]), match[2]
        if unit not in _SIZE_UNITS:
            meant = _LOOSE_UNITS.get(unit.lower())
            raise Refused(f"did you mean {amount}{meant}?" if meant else "")
        if amount == 0 and not zero:
            raise Refused("it must be over 0")
        return amount * _SIZE_UNITS[unit]

    return Kind("a size such as 64KiB, 1MiB or a number of bytes", parse, show_size)


def show_size(amount: int) -> str:
    """Return bytes as they are written in settings: 65536 → 64KiB."""
    for unit in ("GiB", "MiB", "KiB"):
        if amount and amount % _SIZE_UNITS[unit] == 0:
            return f"{amount // _SIZE_UNITS[unit]}{unit}"
    return str(amount)


# ---- numbers, switches, choices -----------------------------------------------------------------


def integer(low: int, high: int) -> Kind[int]:
    """A whole number within bounds, both included."""

    def parse(value: object) -> int:
        text = number_as_text(value)
        if re.fullmatch(r"-?\d{1,18}", text, re.ASCII) is None or not low <= int(text) <= high:
            raise Refused("")
        return int(text)

    return Kind(f"a whole number from {low} to {high}", parse)


def rate() -> Kind[float]:
    """How often per second: a number over 0."""

    def parse(value: object) -> float:
        text = number_as_text(value)
        if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text, re.ASCII) is None or float(text) == 0:
            raise Refused("")
        return float(text)

    return Kind("a number over 0, per second", parse, lambda value: f"{value:g}")


def switch() -> Kind[bool]:
    """Yes or no."""

    def parse(value: object) -> bool:
        if isinstance(value, bool):
            return value
        if value in ("true", "false"):
            return value == "true"
        raise Refused("")

    return Kind("true or false", parse, lambda value: "true" if value else "false")


def choice(among: type[EnumT]) -> Kind[EnumT]:
    """One member of an enum, by its value."""
    by_value = {str(one.value): one for one in among}

    def parse(value: object) -> EnumT:
        if isinstance(value, str) and value in by_value:
            return by_value[value]
        raise Refused("")

    return Kind(f"one of {', '.join(by_value)}", parse, lambda member: str(member.value))


# ---- texts and addresses ------------------------------------------------------------------------


def matching(pattern: str, accepts: str, *, lower: bool = False) -> Kind[str]:
    """Text that a pattern describes; with `lower`, case does not matter and is folded away."""
    compiled = re.compile(pattern, re.ASCII)

    def parse(value: object) -> str:
        text = as_text(value)
        text = text.lower() if lower else text
        if compiled.fullmatch(text) is None:
            raise Refused("")
        return text

    return Kind(accepts, parse)


def file_path(*, hidden: bool = False) -> Kind[Path]:
    """The path of a file; whether it is there is judged later."""

    def parse(value: object) -> Path:
        text = as_text(value)
        if not text or not text.isprintable():
            raise Refused("")
        return Path(text)

    return Kind("the path of a file", parse, str, hidden)


def url_or_file() -> Kind[str]:
    """An http or https URL, or the path of a file."""

    def parse(value: object) -> str:
        text = as_text(value)
        if not is_url(text):
            return str(file_path().parse(text))
        if re.fullmatch(r"https?://[!-~]+", text, re.ASCII) is None or "@" in text:
            raise Refused("a URL has a host, and no user")
        return text

    return Kind("a URL such as https://issuer.example.com/keys, or the path of a file", parse)


def listen_address() -> Kind[ListenAddress]:
    """host:port; an IPv6 address stands in brackets."""

    def parse(value: object) -> ListenAddress:
        host, colon, port = as_text(value).rpartition(":")
        if not colon or not host:
            raise Refused(f"did you mean 0.0.0.0:{port}?" if is_port(port) or port == "0" else "")
        if not (is_port(port) or port == "0"):
            raise Refused("the port must be from 0 to 65535")
        return ListenAddress(_listen_host(host), int(port))

    return Kind("an address such as 0.0.0.0:8080 or [::1]:8080", parse, show_listen_address)


def _listen_host(host: str) -> str:
    if host.startswith("[") and host.endswith("]"):
        return str(_ip(host[1:-1]))
    if ":" in host:
        raise Refused("an IPv6 address stands in brackets")
    if re.fullmatch(r"[0-9.]+", host, re.ASCII):
        return str(_ip(host))
    if re.fullmatch(HOSTNAME, host, re.ASCII | re.IGNORECASE) is None:
        raise Refused("")
    return host


def _ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address(text)
    except ValueError as error:
        raise Refused("that is no IP address") from error


def show_listen_address(address: ListenAddress) -> str:
    """Return an address as it is written in settings and in URLs."""
    host = f"[{address.host}]" if ":" in address.host else address.host
    return f"{host}:{address.port}"


def network() -> Kind[Network]:
    """A network in CIDR form, without host bits."""

    def parse(value: object) -> Network:
        text = as_text(value)
        try:
            return ipaddress.ip_network(text)
        except ValueError as error:
            raise Refused(_masked(text)) from error

    return Kind("a network such as 10.0.0.0/8 or fd00::/8", parse)


def _masked(text: str) -> str:
    try:
        return f"did you mean {ipaddress.ip_network(text, strict=False)}?"
    except ValueError:
        return ""


#: RFC 1123 §2.1: labels of letters, digits and inner hyphens.
LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
HOSTNAME: Final = rf"(?:{LABEL}\.)*{LABEL}"


def host_map() -> Kind[dict[str, HostTarget]]:
    """Exact hosts and the sandboxes that they stand for."""

    def parse(value: object) -> dict[str, HostTarget]:
        pairs = value.items() if isinstance(value, dict) else map(_pair, items_of(value))
        found: dict[str, HostTarget] = {}
        for host, target in pairs:
            name = as_text(host).lower()
            if re.fullmatch(HOSTNAME, name, re.ASCII) is None:
                raise Refused("a host is a DNS name without a port")
            if name in found:
                raise Refused("one host is named twice")
            found[name] = _host_target(as_text(target))
        return found

    return Kind("hosts with their sandboxes: a.example.com=ID:PORT,b.example.com=ID", parse, _show)


def _pair(item: str) -> tuple[str, str]:
    host, equals, target = item.partition("=")
    if not equals:
        raise Refused("each entry is written HOST=ID or HOST=ID:PORT")
    return host.strip(), target.strip()


def _host_target(text: str) -> HostTarget:
    sandbox_id, colon, port = text.rpartition(":")
    if not colon:
        sandbox_id, port = text, ""
    if not sandbox_id or (colon and not is_port(port)):
        raise Refused("a target is written ID or ID:PORT")
    return HostTarget(sandbox_id, int(port) if colon else None)


def _show(hosts: dict[str, HostTarget]) -> str:
    return ",".join(
        f"{host}={to.id}" + ("" if to.port is None else f":{to.port}") for host, to in hosts.items()
    )


# ---- kinds made of kinds ------------------------------------------------------------------------


def many(item: Kind[T], *, at_least: int = 0) -> Kind[tuple[T, ...]]:
    """Several values, each once: comma-separated text or a YAML list."""

    def parse(value: object) -> tuple[T, ...]:
        found = tuple(item.parse(one) for one in items_of(value))
        if len(set(found)) < len(found):
            raise Refused("one value stands there twice")
        if len(found) < at_least:
            raise Refused("it must not be empty")
        return found

    accepts = f"a comma-separated list; each item: {item.accepts}"
    return Kind(accepts, parse, lambda values: ",".join(map(item.show, values)))


def optional(kind: Kind[T]) -> Kind[T | None]:
    """A value that may be missing: empty text or null."""

    def parse(value: object) -> T | None:
        return None if value is None or value == "" else kind.parse(value)

    def show(value: T | None) -> str:
        return "" if value is None else kind.show(value)

    return Kind(kind.accepts, parse, show, kind.hidden)


# ---- reading raw values -------------------------------------------------------------------------


def as_text(value: object) -> str:
    """Return text, without the blanks around it; raise Refused for anything else."""
    if not isinstance(value, str):
        raise Refused("write it as text, in quotes")
    return value.strip()


def items_of(value: object) -> list[str]:
    """Return the items of a YAML list or of comma-separated text; none of them may be empty."""
    if isinstance(value, list):
        items = [as_text(one) for one in value]
    else:
        text = as_text(value)
        items = [one.strip() for one in text.split(",")] if text else []
    if not all(items):
        raise Refused("one item is empty")
    return items


def is_url(text: str) -> bool:
    """Return whether text is meant as a URL."""
    return text.startswith(("http:", "https:"))


def is_port(text: str) -> bool:
    """Return whether text is a port from 1 to 65535 in plain ASCII digits."""
    return re.fullmatch(r"[1-9]\d{0,4}", text, re.ASCII) is not None and int(text) <= 65535


def number_as_text(value: object) -> str:
    """Return what YAML may have read as a number as the text that it was."""
    if isinstance(value, bool) or (isinstance(value, float) and not math.isfinite(value)):
        raise Refused("")
    return as_text(f"{value}" if isinstance(value, int | float) else value)
