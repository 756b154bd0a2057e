"""What the counters write, read."""

from __future__ import annotations

import pytest

from e2e.bench.counters import in_callgrind_file, in_perf_output
from e2e.bench.lockstep import is_answer
from e2e.bench.stage import StageError

CALLGRIND = """\
# callgrind format
positions: line
events: Ir
summary: 0

ob=(1) /lib/libuv.so
fl=(1) /src/core.c
fn=(1) uv_run
10 100
+2 20
cob=(2) /lib/libpython3.11.so
cfn=(2) call
calls=5 30
* 7000
-1 3

ob=(2)
fn=(2)
30 6877

totals: 7000
"""


def test_callgrinds_costs_are_those_of_the_functions_themselves() -> None:
    counted = in_callgrind_file(CALLGRIND.splitlines(keepends=True))
    assert counted.total == 7000
    assert counted.by_object == {"/lib/libuv.so": 123, "/lib/libpython3.11.so": 6877}


def test_perfs_figure_is_found() -> None:
    told = "some warning\n123456,,instructions:u,1000000,100.00,,\n"
    assert in_perf_output(told) == 123456


def test_perf_that_cannot_count_says_so() -> None:
    assert in_perf_output("<not supported>,,instructions:u,0,100.00,,\n") is None


def test_an_answer_is_whole_with_its_last_byte() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    assert is_answer(answer)
    assert not any(is_answer(answer[:end]) for end in range(len(answer)))


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0", b"HTTP/1.1 200 OK"]
)
def test_another_answer_is_a_failure(head: bytes) -> None:
    with pytest.raises(StageError):
        is_answer(head + b"\r\n\r\n")
