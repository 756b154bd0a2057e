"""The first process of a sandbox, as its parent sees it: start, exit, signals, reaping.

It leads a POSIX session of its own, and it is left unreaped until the whole session is gone: as
long as a zombie has the number, no stranger can, neither as process nor as group nor as session.
"""

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from gateway.local.runtime.procfs import read_process

_INHERITED = ("PATH", "HOME", "LANG", "TMPDIR")


class NotJoinedError(Exception):
    """The control group does not take the process, so that it was not started."""


@dataclass(frozen=True, slots=True)
class Launch:
    """All that is needed to start a process. `door`: the file by which it joins a control group."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path
    log: Path
    log_limit: int
    door: Path | None = None


def inherited_environment() -> dict[str, str]:
    """What a sandbox gets of the gateway's own environment: nothing that holds secrets."""
    return {name: os.environ[name] for name in _INHERITED if name in os.environ}


class Child:
    """A started process. OSError, ValueError or NotJoinedError if it can not be started."""

    def __init__(self, launch: Launch) -> None:
        log = _open_log(launch.log, launch.log_limit)
        try:
            with _joining(launch.door) as join:
                self._popen = subprocess.Popen(  # noqa: S603 - running commands is what this is for
                    launch.argv,
                    env=launch.env,
                    cwd=launch.cwd,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    preexec_fn=join,  # noqa: PLW1509 - one system call that takes no lock
                )
        except subprocess.SubprocessError as error:
            raise NotJoinedError("the kernel does not let it in") from error
        finally:
            os.close(log)
        self._exit_watch: asyncio.AbstractEventLoop | None = None
        try:
            self._handle = os.pidfd_open(self._popen.pid)
        except OSError:
            self._popen.kill()
            self._popen.wait()
            raise
        info = read_process(self._popen.pid)
        assert info is not None, "a process that is not reaped is in /proc"
        self.identity = info.identity

    def watch(self, on_exit: Callable[[], None]) -> None:
        """Call `on_exit` once, when the process has ended."""

        def ended() -> None:
            self._unwatch()
            on_exit()

        self._exit_watch = asyncio.get_running_loop()
        self._exit_watch.add_reader(self._handle, ended)

    def exit_text(self) -> str:
        """Say how the process ended."""
        ended = os.waitid(os.P_PIDFD, self._handle, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is None:
            return "is still running"
        if ended.si_code == os.CLD_EXITED:
            return f"exited with code {ended.si_status}"
        return f"was ended by {_signal_name(ended.si_status)}"

    def signal_group(self, number: signal.Signals) -> None:
        """Signal the first process and all that stayed in its group, at once."""
        # A member that took another user's rights (setuid) is out of our reach.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._popen.pid, number)

    def reap(self) -> None:
        """Let the process go, after it has ended."""
        self._unwatch()
        os.close(self._handle)
        self._popen.wait()

    def abandon(self, patience: float) -> None:
        """Kill and reap at once, blocking for `patience` seconds at most."""
        self.signal_group(signal.SIGKILL)
        self._unwatch()
        os.close(self._handle)
        with suppress(subprocess.TimeoutExpired):
            self._popen.wait(patience)

    def _unwatch(self) -> None:
        if self._exit_watch is not None:
            self._exit_watch.remove_reader(self._handle)
            self._exit_watch = None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"  # A realtime signal has no name.


@contextmanager
def _joining(door: Path | None) -> Iterator[Callable[[], object] | None]:
    """Give what a new process does to join a control group before its command runs."""
    if door is None:
        yield None
        return
    try:
        file = door.open("wb", buffering=0)
    except OSError as error:
        raise NotJoinedError(f"{door}: {error.strerror}") from error
    with file:
        yield partial(os.write, file.fileno(), b"0")


def _open_log(path: Path, limit: int) -> int:
    with suppress(FileNotFoundError):
        if path.stat().st_size > limit:
            path.replace(path.with_suffix(".log.1"))
    # Private: what a process prints is nobody else's business.
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
