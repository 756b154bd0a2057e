"""The knobs of the process runtime."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RuntimeConfig:
    """Timings of the runtime, in seconds, and the bound of a log file, in bytes."""

    grace: float = 5.0
    """From SIGTERM to SIGKILL."""
    kill_deadline: float = 5.0
    """How long the end of killed processes is waited for before the runtime leaves without."""
    start_deadline: float = 60.0
    """From the start (or the thaw) of a process until its port accepts a connection."""
    probe_first: float = 0.005
    """Pause after the first failed probe of a port; it grows by half with every further one."""
    probe_max: float = 0.25
    probe_timeout: float = 0.25
    backoff_first: float = 0.5
    """Pause before a restart after the first failure; it doubles with every further one."""
    backoff_max: float = 30.0
    healthy_after: float = 60.0
    """A process that served this long starts the backoff anew."""
    log_limit: int = 10 * 1024 * 1024
    """A log above this size is put aside (one generation) at the next start."""
