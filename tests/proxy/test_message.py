"""A request head as the proxy sees it."""

from .heads import make_head


def test_a_head_knows_about_how_much_memory_it_keeps() -> None:
    head = make_head(
        target=b"/abc",
        lines=[b"X: y\r\n", b"Z: w\r\n"],
        special={b"host": [b"a.b"], b"via": [b"1.1 a", b"1.1 b"]},
    )
    assert head.size == 4 + 6 + 6 + 3 + 5 + 5


def test_the_first_of_a_special_field_counts() -> None:
    head = make_head(special={b"via": [b"1.0 a", b"1.1 b"]})
    assert head.first(b"via") == b"1.0 a"
    assert head.first(b"upgrade") is None


def test_other_fields_are_had_by_lower_case_name_in_order() -> None:
    head = make_head(lines=[b"X-B: 1\r\n", b"x-a: b: c \r\n", b"X-B: \r\n"])
    assert list(head.fields()) == [(b"x-b", b"1"), (b"x-a", b"b: c"), (b"x-b", b"")]
