"""Whether a failed request may be sent again: every combination."""

from __future__ import annotations

from itertools import product

import pytest

from gateway.proxy.exchange import Stage
from gateway.proxy.retry import IDEMPOTENT, may_send_again

METHODS = [b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"POST", b"PATCH", b"QUERY", b"LOCK"]


def test_the_idempotent_methods_are_those_of_http_that_a_proxy_relays() -> None:
    assert {method for method in METHODS if method in IDEMPOTENT} == set(METHODS[:5])


@pytest.mark.parametrize("stage", Stage)
def test_only_a_dead_connection_lets_an_idempotent_request_go_twice(stage: Stage) -> None:
    for method, flags in product(METHODS, product([True, False], repeat=3)):
        untouched, consumed, again = flags
        allowed = may_send_again(
            method,
            stage,
            untouched=untouched,
            body_consumed=consumed,
            again=again,
        )
        wanted = (
            stage in (Stage.SENDING, Stage.SENT)
            and method in (b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE")
            and (untouched, consumed, again) == (True, False, False)
        )
        assert allowed is wanted
