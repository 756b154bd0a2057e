"""Whether a request that failed on one connection may be sent on another: one pure table.

A request that is not idempotent reaches a sandbox at most once, always. An idempotent one is sent
again only where its connection turned out to be dead, so that the sandbox cannot have had it, and
only once (RFC 9110 §9.2.2, 9112 §9.3.1). What fails while dialling was never sent: that is
not decided here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.proxy.exchange import Stage

if TYPE_CHECKING:
    from collections.abc import Mapping

IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"})

#: May a request be sent again that failed at this stage?
_BY_STAGE: Final[Mapping[Stage, bool]] = {
    Stage.SENDING: True,
    Stage.SENT: True,
    Stage.ANSWERED: False,
    Stage.TUNNEL: False,
}


def may_send_again(
    method: bytes, stage: Stage, *, untouched: bool, body_consumed: bool, again: bool
) -> bool:
    """Judge a failed exchange.

    `untouched`: no byte came back and the sandbox cannot have had the request; `body_consumed`:
    body bytes were sent and are no longer here; `again`: this was the second attempt.
    """
    return (
        _BY_STAGE[stage] and method in IDEMPOTENT and untouched and not body_consumed and not again
    )
