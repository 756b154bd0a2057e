"""A mistake in the gateway itself costs one connection, is logged, and leaves nothing behind."""

from __future__ import annotations

import pytest

from gateway.proxy.reach import Reacher

from .harness import gateway
from .upstream import ECHO


async def test_60_a_mistake_is_logged_and_breaks_off_only_its_own_connection(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The client is not told what went wrong; the log is (own rule)."""

    async def mistaken(*_: object) -> object:
        raise TypeError("a mistake of ours")

    # Whatever is logged as an error fails a test, at its end.
    with pytest.raises(AssertionError):  # noqa: PT012 - all of it is what the harness judges
        async with gateway(ECHO) as (gw, _):
            bystander, client = await gw.client(), await gw.client()
            with monkeypatch.context() as planted:
                planted.setattr(Reacher, "reach", mistaken)
                await client.send(gw.get("/"))
                await client.ended()
            assert "a mistake of ours" in caplog.text
            await bystander.send(gw.get("/"))
            assert (await bystander.response()).status == 200
