"""The profiler's stacks, and which part of the program each is spent in. Pure."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: Parts, in the order in which they are shown.
KERNEL: Final = "the kernel"
UVLOOP: Final = "uvloop and libuv"
HTTPTOOLS: Final = "httptools and llhttp"
GATEWAY: Final = "the gateway's Python"
AIOHTTP: Final = "aiohttp's Python"
LIBRARY: Final = "other Python"
PARTS: Final = (KERNEL, UVLOOP, HTTPTOOLS, GATEWAY, AIOHTTP, LIBRARY)

#: The frame in which the loop's thread turns; other threads have none.
_LOOP: Final = "asyncio/runners.py"

#: C sources by their names alone, which is what the profiler gives of them.
_UVLOOP_SOURCES: Final = {"loop.c", "async.c", "core.c", "epoll.c", "linux.c", "linux-core.c"} | {
    "loop-watcher.c",
    "poll.c",
    "stream.c",
    "tcp.c",
    "timer.c",
    "udp.c",
    "uv-common.c",
}
_HTTPTOOLS_SOURCES: Final = {"parser.c", "url_parser.c", "api.c", "http.c", "llhttp.c"}

_WRITING: Final = "write to sockets"
_READING: Final = "read from sockets"
_POLLING: Final = "wait for events"
_OTHER_CALL: Final = "other calls"
_CALLS: Final = {
    **dict.fromkeys(("write", "writev", "send", "sendto", "sendmsg", "sendmmsg"), _WRITING),
    **dict.fromkeys(("read", "readv", "recv", "recvfrom", "recvmsg", "recvmmsg"), _READING),
    **dict.fromkeys(("epoll_wait", "epoll_pwait", "epoll_pwait2", "epoll_ctl"), _POLLING),
    **dict.fromkeys(("accept", "accept4", "socket", "bind", "connect", "close"), _OTHER_CALL),
    **dict.fromkeys(("getpeername", "getsockname", "getsockopt", "setsockopt"), _OTHER_CALL),
    **dict.fromkeys(("fcntl", "ioctl", "shutdown", "futex", "syscall"), _OTHER_CALL),
}
_C_LIBRARY: Final = re.compile(r"(^|/)(libc|libpthread|ld-linux)\b|^\[vdso\]$")
_FRAME: Final = re.compile(r"(.*) \(([^()]*?)(?::\d+)?\)")


@dataclass(frozen=True, slots=True)
class Frame:
    """A function, and the file of its source; where that is unknown, the library it is in."""

    name: str
    file: str


@dataclass(frozen=True, slots=True)
class Stack:
    """Frames from the outermost in, and how many samples had just these."""

    frames: tuple[Frame, ...]
    samples: int


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose time it is: a part, and within it a kind of call or a module."""

    part: str
    detail: str = ""


def parsed(lines: Iterable[str]) -> Iterator[Stack]:
    """Return the stacks of the loop's thread, from the loop in, out of collapsed stacks.

    Inlined functions of C headers are left out: what they cost is their caller's.
    """
    merged: Counter[tuple[Frame, ...]] = Counter()
    for line in lines:
        text, _, samples = line.rpartition(" ")
        frames = [_frame(one) for one in text.split(";")]
        turns = [place for place, frame in enumerate(frames) if frame.file.endswith(_LOOP)]
        if turns:
            own = (frame for frame in frames[turns[-1] + 1 :] if not frame.file.endswith(".h"))
            merged[_without_echoes(own)] += int(samples)
    return (Stack(frames, samples) for frames, samples in merged.items())


def owner(frames: tuple[Frame, ...]) -> Owner:
    """Return whose time the innermost frame's is.

    A system call is the kernel's. What C does for somebody (the interpreter's own functions,
    memory, copying) is the time of the next frame outwards that belongs to a part.
    """
    for frame in reversed(frames):
        if not _C_LIBRARY.search(frame.file):
            break
        if (call := _CALLS.get(frame.name.lstrip("_"))) is not None:
            return Owner(KERNEL, call)
    found = (owner_of(frame) for frame in reversed(frames))
    return next((one for one in found if one is not None), Owner(UVLOOP))


def owner_of(frame: Frame) -> Owner | None:
    """Return whose function this is; None if it serves whoever calls it."""
    file = frame.file
    if file in _UVLOOP_SOURCES or "uvloop/" in file:
        return Owner(UVLOOP)
    if file in _HTTPTOOLS_SOURCES or "httptools/" in file:
        return Owner(HTTPTOOLS)
    if not file.endswith(".py"):  # also what dataclasses and named tuples generate
        return None
    _, gateway, module = f"/{file}".rpartition("/gateway/")
    if gateway:
        return Owner(GATEWAY, module)
    return Owner(AIOHTTP if "/aiohttp/" in f"/{file}" else LIBRARY, file)


def by_owner(stacks: Iterable[Stack]) -> Counter[Owner]:
    """Return the samples of each owner."""
    found: Counter[Owner] = Counter()
    for stack in stacks:
        found[owner(stack.frames)] += stack.samples
    return found


def _frame(text: str) -> Frame:
    found = _FRAME.fullmatch(text)
    return Frame(found[1], found[2]) if found is not None else Frame(text, "")


def _without_echoes(frames: Iterable[Frame]) -> tuple[Frame, ...]:
    """Return the frames without those that repeat: Cython's wrapper has its function's name."""
    kept: list[Frame] = []
    for frame in frames:
        if not kept or frame != kept[-1]:
            kept.append(frame)
    return tuple(kept)
