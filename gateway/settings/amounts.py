"""The kinds of values that are amounts of what a machine has."""

from __future__ import annotations

from gateway.sandbox.quantities import format_cpu, parse_cpu
from gateway.settings.kinds import Kind, Refused, number_as_text


def cpu() -> Kind[int]:
    """An amount of CPU over 0 as Kubernetes writes it, in milli-CPUs."""

    def parse(value: object) -> int:
        try:
            milli = parse_cpu(number_as_text(value))
        except ValueError as error:
            raise Refused("") from error
        if milli == 0:
            raise Refused("it must be over 0")
        return milli

    return Kind("an amount of CPU such as 250m or 0.5", parse, format_cpu)
