"""Where the frames of a WebSocket begin and end, against a library that makes them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Close, Frame, Opcode

from gateway.proxy.websocket import SERVICE_RESTART, FrameBoundary

from .heads import cut

SIZES = st.integers(0, 130) | st.sampled_from([125, 126, 127, 65535, 65536, 70_000])


@st.composite
def _frames(draw: st.DrawFn) -> bytes:
    opcode = draw(st.sampled_from([Opcode.CONT, Opcode.TEXT, Opcode.BINARY, Opcode.PING]))
    size = draw(SIZES) if opcode is not Opcode.PING else draw(st.integers(0, 125))
    frame = Frame(opcode, bytes(size), fin=opcode is Opcode.PING or draw(st.booleans()))
    return frame.serialize(mask=draw(st.booleans()))


def boundaries(frames: list[bytes]) -> set[int]:
    at, found = 0, {0}
    for frame in frames:
        at += len(frame)
        found.add(at)
    return found


@settings(deadline=None)
@given(
    frames=st.lists(_frames(), max_size=4),
    at=st.lists(st.integers(0, 200_000), max_size=8),
)
def test_a_boundary_is_seen_where_a_frame_ends_however_the_reads_fall(
    frames: list[bytes], at: list[int]
) -> None:
    ends, stream, fed = boundaries(frames), FrameBoundary(), 0
    for piece in cut(b"".join(frames), at):
        stream.feed(piece)
        fed += len(piece)
        assert stream.reached is (fed in ends)
    assert stream.reached


@settings(deadline=None, max_examples=30)
@given(st.lists(_frames().filter(lambda frame: len(frame) < 200), max_size=4))
def test_even_byte_by_byte(frames: list[bytes]) -> None:
    raw, ends, stream = b"".join(frames), boundaries(frames), FrameBoundary()
    for fed in range(len(raw)):
        assert stream.reached is (fed in ends)
        stream.feed(raw[fed : fed + 1])


@pytest.mark.parametrize("part", [b"\x81", b"\x81\x7e", b"\x81\x7e\x01", b"\x81\xfe\x01\x00\x00"])
def test_within_a_header_is_no_boundary(part: bytes) -> None:
    stream = FrameBoundary()
    stream.feed(part)
    assert not stream.reached


FEW = st.lists(_frames().filter(lambda frame: len(frame) < 200), max_size=4)


@settings(deadline=None, max_examples=60)
@given(frames=FEW, at=st.lists(st.integers(0, 800), max_size=6))
def test_data_is_seen_wherever_some_of_it_passes(frames: list[bytes], at: list[int]) -> None:
    stream, fed = FrameBoundary(), 0
    for piece in cut(b"".join(frames), at):
        shown = set(range(fed, fed + len(piece)))
        assert stream.feed(piece) is any(shown & bytes_ for bytes_ in telling(frames))
        fed += len(piece)


def telling(frames: list[bytes]) -> list[set[int]]:
    """Return where the bytes are that show data: the last of a frame's header, and its payload."""
    at, found = 0, []
    for frame in frames:
        if frame[0] & 0x0F < 0x08:
            found.append(set(range(at + header_size(frame) - 1, at + len(frame))))
        at += len(frame)
    return found


def header_size(frame: bytes) -> int:
    extended = {126: 2, 127: 8}.get(frame[1] & 0x7F, 0)
    return 2 + extended + (4 if frame[1] & 0x80 else 0)


@pytest.mark.parametrize(
    ("opcode", "data"),
    [
        (Opcode.CONT, True),
        (Opcode.TEXT, True),
        (Opcode.BINARY, True),
        (Opcode.PING, False),
        (Opcode.PONG, False),
        (Opcode.CLOSE, False),
    ],
)
@pytest.mark.parametrize("mask", [True, False])
def test_only_what_is_no_control_frame_is_data(opcode: Opcode, data: bool, mask: bool) -> None:
    for payload in (b"", b"some"):
        assert FrameBoundary().feed(Frame(opcode, payload).serialize(mask=mask)) is data


def test_the_close_frame_is_that_of_a_service_restart() -> None:
    close = Frame(Opcode.CLOSE, Close(1012, "").serialize())
    assert close.serialize(mask=False) == SERVICE_RESTART
