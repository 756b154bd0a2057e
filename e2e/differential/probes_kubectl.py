"""Probes by the real kubectl: what somebody at a terminal sees."""

from __future__ import annotations

import re
from typing import Final

import yaml

from .probe import Probe, probe, sandbox

_AGE: Final = re.compile(r"\b(\d+m)?\d+s\b")


def _run(api: Probe, what: str, *arguments: str, given: object = None) -> None:
    """Run a command in the probe's namespace; note how it ended and what it printed."""
    done = api.side.kubectl(
        f"--namespace={api.namespace}", *arguments, given=yaml.safe_dump(given) if given else ""
    )
    lines = [_AGE.sub("AGE", " ".join(line.split())) for line in done.stdout.splitlines()]
    errors = " ".join(done.stderr.split())
    api.note(what, {"status": done.returncode, "out": lines, "err": errors})


@probe
def kubectl_gets_and_describes(api: Probe) -> None:
    api.create("shown", metadata={"labels": {"a": "1"}}, ports=[8080])
    api.change("shown", {"status": {"phase": "Running", "podIP": "10.0.0.1"}}, "/status")
    _run(api, "wide", "get", "sgw", "-o", "wide", "--show-labels")
    _run(api, "described", "describe", "sgw", "shown", "--show-managed-fields=false")
    _run(api, "absent", "get", "sgw", "absent")
    _run(api, "of no kind", "get", "things")
    _run(api, "path", "get", "sgw", "-o", "jsonpath={.items[*].spec.ports}")
    _run(api, "explained", "explain", "sandbox.spec.standby")


@probe
def kubectl_applies_patches_and_waits(api: Probe) -> None:
    _run(api, "applied", "apply", "-f", "-", given=sandbox("applied", ports=[1]))
    _run(api, "again", "apply", "-f", "-", given=sandbox("applied", ports=[1]))
    _run(api, "changed", "apply", "-f", "-", given=sandbox("applied", ports=[2]))
    _run(api, "mistyped", "apply", "-f", "-", given=sandbox("mistyped", prt=1))
    _run(api, "paused", "patch", "sgw", "applied", "--type=merge", "-p", '{"spec":{"ports":[3]}}')
    _run(api, "strategic", "patch", "sgw", "applied", "-p", '{"spec":{"ports":[3]}}')
    api.change(
        "applied", {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}, "/status"
    )
    _run(api, "waited", "wait", "--for=condition=Ready", "sgw/applied", "--timeout=20s")
    _run(api, "labelled", "label", "sgw", "applied", "a=b")
    _run(api, "deleted", "delete", "sgw", "applied", "--wait=true")
    _run(api, "waited for its end", "wait", "--for=delete", "sgw/applied", "--timeout=20s")
