"""Our cookie among a sandbox's own: taken out both ways, and nothing else is touched."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.proxy import cookies
from gateway.proxy.cookies import PLAIN, SECURE, Cookies
from gateway.upstream.response import ResponseReader

OURS = PLAIN.decode()


@pytest.mark.parametrize(
    ("value", "tokens", "kept"),
    [
        (f"{OURS}=x", [b"x"], None),
        (f"a=1; {OURS}=x; b=2", [b"x"], "a=1; b=2"),
        (f"{OURS}=x; b=2", [b"x"], "b=2"),
        (f"a=1; {OURS}=x", [b"x"], "a=1"),
        (f"a=1;{OURS}=x;b=2", [b"x"], "a=1;b=2"),
        (f"{OURS}=x; {OURS}=y", [b"x", b"y"], None),
        (f"{OURS} = x ", [b"x"], None),
        (f"{OURS}=", [b""], None),
        (OURS, [b""], None),
        (f"{OURS}=x=y", [b"x=y"], None),
        (f"{OURS}2=x; my-{OURS}=y", [], f"{OURS}2=x; my-{OURS}=y"),
        (f"a={OURS}", [], f"a={OURS}"),
        (f"{OURS.upper()}=x", [], f"{OURS.upper()}=x"),
        ('a="1;  b"; c = \xe9', [], 'a="1;  b"; c = \xe9'),
    ],
)
def test_our_cookie_is_taken_out_and_the_others_stay_as_they_were(
    value: str, tokens: list[bytes], kept: str | None
) -> None:
    others = [] if kept is None else [f"Cookie: {kept}\r\n".encode("latin-1")]
    assert cookies.read([value.encode("latin-1")]) == Cookies(tokens, False, others)


def test_where_there_is_a_cookie_that_only_we_can_set_the_weaker_one_does_not_count() -> None:
    both = b"%b=weak; %b=strong" % (PLAIN, SECURE)
    assert cookies.read([both, b"a=1"]) == Cookies([b"strong"], True, [b"Cookie: a=1\r\n"])
    twice = [b"%b=a" % SECURE, b"%b=b" % SECURE]
    assert cookies.read(twice).tokens == [b"a", b"b"]


#: Hypothesis takes what the code under test names into account, our cookie's name too.
_OTHERS = st.binary(max_size=30).filter(lambda value: PLAIN not in value)


@given(st.lists(_OTHERS, max_size=4))
def test_what_does_not_name_our_cookie_passes_byte_for_byte(values: list[bytes]) -> None:
    assert cookies.read(values).others == [b"Cookie: %b\r\n" % value for value in values if value]


# ---- responses -----------------------------------------------------------------------------------


def filtered(*fields: str) -> list[str]:
    """Return the fields of a response that a client gets."""
    raw = "\r\n".join(("HTTP/1.1 200 OK", *fields, "Content-Length: 0", "", "")).encode("latin-1")
    reader = ResponseReader()
    reader.feed(raw)
    assert reader.head is not None
    found = cookies.without_ours(reader.head).raw
    assert found.startswith(b"HTTP/1.1 200 OK\r\n")
    assert found.endswith(b"\r\n\r\n")
    return found.decode("latin-1").split("\r\n")[1:-3]


@pytest.mark.parametrize(
    "field",
    [
        f"Set-Cookie: {OURS}=x",
        f"set-cookie:{OURS}=x; Path=/",
        f"SET-COOKIE: {SECURE.decode()}=x; Secure; Path=/",
        f"Set-Cookie:  {OURS} =x",
        f"Set-Cookie: ={OURS}=x",
        f"Set-Cookie: {OURS}",
        f"Set-Cookie: {OURS}=; Max-Age=0",
        f"Set-Cookie: a={OURS}=x",
    ],
)
def test_a_sandbox_cannot_set_our_cookie(field: str) -> None:
    assert filtered("A: 1", field, "Set-Cookie: mine=1", field) == ["A: 1", "Set-Cookie: mine=1"]


def test_what_a_sandbox_sets_otherwise_is_left_alone() -> None:
    fields = [
        f"Set-Cookie: a=1; Path=/{OURS}",
        "Set-Cookie: b=2",
        f"X-Set-Cookie: {OURS}=x",
        f"A: {OURS}=x",
    ]
    assert filtered(*fields) == fields
