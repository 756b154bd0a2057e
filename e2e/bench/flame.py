"""Stacks drawn as a flame graph: as wide as the time, each part in its colour. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

from e2e.bench.stacks import (
    AIOHTTP,
    GATEWAY,
    HTTPTOOLS,
    KERNEL,
    LIBRARY,
    PARTS,
    UVLOOP,
    Frame,
    owner,
    owner_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_COLOURS: Final = {
    KERNEL: "#e8927c",
    UVLOOP: "#f3c567",
    HTTPTOOLS: "#cfa5d6",
    GATEWAY: "#8fbce6",
    AIOHTTP: "#8ed1b2",
    LIBRARY: "#bfd98a",
}
_PLAIN: Final = "#d5d5d5"

_WIDTH: Final = 1400.0
_MARGIN: Final = 10.0
_ROW: Final = 17
_LETTER: Final = 6.9  # how wide a letter is, on average
_NARROWEST: Final = 0.5  # below it a box only blurs the picture
_TOP: Final = 62


@dataclass(slots=True)
class Node:
    """A function as it was called from its callers, and the µs in it and in what it calls."""

    frame: Frame
    colour: str
    time: float = 0.0
    calls: dict[Frame, Node] = field(default_factory=dict)


def svg(stacks: Iterable[tuple[tuple[Frame, ...], float]], title: str) -> str:
    """Return the picture of stacks, each with its microseconds."""
    root = _tree(stacks)
    depth = _depth(root, _NARROWEST * root.time / _WIDTH)
    floor = _TOP + depth * _ROW
    boxes = _boxes(root, _MARGIN, floor, root.time)
    size = f'width="{_WIDTH + 2 * _MARGIN:.0f}" height="{floor + _ROW + 10}"'
    style = 'font-family="Verdana, DejaVu Sans, sans-serif" font-size="11"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        f'<text x="{_MARGIN}" y="24" font-size="15">{escape(title)}</text>',
        *_legend(),
        *boxes,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _tree(stacks: Iterable[tuple[tuple[Frame, ...], float]]) -> Node:
    root = Node(Frame("the loop", ""), _PLAIN)
    for frames, time in stacks:
        node = root
        node.time += time
        for place, frame in enumerate(frames, 1):
            if frame not in node.calls:
                node.calls[frame] = Node(frame, _colour(frames[:place]))
            node = node.calls[frame]
            node.time += time
    return root


def _colour(frames: tuple[Frame, ...]) -> str:
    """Return the innermost frame's colour: a system call's, else that of the function's owner."""
    found = owner(frames)
    if found.part != KERNEL:
        own = owner_of(frames[-1])
        return _COLOURS[own.part] if own is not None else _PLAIN
    return _COLOURS[KERNEL]


def _depth(node: Node, least: float) -> int:
    below = [_depth(one, least) for one in node.calls.values() if one.time >= least]
    return 1 + max(below, default=0)


def _legend() -> Iterator[str]:
    x = _MARGIN
    for part in PARTS:
        yield f'<rect x="{x:.0f}" y="38" width="12" height="12" fill="{_COLOURS[part]}"/>'
        yield f'<text x="{x + 17:.0f}" y="48">{escape(part)}</text>'
        x += 40 + len(part) * _LETTER


def _boxes(node: Node, x: float, y: float, whole: float) -> Iterator[str]:
    """Return the box of a call and those of what it calls, which stand on it."""
    width = node.time / whole * _WIDTH
    if width < _NARROWEST:
        return
    file = f" ({node.frame.file})" if node.frame.file else ""
    told = f"{node.frame.name}{file}: {node.time:.2f} µs, {node.time / whole * 100:.1f} %"
    yield f"<g><title>{escape(told)}</title>"
    box = f'x="{x:.2f}" y="{y:.0f}" width="{width:.2f}" height="{_ROW - 1}"'
    yield f'<rect {box} fill="{node.colour}" rx="1"/>'
    if label := _fitting(node.frame.name, width):
        yield f'<text x="{x + 3:.2f}" y="{y + 12:.0f}">{escape(label)}</text>'
    yield "</g>"
    for frame in sorted(node.calls, key=lambda one: (one.name, one.file)):
        yield from _boxes(node.calls[frame], x, y - _ROW, whole)
        x += node.calls[frame].time / whole * _WIDTH


def _fitting(name: str, width: float) -> str:
    """Return as much of the name as fits; nothing where that would not be readable."""
    room = int((width - 6) / _LETTER)
    if len(name) <= room:
        return name
    return f"{name[: room - 1]}…" if room >= 3 else ""
