"""Sandbox object → what it asks for. What can not be run becomes a Problem, never an exception."""

import enum
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from gateway.local.runtime.model import (
    Command,
    Departure,
    Desired,
    Goal,
    PauseMode,
    Problem,
    Reason,
)
from gateway.local.runtime.objects import SandboxObject

_Choice = TypeVar("_Choice", bound=enum.StrEnum)
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}")
_VARIABLE = re.compile(r"[^=\0]+")


class _InvalidSpecError(Exception):
    """Carries the sentence that people are told."""

    def __init__(self, message: str, reason: Reason = Reason.INVALID_SPEC) -> None:
        super().__init__(message)
        self.problem = Problem(reason, message)


@dataclass(frozen=True, slots=True)
class Identity:
    """Which Sandbox it is. All three parts are safe as names of files."""

    namespace: str
    name: str
    uid: str

    @property
    def label(self) -> str:
        """How people call it."""
        return f"{self.namespace}/{self.name}"


def identity_of(obj: SandboxObject) -> Identity | None:
    """Read who an object is; None if it is nobody that an API server would have named."""
    metadata = _mapping(obj.get("metadata"))
    parts = [metadata.get(field) for field in ("namespace", "name", "uid")]
    names = [part for part in parts if isinstance(part, str) and _FILE_NAME.fullmatch(part)]
    return Identity(*names) if len(names) == len(parts) else None


def read_desired(obj: SandboxObject, reserved_ports: Collection[int]) -> Desired:
    """Read what `obj` asks for; a sandbox never gets one of `reserved_ports`."""
    metadata, spec = _mapping(obj.get("metadata")), _mapping(obj.get("spec"))
    generation = metadata.get("generation")
    deleting = metadata.get("deletionTimestamp") is not None
    workload, pause, shutdown_at = _workload(spec, reserved_ports)
    return Desired(
        generation=generation if isinstance(generation, int) else 0,
        goal=Goal.PAUSED if spec.get("desiredState") == Goal.PAUSED.value else Goal.RUNNING,
        workload=workload,
        pause=pause,
        shutdown_at=shutdown_at,
        departure=Departure.DELETING if deleting else Departure.NONE,
    )


def _workload(
    spec: Mapping[str, Any], reserved_ports: Collection[int]
) -> tuple[Command | Problem, PauseMode, float | None]:
    try:
        shutdown_at = _shutdown_time(spec.get("shutdownTime"))
        _known(Goal, spec.get("desiredState", Goal.RUNNING.value), "spec.desiredState")
        process = spec.get("process")
        if not isinstance(process, Mapping):
            raise _InvalidSpecError("spec.process is missing: there is nothing to run")
        pause = _known(PauseMode, process.get("pause", "freeze"), "spec.process.pause")
        return _command(process, reserved_ports), pause, shutdown_at
    except _InvalidSpecError as error:
        return error.problem, PauseMode.FREEZE, None


def _command(process: Mapping[str, Any], reserved_ports: Collection[int]) -> Command:
    port = _port(process.get("port"), reserved_ports)
    return Command(_argv(process.get("command")), port, _env(process.get("env")), _cwd(process))


def _argv(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or value[0] == "":
        raise _InvalidSpecError("spec.process.command must be a list that names a program")
    return tuple(_text(word, "spec.process.command") for word in value)


def _port(value: object, reserved_ports: Collection[int]) -> int:
    # bool is an int, but `port: true` is nobody's port 1.
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 65535:
        raise _InvalidSpecError("spec.process.port must be a port from 1 to 65535")
    if value in reserved_ports:
        raise _InvalidSpecError(
            f"port {value} is the gateway's own: choose another one", Reason.PORT_RESERVED
        )
    return value


def _env(value: object) -> tuple[tuple[str, str], ...]:
    if value is None:
        return ()
    if not isinstance(value, Mapping):
        raise _InvalidSpecError("spec.process.env must map names to values")
    for name in value:
        if not isinstance(name, str) or not _VARIABLE.fullmatch(name):
            raise _InvalidSpecError("spec.process.env has an illegal name")
    return tuple((name, _text(text, "spec.process.env")) for name, text in value.items())


def _cwd(process: Mapping[str, Any]) -> str | None:
    value = process.get("cwd")
    if value is None:
        return None
    path = _text(value, "spec.process.cwd")
    if not path.startswith("/"):
        raise _InvalidSpecError("spec.process.cwd must be an absolute path")
    return path


def _text(value: object, field: str) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise _InvalidSpecError(f"{field} must hold strings without NUL")
    return value


def _shutdown_time(value: object) -> float | None:
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(_text(value, "spec.shutdownTime"))
    except ValueError as error:
        raise _InvalidSpecError("spec.shutdownTime is not a time of RFC 3339") from error
    if moment.tzinfo is None:
        raise _InvalidSpecError("spec.shutdownTime has no time zone")
    return moment.timestamp()


def _known(choices: type[_Choice], value: object, field: str) -> _Choice:
    try:
        return choices(_text(value, field))
    except ValueError as error:
        names = " or ".join(choice.value for choice in choices)
        raise _InvalidSpecError(f"{field} must be {names}") from error


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
