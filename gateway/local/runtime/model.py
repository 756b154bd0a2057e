"""Values of the process runtime: what is wanted of a sandbox and what is the case."""

import enum
from dataclasses import dataclass


class Goal(enum.StrEnum):
    """`spec.desiredState`."""

    RUNNING = "Running"
    PAUSED = "Paused"


class PauseMode(enum.StrEnum):
    """`spec.process.pause`: what becomes of the processes of a paused sandbox."""

    FREEZE = "freeze"
    STOP = "stop"


class Phase(enum.StrEnum):
    """`status.phase` of a native Sandbox."""

    PENDING = "Pending"
    RUNNING = "Running"
    PAUSING = "Pausing"
    PAUSED = "Paused"
    RESUMING = "Resuming"
    FAILED = "Failed"
    SUCCEEDED = "Succeeded"
    TERMINATING = "Terminating"


class Reason(enum.StrEnum):
    """Reason of the condition Ready, and of the events."""

    PORT_ACCEPTS = "PortAccepts"
    LISTENER_UNVERIFIED = "ListenerUnverified"
    STARTING = "Starting"
    RESUMING = "Resuming"
    RESTARTING = "Restarting"
    PAUSING = "Pausing"
    PAUSED = "Paused"
    TERMINATING = "Terminating"
    SHUTDOWN_TIME_REACHED = "ShutdownTimeReached"
    RUNTIME_STOPPED = "RuntimeStopped"
    PORT_RELEASING = "PortReleasing"
    INVALID_SPEC = "InvalidSpec"
    PORT_RESERVED = "PortReserved"
    PORT_CONFLICT = "PortConflict"
    PORT_IN_USE = "PortInUse"
    START_FAILED = "StartFailed"
    PROCESS_EXITED = "ProcessExited"
    START_DEADLINE_EXCEEDED = "StartDeadlineExceeded"


class Departure(enum.Enum):
    """Whether the sandbox is to stay, and if not, who takes it away."""

    NONE = enum.auto()
    DELETING = enum.auto()
    """The object has a deletionTimestamp but is still there."""
    DELETED = enum.auto()
    """The object is gone."""
    RUNTIME_STOPS = enum.auto()
    """The object stays; this runtime goes."""


class Life(enum.Enum):
    """Where the processes of a sandbox stand."""

    ABSENT = enum.auto()
    """There is no process."""
    STARTING = enum.auto()
    """Started; the port has not been seen to be served."""
    SERVING = enum.auto()
    FREEZING = enum.auto()
    """Told to stop in their tracks; not all of them have been seen to."""
    FROZEN = enum.auto()
    THAWING = enum.auto()
    """Continued; the port has not been tried since."""
    TERMINATING = enum.auto()
    KILLING = enum.auto()


class Listener(enum.Enum):
    """Who was seen to listen on the port of a sandbox."""

    NOBODY = enum.auto()
    OWN = enum.auto()
    FOREIGN = enum.auto()
    """Somebody, and not only the processes of the sandbox."""
    UNVERIFIED = enum.auto()
    """Somebody; the platform does not tell who."""

    @property
    def trusted(self) -> bool:
        """Whether an answer on the port counts as the sandbox's own."""
        return self in {Listener.OWN, Listener.UNVERIFIED}


@dataclass(frozen=True, slots=True)
class Command:
    """What is started. A change of any part of it needs a new process."""

    argv: tuple[str, ...]
    port: int
    env: tuple[tuple[str, str], ...] = ()
    cwd: str | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a spec can not be run, as people are told."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Desired:
    """What the object asks for."""

    generation: int
    goal: Goal
    workload: Command | Problem
    pause: PauseMode = PauseMode.FREEZE
    shutdown_at: float | None = None
    """`spec.shutdownTime` in seconds since 1970."""
    departure: Departure = Departure.NONE


@dataclass(frozen=True, slots=True)
class Failure:
    """The last attempt to run a sandbox, and when the next one is due."""

    reason: Reason
    message: str
    generation: int
    retry_at: float | None
    """Monotonic seconds; None: not before the spec changes."""

    def holds(self, generation: int, now: float) -> bool:
        """Whether nothing may be started at `now` because of this failure."""
        if generation != self.generation:
            return False
        return self.retry_at is None or now < self.retry_at


@dataclass(frozen=True, slots=True)
class Rival:
    """The sandbox that has the port which another one wants."""

    label: str
    leaving: bool


@dataclass(frozen=True, slots=True)
class Observed:
    """What is the case. Times are monotonic seconds."""

    life: Life = Life.ABSENT
    since: float = 0.0
    """When `life` began."""
    due: float = 0.0
    """When the next probe or check is due."""
    tries: int = 0
    """Probes or checks made in this life."""
    command: Command | None = None
    """What the process was started from."""
    incarnation: str | None = None
    """`status.podUID`: names one life of the process, across freezing and thawing."""
    exited: bool = False
    """The first process has ended and is not reaped yet."""
    listener: Listener = Listener.NOBODY
    served_at: float | None = None
    """When this incarnation first served."""
    slept: bool = False
    """It was asked to pause since it last served: what follows is a resume, not a start."""
    failure: Failure | None = None
    failures: int = 0
    """Failures in a row."""
    rival: Rival | None = None


@dataclass(frozen=True, slots=True)
class Instant:
    """One moment on both clocks, in seconds."""

    monotonic: float
    wall: float


def expired(desired: Desired, now: Instant) -> bool:
    """Whether `spec.shutdownTime` has passed."""
    return desired.shutdown_at is not None and desired.shutdown_at <= now.wall
