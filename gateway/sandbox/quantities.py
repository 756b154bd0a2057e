"""Amounts of CPU and memory as Kubernetes writes them: `250m`, `0.5`, `1Gi`, `1e3`.

The grammar is that of `k8s.io/apimachinery/pkg/api/resource`, but for the sign: none here is
negative. What is finer than a milli-CPU or a byte is rounded up, as Kubernetes rounds it. What does
not fit into 63 bits is refused.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import Final

from gateway.sandbox.texts import remembered

_QUANTITY: Final = re.compile(
    r"\+?(?P<number>\d+(?:\.\d*)?|\.\d+)"
    r"(?:(?P<suffix>[numkMGTPE]|[KMGTPE]i)|[eE](?P<exponent>[+-]?\d{1,2}))?",
    re.ASCII,
)
#: Kubernetes keeps 63 bits. Longer texts are none of an amount that any machine has.
_LONGEST_TEXT: Final = 40
_MOST: Final = 2**63 - 1

_BINARY: Final = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_DECIMAL: Final = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_FACTORS: Final = {name: Fraction(1024) ** power for name, power in _BINARY.items()} | {
    name: Fraction(10) ** power for name, power in _DECIMAL.items()
}
#: From the largest on, for writing.
_WRITTEN: Final = tuple(reversed(_BINARY.items()))

#: What one CPU has.
MILLI: Final = 1000


def parse_quantity(value: str) -> Fraction:
    """Return a quantity in CPUs or bytes, exactly; raise ValueError."""
    matched = _QUANTITY.fullmatch(value) if len(value) <= _LONGEST_TEXT else None
    if matched is None:
        raise ValueError(value)
    number = Fraction(matched["number"])
    if matched["suffix"] is not None:
        number *= _FACTORS[matched["suffix"]]
    elif matched["exponent"] is not None:
        number *= Fraction(10) ** int(matched["exponent"])
    if number > _MOST:
        raise ValueError(value)
    return number


@remembered
def parse_cpu(value: str) -> int:
    """Return a quantity of CPUs in milli-CPUs; raise ValueError."""
    return math.ceil(parse_quantity(value) * MILLI)


@remembered
def parse_memory(value: str) -> int:
    """Return a quantity of memory in bytes; raise ValueError."""
    return math.ceil(parse_quantity(value))


def format_cpu(milli: int) -> str:
    """Return milli-CPUs as a quantity: in whole CPUs where they are whole, else `250m`."""
    return f"{milli}m" if milli % MILLI else str(milli // MILLI)


def format_memory(count: int) -> str:
    """Return bytes in canonical form, by the largest binary unit that they are whole in."""
    for suffix, power in _WRITTEN:
        size = 1024**power
        if count and count % size == 0:
            return f"{count // size}{suffix}"
    return str(count)
