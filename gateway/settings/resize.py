"""The knobs of right-sizing: whether, by which steps, and where guests find their agents."""

from __future__ import annotations

from gateway.settings.group import Group, knob
from gateway.settings.types import (  # noqa: TC001 - pydantic reads them when it runs
    Cpu,
    Duration,
    Listen,
    Port,
    Switch,
)


class Resize(Group):
    """Right-sizing"""

    resize: Switch = knob(
        "false",
        "Give running sandboxes with the label sandbox-gateway.dev/scaling-enabled what they need "
        "within their bounds (annotation sandbox-gateway.dev/scaling-bounds), by resizing their "
        "pods in place. Their images must run `sandbox-gateway informant`.",
    )
    resize_listen: Listen = knob(
        "0.0.0.0:8082", "Where informants find the agents of their sandboxes."
    )
    resize_informant_port: Port = knob(
        "10301",
        "The port of informants. No request is forwarded there: it is for the gateway alone.",
    )
    resize_cpu_unit: Cpu = knob(
        "250m", "CPU is given in multiples of this, and with it one slot of memory."
    )
    resize_metrics_interval: Duration = knob(
        "5s", "How often each informant is asked for its metrics."
    )
