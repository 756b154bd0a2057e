"""The kinds of values that settings of tracing take."""

from __future__ import annotations

import re
from typing import Final

from gateway.settings import kinds
from gateway.settings.kinds import Kind, Refused

#: What the OpenTelemetry Protocol has collectors take traces at; the gateway adds it.
_PATH: Final = "/v1/traces"


def collector() -> Kind[str]:
    """An http or https URL, without what is sent to it by definition."""

    def parse(value: object) -> str:
        text = kinds.as_text(value)
        if re.fullmatch(r"https?://[^\s@?#]+", text) is None or not text.isascii():
            raise Refused("a URL has a host, and no user or query")
        if text.rstrip("/").endswith(_PATH):
            raise Refused(f"write it without {_PATH}")
        return text

    return Kind("a URL such as http://collector:4318", parse)


def share() -> Kind[float]:
    """A part of a whole."""

    def parse(value: object) -> float:
        text = kinds.number_as_text(value)
        if re.fullmatch(r"[01](\.\d{1,9})?", text, re.ASCII) is None or float(text) > 1:
            raise Refused("")
        return float(text)

    return Kind("a number from 0 to 1", parse, lambda value: f"{value:g}")
