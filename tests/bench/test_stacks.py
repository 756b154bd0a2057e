"""Stacks of the profiler: whose time they are, and how they are drawn."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from e2e.bench.flame import svg
from e2e.bench.stacks import (
    AIOHTTP,
    GATEWAY,
    HTTPTOOLS,
    KERNEL,
    LIBRARY,
    UVLOOP,
    Frame,
    Owner,
    Stack,
    by_owner,
    owner,
    parsed,
)

LOOP = "main (gateway/cli/main.py:83);Runner.run (asyncio/runners.py:118);run (loop.c:10)"


def own(*frames: str) -> Owner:
    (stack,) = parsed([";".join([LOOP, *frames]) + " 1"])
    return owner(stack.frames)


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        (["UVStream__write (loop.c:9)", "write (libc.so.6)"], Owner(KERNEL, "write to sockets")),
        (["uv__read (stream.c:9)", "__read (libc-2.31.so)"], Owner(KERNEL, "read from sockets")),
        (["write (libc.so.6)", "0x7f00 (libc.so.6)"], Owner(KERNEL, "write to sockets")),
        (["Connection.send (gateway/proxy/client.py:9)"], Owner(GATEWAY, "proxy/client.py")),
        (["f (/x/sandbox-gateway/gateway/app.py:9)"], Owner(GATEWAY, "app.py")),
        (["f (gateway/app.py:9)", "0x7f00 (libc.so.6)"], Owner(GATEWAY, "app.py")),
        (["f (gateway/app.py:9)", "<lambda> (<string>:1)"], Owner(GATEWAY, "app.py")),
        (["f (gateway/app.py:9)", "PyDict_New (dictobject.c:1)"], Owner(GATEWAY, "app.py")),
        (["f (gateway/app.py:9)", "write (gateway/app.py:1)"], Owner(GATEWAY, "app.py")),
        (["feed_data (parser.c:9)", "Py_DECREF (object.h:1)"], Owner(HTTPTOOLS)),
        (["0x7f00 (httptools/parser/parser.cpython-311.so)"], Owner(HTTPTOOLS)),
        (["f (aiohttp/web_protocol.py:9)"], Owner(AIOHTTP, "aiohttp/web_protocol.py")),
        (["f (asyncio/events.py:9)"], Owner(LIBRARY, "asyncio/events.py")),
        (["clock_gettime (libc.so.6)", "0x7f00 ([vdso])"], Owner(UVLOOP)),
    ],
)
def test_a_stack_is_the_time_of_its_innermost_part(frames: list[str], expected: Owner) -> None:
    assert own(*frames) == expected


def test_without_native_frames_the_loops_own_time_is_uvloops() -> None:
    (stack,) = parsed(["Runner.run (asyncio/runners.py:118) 3"])
    assert stack == Stack((), 3)
    assert owner(stack.frames) == Owner(UVLOOP)


def test_other_threads_are_left_out() -> None:
    assert list(parsed(["_worker (concurrent/futures/thread.py:81);wait (libc.so.6) 99"])) == []


def test_stacks_that_differ_only_in_lines_are_one() -> None:
    lines = [f"{LOOP};f (gateway/app.py:{line});g (loop.c:1);g (loop.c:2) 2" for line in (1, 2)]
    run, f, g = Frame("run", "loop.c"), Frame("f", "gateway/app.py"), Frame("g", "loop.c")
    assert list(parsed(lines)) == [Stack((run, f, g), 4)]
    assert by_owner(parsed(lines)) == {Owner(UVLOOP): 4}


def test_boxes_are_as_wide_as_their_time() -> None:
    f, g = Frame("f", "gateway/app.py"), Frame("<g>", "loop.c")
    picture = ET.fromstring(svg([((f,), 30.0), ((f, g), 10.0)], "one & all"))
    space = {"svg": "http://www.w3.org/2000/svg"}
    boxes = {
        (group.findtext("svg:title", namespaces=space) or ""): float(rect.attrib["width"])
        for group in picture.iterfind("svg:g", space)
        for rect in group.iterfind("svg:rect", space)
    }
    whole = boxes["the loop: 40.00 µs, 100.0 %"]
    assert boxes["f (gateway/app.py): 40.00 µs, 100.0 %"] == whole
    assert boxes["<g> (loop.c): 10.00 µs, 25.0 %"] == pytest.approx(whole / 4)
