"""The process runtime of local mode: native Sandboxes as processes of this machine.

It reads Sandboxes, runs `spec.process` for each of them, and writes what is the case into
their status. Pausing freezes the processes (SIGSTOP) or stops them (SIGTERM). Processes are no
isolation: whatever a sandbox runs has the rights of the user who started the gateway.
"""

from gateway.local.runtime.config import RuntimeConfig
from gateway.local.runtime.objects import ObjectGoneError, Objects, SandboxObject
from gateway.local.runtime.rooms import Room, Rooms
from gateway.local.runtime.runtime import (
    DataDirInUseError,
    ProcessRuntime,
    UnsupportedPlatformError,
)
from gateway.local.runtime.spec import Identity
from gateway.local.runtime.status import LOOPBACK

__all__ = [
    "LOOPBACK",
    "DataDirInUseError",
    "Identity",
    "ObjectGoneError",
    "Objects",
    "ProcessRuntime",
    "Room",
    "Rooms",
    "RuntimeConfig",
    "SandboxObject",
    "UnsupportedPlatformError",
]
