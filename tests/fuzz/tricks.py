"""Requests that must be refused: what has hidden one message in another, and the like."""

from __future__ import annotations

from typing import Final

from hypothesis import strategies as st

#: Field lines that no legal request has, whatever else it has (RFC 9112 §2.2, 3.2, 5, 6.1, 6.3).
BAD_LINES: Final = (
    *(
        b"Content-Length: %b" % value
        for value in (b"+5", b"-5", b"0x5", b"5 5", b"5, 6", b"", b"5_0")
    ),
    *(b"Content-Length: %b" % value for value in (b"18446744073709551616", b"5.0", b"\xd9\xa5")),
    b"Content-Length: 5\r\nContent-Length: 6",
    b"Content-Length: 5\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: chunked\r\nContent-Length: 5",
    b"transfer-encoding: Chunked\r\ncONTENT-lENGTH: 0",
    *(
        b"Transfer-Encoding: %b" % value
        for value in (b"xchunked", b"chunked, identity", b"identity", b"identity, chunked", b"")
    ),
    *(
        b"Transfer-Encoding: %b" % value
        for value in (b"\x0bchunked", b"chunked\x0c", b"chunked,", b'"chunked"', b"gzip, chunked")
    ),
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: cow",
    b"Transfer-Encoding: chunked;q=1",
    b"Transfer-Encoding : chunked",
    b"Transfer-Encoding\t: chunked",
    b"Transfer-Encoding\x00: chunked",
    b"Transfer-Encoding:\n chunked",
    b"Transfer-Encoding:\r\n chunked",
    b"Content-Length : 5",
    b" Content-Length: 5",
    b"Content-Length:\r5",
    b"X-A: b\r\n folded",
    b"X-A: b\r\n\tfolded",
    b"X-A: a\rb",
    b"X-A: a\nTransfer-Encoding: chunked",
    b"X-A: a\x00b",
    b"X-A\x00: b",
    b"X-A\n: b",
    b"X(A): b",
    b"X-\xe9: b",
    b": b",
    b"no colon",
    b"\x0bX-A: b",
    b"Host: box.example\r\nHost: box.example",
    b"Host: evil@box.example",
)
_BAD_STARTS: Final = (
    *(
        b"GET /asked/{marker} HTTP/%b" % version
        for version in (b"1.2", b"2.0", b"0.9", b"1.", b"11")
    ),
    b"GET /asked/{marker}",
    b"GET /asked/{marker} x HTTP/1.1",
    b"GET\t/asked/{marker} HTTP/1.1",
    b"GET /asked/{marker}\x0b HTTP/1.1",
    b"GET /asked/{marker}\x00 HTTP/1.1",
    b"GET /asked/{marker}#f HTTP/1.1",
    b"GET asked/{marker} HTTP/1.1",
    b"GET http://evil.example/asked/{marker} HTTP/1.1",
    b"GET http://u@box.example/asked/{marker} HTTP/1.1",
    b"GET file://box.example/asked/{marker} HTTP/1.1",
    b"G\xc9T /asked/{marker} HTTP/1.1",
    b"get /asked/{marker} HTTP/1.1",
    b" GET /asked/{marker} HTTP/1.1",
    b"GET /asked/{marker} http/1.1",
    b"GET /asked/{marker} HTTP/1.1 ",
    b"GET /asked/{marker} HTTP /1.1",
    b"GET /asked/{marker} HTTP/1.1\n",
    b"TRACE /asked/{marker} HTTP/1.1",
    b"CONNECT box.example:80 HTTP/1.1",
    b"PRI * HTTP/2.0",
    b"GET * HTTP/1.1",
)
BAD_CHUNKS: Final = (
    *(
        b"%b\r\nhello\r\n0\r\n\r\n" % size
        for size in (b"0x5", b"+5", b"-5", b" 5", b"", b"5 5", b"g")
    ),
    *(
        b"%b\r\nhello\r\n0\r\n\r\n" % size
        for size in (b"10000000000000005", b"5,", b"5\x00", b"\xb2")
    ),
    *(
        b"5%b\r\nhello\r\n0\r\n\r\n" % extension
        for extension in (b";a\nb", b";a\rb", b";\x00", b"\t\n")
    ),
    b"5\nhello\r\n0\r\n\r\n",
    b"5\rhello\r\n0\r\n\r\n",
    b"5\r\nhello0\r\n\r\n",
    b"5\r\nhello!\r\n0\r\n\r\n",
    b"5\r\nhello\n0\r\n\r\n",
    b"5\r\nhello\r0\r\n\r\n",
    b"4\r\nhello\r\n0\r\n\r\n",
    b"5\r\nhello\r\n0\n\r\n",
    b"5\r\nhello\r\n0\r\n\n",
    b"5\r\nhello\r\n0\r\nX-T : a\r\n\r\n",
    b"5\r\nhello\r\n0\r\nX-T: a\r\n folded\r\n\r\n",
    b"5\r\nhello\r\n0\r\nX-T: a\nb: c\r\n\r\n",
    b"5\r\nhello\r\n0\r\nno colon\r\n\r\n",
)
_NAMING: Final = (b"Host: box.example", b"E2b-Sandbox-Id: box", b"E2b-Sandbox-Port: {prt}")


def _request(start: bytes, lines: list[bytes], body: bytes = b"") -> bytes:
    return b"\r\n".join((start, *lines)) + b"\r\n\r\n" + body


#: Without exactly one Host (RFC 9112 §3.2); and a length or coding where the version has none.
_BAD_WHOLE: Final = (
    _request(b"GET /asked/{marker} HTTP/1.1", list(_NAMING[1:])),
    *(
        _request(b"GET /asked/{marker} HTTP/1.1", [b"Host: " + host, *_NAMING[1:]])
        for host in (b"", b"a b", b"a/b", b"a:", b"a:0", b"a:65536", b"a:1x", b"[::1", b"a?b")
    ),
    _request(
        b"POST /asked/{marker} HTTP/1.0",
        [*_NAMING, b"Transfer-Encoding: chunked"],
        b"5\r\nhello\r\n0\r\n\r\n",
    ),
    _request(
        b"POST /asked/{marker} HTTP/1.1",
        [*_NAMING, b"Upgrade: foo", b"Connection: upgrade", b"Content-Length: 5"],
        b"hello",
    ),
)

_START: Final = b"POST /asked/{marker} HTTP/1.1"

#: One of each kind.
ILLEGAL: Final = (
    *(_request(_START, [*_NAMING[:2], line, _NAMING[2]], b"hello") for line in BAD_LINES),
    *(_request(start, [*_NAMING]) for start in _BAD_STARTS),
    *(_request(_START, [*_NAMING, b"Transfer-Encoding: chunked"], body) for body in BAD_CHUNKS),
    *_BAD_WHOLE,
)


@st.composite
def _bad_line(draw: st.DrawFn) -> bytes:
    lines = list(_NAMING)
    lines.insert(draw(st.integers(0, len(lines))), draw(st.sampled_from(BAD_LINES)))
    body = draw(st.sampled_from([b"", b"hello", b"0\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n"]))
    return _request(_START, lines, body)


illegal_request = st.sampled_from(ILLEGAL) | _bad_line()
