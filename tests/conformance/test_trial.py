from gateway.sandbox.model import State
from .harness import gateway
from .upstream import ECHO

async def test_forward() -> None:
    async with gateway(ECHO) as (gw, up):
        r = await gw.ask(gw.post("/x?y", b"hello"))
        print(r)
        assert r.body == b"POST /x?y hello"
        print(gw.log(), up.received)

async def test_wake() -> None:
    async with gateway(ECHO, state=State.PAUSED) as (gw, up):
        r = await gw.ask(gw.post("/x?y", b"hello"))
        assert r.body == b"POST /x?y hello"
        assert gw.sandboxes.patches == ["uid-box"]
        assert 0, r
