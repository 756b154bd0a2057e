"""Recognises a request whose fields are those of the request before on the same connection.

Most clients send the same fields again and again: only the first line is new then. What the parser
found legal once is legal again byte for byte, so nothing but that line has to be read; whatever is
not clear is left to the parser.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from gateway.proxy.message import RequestHead

if TYPE_CHECKING:
    from gateway.sandbox.errors import GatewayError

#: The first line of a request in its plainest form.
_REQUEST_LINE = re.compile(
    rb"(DELETE|GET|HEAD|OPTIONS|PATCH|POST|PUT) (/[A-Za-z0-9._~!$&'()*+,;=:@/?%-]*) HTTP/1\.1"
)
#: A head up to this size is remembered: connections must not fill the memory.
_MEMORABLE: Final = 4096


class Repeats:
    """The fields of one connection's last request, if it was one that can be recognised."""

    __slots__ = ("_fields", "_like", "_max_head", "_max_uri")

    def __init__(self, *, max_head: int, max_uri: int) -> None:
        """Sizes in bytes: what is over them is for the parser to refuse."""
        self._max_head = min(max_head, _MEMORABLE)
        self._max_uri = max_uri
        self._like: RequestHead | None = None
        self._fields = b""

    def remember(self, head: RequestHead | GatewayError, data: bytes) -> None:
        """Remember a request that came alone and whole in one read, which was `data`."""
        line = _REQUEST_LINE.match(data)
        end = data.find(b"\r\n\r\n") + 4
        if (
            line is not None
            and data.startswith(b"\r\n", line.end())
            and end <= self._max_head
            and isinstance(head, RequestHead)
            and head.length == len(data) - end
            and head.keep_alive
            and head.upgrade is None
        ):
            self._like = head
            self._fields = data[line.end() : end]

    def recall(self, data: bytes) -> tuple[RequestHead, bytes] | None:
        """Return the head and the body of a whole request that has the same fields as the last."""
        like, fields = self._like, self._fields
        end = data.find(b"\r\n\r\n") + 4
        length, begin = len(data) - end, end - len(fields)
        if like is None or length != like.length or not data.startswith(fields, begin):
            return None
        line = _REQUEST_LINE.fullmatch(data, 0, begin)
        if line is None:
            return None
        method, target = line.groups()
        if len(target) > self._max_uri:
            return None
        special, lines, findings = like.special, like.lines, like.findings
        head = RequestHead(method, target, True, special, lines, length, True, None, findings)
        return head, data[end:]
